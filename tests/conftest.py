"""What every test shares: a small cache of compiled programs, and real data if there is any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("landscape", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("landscape")


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data sets; the test is skipped, by name, without one."""
    folder = os.environ.get("LANDSCAPE_DATA")
    if not folder:
        pytest.skip("LANDSCAPE_DATA is not set: this test needs real data")
    return Path(folder)
