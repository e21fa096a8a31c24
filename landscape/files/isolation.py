"""Reading in a process of its own: for libraries that damaged files can crash, hang or fill with memory.

The child is a module of landscape. It is asked by one JSON value on its standard input and answers by one on
its standard output; arrays come back in a file that only it writes. Memory and time are bounded.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError, LandscapeError
from landscape.files.hdf5 import HINT

SECONDS = 120
MEMORY = 4 * 2**30  # of addresses, beside eight times what is read
_REFUSED = 3
_ROOT = str(Path(__file__).parents[2])
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX")  # each reserves addresses

Answer = tuple[Any, Mapping[str, np.ndarray]]


def read_apart(
    module: str, path: Path, request: Any, *, size: int, library: str
) -> tuple[Any, dict[str, np.ndarray]]:
    """Return what the module's `serve` answers: plain values, and arrays by name.

    Parameters
    ----------
    module : str
        What runs: ``python -m module``.
    path : Path
        The file or folder, for messages.
    request : JSON value
        What the child is asked.
    size : int
        Bytes of what is read; the memory that is allowed grows with it.
    library : str
        What reads in the child, for messages.

    Raises
    ------
    CheckpointError
        If the child refuses what it reads, or does not survive it.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "arrays.npz"
        command = [sys.executable, "-P", "-m", module]
        asked = json.dumps({"request": request, "out": str(out), "memory": MEMORY + 8 * size})
        try:
            done = subprocess.run(  # noqa: S603  our own module, and no shell
                command,
                input=asked,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                env=_environment(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unread(path, library, f"nothing within {SECONDS} seconds") from error
        if done.returncode == _REFUSED:
            raise CheckpointError(**json.loads(done.stdout))
        if done.returncode:
            raise _unread(path, library, f"the library ended with status {done.returncode}")
        answer = json.loads(done.stdout)
        with np.load(out, allow_pickle=False) as archive:
            arrays = {name: archive[f"arr_{i}"] for i, name in enumerate(answer["names"])}
        return answer["found"], arrays


def serve(read: Callable[[Any], Answer]) -> int:
    """Answer one request in a child, with bounded memory; return its exit status."""
    asked = json.loads(sys.stdin.read())
    limit = int(asked["memory"])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        found, arrays = read(asked["request"])
    except LandscapeError as error:
        sys.stdout.write(json.dumps(dict(vars(error))))
        return _REFUSED
    np.savez(asked["out"], *arrays.values())
    sys.stdout.write(json.dumps({"found": found, "names": list(arrays)}))
    return 0


def _environment() -> dict[str, str]:
    """Return an environment in which the child finds this package, wherever it was started."""
    given = os.environ.get("PYTHONPATH")
    few = dict.fromkeys(_THREADS, "1")
    return {**os.environ, **few, "PYTHONPATH": f"{_ROOT}{os.pathsep}{given}" if given else _ROOT}


def _unread(path: Path, library: str, got: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged: it cannot be read by {library}", got=got, hint=HINT)
