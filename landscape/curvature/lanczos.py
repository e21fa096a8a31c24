r"""Block Lanczos with full reorthogonalisation and thick restart.

The state of a run is the relation :math:`A Q = Q T + P B` with orthonormal columns of Q and P (here rows, so
that a vector is contiguous): Q is the basis, T = ``projected``, P the pending block, B = ``coupling``. With
one pending vector and no restart T is tridiagonal, and this is Lanczos' recurrence. A step:

1. *Multiply*: ``W = A P``, and the diagonal block of T, ``D = Pᵀ W``; then P joins Q.
2. *Three-term recurrence*: ``W ← W − Q_near (B, D)``, the parts along the vectors that couple to P.
3. *Reorthogonalise* [1]_: ``W ← W − Q (Qᵀ W)`` against all of Q and the locked vectors as one blocked
   product, and once more wherever that removed more than rounding ("twice is enough").
4. *Normalise*: ``W = P B`` by Gram-Schmidt within the block: the next P and B. A row that vanishes means that
   Q spans an invariant subspace; a random row takes its place, with coupling 0.

A Ritz pair ``(θ, Q s)`` with ``T s = θ s`` has the residual ``A Q s − θ Q s = P (B s)``, hence the residual
norm ``‖B s‖``. A *thick restart* [2]_ replaces Q by some Ritz vectors, T by their values and B by ``B S``:
the relation stays what it was.

References
----------
.. [1] Kahan and Parlett's criterion: Parlett, 1998. The Symmetric Eigenvalue Problem, section 6.9.
.. [2] Wu and Simon, 2000. Thick-restart Lanczos method for large symmetric eigenvalue problems.
   SIAM J. Matrix Anal. Appl. 22(2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Products = Callable[[np.ndarray], np.ndarray]

_DROP = 0.7  # a pass that leaves less than this of a vector's length is followed by another
_MOST_PASSES = 3
_COLUMNS = 2**16  # columns rotated at once: bounds what a restart needs beside the basis
_SUMMANDS = 2**13  # of an inner product at once: bounds its rounding error

# Entries of the basis that one call of BLAS reads. Above some 460,000 it takes threads of its own, which keep
# spinning while jax's compute the next product: for 266,610 parameters 50 steps then cost 1.6 to 2.2 times
# their products, and 1.15 times with this limit.
_ENTRIES = 400_000


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
        Vectors per step.
    rng : numpy.random.Generator
        Of the starting block, and of replacements where the space is exhausted.
    dtype : dtype
        Of the basis.
    locked : array [l, n], optional
        Orthonormal vectors that the run stays orthogonal to.
    start : array [b, n], optional
        The starting block, instead of a random one.

    Attributes
    ----------
    basis : numpy.ndarray [num_vectors, n]
        Q in the first `count` rows, the pending block P in the `width` rows behind them.
    projected : numpy.ndarray [num_vectors, num_vectors]
        T in the first `count` rows and columns.
    coupling : numpy.ndarray [width, count]
        B.
    num_products : int
        Products with one vector so far.
    scale : float
        The longest product with a unit vector so far, a lower bound on the spectral norm.
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
        self.basis = np.empty((num_vectors, dim), dtype)
        self.count = 0
        self.width = block_size
        self.projected = np.zeros((num_vectors, num_vectors))
        self.coupling = np.zeros((block_size, 0))
        self.coupled_from = 0
        self.num_products = 0
        self.scale = 0.0
        self.basis[:block_size] = rng.standard_normal((block_size, dim)) if start is None else start
        self._make_pending()

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
        products, near, near_from = self._multiply()
        old, new = self.coupled_from, self.count
        rows = self.basis[new : new + self.width]
        rows[:] = products
        _subtract(rows, near, self.basis[near_from:new])
        overlap = self._make_pending()
        self.coupling = np.zeros((self.width, new))
        self.coupling[:, old:new] = overlap.T

    def last_step(self) -> None:
        """Multiply with the pending block and make no next one: the basis may be the whole space."""
        self._multiply()
        self.coupling = np.zeros((self.width, self.count))

    def _multiply(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Do step 1; return the products, and coefficients and first row of what step 2 takes out of them."""
        old, new = self.count, self.count + self.width
        block = self.basis[old:new]
        self.num_products += self.width
        products = self.products(block)
        size = float(_lengths(products).max())
        # The length of large finite entries may overflow: only the entries themselves can tell.
        if not np.isfinite(size) and not np.isfinite(products).all():
            raise NonFiniteProductError
        diagonal = _inner(products, block)
        diagonal = (diagonal + diagonal.T) / 2
        self.projected[old:new, :old] = self.coupling
        self.projected[:old, old:new] = self.coupling.T
        self.projected[old:new, old:new] = diagonal
        self.scale = max(self.scale, size)
        near_from = self.coupled_from
        near = np.concatenate([self.coupling[:, near_from:], diagonal], axis=1)
        self.count, self.coupled_from = new, old
        return products, near, near_from

    def _make_pending(self) -> np.ndarray:
        """Do steps 3 and 4 for the rows behind the basis; return ``(rows before) @ (rows after)ᵀ``."""
        rows = self.basis[self.count : self.count + self.width]
        self._reorthogonalise(rows)
        overlap = np.zeros((self.width, self.width))
        for i, row in enumerate(rows):
            overlap[i, :i] = self._against_block(row, rows[:i])
            norm = float(_lengths(row[None])[0])
            # What is left of a vector in an invariant subspace is rounding: normalised, it would have parts
            # along the basis as large as itself, and eigenvalues would come twice.
            if norm <= _tiny(rows.dtype) * self.scale or norm == 0:
                row[:] = self._replacement(self.count + i)
                norm = 0.0
            else:
                np.divide(row, row.dtype.type(norm), out=row)
            overlap[i, i] = norm
        return overlap

    def _reorthogonalise(self, rows: np.ndarray) -> None:
        """Take out of `rows`, in place, their parts along locked vectors and basis."""
        for known in (self.locked, self.basis[: self.count]):
            if not len(known):
                continue
            length = _lengths(rows)
            for _ in range(_MOST_PASSES):
                _subtract(rows, _inner(rows, known), known)
                left = _lengths(rows)
                # A pass that removed much leaves an error as large as the rounding of what it removed.
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
        """Return Ritz values [j] ascending, their coefficients [j, j] (columns) and residual norms [j]."""
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


