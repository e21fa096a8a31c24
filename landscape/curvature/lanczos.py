r"""Block Lanczos with full reorthogonalisation and thick restart.

The state is the relation :math:`H Q = Q T + P B` with orthonormal columns of Q and P (here rows, so that
a vector is contiguous). A step multiplies H with P, appends P to Q, and makes the next P of what is left
after orthogonalisation: first against the vectors that couple to it, then against all of Q as one
blocked product, and against all of Q again wherever that removed more than rounding (twice is enough).
A restart replaces Q by some of its Ritz vectors; the relation stays what it was.

References
----------
Kahan and Parlett's criterion: Parlett, 1998. The Symmetric Eigenvalue Problem, section 6.9.
Wu and Simon, 2000. Thick-restart Lanczos method for large symmetric eigenvalue problems.
SIAM J. Matrix Anal. Appl. 22(2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from landscape.curvature import long_vectors

Products = Callable[[np.ndarray], np.ndarray]

_DROP = 0.7  # a pass that leaves less than this of a vector's length is followed by another
_MOST_PASSES = 3
_COLUMNS = 2**16  # columns rotated at once: bounds what a restart needs beside the basis
_SUMMANDS = 2**13  # of an inner product at once: bounds its rounding error


class NonFiniteProductError(ArithmeticError):
    """A product holds NaN or infinity; what was found before it stands."""


class Lanczos:
    """The state of a run.

    Parameters
    ----------
    products : callable
        ``products(rows [b, n]) -> [b, n]``.
    dim : int
        n.
    num_vectors : int
        Most rows of the basis, P included.
    block_size : int
        Vectors a step.
    rng : numpy.random.Generator
        Of the starting block, and of replacements where the space is exhausted.
    dtype : dtype
        Of the basis.
    locked : array [l, n], optional
        Orthonormal vectors that the run stays orthogonal to.
    start : array [b, n], optional
        The starting block, instead of a random one.
    """

    def __init__(
        self,
        products: Products,
        dim: int,
        *,
        num_vectors: int,
        block_size: int = 1,
        rng: np.random.Generator,
        dtype: np.dtype,
        locked: np.ndarray | None = None,
        start: np.ndarray | None = None,
    ) -> None:
        self.products = products
        self.dim = dim
        self.rng = rng
        self.locked = np.empty((0, dim), dtype) if locked is None else locked
        one_pool = _uses_one_pool(dim, block_size, np.dtype(dtype))
        self._long = long_vectors.LongBasis(num_vectors, dim, dtype) if one_pool else None
        self.basis = self._long.rows if self._long else np.empty((num_vectors, dim), dtype)
        self._scratch = np.empty((block_size, dim), dtype)
        self.count = 0
        self.width = block_size
        self.projected = np.zeros((num_vectors, num_vectors))
        self.coupling = np.zeros((block_size, 0))
        self.coupled_from = 0
        self.scale = 0.0
        self._near, self._near_from = np.zeros((block_size, 0)), 0
        self.basis[:block_size] = rng.standard_normal((block_size, dim)) if start is None else start
        self._append()

    @property
    def one_pool(self) -> bool:
        """Whether passes over the basis run in jax's threads."""
        return self._long is not None

    @property
    def room(self) -> bool:
        """Whether another step fits the basis."""
        return self.count + 2 * self.width <= len(self.basis)

    def step(self) -> None:
        """Multiply with the pending block and make the next one.

        Raises
        ------
        NonFiniteProductError
            If the product is not finite; the state is unchanged.
        """
        if self._long and not len(self.locked) and self.count - self.coupled_from <= 1:
            self._long_step(self._long)
            return
        products = self._multiply()
        old, new = self.coupled_from, self.count
        rows = self.basis[new : new + self.width]
        rows[:] = products
        _subtract(rows, self._near, self.basis[self._near_from : new], self._scratch)
        overlap = self._append()
        self.coupling = np.zeros((self.width, new))
        self.coupling[:, old:new] = overlap.T

    def _long_step(self, basis: long_vectors.LongBasis) -> None:
        """Make a step of one long vector that couples to the one before it alone."""
        old, new = self.count, self.count + 1
        products = self.products(self.basis[old:new])[0]
        before = float(self.coupling[0, -1]) if old else 0.0
        row, diagonal, lengths = basis.advance(new, products, before)
        if not np.isfinite(lengths).all():
            raise NonFiniteProductError
        self.scale = max(self.scale, lengths[0])
        self.projected[old, :old], self.projected[:old, old] = self.coupling[0], self.coupling[0]
        self.projected[old, old] = diagonal
        self.count, self.coupled_from = new, old
        length = lengths[2]
        if length < _DROP * lengths[1] or length <= _tiny(row.dtype) * self.scale:
            self.basis[new] = row
            length = self._append()[0, 0]
        else:
            np.divide(row, np.float32(length), out=self.basis[new])
        self.coupling = np.zeros((1, new))
        self.coupling[0, old] = length

    def last_step(self) -> None:
        """Multiply with the pending block and make no next one: the basis may be the whole space."""
        self._multiply()
        self.coupling = np.zeros((self.width, self.count))

    def _multiply(self) -> np.ndarray:
        """Return the products with the pending block, after taking it into the basis."""
        old, new = self.count, self.count + self.width
        block = self.basis[old:new]
        products = self.products(block)
        size = float(_lengths(products).max())
        if not np.isfinite(size) and not np.isfinite(products).all():
            raise NonFiniteProductError
        diagonal = _inner(products, block)
        diagonal = (diagonal + diagonal.T) / 2
        self.projected[old:new, :old] = self.coupling
        self.projected[:old, old:new] = self.coupling.T
        self.projected[old:new, old:new] = diagonal
        self.scale = max(self.scale, size)
        self._near = np.concatenate([self.coupling[:, self.coupled_from :], diagonal], axis=1)
        self._near_from = self.coupled_from
        self.count, self.coupled_from = new, old
        return products

    def _append(self) -> np.ndarray:
        """Make the rows behind the basis orthonormal to it; return ``(rows before) @ (rows after)ᵀ``."""
        rows = self.basis[self.count : self.count + self.width]
        self._orthogonalise(rows)
        overlap = np.zeros((self.width, self.width))
        for i, row in enumerate(rows):
            overlap[i, :i] = self._against_block(row, rows[:i])
            norm = float(_lengths(row[None])[0])
            if norm <= _tiny(rows.dtype) * self.scale or norm == 0:
                row[:] = self._replacement(self.count + i)
                norm = 0.0
            else:
                np.divide(row, row.dtype.type(norm), out=row)
            overlap[i, i] = norm
        return overlap

    def _orthogonalise(self, rows: np.ndarray) -> None:
        """Take out of `rows`, in place, their parts along locked vectors and basis."""
        for known in (self.locked, self.basis[: self.count]):
            if not len(known):
                continue
            length = _lengths(rows)
            for _ in range(_MOST_PASSES):
                along = _inner(rows, known)
                _subtract(rows, along, known, self._scratch)
                left = _lengths(rows)
                if np.all(left >= _DROP * length):
                    break
                length = left

    def _against_block(self, row: np.ndarray, mates: np.ndarray) -> np.ndarray:
        """Orthogonalise a row, in place, against those of its own block that stand already."""
        coefficients = np.zeros(len(mates))
        for _ in range(2 if len(mates) else 0):
            along = _inner(row[None], mates)[0]
            row -= along.astype(row.dtype) @ mates
            coefficients += along
        return coefficients

    def _replacement(self, end: int) -> np.ndarray:
        """Return a random unit vector that is orthogonal to everything."""
        row = self.rng.standard_normal(self.dim).astype(self.basis.dtype)
        for _ in range(_MOST_PASSES):
            for known in (self.locked, self.basis[:end]):
                row = row - (known @ row) @ known
            row /= np.linalg.norm(row)
        return row

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return Ritz values [j] ascending, their coefficients [j, j] (columns) and residuals [j]."""
        values, coefficients = np.linalg.eigh(self.projected[: self.count, : self.count])
        return values, coefficients, np.linalg.norm(self.coupling @ coefficients, axis=0)

    def vectors(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the combinations [p, n] of the basis with the columns of `coefficients` [j, p]."""
        mix = coefficients.T.astype(self.basis.dtype)
        vectors: np.ndarray = mix @ self.basis[: self.count]
        return vectors

    def restart(self, coefficients: np.ndarray, values: np.ndarray) -> None:
        """Keep the Ritz vectors whose coefficients [j, p] and values [p] are given, and the pending block."""
        kept, old = len(values), self.count
        mix = coefficients.T.astype(self.basis.dtype)
        for start in range(0, self.dim, _COLUMNS):
            part = slice(start, start + _COLUMNS)
            self.basis[:kept, part] = mix @ self.basis[:old, part]
        self.basis[kept : kept + self.width] = self.basis[old : old + self.width]
        self.projected[:] = 0
        self.projected[:kept, :kept] = np.diag(values)
        self.coupling = self.coupling @ coefficients
        self.count, self.coupled_from = kept, 0

    def release(self) -> None:
        """End the run: its memory serves the next one."""
        if self._long:
            self._long.give_back()
            self._long = None  # what is given back is another run's
        self.basis = np.empty((0, self.dim), self.basis.dtype)
        self.count = 0


