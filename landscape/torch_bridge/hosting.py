"""A function of PyTorch as the host of jax's calls: arrays in, arrays out, nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from landscape.compute import remembered
from landscape.errors import LandscapeError, ProblemError, first_line
from landscape.torch_bridge import routes
from landscape.torch_bridge.derivatives import Directions
from landscape.torch_bridge.primitives import FORWARD, REVERSE, SECOND, VALUE, Call
from landscape.torch_bridge.routes import Route

Function = Callable[[Sequence[Any], Sequence[Any]], Any]

# Dual numbers of PyTorch exist once per process, so calls of several threads of jax wait for each other. None
# of them waits for jax, so that this comes to an end.
_ONE_AT_A_TIME = threading.RLock()


@dataclasses.dataclass(frozen=True, eq=False)
class TorchHost:
    """A function F(x, c) of tensors, for `landscape.torch_bridge.primitives`.

    Attributes
    ----------
    name : str
        What messages call it.
    function : callable
        ``function(x, c)``, tensors to a tensor of one row per example.
    types : tuple of torch.dtype or None
        What each tensor of c is turned into; None for floats as x.
    example : callable
        ``example()`` returns x and c for a trial, a few examples.
    rows : int
        Which tensor of c counts the examples along its first axis.
    tail : tuple of int
        Shape of what F gives for one example.
    device : torch.device
        Where it is computed.
    copies : bool
        Whether F changes its data in place, so that it gets a copy of them.
    """

    name: str
    function: Function
    types: tuple[Any, ...]
    example: Callable[[], tuple[list[Any], list[Any]]]
    rows: int
    tail: tuple[int, ...]
    device: Any
    copies: bool = False
    chosen: dict[tuple[str, str], Route] = dataclasses.field(default_factory=dict)

    def shape(self, fixed: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the values."""
        return (fixed[self.rows].shape[0], *self.tail)

    def ready(self, operation: str, dtype: np.dtype[Any]) -> None:
        """Choose how the operation is computed, once per floating type.

        Raises
        ------
        ProblemError
            If PyTorch cannot compute it.
        """
        key = (operation, np.dtype(dtype).name)
        if operation == VALUE:
            self.chosen[key] = routes.ROUTES[VALUE][0]
        if key not in self.chosen:
            kind = _torch_type(np.dtype(dtype))
            with _ONE_AT_A_TIME, untouched(self.name):
                x, c = self.example()
                x = [tensor.to(kind) for tensor in x]
                self.chosen[key] = routes.choose(operation, self.name, self._at(c), x)

    def run(self, call: Call, operation: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute one operation; an error is kept for who asked, since jax makes a text of it."""
        try:
            with _ONE_AT_A_TIME, untouched(self.name):
                return self._computed(call, operation, arrays)
        except LandscapeError as error:
            remembered(error)
            raise
        except Exception as error:
            remembered(_own(self.name, error))
            raise

    def _computed(self, call: Call, operation: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [_tensor(array).to(self.device) for array in arrays]
        x, c, rest = tensors[: call.count], tensors[call.count : call.held], tensors[call.held :]
        route = self.chosen[operation, arrays[0].dtype.name]
        before = [tensor._version for tensor in tensors]
        function = self._at(c)
        found = routes.compute(route, function, x, _directions(call, operation, rest))
        if [tensor._version for tensor in tensors] != before:
            raise _changed(self.name)
        wanted = (
            [arrays[i].dtype for i in call.outward] if operation in (REVERSE, SECOND) else [arrays[0].dtype]
        )
        return [_array(tensor, dtype) for tensor, dtype in zip(found, wanted, strict=True)]

    def _at(self, c: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
        """Return F at c, floats as x."""

        def function(x: Sequence[Any]) -> Any:
            # Buffers are small, and a module may count in them; data are large.
            own = [
                tensor.to(wanted or x[0].dtype, copy=self.copies or i < self.rows)
                for i, (tensor, wanted) in enumerate(zip(c, self.types, strict=True))
            ]
            return self.function(x, own)

        return function

    @property
    def routes(self) -> dict[str, str]:
        """How each derivative was computed so far."""
        return {
            operation: ", ".join(route) for (operation, _), route in self.chosen.items() if operation != VALUE
        }


def _directions(call: Call, operation: str, rest: Sequence[Any]) -> Directions:
    """Return the operands of an operation after the point, by their meaning."""
    at = Directions(inward=call.inward, outward=call.outward)
    if operation == REVERSE:
        return dataclasses.replace(at, u=rest[0])
    if operation == FORWARD:
        return dataclasses.replace(at, t=rest)
    if operation == SECOND:
        return dataclasses.replace(at, u=rest[0], t=rest[1:])
    cut = len(call.inward)
    return dataclasses.replace(at, t=rest[:cut], s=rest[cut:])


@contextlib.contextmanager
def untouched(name: str) -> Iterator[None]:
    """Compute inside the block with PyTorch's settings of differentiation on, and its random state as it was.

    Raises
    ------
    ProblemError
        If random numbers were drawn: what is measured must be the same at every call.
    """
    generators = [
        torch.default_generator,
        *(torch.cuda.default_generators if torch.cuda.is_initialized() else ()),
    ]
    before = [generator.get_state() for generator in generators]
    drawn = False
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            if not torch.equal(generator.get_state(), state):
                generator.set_state(state)
                drawn = True
    if drawn:
        raise ProblemError(
            f"{name}: draws random numbers",
            expected="a deterministic function of parameters and one example",
            got="dropout or noise that is on in evaluation mode",
            hint="Switch it off for the analysis, as module.eval() does for nn.Dropout.",
        )


def _tensor(array: np.ndarray) -> Any:
    """Return a tensor in the array's own memory; torch.from_numpy warns of memory that is read only."""
    if not array.size:
        return torch.empty(array.shape, dtype=_torch_type(array.dtype))
    memory = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    return torch.frombuffer(memory, dtype=_torch_type(array.dtype)).reshape(array.shape)


def _array(tensor: Any, dtype: np.dtype[Any]) -> np.ndarray:
    found = tensor.detach().to("cpu", _torch_type(dtype)).contiguous()
    array: np.ndarray = (found.view(torch.int16) if dtype.name == "bfloat16" else found).numpy()
    return array.view(dtype)


@functools.cache
def _torch_type(dtype: np.dtype[Any]) -> Any:
    return getattr(torch, dtype.name)


def _changed(name: str) -> ProblemError:
    return ProblemError(
        f"{name}: changes its parameters in place while it is evaluated",
        expected="a forward pass that leaves its parameters as they are",
        hint="Leave out what renormalises weights in forward(), such as nn.Embedding(max_norm=…).",
    )


def _own(name: str, error: Exception) -> LandscapeError:
    """Return an error of PyTorch's as one of landscape's, with its own sentence."""
    sentence = first_line(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return ProblemError(
            f"{name}: PyTorch ran out of memory", got=sentence[:200], hint="Try --batch-size 64."
        )
    return ProblemError(
        f"{name}: PyTorch raised {type(error).__name__}: {sentence[:300]}",
        expected="a module that runs, and differentiates, for these parameters and data",
    )
