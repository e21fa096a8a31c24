"""The choice of device and of the compilation cache, before jax is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.shared import devices
from landscape.errors import InputError

NAMES = (
    "JAX_PLATFORMS",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without jax's settings and with a cache folder of its own."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in NAMES:
        os.environ.pop(name, None)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path)
    return tmp_path


def test_cpu_is_set_before_jax_is_imported(environment: Path) -> None:
    devices.configure("cpu")
    assert os.environ["JAX_PLATFORMS"] == "cpu"


def test_gpu_overrules_a_platform_from_the_environment(environment: Path) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    devices.configure("gpu")
    assert "JAX_PLATFORMS" not in os.environ


def test_auto_leaves_the_platform_to_the_user(environment: Path) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    devices.configure("auto")
    assert os.environ["JAX_PLATFORMS"] == "cpu"


def test_analyses_leave_the_memory_of_the_gpu_to_others(environment: Path) -> None:
    devices.configure("auto", preallocate=True)
    assert "XLA_PYTHON_CLIENT_PREALLOCATE" not in os.environ
    devices.configure("auto")
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_compiled_programs_are_kept_in_the_cache_folder(environment: Path) -> None:
    devices.configure("auto")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(environment / "landscape" / "xla")
    assert (environment / "landscape" / "xla").is_dir()


def test_a_cache_folder_of_the_user_stays(environment: Path) -> None:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = "/elsewhere"
    devices.configure("auto")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"
    assert not list(environment.iterdir())


def test_a_cache_that_cannot_be_made_is_silently_left_out(environment: Path) -> None:
    (environment / "landscape").write_text("a file stands where the folder should be", encoding="utf-8")
    devices.configure("auto")
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_gpu_without_a_gpu_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with pytest.raises(InputError, match="finds no GPU") as refused:
        devices.require("gpu")
    assert "cuda13" in str(refused.value.hint)


def test_a_platform_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    code = (
        "from cli.shared import devices, explaining\ndevices.configure('auto')\n"
        "try:\n    devices.require('auto')\n"
        "except Exception as e:\n    print(explaining.explain(e).exit_code, e)"
    )
    env = {**os.environ, "JAX_PLATFORMS": "abacus", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.startswith("3 ")
    assert "JAX_PLATFORMS=abacus" in done.stdout
