"""The hidden layers of a network, read off the program of its loss: their kernels and biases.

Steps:

1. go through the operations of the program, and know of every value which parameters it is made of, whether
   examples enter it, and of which pre-activations it is an affine function;
2. a product of a parameter with what depends on examples is a layer, and the parameter its kernel; a
   parameter that is added to the product before anything else happens to it is its bias, and the sum the
   pre-activation;
3. a layer whose values enter another product is hidden; the others give the outputs;
4. a layer whose pre-activation is centred by running statistics, while what is centred is still affine in it,
   is normalised.

Where a layer cannot be rescaled and shifted by changing its kernel and bias alone, it is refused by name.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from landscape.compute import Place, inner_program, shape_of
from landscape.connectivity.kernel_axes import ARRANGED, Axes, product_axes
from landscape.errors import ProblemError

__all__ = ["HiddenLayer", "hidden_layers"]

_SUMS = frozenset(["add", "add_any", "sub"])
_PRODUCTS = frozenset(["mul", "div"])
_LOOPS = frozenset(["scan", "while", "cond"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiddenLayer:
    """Units with a kernel and a bias of their own.

    Attributes
    ----------
    kernel, bias : str
        Paths of both arrays.
    place : tuple of int
        Of the operation whose output is the pre-activation.
    axes : tuple of (int, int)
        By axis of the bias, the axes of the pre-activation and of the kernel along which its units stand.
    depth : int
        Layers of one depth do not enter one another.
    """

    kernel: str
    bias: str
    place: Place
    axes: tuple[tuple[int, int], ...]
    depth: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Value:
    """What is known of an array of the program.

    Attributes
    ----------
    examples : bool
        Whether it depends on data.
    weights : frozenset of str
        The parameters that it is made of, where it does not depend on data.
    running : bool
        Whether it is made of running statistics, and not of data.
    leaf : str or None
        The parameter that it is, up to the order of its axes and, unless `whole`, constant factors.
    product : int or None
        The layer whose product it is, up to the same.
    axes : tuple
        Of the parameter, or of the kernel of the product: the axis behind each axis of the array.
    affine : frozenset of int
        Layers of whose pre-activations it is an affine function.
    before : frozenset of int
        Layers that it depends on.
    """

    examples: bool = False
    weights: frozenset[str] = frozenset()
    running: bool = False
    leaf: str | None = None
    whole: bool = True
    product: int | None = None
    axes: Axes = ()
    affine: frozenset[int] = frozenset()
    before: frozenset[int] = frozenset()

    @property
    def constant(self) -> bool:
        """Whether neither data nor parameters enter."""
        return not (self.examples or self.weights or self.running)


@dataclasses.dataclass(kw_only=True)
class _Layer:
    """A product of a parameter with what depends on data, as far as it is known."""

    kernel: str | None
    names: tuple[str, ...]
    depth: int
    bias: str | None = None
    place: Place = ()
    axes: tuple[tuple[int, int], ...] = ()
    readers: int = 0
    hidden: bool = False
    normalised: bool = False


def hidden_layers(closed: Any, names: Sequence[str | None], statistics: frozenset[str]) -> list[HiddenLayer]:
    """Return the hidden layers that no running statistics normalise, in the order of the program.

    Parameters
    ----------
    closed : jax.extend.core.ClosedJaxpr
        The program of a loss, as `jax.make_jaxpr` returns it.
    names : sequence of str or None
        Of its inputs: the path of a parameter, None for data.
    statistics : frozenset of str
        Those of them that are running statistics.

    Raises
    ------
    ProblemError
        If there is no hidden layer, or one whose units cannot be rescaled and shifted by their own kernel and
        bias.
    """
    reader = _Reader({name: shape_of(v) for name, v in zip(names, closed.jaxpr.invars, strict=True) if name})
    given = [
        _Value(examples=True)
        if name is None
        else _Value(running=True)
        if name in statistics
        else _Value(weights=frozenset([name]), leaf=name, axes=tuple(range(len(shape_of(variable)))))
        for name, variable in zip(names, closed.jaxpr.invars, strict=True)
    ]
    reader.read(closed.jaxpr, given, ())
    return reader.found()


class _Reader:
    """Goes through a program and finds the layers in it."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._layers: list[_Layer] = []
        self._uses: Counter[str] = Counter()  # meetings of a parameter with data
        self._unseen: dict[str, str] = {}  # why, of a parameter

    def found(self) -> list[HiddenLayer]:
        """Return the layers to renormalise; refuse those that cannot be."""
        for name, why in self._unseen.items():
            raise _refused([name], why)
        hidden = [layer for layer in self._layers if layer.hidden]
        if not hidden:
            raise ProblemError(
                "repair: the network has no hidden layer whose units could be renormalised",
                expected="a product of data with a parameter, and another one behind it",
                hint="Measure the path as it is: leave out repair.",
            )
        return [self._checked(layer) for layer in hidden if not layer.normalised]

    def _checked(self, layer: _Layer) -> HiddenLayer:
        if layer.kernel is None:
            raise _refused(
                layer.names, "is changed before it meets the data: a scale of its units is not its own"
            )
        if layer.bias is None or layer.readers > 1:
            raise _refused([layer.kernel], "its units have no bias of their own into which a shift would go")
        for name in (layer.kernel, layer.bias):
            if self._uses[name] != 1:
                raise _refused([name], "stands at several places of the program")
        return HiddenLayer(
            kernel=layer.kernel, bias=layer.bias, place=layer.place, axes=layer.axes, depth=layer.depth
        )

    def read(self, jaxpr: Any, given: Sequence[_Value], path: Place) -> list[_Value]:
        """Go through a program; return what is known of its outputs."""
        known: dict[Any, _Value] = dict(zip(jaxpr.invars, given, strict=True))

        def value_of(atom: Any) -> _Value:
            return _Value() if hasattr(atom, "val") else known.get(atom, _Value())

        for number, equation in enumerate(jaxpr.eqns):
            place = (*path, number)
            inputs = [value_of(atom) for atom in equation.invars]
            inner = inner_program(equation)
            if inner is not None:
                outputs = self.read(inner[0], inputs, place)
            else:
                outputs = [self._apply(equation, inputs, place)] * len(equation.outvars)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [value_of(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, inputs: list[_Value], place: Place) -> _Value:
        name = equation.primitive.name
        if name in ARRANGED:
            return dataclasses.replace(inputs[0], axes=ARRANGED[name](equation, inputs[0].axes))
        if name in ("dot_general", "conv_general_dilated"):
            return self._multiplied(equation, inputs)
        if name in _SUMS:
            return self._added(equation, inputs, place)
        if name in _PRODUCTS:
            return self._scaled(inputs, divided=name == "div")
        if name in _LOOPS:
            self._note(inputs, "enters a loop or a branch of the program, whose layers are not seen")
        return self._mixed(inputs, affine=False)

    def _note(self, inputs: Sequence[_Value], why: str) -> None:
        """Note the matrices among the inputs: a layer may be hidden in what they do."""
        for name in sorted(path for value in inputs for path in value.weights):
            if len(self._shapes[name]) > 1:
                self._unseen.setdefault(name, why)

    def _mixed(self, inputs: Sequence[_Value], *, affine: bool) -> _Value:
        """Return what any function of the inputs is; affine in each, or not."""
        examples = any(value.examples for value in inputs)
        for value in inputs:
            if value.product is not None:
                self._layers[value.product].readers += 1
            if examples:
                self._uses.update(value.weights)
        weights = frozenset[str]().union(*(value.weights for value in inputs))
        running = any(value.running for value in inputs)
        return _Value(
            examples=examples,
            weights=frozenset() if examples else weights,
            running=running and not examples,
            affine=frozenset[int]().union(*(v.affine for v in inputs)) if affine else frozenset(),
            before=frozenset[int]().union(*(v.before for v in inputs)),
        )

    def _multiplied(self, equation: Any, inputs: Sequence[_Value]) -> _Value:
        sides = [i for i in (0, 1) if inputs[i].weights and inputs[1 - i].examples]
        if not sides:
            return self._mixed(inputs, affine=False)
        kernel, data = inputs[sides[0]], inputs[1 - sides[0]]
        if data.product is not None:
            self._layers[data.product].readers += 1
        self._uses.update(kernel.weights)
        for number in data.before:
            self._layers[number].hidden = True
        axes = None if kernel.leaf is None else product_axes(equation, kernel.axes, sides[0])
        depth = 1 + max((self._layers[number].depth for number in data.before), default=-1)
        leaf = kernel.leaf if axes is not None else None
        self._layers.append(_Layer(kernel=leaf, names=tuple(sorted(kernel.weights)), depth=depth))
        number = len(self._layers) - 1
        return _Value(
            examples=True,
            product=number,
            axes=axes or (),
            affine=frozenset([number]),
            before=data.before | {number},
        )

    def _added(self, equation: Any, inputs: list[_Value], place: Place) -> _Value:
        if equation.primitive.name == "sub":
            return self._centred(inputs)
        for product, other in (inputs, inputs[::-1]):
            if product.product is None or other.leaf is None or not other.whole:
                continue
            layer = self._layers[product.product]
            axes = self._matching(product, other)
            if layer.bias is None and axes is not None:
                layer.bias, layer.place, layer.axes = other.leaf, place, axes
                layer.readers += 1
                self._uses[other.leaf] += 1
                return dataclasses.replace(product, product=None, axes=())
        return self._mixed(inputs, affine=True)

    def _matching(self, product: _Value, bias: _Value) -> tuple[tuple[int, int], ...] | None:
        """Return by axis of a bias those of the sum and the kernel; None where units share an entry."""
        shape = self._shapes[bias.leaf or ""]
        found: dict[int, tuple[int, int]] = {}
        for number, (own, behind) in enumerate(zip(bias.axes, product.axes, strict=False)):
            if own is not None and behind is not None:
                found[own] = (number, behind)
        whole = bool(shape) and set(found) == set(range(len(shape)))
        free = {behind for behind in product.axes if behind is not None}
        if not whole or free != {behind for _, behind in found.values()}:
            return None
        return tuple(found[own] for own in range(len(shape)))

    def _centred(self, inputs: Sequence[_Value]) -> _Value:
        return self._normalised(inputs) or self._mixed(inputs, affine=True)

    def _scaled(self, inputs: Sequence[_Value], *, divided: bool) -> _Value:
        found = self._normalised(inputs)
        if found is not None:
            return found
        for value, factor in (inputs,) if divided else (inputs, inputs[::-1]):
            if factor.constant and (value.leaf is not None or value.product is not None):
                return dataclasses.replace(value, whole=False)
        if any(value.examples for value in inputs):
            self._note(inputs, "is multiplied with the data entry by entry, so its layer is not seen")
        affine = not all(value.examples for value in inputs) and not (divided and inputs[1].examples)
        return self._mixed(inputs, affine=affine)

    def _normalised(self, inputs: Sequence[_Value]) -> _Value | None:
        """Return what running statistics make of pre-activations; None where there are not both."""
        affine = frozenset[int]().union(*(value.affine for value in inputs))
        if not affine or not any(value.running for value in inputs):
            return None
        for number in affine:
            self._layers[number].normalised = True
        return self._mixed(inputs, affine=False)


def _refused(names: Sequence[str], why: str) -> ProblemError:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ProblemError(
        f"repair: {', '.join(names[:3])}{more}: {why}",
        expected="hidden layers x·kernel + bias, each with arrays of its own, or under normalisation layers "
        "with recomputed statistics",
        hint="Measure the path as it is: leave out repair.",
    )
