"""Losses of PyTorch as values per example."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from landscape.errors import ProblemError

_MODULE = ("module", "model", "net", "network")


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss taken apart.

    Attributes
    ----------
    whole : callable
        ``whole(module, batch) -> [B]``.
    of_output : callable or None
        ``of_output(output, target) -> [B]``; None where the loss calls the module itself.
    likelihood : str or None
        The distribution of labels whose negative log-likelihood it is, where that is known.
    notes : tuple of str
        What a reader should know.
    classes_first : bool
        Whether outputs count classes along axis 1, as PyTorch's losses of classes do, and not along the last.
    """

    whole: Callable[[Any, Any], Any]
    of_output: Callable[[Any, Any], Any] | None
    likelihood: str | None
    notes: tuple[str, ...]
    classes_first: bool = False


def loss_of(loss: Any) -> Loss:
    """Return a loss as a function per example.

    A loss module, and a function with an argument ``reduction``, are taken without their reduction; what
    they then give per pixel or token is averaged within an example, over those that are not ignored.

    Raises
    ------
    ProblemError
        If it is neither a loss module nor a function.
    """
    if isinstance(loss, nn.Module):
        return _of_module(loss)
    if not callable(loss):
        raise ProblemError(
            "loss: not a function",
            expected="loss(output, target), a loss module (nn.CrossEntropyLoss()), or loss(module, batch)",
            got=repr(loss)[:80],
        )
    names = _parameters(loss)
    if names and names[0] in _MODULE:
        return Loss(loss, None, None, ())
    plain = loss
    if "reduction" in names:
        plain = functools.partial(loss, reduction="none")
    classes = loss in (nn.functional.cross_entropy, nn.functional.nll_loss)
    likelihood = "categorical" if loss is nn.functional.cross_entropy else None
    ignored = -100 if classes else None  # PyTorch's default
    name = getattr(loss, "__name__", "loss")
    return _of_output(plain, name, likelihood, (), ignored=ignored, classes_first=classes)


def _of_module(loss: Any) -> Loss:
    name = type(loss).__name__
    weighted = getattr(loss, "weight", None) is not None
    notes: tuple[str, ...] = ()
    plain = loss
    if hasattr(loss, "reduction"):
        plain = copy.copy(loss)
        plain.reduction = "none"
    if weighted:
        notes = (f"{name}: class weights multiply each example; the mean is over examples, not over weights",)
    categorical = type(loss) is nn.CrossEntropyLoss and not weighted and not loss.label_smoothing
    likelihood = "categorical" if categorical else None
    ignored = getattr(loss, "ignore_index", None)
    classes = isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))
    return _of_output(plain, name, likelihood, notes, ignored=ignored, classes_first=classes)


def _of_output(
    function: Any,
    name: str,
    likelihood: str | None,
    notes: tuple[str, ...],
    *,
    ignored: int | None,
    classes_first: bool,
) -> Loss:
    def of_output(output: Any, target: Any) -> Any:
        values = function(output, target)
        numbers = isinstance(values, torch.Tensor) and values.ndim and values.shape == target.shape
        if ignored is None or not numbers:  # targets that are probabilities ignore nothing
            return per_example(name, values, output)
        counted = target != ignored
        if values.ndim == 1:
            _check_counted(name, counted, ignored)
        else:
            values = values.flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)
        return per_example(name, values, output)

    def whole(module: Any, batch: Any) -> Any:
        inputs, target = pair(name, batch)
        return of_output(module(inputs), target)

    return Loss(whole, of_output, likelihood, notes, classes_first)


def _check_counted(name: str, counted: Any, ignored: int) -> None:
    """Refuse examples that the loss ignores as a whole: the mean over examples would count them as zero."""
    left = int((~counted).sum())
    if left:
        raise ProblemError(
            f"{name}: ignores {left} examples of a batch, whose target is {ignored} (ignore_index)",
            expected="examples that the loss counts",
            hint="Leave them out of the data.",
        )


def pair(name: str, batch: Any) -> tuple[Any, Any]:
    """Return (inputs, targets) of a batch."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        held = (
            f"a {type(batch).__name__} of {len(batch)}"
            if isinstance(batch, Sequence)
            else type(batch).__name__
        )
        raise ProblemError(
            f"{name}: a loss of (output, target) needs data in pairs",
            expected="train=(inputs, targets)",
            got=held,
            hint="Write loss(module, batch) -> [B] for anything else; call its first argument module.",
        )
    return batch[0], batch[1]


def per_example(name: str, values: Any, output: Any) -> Any:
    """Return the mean of a loss's values within each example.

    Raises
    ------
    ProblemError
        If they are not values of single examples.
    """
    count = output.shape[0] if isinstance(output, torch.Tensor) and output.ndim else None
    return checked(name, values, count, reduce=True)


def checked(name: str, values: Any, count: int | None, *, reduce: bool = False) -> Any:
    """Return the values [B] of a loss or a metric, averaged within each example if asked for."""
    if not isinstance(values, torch.Tensor):
        raise _not_per_example(name, count, type(values).__name__)
    if values.ndim == 0:
        raise ProblemError(
            f"{name}: returns one number for the whole batch, a mean or a sum",
            expected="one value per example",
            got="a tensor without axes",
            hint="Give the loss without its reduction: reduction='none', and leave out .mean().",
        )
    if count is not None and values.shape[0] != count:
        raise _not_per_example(name, count, f"shape {tuple(values.shape)}")
    if values.ndim == 1:
        return values
    if not reduce:
        raise _not_per_example(name, count, f"shape {tuple(values.shape)}")
    return values.flatten(1).mean(1)


def _not_per_example(name: str, count: int | None, got: str) -> ProblemError:
    return ProblemError(
        f"{name}: must give one value per example",
        expected=f"a tensor of shape ({count},)" if count is not None else "a tensor of shape (B,)",
        got=got,
        hint="Return the per-example values; the mean over examples is taken for you.",
    )


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # functions written in C need not have a signature
        return []
