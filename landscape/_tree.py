"""Names for the leaves of a parameter tree, without importing jax.

A path is the list of keys from the root, each percent-escaped, joined by ``/``; the positions of a
sequence are written ``[i]``. Paths name the data sets of a checkpoint, order ties in pruning, and
stand in every message about a leaf. Dictionaries are walked in sorted order, as jax walks them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

# Characters that stay as they are. "/" separates, "%" escapes, "[" and "]" mark positions, and a
# lone "." or ".." would be a path step for HDF5, so dots are escaped where nothing else stands.
_EMPTY = "%"  # no other key escapes to a lone percent sign
_SAFE = " !#$&'()*+,-.:;<=>?@^_`{|}~"


def escape_key(key: object) -> str:
    """Return one path component for a mapping key or attribute name."""
    text = quote(str(key), safe=_SAFE)
    if not text.strip("."):
        return text.replace(".", "%2E") or _EMPTY
    return text


def unescape_key(component: str) -> str:
    """Return the key that `escape_key` turned into `component`."""
    return "" if component == _EMPTY else unquote(component)


def _children(node: Any) -> Iterator[tuple[str, Any]] | None:
    """Return the (component, child) pairs of a container, or None for a leaf."""
    if isinstance(node, Mapping):
        return ((escape_key(key), node[key]) for key in sorted(node, key=str))
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return ((escape_key(name), getattr(node, name)) for name in node._fields)
    if isinstance(node, (list, tuple)):
        return ((f"[{i}]", child) for i, child in enumerate(node))
    return None


def _custom_children(node: Any) -> Iterator[tuple[str, Any]] | None:
    """Return the children of a pytree node registered with jax; None for a leaf.

    A registered node can only exist where jax has been imported already.
    """
    jax = sys.modules.get("jax")
    if jax is None or isinstance(node, np.ndarray):
        return None
    pairs, _ = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    if len(pairs) == 1 and pairs[0][1] is node:
        return None
    return ((_component(path[0]), child) for path, child in pairs)


def _component(key: Any) -> str:
    if hasattr(key, "idx"):
        return f"[{key.idx}]"
    name = getattr(key, "key", getattr(key, "name", None))
    return escape_key(name if name is not None else key)


def leaves_with_paths(tree: Any) -> list[tuple[str, Any]]:
    """Return every leaf of `tree` with its path, in the order of jax's own flattening.

    ``None`` is an empty subtree, as in jax. A bare array has the empty path.
    """
    out: list[tuple[str, Any]] = []
    _collect(tree, (), out)
    return out


def _collect(node: Any, prefix: tuple[str, ...], out: list[tuple[str, Any]]) -> None:
    if node is None:
        return
    children = _children(node)
    if children is None:
        children = _custom_children(node)
    if children is None:
        out.append(("/".join(prefix), node))
        return
    for component, child in children:
        _collect(child, (*prefix, component), out)


def by_path(tree: Any) -> dict[str, Any]:
    """Return the leaves of `tree` keyed by path."""
    return dict(leaves_with_paths(tree))


def nest(leaves: Mapping[str, Any]) -> Any:
    """Return nested dictionaries and lists with the given leaves; the inverse of `by_path`.

    Tuples come back as lists and NamedTuples as dictionaries: the file keeps names, not classes.
    """
    if set(leaves) == {""}:
        return leaves[""]
    root: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        node = root
        for component in parents:
            node = node.setdefault(component, {})
        node[last] = leaf
    return _listify(root)


def _listify(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    children = {key: _listify(child) for key, child in node.items()}
    positions = [f"[{i}]" for i in range(len(children))]
    if children and set(children) == set(positions):
        return [children[position] for position in positions]
    return {unescape_key(key): child for key, child in children.items()}


def fill(like: Any, leaves: Mapping[str, Any]) -> Any:
    """Return a tree of the structure of `like` whose leaves are taken from `leaves` by path.

    The paths of both must be equal; callers check that first and say what differs.
    """
    return map_with_paths(lambda path, _: leaves[path], like)


def map_with_paths(function: Callable[[str, Any], Any], tree: Any, prefix: tuple[str, ...] = ()) -> Any:
    """Return `tree` with every leaf replaced by ``function(path, leaf)``."""
    if tree is None:
        return None
    children = _children(tree)
    if children is not None:
        mapped = {name: map_with_paths(function, child, (*prefix, name)) for name, child in children}
        return _rebuild_container(tree, mapped)
    children = _custom_children(tree)
    if children is None:
        return function("/".join(prefix), tree)
    import jax

    mapped_children = [map_with_paths(function, child, (*prefix, name)) for name, child in children]
    treedef = jax.tree_util.tree_structure(tree, is_leaf=lambda x: x is not tree)
    return jax.tree_util.tree_unflatten(treedef, mapped_children)


def _rebuild_container(tree: Any, mapped: Mapping[str, Any]) -> Any:
    if isinstance(tree, Mapping):
        items = {key: mapped[escape_key(key)] for key in tree}
        return items if type(tree) is dict else type(tree)(items)  # type: ignore[call-arg]
    if hasattr(tree, "_fields"):
        return type(tree)(*mapped.values())
    return type(tree)(mapped.values())


def difference(a: Mapping[str, tuple[int, ...]], b: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return one line for each path at which two trees of shapes differ, in path order."""
    lines = []
    for path in sorted({*a, *b}):
        if a.get(path) != b.get(path):
            lines.append(f"{path or '(root)'}: {_shape_text(a.get(path))} against {_shape_text(b.get(path))}")
    return lines


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"{tuple(shape)}"


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of every leaf, keyed by path."""
    return {path: tuple(np.shape(leaf)) for path, leaf in leaves_with_paths(tree)}
