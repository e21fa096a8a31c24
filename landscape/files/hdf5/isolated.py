"""Reading HDF5 of the newer layouts, in a process of its own.

Their structures cannot be checked before the HDF5 library follows them, and damaged ones can crash
or hang it. The child reads under the same rules, with bounded memory and time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError
from landscape.files.hdf5 import reading
from landscape.files.isolation import Answer, read_apart, serve


def load_isolated(path: Path) -> dict[str, np.ndarray]:
    """Return every numeric dataset by name.

    Raises
    ------
    CheckpointError
        If the file is refused, or the HDF5 library did not survive it.
    """
    size = path.stat().st_size
    _, arrays = read_apart(
        "landscape.files.hdf5.isolated", path, str(path.absolute()), size=size, library="HDF5"
    )
    return arrays


def load_all(source: reading.Source) -> dict[str, np.ndarray]:
    """Return every numeric dataset of a file of another tool.

    Raises
    ------
    CheckpointError
        If the file is landscape's own: its masks and deviations would become parameters.
    """
    measure(source)
    return {name: source.load(name) for name in source.datasets}


def measure(source: reading.Source) -> None:
    """Walk a file of another tool: its datasets are known then, and none is read.

    Raises
    ------
    CheckpointError
        If the file is landscape's own.
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


def read(path: Any) -> Answer:
    """Read one file in the child."""
    with reading.opened(Path(path), newer=True) as source:
        return None, load_all(source)


if __name__ == "__main__":
    sys.exit(serve(read))
