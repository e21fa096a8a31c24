"""Digests of arrays and trees: BLAKE2b-128 over little-endian C-order bytes. No jax."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from landscape.trees.paths import arrays_with_paths

DIGEST_BYTES = 16


def canonical_bytes(array: np.ndarray) -> memoryview:
    """Return the little-endian C-order bytes of `array`."""
    array = np.ascontiguousarray(array)
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and not np.little_endian):
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.reshape(-1).view(np.uint8).data


def array_digest(array: np.ndarray) -> str:
    """Return the hexadecimal digest of an array's bytes (not of its shape or dtype)."""
    return hashlib.blake2b(canonical_bytes(array), digest_size=DIGEST_BYTES).hexdigest()


def text_digest(text: str) -> str:
    """Return the hexadecimal digest of a text."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def tree_digest(tree: Any) -> str:
    """Return one digest of a tree: paths, dtypes, shapes and bytes of every leaf, in path order."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path, leaf in sorted(arrays_with_paths(tree), key=lambda item: item[0]):
        array = np.asarray(leaf)
        digest.update(f"{path}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(canonical_bytes(array))
    return digest.hexdigest()
