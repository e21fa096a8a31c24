"""The rooms, who may import whom, and what an import may load."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "landscape": {"trainers", "cli", "click", "rich"},
    "trainers": {"cli", "click", "rich"},
    "cli": set(),
}
EXCEPTIONS = {Path("landscape/__main__.py")}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_import_only_downwards(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / room).rglob("*.py")
        if path.relative_to(ROOT) not in EXCEPTIONS
        for name in imported(path)
        if name.split(".")[0] in FORBIDDEN[room]
    ]
    assert not wrong


def test_nobody_but_the_main_module_imports_the_command_line() -> None:
    importers = {
        path.relative_to(ROOT)
        for room in ("landscape", "trainers")
        for path in (ROOT / room).rglob("*.py")
        if any(name.split(".")[0] == "cli" for name in imported(path))
    }
    assert importers == EXCEPTIONS


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["landscape", "trainers", "cli"])
def test_importing_a_package_loads_no_heavy_library(package: str) -> None:
    assert not loaded_after(f"import {package}") & {"jax", "plotly", "h5py", "evosax", "flax", "optax"}


@pytest.mark.parametrize(
    "module",
    ["landscape.checkpoint", "landscape.results", "landscape.inspect", "trainers.config", "trainers.runs"],
)
def test_reading_files_needs_no_jax(module: str) -> None:
    assert not loaded_after(f"import {module}") & {"jax", "plotly"}


def submodules(package: str) -> list[str]:
    found = importlib.import_module(package)
    return [info.name for info in pkgutil.walk_packages(found.__path__, f"{package}.")]


@pytest.mark.parametrize("package", ["landscape", "trainers"])
def test_public_names_survive_the_import_of_every_submodule(package: str) -> None:
    module = importlib.import_module(package)
    for name in submodules(package):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    for name in module.__all__:
        value = getattr(module, name)
        assert name == "errors" or not isinstance(value, type(sys)), f"{package}.{name} is a module"


def test_no_public_function_shares_its_name_with_a_submodule() -> None:
    for package in ("landscape", "trainers"):
        names = set(importlib.import_module(package).__all__) - {"errors"}
        assert not names & {name.rsplit(".", 1)[1] for name in submodules(package)}


def test_files_stay_within_the_limit() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for room in FORBIDDEN
        for path in (ROOT / room).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
