"""Names for the leaves of a parameter tree, without importing jax.

A path is the list of keys from the root, each percent-escaped, joined by ``/``; the positions of a
sequence are written ``[i]``. Paths name the data sets of a checkpoint, order ties in pruning, and
stand in every message about a leaf. Dictionaries are walked in sorted order, as jax walks them.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from landscape.errors import InputError

MAX_DEPTH = 64
MAX_EMPTY = 100_000  # empty positions of sequences in one tree that was read
_POSITION = re.compile(r"\[(0|[1-9][0-9]{0,8})\]")

# Characters that stay as they are. "/" separates, "%" escapes, "[" and "]" mark positions, and a
# lone "." or ".." would be a path step for HDF5, so dots are escaped where nothing else stands.
_EMPTY = "%"  # no other key escapes to a lone percent sign
_SAFE = " !#$&'()*+,-.:;<=>?@^_`{|}~"


def escape_key(key: object) -> str:
    """Return one path component for a mapping key or attribute name."""
    try:
        text = quote(str(key), safe=_SAFE)
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise InputError(f"{str(key)!r}: a key that is no Unicode text", hint="Rename it.") from error
    if not text.strip("."):
        return text.replace(".", "%2E") or _EMPTY
    return text


def unescape_key(component: str) -> str:
    """Return the key that `escape_key` turned into `component`."""
    return "" if component == _EMPTY else unquote(component)


def is_canonical(component: str) -> bool:
    """Return whether a component is one that `escape_key` or a position makes: no key has two names."""
    return bool(_POSITION.fullmatch(component)) or escape_key(unescape_key(component)) == component


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


def empties_by_path(tree: Any) -> dict[str, Any]:
    """Return what a tree holds beside leaves: each None, empty list and empty mapping, by path."""
    out: dict[str, Any] = {}
    _collect_empty(tree, (), out)
    return out


def _collect_empty(node: Any, prefix: tuple[str, ...], out: dict[str, Any]) -> None:
    children = None if node is None else _children(node)
    pairs = list(children) if children is not None else None
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
    found: dict[str, Any] = {}
    for path, leaf in leaves_with_paths(tree):
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
        if isinstance(tree, defaultdict):
            return defaultdict(tree.default_factory, items)
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
    return {path: tuple(np.shape(leaf)) for path, leaf in by_path(tree).items()}
