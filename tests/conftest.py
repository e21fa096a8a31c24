"""What every test shares: compiled programs, trained runs, and real data if there is any."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import program_cache
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from trainers.runs import Run

# Most of the time of the tests of training is compilation, and many compile the same programs: what one
# process compiled, the other workers, the commands that tests start and the next runs read from a folder.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(program_cache.prepare(Path(__file__).parent.parent))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"

# The package has its own programs compiled by the quicker of two routes of XLA, fully optimised
# (landscape.compute.compiling). What the tests compile themselves, and what runs operation by operation,
# takes that route with little optimisation, and in one piece, since other tests keep the other cores busy:
# drawing random numbers for a convolution takes 1.6 s to compile fully, and 0.1 s like this. XLA ends the
# process over a flag that it does not know, hence the versions, each of which was tried.
if "XLA_FLAGS" not in os.environ and (0, 8) <= tuple(map(int, version("jaxlib").split(".")[:2])) <= (0, 10):
    os.environ["XLA_FLAGS"] = (
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        " --xla_backend_optimization_level=1"
    )

settings.register_profile("landscape", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("landscape")


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data sets; the test is skipped, by name, without one."""
    folder = os.environ.get("LANDSCAPE_DATA")
    if not folder:
        pytest.skip("LANDSCAPE_DATA is not set: this test needs real data")
    return Path(folder)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three methods, two seeds and three levels, trained once for every test that only reads them."""
    from small_runs import smoke

    from trainers import train_tickets

    return train_tickets(smoke(), tmp_path_factory.mktemp("runs") / "whole")