def _tiny(dtype: np.dtype) -> float:
    """Return the length, relative to the matrix, below which a remainder is rounding."""
    return 10 * float(np.finfo(dtype).eps)


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt([float(_inner(row[None], row[None])[0, 0]) for row in rows])


def _columns_at_once(rows: int) -> int:
    """Return how many columns of `rows` entries one call of BLAS reads without threads of its own."""
    return max(1, _ENTRIES // max(rows, 1))


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``a @ bᵀ`` [p, q] of rows [p, n] and [q, n], in float64.

    Added up over parts: BLAS has few accumulators, and in float32 was measured to lose four digits of the
    length of ten million equal numbers.
    """
    total = np.zeros((len(a), len(b)))
    columns = min(_SUMMANDS, _columns_at_once(len(b)))
    for start in range(0, a.shape[1], columns):
        part = slice(start, start + columns)
        total += a[:, part] @ b[:, part].T if len(a) > 1 else (b[:, part] @ a[0, part])[None]
    return total


def _subtract(rows: np.ndarray, coefficients: np.ndarray, known: np.ndarray) -> None:
    """Do ``rows -= coefficients @ known`` in place, reading `known` once."""
    mix = coefficients.astype(rows.dtype, copy=False)
    columns = _columns_at_once(len(known))
    for start in range(0, rows.shape[1], columns):
        part = slice(start, start + columns)
        # One row as a vector: a product of matrices would take another path through BLAS.
        rows[:, part] -= mix[0] @ known[:, part] if len(rows) == 1 else mix @ known[:, part]
