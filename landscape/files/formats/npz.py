"""NumPy's ``.npz``: a zip archive of ``.npy`` files, names cut at ``/``. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from landscape.files.formats.entries import Entry, opened_zip, tree_paths, zip_names
from landscape.files.formats.npy import header
from landscape.files.hdf5 import refused

TITLE = "an .npz archive of numbers"
SUFFIXES = (".npz",)


def recognises(path: Path, head: bytes) -> bool:
    """Return whether the file is an archive of ``.npy`` files."""
    names = zip_names(path) if head.startswith(b"PK") else frozenset()
    return bool(names) and all(name.endswith(".npy") for name in names)


def entries(path: Path) -> dict[str, Entry]:
    """Return the arrays by path, from their headers."""
    found = {}
    with opened_zip(path) as archive:
        members = _members(path, archive.namelist())
        for where, member in members.items():
            with archive.open(member) as stream:
                found[where] = header(path, member, stream, archive.getinfo(member).file_size)
    return found


def arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the arrays of these paths."""
    found = {}
    with opened_zip(path) as archive:
        members = _members(path, archive.namelist())
        for name in names:
            with archive.open(members[name]) as stream:
                found[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def _members(path: Path, held: list[str]) -> dict[str, str]:
    """Return the member of the archive for each path of the tree."""
    if len(set(held)) != len(held):
        raise refused(path, "two members of one name")
    names = {name.removesuffix(".npy"): name for name in held if name.endswith(".npy")}
    return {where: names[name] for name, where in tree_paths(names, "/").items()}
