"""What each operation of a program does to the axes of its arrays.

A rule takes an operation's parameters and the axes of its inputs, joins, cuts or fixes variables, and
returns the
axes of its outputs. It states an equivariance: permuting the inputs along their variables permutes the
outputs along theirs. The names are those of `jax.lax`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from landscape.alignment.axes import Axis, Units, cut, factors, fix, fixed, join, join_all, product
from landscape.compute import shape_of

__all__ = ["ELEMENTWISE", "RULES", "constant_axes", "elementwise", "fixed_axes", "touch"]

Axes = tuple[Axis, ...]

# One name per word: a table of ninety quoted strings would be longer than the rules.
_ELEMENTWISE = (
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp conj "
    "convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge "
    "gt igamma igammac imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg "
    "nextafter not optimization_barrier or population_count pow real reduce_precision rem round rsqrt "
    "select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square "
    "stop_gradient sub tan tanh xor "
)
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
REDUCTIONS = frozenset(
    ["reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor"]
)
ALONG_ONE = frozenset(["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"])
_WINDOWS = ("reduce_window_max", "reduce_window_min", "reduce_window_sum", "reduce_window")


def fixed_axes(shape: Sequence[int]) -> Axes:
    """Return axes whose positions mean something."""
    return tuple(fixed(int(size)) for size in shape)


def constant_axes(value: Any) -> Axes:
    """Return the axes of a constant: none where it does not vary along them."""
    array = np.asarray(value)
    return tuple(
        None if size < 2 or _same_along(array, number) else fixed(size)
        for number, size in enumerate(array.shape)
    )


def _same_along(array: np.ndarray, axis: int) -> bool:
    first = np.take(array, [0], axis=axis)
    return bool(np.array_equal(np.broadcast_to(first, array.shape), array))


def touch(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    """Fix everything that an operation touches."""
    for axes in inputs:
        for axis in axes:
            fix(axis)
    return [fixed_axes(shape_of(variable)) for variable in equation.outvars]


def elementwise(equation: Any, inputs: Sequence[Axes]) -> Axes:
    """Join the axes of all inputs; a scalar, and an axis of one entry, vary along nothing."""
    rank = len(shape_of(equation.outvars[0]))
    whole = [axes for axes in inputs if len(axes) == rank]
    return tuple(join_all([axes[number] for axes in whole]) for number in range(rank))


def _reduce(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    gone = set(equation.params["axes"])
    return [tuple(axis for number, axis in enumerate(inputs[0]) if number not in gone)]


def _arg_reduce(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    for number in equation.params["axes"]:
        fix(inputs[0][number])
    return _reduce(equation, inputs)


def _along_one(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    fix(inputs[0][equation.params["axis"]])
    return [inputs[0]]


def _transpose(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    return [tuple(inputs[0][number] for number in equation.params["permutation"])]


def _broadcast(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    shape = shape_of(equation.outvars[0])
    out: list[Axis] = [None] * len(shape)
    sizes = shape_of(equation.invars[0])
    for number, target in enumerate(equation.params["broadcast_dimensions"]):
        out[target] = inputs[0][number] if sizes[number] == shape[target] else None
    return [tuple(out)]


def _squeeze(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    gone = {number % len(inputs[0]) for number in equation.params["dimensions"]}
    return [tuple(axis for number, axis in enumerate(inputs[0]) if number not in gone)]


def _reshape(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    """Factor and multiply axes where successive ones of both shapes have the same number of entries."""
    before, after = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    old = [(n, axis) for n, axis in zip(before, inputs[0], strict=True) if n > 1]
    new = [n for n in after if n > 1]
    found: list[Axis] = []
    while old or new:
        taken, sizes = [old.pop(0)], [new.pop(0)]
        while math.prod(n for n, _ in taken) != math.prod(sizes):
            if math.prod(n for n, _ in taken) < math.prod(sizes):
                taken.append(old.pop(0))
            else:
                sizes.append(new.pop(0))
        found += _regrouped(taken, sizes)
    left = iter(found)
    return [tuple(next(left) if n > 1 else None for n in after)]


def _regrouped(taken: Sequence[tuple[int, Axis]], sizes: Sequence[int]) -> list[Axis]:
    if len(taken) == len(sizes) == 1:
        return [taken[0][1]]
    if all(axis is None for _, axis in taken):
        return [None] * len(sizes)
    whole = taken[0][1]
    if len(taken) > 1:
        merged = Units(math.prod(sizes))
        merged.bind("product", [Units(n) if axis is None else axis.root() for n, axis in taken])
        whole = merged
    return factors(whole, sizes) if len(sizes) > 1 else [whole]


def _concatenate(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    where, shape = equation.params["dimension"], shape_of(equation.outvars[0])
    out = [
        None if number == where else join_all([axes[number] for axes in inputs])
        for number in range(len(shape))
    ]
    sizes = [shape_of(variable)[where] for variable in equation.invars]
    parts = [
        Units(n) if axes[where] is None else axes[where].root()
        for n, axes in zip(sizes, inputs, strict=True)
        if n > 0
    ]
    whole: Axis = parts[0]
    if len(parts) > 1:
        whole = Units(shape[where])
        whole.bind("sum", parts)
    out[where] = whole
    return [tuple(out)]


def _slice(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
    strides = equation.params["strides"] or (1,) * len(starts)
    before, after = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    out: list[Axis] = []
    for number, axis in enumerate(inputs[0]):
        if before[number] == after[number]:
            out.append(axis)
        elif strides[number] != 1 or axis is None:
            fix(axis)
            out.append(None if axis is None else fixed(after[number]))
        else:
            out.append(_cut_out(axis, starts[number], limits[number], before[number]))
    return [tuple(out)]


def _cut_out(axis: Axis, start: int, limit: int, size: int) -> Axis:
    places = [place for place in (start, limit) if 0 < place < size]
    return cut(axis, places)[1 if start > 0 else 0]


def _split(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    where, sizes = equation.params["axis"], equation.params["sizes"]
    places = [int(place) for place in np.cumsum(sizes)[:-1]]
    parts = cut(inputs[0][where], places)
    return [(*inputs[0][:where], part, *inputs[0][where + 1 :]) for part in parts]


def _pad(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    after = shape_of(equation.outvars[0])
    out: list[Axis] = []
    for number, (low, high, inside) in enumerate(equation.params["padding_config"]):
        if (low, high, inside) == (0, 0, 0):
            out.append(inputs[0][number])
        else:
            fix(inputs[0][number])
            out.append(fixed(after[number]))
    return [tuple(out)]


def _reverse(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    for number in equation.params["dimensions"]:
        fix(inputs[0][number])
    return [inputs[0]]


def _iota(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:  # noqa: ARG001
    shape, where = shape_of(equation.outvars[0]), equation.params["dimension"]
    return [tuple(fixed(n) if number == where else None for number, n in enumerate(shape))]


def _dot(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left, right = inputs
    for i, j in zip(left_sum, right_sum, strict=True):
        join(left[i], right[j])
    batch = [join(left[i], right[j]) for i, j in zip(left_batch, right_batch, strict=True)]
    own = [axis for i, axis in enumerate(left) if i not in (*left_sum, *left_batch)]
    other = [axis for j, axis in enumerate(right) if j not in (*right_sum, *right_batch)]
    return [(*batch, *own, *other)]


def _convolution(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    numbers, groups = equation.params["dimension_numbers"], equation.params["feature_group_count"]
    if equation.params["batch_group_count"] != 1:
        return touch(equation, inputs)
    image, kernel = inputs
    (batch, channel, *places), (outs, ins, *window) = numbers.lhs_spec, numbers.rhs_spec
    for axis in (*(image[i] for i in places), *(kernel[i] for i in window)):
        fix(axis)
    features = kernel[outs]
    if groups == 1:
        join(image[channel], kernel[ins])
    else:
        sizes = (
            shape_of(equation.invars[0])[channel] // groups,
            shape_of(equation.invars[1])[outs] // groups,
        )
        by_group, inside = factors(image[channel], (groups, sizes[0]))
        join(inside, kernel[ins])
        join(by_group, factors(kernel[outs], (groups, sizes[1]))[0])
        if features is None:  # a constant kernel, as of a blur: what comes out varies as what goes in
            features = product(by_group, (groups, sizes[1]))
    shape = shape_of(equation.outvars[0])
    out: list[Axis] = list(fixed_axes(shape))
    out[numbers.out_spec[0]], out[numbers.out_spec[1]] = image[batch], features
    return [tuple(out)]


def _window(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    after = shape_of(equation.outvars[0])
    out: list[Axis] = []
    for number, axis in enumerate(inputs[0]):
        alone = equation.params["window_dimensions"][number] == 1
        if alone and shape_of(equation.invars[0])[number] == after[number]:
            out.append(axis)
        else:
            fix(axis)
            out.append(fixed(after[number]))
    return [tuple(out)] * len(equation.outvars)


def _dynamic_slice(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    before, sizes = shape_of(equation.invars[0]), equation.params["slice_sizes"]
    out: list[Axis] = []
    for axis, n, taken in zip(inputs[0], before, sizes, strict=True):
        if n == taken:
            out.append(axis)
        else:
            fix(axis)
            out.append(fixed(taken))
    return [tuple(out)]


def _gather(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    """Let axes that are taken whole pass; those that are looked up by index are fixed."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    before, after = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    collapsed, batching = set(numbers.collapsed_slice_dims), set(numbers.operand_batching_dims)
    kept = [d for d in range(len(before)) if d not in collapsed and d not in batching]
    out: list[Axis] = list(fixed_axes(after))
    for target, source in zip(numbers.offset_dims, kept, strict=True):
        if sizes[source] == before[source]:
            out[target] = inputs[0][source]
        else:
            fix(inputs[0][source])
    for source in (*collapsed, *batching):
        fix(inputs[0][source])
    for axis in inputs[1]:
        fix(axis)
    return [tuple(out)]


def _sort(equation: Any, inputs: Sequence[Axes]) -> list[Axes]:
    joined = [join_all([axes[number] for axes in inputs]) for number in range(len(inputs[0]))]
    fix(joined[equation.params["dimension"]])
    return [tuple(joined)] * len(equation.outvars)


RULES: dict[str, Callable[[Any, Sequence[Axes]], list[Axes]]] = {
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(ALONG_ONE, _along_one),
    **dict.fromkeys(_WINDOWS, _window),
    "argmax": _arg_reduce,
    "argmin": _arg_reduce,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "dot_general": _dot,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "squeeze": _squeeze,
    "transpose": _transpose,
}
