"""A Lanczos step for long vectors on the threads that also compute the products.

A BLAS of its own keeps its threads spinning while jax's work, and the other way round: for long vectors
that was measured at up to three times the cost of the products. Programs are compiled for every eighth
row, so that a run of 50 steps compiles seven small ones, a tenth of a second each.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

_ROWS = 8
_ALIGNMENT = 64
_SUMMANDS = 2**9  # of an inner product at once: bounds its rounding error
LONG = 2**16  # shorter vectors are faster in NumPy than a call of a compiled program

# The memory of the last run, for the next one: fresh pages of 50 MB cost as much as eight products.
_SPARE: list[np.ndarray] = []
_MOST_SPARE = 2**28


class LongBasis:
    """Memory for the basis of a run, which NumPy writes and jax reads in place.

    Parameters
    ----------
    count : int
        Rows.
    dim : int
        n.
    dtype : dtype
        Of the numbers.

    Attributes
    ----------
    rows : numpy.ndarray [count, n]
        The rows; finite from the start.
    """

    def __init__(self, count: int, dim: int, dtype: np.dtype) -> None:
        padded = _padded(count)
        size = padded * dim * np.dtype(dtype).itemsize
        try:
            raw = _SPARE.pop()
        except IndexError:  # asked of the list itself: another thread may be asking too
            raw = np.empty(0, np.uint8)
        if not size + _ALIGNMENT <= raw.nbytes <= 2 * size:
            raw = np.zeros(size + _ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % _ALIGNMENT  # an address that jax can use without a copy
        self._raw = raw
        self._whole = raw[start : start + size].view(dtype).reshape(padded, dim)
        self._views: dict[int, Any] = {}
        self.rows = self._whole[:count]

    def give_back(self) -> None:
        """Let the memory, which nobody uses any more, serve the next run."""
        if not _SPARE and self._raw.nbytes <= _MOST_SPARE:
            _SPARE.append(self._raw)

    def advance(
        self, count: int, products: np.ndarray, before: float
    ) -> tuple[np.ndarray, float, tuple[float, float, float]]:
        """Do one Lanczos step behind row `count` - 1.

        Parameters
        ----------
        count : int
            Rows, which are orthonormal, that of the vector that was multiplied included.
        products : array [n]
            The product.
        before : float
            Coupling to the row before the last.

        Returns
        -------
        tuple
            The orthogonalised vector [n]; the diagonal entry; and the lengths of the product, of what its
            neighbours leave of it, and of what all rows leave of that (the first two from the parts that
            were taken out, which are orthogonal).
        """
        diagonal = inner_product(products, self.rows[count - 1])
        coupling = np.array([diagonal, before], np.float32)
        found = _program()(self._view(_padded(count)), products, np.int32(count), coupling)
        row, along = (np.asarray(part) for part in found)
        length = math.sqrt(inner_product(row, row))
        near = math.hypot(length, float(np.linalg.norm(along)))
        return row, diagonal, (math.hypot(diagonal, before, near), near, length)

    def _view(self, rows: int) -> Any:
        """Return the first `rows` as jax sees them; made once, since that takes as long as five rows."""
        if rows not in self._views:
            import jax

            self._views[rows] = jax.dlpack.from_dlpack(self._whole[:rows])
        return self._views[rows]


def inner_product(a: np.ndarray, b: np.ndarray) -> float:
    """Return ``a @ b`` of float32 vectors [n], in parts that are added up in float64.

    In one go BLAS and jax have few accumulators and lose a digit or two, which the eigenvalues would lack.
    """
    whole = len(a) // _SUMMANDS * _SUMMANDS
    parts = np.vecdot(a[:whole].reshape(-1, _SUMMANDS), b[:whole].reshape(-1, _SUMMANDS))
    return float(parts.sum(dtype=np.float64)) + float(a[whole:] @ b[whole:])


def _padded(rows: int) -> int:
    return -(-rows // _ROWS) * _ROWS


@functools.cache
def _program() -> Any:
    import jax.numpy as jnp

    from landscape.compute import program

    def project(known: Any, product: Any, count: Any, coupling: Any) -> Any:
        # Rows are cut out here: on their own they do not lie where jax can use them without a copy. The
        # neighbours' parts, the large ones, are taken out first: with them in it, the product with all rows
        # would be rounded by as much as the vector that is left is to be orthogonal.
        last, previous = known[count - 1], known[jnp.maximum(count - 2, 0)]
        row = product - coupling[0] * last - coupling[1] * previous
        along = jnp.where(jnp.arange(known.shape[0]) < count, known @ row, 0)
        return row - along @ known, along

    return program(project)
