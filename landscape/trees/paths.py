"""Names for the leaves of a parameter tree.

A path is the list of keys from the root, each percent-escaped, joined by ``/``; the positions of a
sequence are written ``[i]``. Paths name the data sets of a checkpoint, order ties in pruning, and
stand in every message about a leaf. Dictionaries are walked in sorted order, as jax walks them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from landscape.errors import InputError
from landscape.trees.nodes import children_of, escape_key, is_carried, plain_children, rebuilt, unescape_key

MAX_DEPTH = 64
MAX_EMPTY = 100_000  # empty positions of sequences in one tree that was read
_POSITION = re.compile(r"\[(0|[1-9][0-9]{0,8})\]")


def is_canonical(component: str) -> bool:
    """Return whether a component is one that `escape_key` or a position makes: no key has two names."""
    return bool(_POSITION.fullmatch(component)) or escape_key(unescape_key(component)) == component


def leaves_with_paths(tree: Any) -> list[tuple[str, Any]]:
    """Return every leaf of `tree` with its path, in the order of jax's own flattening.

    ``None`` is an empty subtree, as in jax. A bare array has the empty path.
    """
    return [(path, leaf) for path, leaf, _ in _walk(tree, (), None)]


def arrays_with_paths(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves that hold numbers, with their paths; what is carried along (`is_carried`) is not."""
    return [(path, leaf) for path, leaf, parent in _walk(tree, (), None) if not is_carried(leaf, parent)]


def carried_with_paths(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves that are carried along unchanged, with their paths."""
    return [(path, leaf) for path, leaf, parent in _walk(tree, (), None) if is_carried(leaf, parent)]


def _walk(node: Any, prefix: tuple[str, ...], parent: Any) -> list[tuple[str, Any, Any]]:
    """Return (path, leaf, the node it stands in) of every leaf."""
    children = children_of(node)
    if children is None:
        return [("/".join(prefix), node, parent)]
    return [found for name, child in children for found in _walk(child, (*prefix, name), node)]


def empties_by_path(tree: Any) -> dict[str, Any]:
    """Return what a tree holds beside leaves: each None, empty list and empty mapping, by path."""
    out: dict[str, Any] = {}
    _collect_empty(tree, (), out)
    return out


def _collect_empty(node: Any, prefix: tuple[str, ...], out: dict[str, Any]) -> None:
    pairs = None if node is None else plain_children(node)
    if node is None or pairs == []:
        out["/".join(prefix)] = None if node is None else ({} if isinstance(node, Mapping) else [])
    for component, child in pairs or ():
        _collect_empty(child, (*prefix, component), out)


def by_path(tree: Any) -> dict[str, Any]:
    """Return the leaves of `tree` keyed by path.

    Raises
    ------
    InputError
        If two keys are written alike, such as ``0`` and ``"0"``: one leaf would hide the other.
    """
    return _unique(leaves_with_paths(tree))


def arrays_by_path(tree: Any) -> dict[str, Any]:
    """Return the leaves of `tree` that hold numbers, keyed by path.

    Raises
    ------
    InputError
        As `by_path`.
    """
    return _unique(arrays_with_paths(tree))


def _unique(leaves: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, leaf in leaves:
        if path in found:
            raise InputError(
                f"{path}: two leaves have this path",
                expected="keys that differ as text",
                got="keys such as 0 and '0' in one mapping",
                hint="Rename one of them.",
            )
        found[path] = leaf
    return found


def nest(leaves: Mapping[str, Any]) -> Any:
    """Return nested dictionaries and lists with the given leaves; the inverse of `by_path`.

    Tuples come back as lists and NamedTuples as dictionaries: the file keeps names, not classes. A
    position without leaves (a layer without parameters) comes back as None, jax's empty subtree.

    Raises
    ------
    ValueError
        If a path is not one that `by_path` makes, or lies inside another.
    """
    if set(leaves) == {""}:
        return leaves[""]
    root: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        if len(parents) > MAX_DEPTH or not all(map(is_canonical, (*parents, last))):
            raise ValueError(f"{path[:200]!r} is not a path of a tree")
        node = root
        for component in parents:
            node = node.setdefault(component, _Node())
            if not isinstance(node, _Node):
                raise ValueError(f"{path[:200]!r} lies inside another leaf")  # noqa: TRY004
        if last in node:
            raise ValueError(f"{path[:200]!r} lies around another leaf")
        node[last] = leaf
    return _listify(root, [MAX_EMPTY])


class _Node(dict[str, Any]):
    """A subtree under construction; a leaf that is a dictionary is none."""


def _listify(node: dict[str, Any], empty: list[int]) -> Any:
    """Return lists for nodes of which every component is a position; `empty` is what may be missing."""
    children = {key: _listify(x, empty) if isinstance(x, _Node) else x for key, x in node.items()}
    matches = [_POSITION.fullmatch(key) for key in children]
    if children and all(matches):
        length = 1 + max(int(match[1]) for match in matches if match)
        empty[0] -= length - len(children)
        if empty[0] < 0:
            raise ValueError(f"a sequence of {length:,} of which {len(children):,} are there")
        return [children.get(f"[{i}]") for i in range(length)]
    keys = {unescape_key(key): child for key, child in children.items()}
    if len(keys) != len(children):
        raise ValueError("two names of one key")
    return keys


def fill(like: Any, leaves: Mapping[str, Any]) -> Any:
    """Return a tree of the structure of `like` whose arrays are taken from `leaves` by path.

    The paths of both must be equal; callers check that first and say what differs. What `like` carries
    along beside numbers stays its own.
    """
    return map_arrays(lambda path, _: leaves[path], like)


def map_with_paths(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """Return `tree` with every leaf replaced by ``function(path, leaf)``."""
    return _mapped(lambda path, leaf, _: function(path, leaf), tree, (), None)


def map_arrays(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """Return `tree` with every leaf that holds numbers replaced by ``function(path, leaf)``."""
    return _mapped(
        lambda path, leaf, parent: leaf if is_carried(leaf, parent) else function(path, leaf), tree, (), None
    )


def map_carried(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return `tree` with every leaf that is carried along replaced by ``function(leaf)``."""
    return _mapped(
        lambda _, leaf, parent: function(leaf) if is_carried(leaf, parent) else leaf, tree, (), None
    )


def _mapped(function: Callable[[str, Any, Any], Any], node: Any, prefix: tuple[str, ...], parent: Any) -> Any:
    children = children_of(node)
    if children is None:
        return function("/".join(prefix), node, parent)
    return rebuilt(node, [_mapped(function, child, (*prefix, name), node) for name, child in children])


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
    """Return the shape of every leaf that holds numbers, keyed by path."""
    return {path: tuple(np.shape(leaf)) for path, leaf in arrays_by_path(tree).items()}
