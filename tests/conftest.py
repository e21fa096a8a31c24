"""What every test shares: a small cache of compiled programs, and real data if there is any."""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

# Half of the time of the tests is compilation, and most programs are compiled by many of them: what one
# process compiled, the other workers and the commands that tests start read from a folder. The process
# that pytest was started in makes it, before it starts workers, and removes it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="landscape-tests-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"

# The package has its own programs compiled by the quicker of two routes of XLA (landscape.compute.compiling).
# Here the tests' own follow, and a program is compiled in one piece, since other tests keep the other cores
# busy: an eighth of the time of all tests. XLA ends the process over a flag that it does not know, hence the
# versions, each of which was tried.
if "XLA_FLAGS" not in os.environ and (0, 8) <= tuple(map(int, version("jaxlib").split(".")[:2])) <= (0, 10):
    os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"

settings.register_profile("landscape", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("landscape")


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data sets; the test is skipped, by name, without one."""
    folder = os.environ.get("LANDSCAPE_DATA")
    if not folder:
        pytest.skip("LANDSCAPE_DATA is not set: this test needs real data")
    return Path(folder)