def _uses_one_pool(dim: int, block_size: int, dtype: np.dtype) -> bool:
    """Whether passes run in jax's threads: only where vectors are on the host, and long."""
    if dim < long_vectors.LONG or block_size > 1 or dtype != np.float32:
        return False
    import jax

    return jax.default_backend() == "cpu"


def _tiny(dtype: np.dtype) -> float:
    """Return the length, relative to the matrix, below which a remainder is rounding."""
    return 10 * float(np.finfo(dtype).eps)


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt([float(_inner(row[None], row[None])[0, 0]) for row in rows])


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``a @ bᵀ`` [p, q] of rows [p, n] and [q, n], in float64.

    Added up over parts: BLAS has few accumulators, and in float32 was measured to lose four digits of the
    length of ten million equal numbers.
    """
    total = np.zeros((len(a), len(b)))
    for start in range(0, a.shape[1], _SUMMANDS):
        part = slice(start, start + _SUMMANDS)
        total += a[:, part] @ b[:, part].T if len(a) > 1 else (b[:, part] @ a[0, part])[None]
    return total


def _subtract(rows: np.ndarray, coefficients: np.ndarray, known: np.ndarray, scratch: np.ndarray) -> None:
    """Do ``rows -= coefficients @ known`` in place, reading `known` once.

    NumPy's BLAS alone is used: SciPy brings another one, and the threads of two get in each other's way.
    """
    coefficients = coefficients.astype(rows.dtype, copy=False)
    if len(rows) == 1:
        np.dot(coefficients[0], known, out=scratch[0])
    else:
        np.dot(coefficients, known, out=scratch)
    np.subtract(rows, scratch, out=rows)
