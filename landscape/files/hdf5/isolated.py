"""Reading HDF5 of the newer layouts, in a process of its own.

Their structures cannot be checked before the HDF5 library follows them, and damaged ones can crash
or hang it. The child reads under the same rules, with bounded memory and time; what it found comes
back as ``.npz``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError, LandscapeError
from landscape.files.hdf5 import reading
from landscape.files.hdf5.opening import HINT

SECONDS = 120
MEMORY = 4 * 2**30  # of addresses, beside eight times the file
_REFUSED = 3


def load_isolated(path: Path) -> dict[str, np.ndarray]:
    """Return every numeric dataset by name.

    Raises
    ------
    CheckpointError
        If the file is refused, or the HDF5 library did not survive it.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "arrays.npz"
        command = [
            sys.executable,
            "-P",
            "-m",
            "landscape.files.hdf5.isolated",
            str(path.absolute()),
            str(out),
        ]
        try:
            done = subprocess.run(  # noqa: S603  our own module, and no shell
                command, capture_output=True, text=True, timeout=SECONDS, check=False, env=_environment()
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unread(path, f"nothing within {SECONDS} seconds") from error
        if done.returncode == _REFUSED:
            raise CheckpointError(**json.loads(done.stdout))
        if done.returncode:
            raise _unread(path, f"the HDF5 library ended with status {done.returncode}")
        with np.load(out, allow_pickle=False) as archive:
            return {name: archive[f"arr_{i}"] for i, name in enumerate(json.loads(done.stdout))}


def _environment() -> dict[str, str]:
    """Return an environment in which the child finds this package, wherever it was started."""
    root = str(Path(__file__).parent.parent)
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{given}" if given else root}


def _unread(path: Path, got: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged: it cannot be read as HDF5", got=got, hint=HINT)


def load_all(source: reading.Source) -> dict[str, np.ndarray]:
    """Return every numeric dataset of a file of another tool.

    Raises
    ------
    CheckpointError
        If the file is one of ours: its masks and deviations would become parameters.
    """
    source.foreign = True
    written = source.root_text("format")
    if written.startswith("landscape-"):
        raise CheckpointError(
            f"{source.raw.path}: is a {written.replace('-', ' ')} already",
            expected="a file of another tool",
            hint="Use it as it is; landscape info says what it holds.",
        )
    source.walk()
    return {name: source.load(name) for name in source.datasets}


def main(path: str, out: str) -> int:
    """Read one file, write its arrays, print their names; or print the refusal."""
    limit = MEMORY + 8 * Path(path).stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with reading.opened(Path(path), newer=True) as source:
            arrays = load_all(source)
    except LandscapeError as error:
        return _say(dict(vars(error)), _REFUSED)
    np.savez(out, *arrays.values())
    return _say(list(arrays), 0)


def _say(value: Any, status: int) -> int:
    sys.stdout.write(json.dumps(value))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
