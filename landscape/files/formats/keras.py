"""Keras' ``.keras``: the file of weights inside the archive.

The archive also holds a configuration, which may name classes and hold code of a Lambda layer. It is
never looked at: only ``model.weights.h5`` is read, as any HDF5 file from a stranger.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from landscape.errors import CheckpointError
from landscape.files.formats import hdf5
from landscape.files.formats.entries import Entry, member_of, opened_zip, zip_names

TITLE = "a Keras archive with model.weights.h5"
SUFFIXES = (".keras",)
_WEIGHTS = "model.weights.h5"


def recognises(path: Path, head: bytes) -> bool:
    """Return whether the file is an archive with Keras' weights in it."""
    return head.startswith(b"PK") and _WEIGHTS in zip_names(path)


def entries(path: Path) -> dict[str, Entry]:
    """Return the datasets of the weights by path."""
    with _weights(path) as inner:
        return hdf5.entries(inner)


def arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the datasets of these paths."""
    with _weights(path) as inner:
        return hdf5.arrays(inner, names)


@contextlib.contextmanager
def _weights(path: Path) -> Iterator[Path]:
    """Give the weights a file of their own for a while."""
    with opened_zip(path) as archive, tempfile.TemporaryDirectory() as folder:
        if _WEIGHTS not in archive.namelist():
            raise CheckpointError(
                f"{path}: holds no {_WEIGHTS}", expected=TITLE, hint="Save the model again."
            )
        inner = Path(folder) / _WEIGHTS
        inner.write_bytes(member_of(path, archive, _WEIGHTS))
        try:
            yield inner
        except CheckpointError as error:  # names the archive, not the file that is gone by then
            error.what = error.what.replace(str(inner), str(path))
            error.args = ("\n".join(error.lines()),)
            raise
