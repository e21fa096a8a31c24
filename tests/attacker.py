"""Sound files, and the means to change them as an attacker would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from landscape import Checkpoint, save
from landscape.files.hdf5.archive import root_digest

Sample = Callable[[Path], None]


def whole(path: Path, **trees: object) -> None:
    """Write a sound checkpoint."""
    params = {
        "layer": {"kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "bias": np.ones(4, np.float32)}
    }
    save(path, Checkpoint(**{"params": params, "info": {"level": 0}, **trees}), force=True)


def rewritten(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Write a sound checkpoint, then change it as an attacker would."""
    whole(path)
    with h5py.File(path, "r+") as file:
        change(file)


def sealed(file: h5py.File, manifest: object | None = None, info: str | None = None) -> None:
    """Put a valid root digest over changed texts: what a careful attacker does."""
    texts = {name: bytes(file[f"meta/{name}"][()]).decode() for name in file["meta"]}
    if manifest is not None:
        texts["manifest"] = manifest if isinstance(manifest, str) else json.dumps(manifest)
    if info is not None:
        texts["info"] = info
    for name, text in texts.items():
        del file[f"meta/{name}"]
        file.create_dataset(
            f"meta/{name}", data=np.bytes_(text.encode()), dtype=f"S{max(1, len(text.encode()))}"
        )
    attributes = {name: bytes(value).decode() for name, value in file.attrs.items()}
    file.attrs["digest"] = np.bytes_(root_digest(texts, attributes).encode())


def manifest_of(file: h5py.File) -> list[dict[str, object]]:
    """Return the manifest of an open file."""
    return list(json.loads(bytes(file["meta/manifest"][()])))
