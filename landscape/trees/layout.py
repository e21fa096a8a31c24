"""One flat vector for a parameter tree.

A `Layout` fixes the order of a tree's entries: leaves by escaped path ascending, each in C order.
That order does not depend on how the tree was built, so it also settles ties wherever entries are
ranked. Trainers search in this vector, curvature products act on it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from landscape.errors import ArchitectureMismatchError
from landscape.trees.paths import arrays_by_path, difference, fill, nest, shapes

__all__ = ["Layout"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Paths and shapes of a parameter tree, in the order of its flat vector.

    Attributes
    ----------
    paths : tuple of str
        Escaped paths, ascending.
    shapes : tuple of tuple of int
        Shape of each leaf.
    """

    paths: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, params: Any) -> Layout:
        """Return the layout of `params`."""
        found = shapes(params)
        paths = tuple(sorted(found))
        return cls(paths, tuple(found[path] for path in paths))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of each leaf."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(self.sizes)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each leaf stands in the vector."""
        ends = np.cumsum(self.sizes)
        return {p: slice(int(e - n), int(e)) for p, n, e in zip(self.paths, self.sizes, ends, strict=True)}

    def flatten(self, params: Any) -> np.ndarray:
        """Return the vector [size] of a tree of this layout, in the widest dtype of its leaves.

        Raises
        ------
        ArchitectureMismatchError
            If the tree has other paths or shapes.
        """
        differing = difference(dict(zip(self.paths, self.shapes, strict=True)), shapes(params))
        if differing:
            one = len(differing) == 1
            raise ArchitectureMismatchError(
                f"parameters do not fit: {len(differing)} {'path differs' if one else 'paths differ'}",
                expected="the paths and shapes that the layout was made of",
                got="; ".join(differing[:3]),
                hint="Give parameters of one architecture; landscape diff shows every path.",
            )
        leaves = arrays_by_path(params)
        return np.concatenate([np.asarray(leaves[path]).reshape(-1) for path in self.paths])

    def split(self, vector: Any) -> dict[str, Any]:
        """Return the leaves by path; leading axes of `vector` [..., size] stay in front."""
        leading = vector.shape[:-1]
        return {
            path: vector[..., where].reshape((*leading, *shape))
            for (path, where), shape in zip(self.slices.items(), self.shapes, strict=True)
        }

    def unflatten(self, vector: Any, like: Any = None) -> Any:
        """Return the tree of a vector [..., size]: nested dictionaries, or the structure of `like`."""
        leaves = self.split(vector)
        return nest(leaves) if like is None else fill(like, leaves)

    def prunable(self, *, biases: bool = False) -> np.ndarray:
        """Return a bool vector: entries of kernels (two axes or more), and of biases if asked for.

        Selected by position, never by value: a zero-initialised bias is still a bias.
        """
        flags = [len(shape) >= 2 or biases for shape in self.shapes]
        return np.repeat(np.asarray(flags, bool), self.sizes)
