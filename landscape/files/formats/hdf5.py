"""HDF5 of other tools, Keras' ``.weights.h5`` among them: every dataset of numbers, by its place.

Read under the rules for files from strangers (`landscape.files.hdf5`): hard links only, no other file,
nothing larger than it can be. Files of the newer layouts are read in a process of their own.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from landscape.files.formats.entries import Entry, tree_paths
from landscape.files.hdf5 import SIGNATURE, isolated, reading

TITLE = "an HDF5 file of another tool"
SUFFIXES = (".h5", ".hdf5")
KERAS = ".weights.h5"  # what Keras itself asks names to end with


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001  one signature for all formats
    """Return whether the file has the signature of HDF5."""
    return head.startswith(SIGNATURE)


def is_keras(path: Path) -> bool:
    """Return whether a file of HDF5 is by its name one of Keras, and by its content not landscape's."""
    if not path.name.lower().endswith(KERAS):
        return False
    if not reading.is_classic(path):
        return True
    with reading.opened(path) as source:
        return not source.root_text("format").startswith("landscape-")


def entries(path: Path) -> dict[str, Entry]:
    """Return the datasets by path; of the newer layouts they have to be read for it."""
    if not reading.is_classic(path):
        held = isolated.load_isolated(path)
        found = {name: Entry(array.shape, array.dtype.name) for name, array in held.items()}
    else:
        with reading.opened(path) as source:
            isolated.measure(source)
            found = {name: Entry(s.shape, s.dtype.name) for name, s in source.datasets.items()}
    return {where: found[name] for name, where in tree_paths(found, "/").items()}


def arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the datasets of these paths."""
    if not reading.is_classic(path):
        held = isolated.load_isolated(path)
        return {where: held[name] for name, where in tree_paths(held, "/").items() if where in names}
    with reading.opened(path) as source:
        isolated.measure(source)
        members = {where: name for name, where in tree_paths(source.datasets, "/").items()}
        return {name: source.load(members[name]) for name in names}
