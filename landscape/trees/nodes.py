"""One level of a parameter tree: the children of a node by name, and a node rebuilt from them.

Plain containers are walked here, and need no jax. Any other node is one that was registered with jax, which
therefore has been imported: its children, their names and its rebuilding are jax's own, so that a network
comes back as the very class that it was given in.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from landscape.errors import InputError

# Characters that stay as they are. "/" separates, "%" escapes, "[" and "]" mark positions, and a
# lone "." or ".." would be a path step for HDF5, so dots are escaped where nothing else stands.
_EMPTY = "%"  # no other key escapes to a lone percent sign
_SAFE = " !#$&'()*+,-.:;<=>?@^_`{|}~"

_PLAIN = (dict, OrderedDict, defaultdict, list, tuple)
_SCALARS = (bool, int, float, complex, str, bytes)

Children = list[tuple[str, Any]]


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


def children_of(node: Any) -> Children | None:
    """Return the (component, child) pairs of a container, in jax's order; None for a leaf."""
    if node is None:
        return []
    if not _is_plain(node):
        registered = _registered_children(node)
        if registered is not None:
            return registered
    return plain_children(node)


def plain_children(node: Any) -> Children | None:
    """Return the children of a mapping, sequence or NamedTuple; None for anything else."""
    if isinstance(node, Mapping):
        return [(escape_key(key), node[key]) for key in sorted(node, key=str)]
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return [(escape_key(name), getattr(node, name)) for name in node._fields]
    if isinstance(node, (list, tuple)):
        return [(f"[{i}]", child) for i, child in enumerate(node)]
    return None


def rebuilt(node: Any, children: Sequence[Any]) -> Any:
    """Return a container of the class of `node` with other children, in the order of `children_of`."""
    if node is None:
        return None
    if not _is_plain(node) and _registered_children(node) is not None:
        import jax

        treedef = jax.tree_util.tree_structure(node, is_leaf=lambda x: x is not node)
        return jax.tree_util.tree_unflatten(treedef, children)
    if isinstance(node, Mapping):
        names = sorted(node, key=str)
        found = dict(zip(names, children, strict=True))
        items = {key: found[key] for key in node}
        if isinstance(node, defaultdict):
            return defaultdict(node.default_factory, items)
        return items if type(node) is dict else type(node)(items)  # type: ignore[call-arg]
    if hasattr(node, "_fields"):
        return type(node)(*children)
    return type(node)(children)


def is_carried(leaf: Any, parent: Any = None) -> bool:
    """Return whether a leaf is no array of numbers but something that is carried along unchanged.

    That is so for functions and other objects, for random keys and NNX's counters of them, and for numbers
    and texts of Python that stand as fields of a registered class: they are settings (the rate of a dropout
    layer). In plain containers such a number is a weight.
    """
    if _has_class(parent, "RngState"):
        return True
    if isinstance(leaf, _SCALARS):
        return _holds_settings(parent)
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return not isinstance(leaf, (np.generic, list, tuple, Mapping)) and not hasattr(leaf, "__array__")
    return not isinstance(dtype, np.dtype) or not isinstance(getattr(leaf, "shape", None), tuple)


def _holds_settings(parent: Any) -> bool:
    """Return whether Python scalars in a node are settings: fields of a class, but for boxes of one value."""
    return parent is not None and plain_children(parent) is None and not is_box(parent)


def is_box(node: Any) -> bool:
    """Return whether a node is a variable or a partitioned box of Flax: one value under a name."""
    return _has_class(node, "Variable", "AxisMetadata")


def _has_class(node: Any, *names: str) -> bool:
    """Return whether a node is of one of Flax's classes of these names."""
    return any(kind.__name__ in names and kind.__module__.startswith("flax.") for kind in type(node).__mro__)


def _is_plain(node: Any) -> bool:
    return type(node) in _PLAIN or isinstance(node, np.ndarray) or hasattr(node, "_fields")


def _registered_children(node: Any) -> Children | None:
    """Return the children of a pytree node registered with jax; None for a leaf."""
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "tree_util"):  # a registered node exists only where jax is loaded
        return None
    pairs, _ = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    if len(pairs) == 1 and pairs[0][1] is node:
        return None
    return [(_component(path[0]), child) for path, child in pairs]


def _component(key: Any) -> str:
    if hasattr(key, "idx"):
        return f"[{key.idx}]"
    name = getattr(key, "key", getattr(key, "name", None))
    return escape_key(name if name is not None else key)
