"""What the axes of arrays share: variables for units, joined, cut and factored as a program demands.

An axis of an array is one variable. Two axes that a program combines entry by entry must be permuted alike:
their
variables are joined. An axis can be a *sum* of others, one behind the other (a concatenation), or a *product*
(channels at each place of an image, flattened). A variable is fixed where the program uses positions: inputs,
classes, places of an image. An axis along which an array does not vary is no variable at all (None): every
permutation leaves it as it is.

No jax: this is the arithmetic; `landscape.alignment.structure` reads programs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

__all__ = [
    "Axis",
    "Units",
    "cut",
    "factors",
    "fix",
    "fixed",
    "index_of",
    "join",
    "join_all",
    "positions",
    "product",
    "units_of",
]

SUM, PRODUCT = "sum", "product"


class Units:
    """A variable: a number of units that are permuted together, in one way or not at all.

    Attributes
    ----------
    size : int
        Number of entries along the axis.
    """

    __slots__ = ("_parent", "children", "fixed", "form", "size")

    def __init__(self, size: int, *, fixed: bool = False) -> None:
        self.size = size
        self.fixed = fixed
        self.form: str | None = None
        self.children: list[Units] = []
        self._parent: Units | None = None

    def root(self) -> Units:
        """Return the variable that this one was joined to."""
        node = self
        while node._parent is not None:
            node = node._parent
        return node

    def follow(self, other: Units) -> None:
        """Become the same variable as another."""
        self._parent = other

    def bind(self, form: str, children: Sequence[Units]) -> None:
        """Become a sum or a product of other variables."""
        self.form, self.children = form, list(children)
        if self.fixed:
            for child in self.children:
                fix(child)


Axis = Units | None


def fixed(size: int) -> Axis:
    """Return an axis whose positions mean something; None for a single entry."""
    return Units(size, fixed=True) if size > 1 else None


def fix(axis: Axis) -> None:
    """Let no unit of an axis be permuted."""
    if axis is None:
        return
    node = axis.root()
    if not node.fixed:
        node.fixed = True
        for child in node.children:
            fix(child)


def join(a: Axis, b: Axis) -> Axis:
    """Return the axis of what is combined entry by entry: both are permuted alike from now on."""
    if a is None or b is None:
        return b if a is None else a
    a, b = a.root(), b.root()
    if a is b:
        return a
    if a.fixed or b.fixed:
        fix(a)
        fix(b)
    if a.form is None or b.form is None:
        loose, kept = (a, b) if a.form is None else (b, a)
        loose.follow(kept)
        return kept
    if a.form == b.form == SUM:
        _join_sums(a, b)
    elif a.form == b.form == PRODUCT:
        _join_products(a, b)
    else:  # a sum here, a product there: what both allow is not guessed
        fix(a)
        fix(b)
    return a


def join_all(axes: Sequence[Axis]) -> Axis:
    """Return the axis of several arrays that are combined entry by entry."""
    found: Axis = None
    for axis in axes:
        found = join(found, axis)
    return found


def _join_sums(a: Units, b: Units) -> None:
    ends = sorted({*np.cumsum([c.size for c in a.children]), *np.cumsum([c.size for c in b.children])})
    cuts = [int(end) for end in ends[:-1]]
    for first, second in zip(cut(a, cuts), cut(b, cuts), strict=True):
        join(first, second)
    a.follow(b)


def _join_products(a: Units, b: Units) -> None:
    common = _common_factors([c.size for c in a.children], [c.size for c in b.children])
    if common is None:
        fix(a)
        fix(b)
        return
    for first, second in zip(factors(a, common), factors(b, common), strict=True):
        join(first, second)
    a.follow(b)


def _common_factors(a: Sequence[int], b: Sequence[int]) -> list[int] | None:
    """Return the coarsest sizes that refine two factorisations of one number, None if there are none."""
    left, right = list(a), list(b)
    out = []
    while left and right:
        first, second = left[0], right[0]
        smaller = min(first, second)
        if first % smaller or second % smaller:
            return None
        out.append(smaller)
        for rest, value in ((left, first), (right, second)):
            rest.pop(0)
            if value > smaller:
                rest.insert(0, value // smaller)
    return out


def cut(axis: Axis, places: Sequence[int]) -> list[Axis]:
    """Return the parts of an axis between places strictly inside it."""
    if axis is None:
        return [None] * (len(places) + 1)
    node = axis.root()
    if not places:
        return [node]
    edges = [0, *places, node.size]
    sizes = [high - low for low, high in itertools.pairwise(edges)]
    if node.form is None:
        node.bind(SUM, [Units(size, fixed=node.fixed) for size in sizes])
        return list(node.children)
    if node.form == PRODUCT:
        return _cut_product(node, places, sizes)
    return _cut_sum(node, places)


def _cut_sum(node: Units, places: Sequence[int]) -> list[Axis]:
    parts: list[Units] = []
    start = 0
    for child in node.children:
        end = start + child.size
        inside = [place - start for place in places if start < place < end]
        parts += [part for part in cut(child, inside) if part is not None]
        start = end
    node.children = parts
    return _gathered(parts, places)


def _gathered(parts: Sequence[Units], places: Sequence[int]) -> list[Axis]:
    """Return sums of successive parts that end at the places."""
    out: list[Axis] = []
    held: list[Units] = []
    at = 0
    for part in parts:
        held.append(part)
        at += part.size
        if at in places or part is parts[-1]:
            whole = held[0]
            if len(held) > 1:
                whole = Units(sum(p.size for p in held))
                whole.bind(SUM, held)
            out.append(whole)
            held = []
    return out


def _cut_product(node: Units, places: Sequence[int], sizes: Sequence[int]) -> list[Axis]:
    """Cut a product along its first factor, where the places allow it."""
    head, *rest = node.children
    width = math.prod(child.size for child in rest)
    if any(place % width for place in places):
        fix(node)
        return [fixed(size) for size in sizes]
    out: list[Axis] = []
    for part in cut(head, [place // width for place in places]):
        whole = Units((part.size if part is not None else 1) * width)
        whole.bind(PRODUCT, [*([part] if part is not None else []), *rest])
        out.append(whole)
    return out


def factors(axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    """Return the factors of an axis, the slowest first, of sizes whose product is its own."""
    if axis is None:
        return [None] * len(sizes)
    node = axis.root()
    real = [size for size in sizes if size > 1]
    found = _factors(node, real)
    left = iter(found)
    return [next(left) if size > 1 else None for size in sizes]


def _factors(node: Units, sizes: Sequence[int]) -> list[Axis]:
    if len(sizes) == 1:
        return [node]
    if node.form is None:
        node.bind(PRODUCT, [Units(size, fixed=node.fixed) for size in sizes])
        return list(node.children)
    own = [child.size for child in node.children]
    common = _common_factors(own, sizes) if node.form == PRODUCT else None
    if common is None:
        fix(node)
        return [fixed(size) for size in sizes]
    fine: list[Units] = []
    for child in node.children:
        fine += [part for part in _factors(child.root(), _leading(common, child.size)) if part is not None]
    node.children = fine
    return _merged(fine, sizes)


def _leading(common: list[int], size: int) -> list[int]:
    """Take sizes off the front of a list until their product is `size`."""
    out: list[int] = []
    while math.prod(out) < size:
        out.append(common.pop(0))
    return out


def _merged(fine: Sequence[Units], sizes: Sequence[int]) -> list[Axis]:
    """Return products of successive factors of the sizes that are wanted."""
    left = list(fine)
    out: list[Axis] = []
    for size in sizes:
        held: list[Units] = []
        while math.prod(f.size for f in held) < size:
            held.append(left.pop(0))
        whole = held[0]
        if len(held) > 1:
            whole = Units(size)
            whole.bind(PRODUCT, held)
        out.append(whole)
    return out


def product(first: Axis, sizes: tuple[int, int]) -> Axis:
    """Return the axis of an array that repeats each entry of another, one behind the other."""
    if first is None or sizes[1] == 1:
        return first
    whole = Units(sizes[0] * sizes[1])
    whole.bind(PRODUCT, [first.root(), Units(sizes[1], fixed=True)])
    return whole


def units_of(axis: Axis) -> list[Units]:
    """Return the variables of an axis whose units may be permuted."""
    if axis is None:
        return []
    node = axis.root()
    if node.fixed or node.size < 2:
        return []
    if node.form is None:
        return [node]
    return [units for child in node.children for units in units_of(child)]


def index_of(axis: Axis, size: int, permutations: dict[Units, np.ndarray]) -> np.ndarray:
    """Return which entry comes to each place of an axis [size] under permutations by variable.

    A permutation p brings unit p[i] to place i.
    """
    if axis is None:
        return np.arange(size)
    node = axis.root()
    if node.form is None:
        return permutations.get(node, np.arange(node.size))
    parts = [index_of(child, child.size, permutations) for child in node.children]
    if node.form == SUM:
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
        return np.concatenate([part + start for part, start in zip(parts, starts, strict=True)])
    index = np.zeros(1, np.int64)
    for part in parts:
        index = (index[:, None] * len(part) + part).reshape(-1)
    return index


def positions(axis: Axis, units: Units) -> np.ndarray:
    """Return the places [contexts, units] of an axis at which each unit of a variable stands."""
    empty = np.empty((0, units.size), np.int64)
    if axis is None:
        return empty
    node = axis.root()
    if node is units:
        return np.arange(node.size)[None]
    if node.form == SUM:
        starts = np.cumsum([0, *(child.size for child in node.children[:-1])])
        parts = [positions(child, units) + start for child, start in zip(node.children, starts, strict=True)]
        return np.concatenate(parts)
    if node.form == PRODUCT:
        return _product_positions(node, units)
    return empty


def _product_positions(node: Units, units: Units) -> np.ndarray:
    sizes = [child.size for child in node.children]
    found = [np.empty((0, units.size), np.int64)]
    for number, child in enumerate(node.children):
        inner = positions(child, units)
        before, after = math.prod(sizes[:number]), math.prod(sizes[number + 1 :])
        outer = np.arange(before)[:, None, None, None] * sizes[number]
        places = (outer + inner[None, :, None, :]) * after + np.arange(after)[None, None, :, None]
        found.append(places.reshape(-1, units.size))
    return np.concatenate(found)
