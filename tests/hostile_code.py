"""Files that name code beside them: each function writes one sample into a folder and returns its path.

Nothing but the name is wrong with them. To run what they name is to import `evil.py`, which leaves `MARKER`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from landscape import (
    Checkpoint,
    Problem,
    hessian,
    loss_barrier,
    measure_flatness,
    save,
    top_eigenpairs,
)
from landscape.results import Result
from trainers import resolve
from trainers.config import to_dict, to_toml

MARKER = "ran"
Sample = Callable[[Path], Path]
EVIL = """
from pathlib import Path

Path({marker!r}).touch()
from landscape import Problem


def make():
    import numpy as np

    return Problem(lambda p, b: ((b @ p["w"]) ** 2).sum(1), train=np.ones((8, 3), np.float32))


def size(inputs):
    return abs(inputs.mean)
"""
CONFIGURATION = """extends = "smoke"
methods = ["mine"]
seeds = [0]

[method.mine]
algorithm = "gd"
score = "evil.py:size"

[pruning]
levels = 2
"""


def networks(folder: Path) -> tuple[Checkpoint, Checkpoint]:
    """Write the code and two sound networks, and return these."""
    (folder / "evil.py").write_text(EVIL.format(marker=str(folder / MARKER)))
    both = [Checkpoint(params={"w": np.full((3, 2), value, np.float32)}) for value in (1, 2)]
    for name, network in zip(("a.h5", "b.h5"), both, strict=True):
        save(folder / name, network, force=True)
    return both[0], both[1]


def _problem() -> Problem:
    return Problem(lambda p, b: ((b @ p["w"]) ** 2).sum(1), train=np.ones((8, 3), np.float32))


def _stored(folder: Path, name: str, result: Result, spec: str = "evil.py:make") -> Path:
    """Write a result whose stored command names the code."""
    files = ["a.h5", "b.h5"] if name == "barrier" else ["a.h5"]
    command = {"name": name, "checkpoints": files, "options": {"problem": spec}}
    changed = dataclasses.replace(result, config={**result.config, "command": command})
    return changed.save(folder / f"{name}.h5")


def result_of_barrier(folder: Path) -> Path:
    found = loss_barrier(_problem(), *networks(folder), num_points=3, num_resamples=10)
    return _stored(folder, "barrier", found)


def result_that_names_a_module(folder: Path) -> Path:
    found = loss_barrier(_problem(), *networks(folder), num_points=3, num_resamples=10)
    return _stored(folder, "barrier", found, "evil:make")


def result_of_curvature(folder: Path) -> Path:
    network, _ = networks(folder)
    return _stored(folder, "curvature", top_eigenpairs(hessian(_problem(), network), 1))


def result_of_flatness(folder: Path) -> Path:
    network, _ = networks(folder)
    return _stored(folder, "flatness", measure_flatness(_problem(), network, measures=["fisher_rao"]))


def configuration(folder: Path) -> Path:
    networks(folder)
    (folder / "run.toml").write_text(CONFIGURATION)
    return folder / "run.toml"


def run_folder(folder: Path) -> Path:
    """A run in which nothing is trained yet, with a checkpoint of the same configuration."""
    path = folder / "runs"
    (path / "mine" / "seed-0").mkdir(parents=True)
    (path / "run.toml").write_text(to_toml(resolve(configuration(folder)), folder=path))
    checkpoint_of_a_run(path / "mine" / "seed-0").rename(path / "mine/seed-0/level-00.h5")
    return path


def checkpoint_of_a_run(folder: Path) -> Path:
    """A checkpoint whose stored configuration has a score in the code."""
    network, _ = networks(folder)
    config = to_dict(resolve(configuration(folder)))
    return save(folder / "c.h5", dataclasses.replace(network, config=config, info={"method": "mine"}))


def checkpoint_of_a_task(folder: Path) -> Path:
    """A checkpoint whose task is the code."""
    network, _ = networks(folder)
    info = {"task": {"name": "evil.py:make"}, "score": "evil.py:size"}
    return save(folder / "c.h5", dataclasses.replace(network, info=info))


# By name, as for the other hostile samples.
SAMPLES: dict[str, Sample] = {
    function.__name__: function
    for function in (
        result_of_barrier,
        result_that_names_a_module,
        result_of_curvature,
        result_of_flatness,
        configuration,
        run_folder,
        checkpoint_of_a_run,
        checkpoint_of_a_task,
    )
}
