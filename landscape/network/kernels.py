"""A kernel as a matrix of inputs by output units, wherever its library keeps the outputs. No jax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from landscape.trees import Layout


def as_matrix(kernel: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Return the entries of a kernel as [inputs, outputs]; a leaf of one axis has one output.

    Parameters
    ----------
    kernel : numpy.ndarray
        Its entries in C order.
    shape : tuple of int
        Its shape.
    axis : int
        Which axis counts the output units.
    """
    if len(shape) < 2:
        return kernel.reshape(-1, 1)
    return np.moveaxis(kernel.reshape(shape), axis, -1).reshape(-1, shape[axis])


def from_matrix(matrix: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Return the entries of a kernel in C order; the inverse of `as_matrix`."""
    if len(shape) < 2:
        return matrix.reshape(-1)
    others = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    return np.moveaxis(matrix.reshape(*others, shape[axis]), -1, axis).reshape(-1)


def filter_sizes(
    weights: np.ndarray,
    free: np.ndarray,
    layout: Layout,
    *,
    output_axis: Callable[[str], int],
    norm: bool,
) -> np.ndarray:
    """Return for each entry [size] the root mean square of its filter's free entries, or the filter's norm.

    A filter is all entries of a kernel that lead to one output, or a whole leaf of one axis.
    """
    values = np.zeros(layout.size)
    for (path, at), shape in zip(layout.slices.items(), layout.shapes, strict=True):
        axis = output_axis(path)
        squares = as_matrix(weights[at] ** 2, shape, axis)
        entries = as_matrix(free[at], shape, axis).sum(0)
        sizes = np.sqrt(squares.sum(0) / (1 if norm else np.maximum(entries, 1)))
        values[at] = from_matrix(np.broadcast_to(sizes, squares.shape), shape, axis)
    return values
