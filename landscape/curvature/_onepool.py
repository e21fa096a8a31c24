"""A Lanczos step for long vectors on the threads that also compute the products.

A BLAS of its own keeps its threads spinning while jax's work, and the other way round: for long vectors
that was measured at up to three times the cost of the products. Programs are compiled for every eighth
row, so that a run of 50 steps compiles seven small ones.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

_ROWS = 8
_ALIGNMENT = 64
LONG = 2**16  # shorter vectors are faster in NumPy than a call of a compiled program


def aligned(rows: int, dim: int, dtype: np.dtype) -> np.ndarray:
    """Return zeros [rows rounded up, dim] at an address that jax can use without a copy."""
    rows = -(-rows // _ROWS) * _ROWS
    size = rows * dim * np.dtype(dtype).itemsize
    raw = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(rows, dim)


def advance(
    basis: np.ndarray, count: int, products: np.ndarray, before: float
) -> tuple[np.ndarray, float, tuple[float, float, float]]:
    """Do one Lanczos step behind row `count` - 1 of an `aligned` basis.

    Parameters
    ----------
    basis : numpy.ndarray [rows, n]
        Its first `count` rows are orthonormal, the others finite.
    count : int
        Rows, that of the vector that was multiplied included.
    products : array [n]
        The product.
    before : float
        Coupling to the row before the last.

    Returns
    -------
    tuple
        The orthogonalised vector [n], the diagonal entry, and the lengths of the product, of what its
        neighbours leave of it, and of what all rows leave of that.
    """
    import jax

    rows = -(-count // _ROWS) * _ROWS
    known = jax.dlpack.from_dlpack(basis[:rows])
    found = _program()(known, products, np.int32(count), np.float32(before))
    row, diagonal, lengths = (np.asarray(part) for part in found)
    whole, near, left = (float(length) for length in lengths)
    return row, float(diagonal), (whole, near, left)


@functools.cache
def _program() -> Any:
    import jax
    import jax.numpy as jnp

    @jax.jit
    def project(known: Any, product: Any, count: Any, before: Any) -> Any:
        last, previous = known[count - 1], known[jnp.maximum(count - 2, 0)]
        diagonal = product @ last
        row = product - diagonal * last - before * previous
        along = jnp.where(jnp.arange(known.shape[0]) < count, known @ row, 0)
        left = row - along @ known
        return (
            left,
            diagonal,
            jnp.stack([jnp.sqrt(v @ v) for v in (product, row, left)]),
        )  # dots: reductions run alone

    return project
