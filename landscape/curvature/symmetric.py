"""Symmetric operators on vectors of the host: the input of eigenpairs, traces and densities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.errors import ConfigurationError, InputError

# Columns of the identity that go through one block, and the largest matrix that is formed.
_BLOCK = 64
MOST_DENSE = 20_000
_KEPT = 1_000  # rows up to which a formed matrix is kept: what it gives exactly is not estimated


class SymmetricOperator:
    """A real symmetric matrix known by its products.

    Attributes
    ----------
    dim : int
        Number of rows.
    dtype : numpy.dtype
        Of the products.
    num_matvecs : int
        Products with one vector so far.
    formed : numpy.ndarray [dim, dim] or None
        The matrix, where `dense` has computed it, it is small, and finite.
    """

    def __init__(self, dim: int, dtype: np.dtype) -> None:
        self.dim = int(dim)
        self.dtype = np.dtype(dtype)
        self.num_matvecs = 0
        self.formed: np.ndarray | None = None

    def __repr__(self) -> str:
        name = getattr(self, "kind", type(self).__name__)
        return f"{type(self).__name__}({name}, {self.dim:,} × {self.dim:,}, {self.dtype.name})"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.dim, self.dim)

    def _products(self, rows: np.ndarray) -> np.ndarray:
        """Return the products [b, dim] with vectors [b, dim]."""
        raise NotImplementedError

    def rows(self, vectors: np.ndarray) -> np.ndarray:
        """Return the products with the rows of `vectors` [b, dim], as rows."""
        self.num_matvecs += len(vectors)
        return self._products(vectors)

    def rounded_otherwise(self, vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the products again, with other roundings on the way: what changes is rounding error."""
        factor = self.dtype.type(rng.uniform(0.6, 0.9))  # no power of two
        products: np.ndarray = self.rows(vectors * factor) / factor
        return products

    def matvec(self, vector: Any) -> np.ndarray:
        """Return the product [dim] with a vector [dim]."""
        given = self._checked(vector, 1)
        product: np.ndarray = self.rows(given[None])[0]
        return product

    def matmat(self, vectors: Any) -> np.ndarray:
        """Return the products [dim, b] with the columns of `vectors` [dim, b]."""
        return self.rows(np.ascontiguousarray(self._checked(vectors, 2).T)).T

    def __matmul__(self, other: Any) -> Any:
        return self.matvec(other) if np.ndim(other) == 1 else self.matmat(other)

    def __call__(self, other: Any) -> Any:
        """Return the product, as ``operator @ other`` does."""
        return self @ other

    def _checked(self, vector: Any, axes: int) -> np.ndarray:
        array = np.asarray(vector)
        if array.ndim != axes or array.shape[0] != self.dim or array.dtype.kind not in "fiub":
            raise InputError(
                "vector: does not fit the operator",
                expected=f"real numbers of shape ({self.dim}{',' if axes == 1 else ', b'})",
                got=f"{array.dtype} of shape {array.shape}",
            )
        return array.astype(self.dtype, copy=False)

    def dense(self) -> np.ndarray:
        """Return the matrix [dim, dim], one product per column.

        Raises
        ------
        ConfigurationError
            If there are more than 20,000 rows.
        """
        if self.dim > MOST_DENSE:
            raise ConfigurationError(
                f"dense: a matrix of {self.dim:,} rows", expected=f"at most {MOST_DENSE:,}"
            )
        out = np.empty(self.shape, self.dtype)
        for start in range(0, self.dim, _BLOCK):
            stop = min(start + _BLOCK, self.dim)
            out[start:stop] = self.rows(np.eye(stop - start, self.dim, start, dtype=self.dtype))
        if self.dim <= _KEPT and np.isfinite(out).all():
            self.formed = out.T.copy()
        return out.T

    def to_scipy(self) -> Any:
        """Return a ``scipy.sparse.linalg.LinearOperator`` with the same products."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator(
            self.shape,
            matvec=lambda v: self.matvec(np.reshape(v, -1)),
            rmatvec=lambda v: self.matvec(np.reshape(v, -1)),
            matmat=self.matmat,
            rmatmat=self.matmat,
            dtype=self.dtype,
        )

    def symmetry_error(self, *, num_probes: int = 2, seed: int = 0) -> float:
        """Return the largest ``|u·Av − v·Au| / (‖u‖‖Av‖ + ‖v‖‖Au‖)`` over random pairs.

        Rounding leaves it near the precision of the products; a matrix that is not symmetric does not.
        """
        rng = np.random.default_rng(seed)
        worst = 0.0
        for _ in range(num_probes):
            pair = rng.standard_normal((2, self.dim)).astype(self.dtype)
            products = self.rows(pair).astype(np.float64)
            u, v = pair.astype(np.float64)
            sizes = np.linalg.norm(pair, axis=1) * np.linalg.norm(products, axis=1)[::-1]
            scale = float(sizes.sum()) or 1.0
            worst = max(worst, abs(float(u @ products[1] - v @ products[0])) / scale)
        return worst

    def layers(self) -> Mapping[str, np.ndarray]:
        """Return the coordinates of named blocks; none where they have no names."""
        return {}

    def groups(self, count: int) -> list[SymmetricOperator]:  # noqa: ARG002
        """Return the matrices of disjoint groups of the examples; none where there are no examples."""
        return []

    def group_shares(self, count: int) -> np.ndarray | None:  # noqa: ARG002
        """Return the share of each of these groups in the whole matrix; None for equal ones."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """Return warnings about the matrix, for every result."""
        return ()

    @property
    def stats(self) -> dict[str, Any]:
        """Return counts, for the statistics of results."""
        return {"num_matvecs": self.num_matvecs}

    @property
    def config(self) -> dict[str, Any]:
        """Return the settings that describe the matrix."""
        return {"matrix": type(self).__name__, "dim": self.dim, "dtype": self.dtype.name}

    def digests(self) -> dict[str, Any]:
        """Return digests of the parameters and data behind the matrix."""
        return {}


class MatrixOperator(SymmetricOperator):
    """Any symmetric matrix or linear operator (NumPy, SciPy) in the place of a curvature matrix.

    Parameters
    ----------
    matrix : array [n, n] or scipy LinearOperator
        Real and symmetric.
    dtype : dtype, optional
        Of the products; by default that of the matrix.
    """

    def __init__(self, matrix: Any, dtype: Any = None) -> None:
        shape: tuple[int, ...] = getattr(matrix, "shape", ())
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise InputError("matrix: not square", expected="shape (n, n)", got=f"shape {tuple(shape)}")
        super().__init__(shape[0], np.dtype(dtype or matrix.dtype))
        if self.dtype.kind != "f":
            raise InputError("matrix: not real numbers", expected="floats", got=str(self.dtype))
        self.matrix = matrix.astype(self.dtype) if isinstance(matrix, np.ndarray) else matrix

    def _products(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.matrix @ rows.T, self.dtype).T


def as_operator(given: Any) -> SymmetricOperator:
    """Return `given` as an operator.

    Raises
    ------
    InputError
        If it is not a square matrix of floats.
    """
    if isinstance(given, SymmetricOperator):
        return given
    return MatrixOperator(np.asarray(given) if isinstance(given, (list, tuple)) else given)
