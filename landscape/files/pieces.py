"""Pieces of a long computation, kept in a folder as they finish, so that a stopped one can resume. No jax.

A piece is one HDF5 file, published whole, that bears the key of its computation: digests of networks and
data, and the settings that decide the numbers. Pieces of another computation are refused, never mixed in.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError
from landscape.files.hdf5 import archive, writing
from landscape.files.strict_json import dump_json

__all__ = ["Pieces"]

SCHEMA = "landscape-pieces"
VERSION = (1, 0)


class Pieces:
    """The finished pieces of one computation.

    Parameters
    ----------
    folder : path or None
        Where they are kept; made when the first one is. None keeps nothing.
    key : mapping
        Digests and settings that decide the numbers. Pieces of another key are refused.

    Raises
    ------
    CheckpointError
        If the folder holds pieces of another computation, or damaged ones.
    """

    def __init__(self, folder: str | Path | None, key: Mapping[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self._key = hashlib.blake2b(dump_json(dict(key)).encode(), digest_size=16).hexdigest()
        self.found: dict[str, dict[str, np.ndarray]] = {}
        if self.folder is not None and self.folder.is_dir():
            self.found = {path.stem: self._load(path) for path in sorted(self.folder.glob("*.h5"))}

    def _load(self, path: Path) -> dict[str, np.ndarray]:
        content = archive.read(path, schema=SCHEMA, version=VERSION)
        if content.attrs.get("kind") != self._key:
            raise CheckpointError(
                f"{path.parent}: holds pieces of another computation",
                expected="pieces of the same networks, data and settings",
                hint=f"Use another folder, or remove this one: rm -r {path.parent}",
            )
        return content.arrays

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Publish a finished piece.

        Raises
        ------
        CheckpointError
            If it cannot be written.
        """
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.h5"
        writing.write(
            path,
            schema=SCHEMA,
            version=VERSION,
            arrays=arrays,
            texts={},
            attrs={"kind": self._key},
            force=True,
        )

    def remove(self) -> None:
        """Remove the pieces: the computation is finished and its result stands elsewhere."""
        if self.folder is None or not self.folder.is_dir():
            return
        for path in self.folder.glob("*.h5"):
            path.unlink()
        with contextlib.suppress(OSError):  # the folder holds other files too
            self.folder.rmdir()
