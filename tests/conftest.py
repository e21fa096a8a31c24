"""What every test shares: a small cache of compiled programs, and real data if there is any."""

from __future__ import annotations

import os
import tempfile
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

settings.register_profile("landscape", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("landscape")


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data sets; the test is skipped, by name, without one."""
    folder = os.environ.get("LANDSCAPE_DATA")
    if not folder:
        pytest.skip("LANDSCAPE_DATA is not set: this test needs real data")
    return Path(folder)
