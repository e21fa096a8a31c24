"""What a parameter tree carries beside numbers, on its way through compiled programs.

A program of jax takes arrays only. A function or a setting in the tree is therefore wrapped into a node
without leaves (its value is part of the tree's structure, so another value is another program), and taken
out again before the user's loss sees the tree.
"""

from __future__ import annotations

import functools
from typing import Any

from landscape.trees.paths import carried_with_paths, map_carried


class Carried:
    """A value that is no array, as a node without leaves."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Carried):
            return False
        same: bool = self.value is other.value or (
            type(self.value) is type(other.value) and bool(self.value == other.value)
        )
        return same

    def __hash__(self) -> int:
        try:
            return hash(self.value)
        except TypeError:
            return hash(type(self.value))


def sealed(tree: Any) -> Any:
    """Return a tree whose leaves are arrays: what else it carries is wrapped. Random keys are arrays."""
    _register()
    return map_carried(
        lambda leaf: leaf if hasattr(leaf, "dtype") and hasattr(leaf, "shape") else Carried(leaf), tree
    )


def opened(tree: Any) -> Any:
    """Return the tree that `sealed` wrapped, whatever its arrays are by now."""
    import jax

    return jax.tree.map(
        lambda x: x.value if isinstance(x, Carried) else x, tree, is_leaf=lambda x: isinstance(x, Carried)
    )


def carried_texts(tree: Any) -> dict[str, str]:
    """Return what a tree carries beside arrays, by path, as texts that can be compared."""
    return {path: _text(leaf) for path, leaf in carried_with_paths(tree) if not hasattr(leaf, "dtype")}


def _text(leaf: Any) -> str:
    name = getattr(leaf, "__qualname__", getattr(leaf, "__name__", None))
    if name is not None:
        return f"{getattr(leaf, '__module__', '')}.{name}".lstrip(".")
    return (
        repr(leaf) if isinstance(leaf, (bool, int, float, complex, str, bytes)) else type(leaf).__qualname__
    )


@functools.cache
def _register() -> None:
    import jax

    jax.tree_util.register_pytree_node(Carried, lambda x: ((), x), lambda x, _: x)
