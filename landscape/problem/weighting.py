r"""Weights of examples: the mean of a quantity is :math:`\sum_i w_i q_i / \sum_i w_i`.

An example of weight 0 is left out before anything is computed: 0 times what is not finite would be NaN. Equal
weights are no weights, so that w and c·w are the same problem; others are scaled to a mean of 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import program
from landscape.errors import ConfigurationError, ProblemError
from landscape.problem.metric import not_a_function
from landscape.problem.probing import probe, users_errors
from landscape.problem.subset import check_subset
from landscape.problem.values import one_value_each
from landscape.trees import array_digest

if TYPE_CHECKING:
    from landscape.problem.splits import Split

__all__ = ["Weighting"]

_HEAVY = 0.45  # effective share of the examples below which intervals over them are not to be trusted

PyTree = Any
WeightFunction = Callable[[PyTree], jax.Array]
PerExample = Callable[[PyTree, PyTree], jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Weighting:
    """The weights of the examples of a split, as its means need them.

    Attributes
    ----------
    total : int
        Examples of the split.
    numbers : numpy.ndarray of int [n] or None
        Those that count, which have a positive weight, in the order of the split; None if all do.
    weights : numpy.ndarray [n] or None
        Their weights in float64, of mean 1; None if all are equal.
    scale : float
        Mean of the user's weights over all examples.
    plain : bool
        Whether all examples of the split count the same.
    """

    total: int
    numbers: np.ndarray | None = None
    weights: np.ndarray | None = None
    scale: float = 1.0
    plain: bool = True

    @property
    def count(self) -> int:
        """How many examples count."""
        return self.total if self.numbers is None else len(self.numbers)

    @property
    def shares(self) -> np.ndarray | None:
        """The weights [n], of sum 1; None if all are equal."""
        return None if self.weights is None else self.weights / self.weights.sum()

    @property
    def effective(self) -> float:
        """The number of equal weights whose mean would vary as much, (Σ w)² / Σ w² (Kish 1965)."""
        if self.weights is None:
            return float(self.count)
        return float(self.weights.sum() ** 2 / np.square(self.weights).sum())

    @property
    def facts(self) -> dict[str, Any]:
        """What the statistics of results say of the weights; nothing where all examples count the same."""
        if self.plain:
            return {}
        return {"weights": {"examples": self.count, "effective_examples": self.effective}}

    def cautions(self, split: str) -> tuple[str, ...]:
        """Return the warning that intervals over examples are too short where few carry most of the weight.

        With log-normal weights, and a loss that grows with them, a stated .95 covered .80 of 80 examples and
        .86 of 400; with weights of sequences of 1 to 64 tokens .95 and more. Their effective shares of the
        examples are .37, and .5 to .75.
        """
        if self.effective >= _HEAVY * self.count:
            return ()
        effective = f"{self.effective:,.4g} of {self.count:,}"
        return (
            f"{split}: few examples carry most of the weight (effective number {effective}): intervals over "
            "examples may be too short",
        )

    @property
    def digest(self) -> str:
        """Digest of numbers and weights; empty where all examples count the same."""
        parts = (self.numbers, self.weights)
        return " ".join(array_digest(part) for part in parts if part is not None)

    def counted(self, values: np.ndarray) -> np.ndarray:
        """Return the values [..., n] of the examples that count, of those [..., N] of all."""
        return values if self.numbers is None else values[..., self.numbers]

    def mean(self, values: np.ndarray) -> float:
        """Return the mean in float64 of the values [N] of all; infinities and NaN stay what they are."""
        return float(self.over(self.counted(values)))

    def standard_error(self, values: np.ndarray) -> float:
        """Return the standard error of the mean of the values [N] of all, see `error_over`."""
        return self.error_over(self.counted(values))

    def over(self, counted: np.ndarray) -> np.ndarray:
        """Return the means [...] in float64 of values [..., n] of the examples that count."""
        with np.errstate(invalid="ignore", over="ignore"):  # infinities of both signs; marked in results
            if self.weights is None:
                return np.asarray(np.mean(counted, axis=-1, dtype=np.float64))
            total = np.sum(self.weights * counted.astype(np.float64), axis=-1)
            return np.asarray(total / self.weights.sum())

    def error_over(self, counted: np.ndarray) -> float:
        r"""Return the standard error of the mean of values [n] of the examples that count; NaN for one.

        Of a ratio of means, by the delta method, with the example as what is sampled:
        :math:`\sqrt{\sum_i w_i^2 (q_i - \bar q)^2 / (\sum_i w_i)^2 \cdot n / (n - 1)}` (Cochran, 1977.
        Sampling techniques, section 2.11).
        """
        wide, count = counted.astype(np.float64), len(counted)
        if count < 2:
            return float("nan")
        with np.errstate(invalid="ignore", over="ignore"):
            if self.weights is None:
                return float(np.std(wide, ddof=1) / np.sqrt(count))
            away = self.weights * (wide - self.over(wide))
            spread = np.sqrt(np.square(away).sum() / (count - 1))
            return float(spread * np.sqrt(count) / self.weights.sum())

    def of(self, subset: np.ndarray | None, split: str) -> Weighting:
        """Return the weights of some examples, by their numbers in the split, in that order.

        Raises
        ------
        ConfigurationError
            If they are not examples of the split, or all weigh 0.
        """
        if subset is None:
            return self
        check_subset(subset, self.total, split)
        if self.plain:
            return dataclasses.replace(self, numbers=subset)
        every = np.zeros(self.total)
        every[slice(None) if self.numbers is None else self.numbers] = (
            1.0 if self.weights is None else self.weights
        )
        if not every[subset].any():
            raise ConfigurationError(
                "subset: all of its examples weigh 0",
                expected=f"an example of {split} with a positive weight",
                got=f"{len(subset):,} examples",
                hint="Choose others, or leave it out for all.",
            )
        return _weighting(self.total, subset, every[subset])


def _weighting(total: int, numbers: np.ndarray, weights: np.ndarray) -> Weighting:
    """Return the weighting of examples by their numbers: without those of weight 0, scaled."""
    weights = weights / weights.max()  # their sum could overflow, and the least of them be 0 beside it
    positive = weights > 0
    numbers, weights = numbers[positive], weights[positive]
    equal = bool((weights == weights[0]).all())
    whole = len(numbers) == total and np.array_equal(numbers, np.arange(total))
    return Weighting(
        total=total,
        numbers=None if whole else numbers,
        weights=None if equal else weights / weights.mean(),
        plain=whole and equal,
    )


def weighting_of(function: WeightFunction | None, split: Split, *, size: int) -> Weighting:
    """Return the weights of a split by the user's function, checked.

    They are computed once, in float64 and in batches of one size, whatever an analysis asks for: no weight
    depends on the precision or the batch size of a measurement.

    Parameters
    ----------
    function : callable or None
        ``weights(batch) -> [B]``; None for equal ones.
    split : Split
        The data.
    size : int
        Examples per batch.

    Raises
    ------
    ProblemError
        If a weight is negative or not finite, all are 0, there is not one per example, or they are not a
        deterministic function of single examples.
    """
    if function is None:
        return Weighting(split.num_examples)
    run = program(functools.partial(_checked_shape, function))
    with _users(), jax.enable_x64(True):
        found = [np.asarray(run(batch))[:count] for batch, count in split.padded_batches(size)]
    values = np.concatenate(found).astype(np.float64)
    _check_values(values, split.name)
    numbers = np.arange(len(values))
    few = split.head(4, numbers[values > 0])
    with _users():
        probe(lambda _, batch: {"weights": _checked_shape(function, batch)}, (), few)
    scale = float(values.max() * (values / values.max()).mean())
    return dataclasses.replace(_weighting(len(values), numbers, values), scale=scale)


def _users() -> contextlib.AbstractContextManager[None]:
    """Turn what the user's function raises into an error that says so."""
    return users_errors(
        "Weights are a function of the data alone. The traceback says where it began (--debug).",
        what="the problem's weights",
        expected="weights(batch) -> [B] for these data",
    )


def _checked_shape(function: WeightFunction, batch: PyTree) -> jax.Array:
    return one_value_each("weights", function(batch), jax.tree.leaves(batch)[0].shape[0])


def _check_values(values: np.ndarray, split: str) -> None:
    """Refuse weights that cannot be those of a mean."""
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        place = int(bad.argmax())
        raise ProblemError(
            f"weights: not finite or negative for {int(bad.sum()):,} examples of {split}",
            expected="a finite number of 0 or more for each example",
            got=f"{values[place]:.6g} for example {place}",
            hint="Give padding the weight 0, and every other example a positive one.",
        )
    if not values.any():
        raise ProblemError(
            f"weights: all {len(values):,} examples of {split} weigh 0",
            expected="at least one positive weight",
            hint="A mean over no example is no number: leave the split out, or weigh its examples.",
        )


def weighed_loss(loss: PerExample, function: WeightFunction, mean: float, spare: PyTree) -> PerExample:
    r"""Return the loss whose plain mean over any batch estimates the weighted mean of the split, unbiased.

    It is :math:`w_i \ell_i / \bar w` with the mean weight of the whole split. The quotient of sums over a
    batch would be biased, and its mean over the batches of an epoch not the mean of the split.

    Parameters
    ----------
    loss, function : callable
        The per-example loss, and the weights.
    mean : float
        Mean weight of the split, examples of weight 0 included.
    spare : pytree
        One example of the split that counts: it stands where an example weighs 0, whose loss need not be
        finite and whose gradient would be NaN even at weight 0.
    """

    def weighed(params: PyTree, batch: PyTree) -> jax.Array:
        weights = _checked_shape(function, batch)
        counts = weights > 0

        def real(leaf: jax.Array, other: np.ndarray) -> jax.Array:
            flags = counts.reshape(-1, *(1 for _ in leaf.shape[1:]))
            return jnp.where(flags, leaf, jnp.asarray(other, leaf.dtype))

        values = loss(params, jax.tree.map(real, batch, spare))
        return values * (weights / mean).astype(values.dtype)

    return weighed


def check_weights(weights: object, *losses_of_batches: object) -> None:
    """Refuse weights that are no function, or that losses of whole batches would not know.

    Raises
    ------
    ProblemError
        Saying which.
    """
    if weights is None:
        return
    if not callable(weights):
        raise not_a_function("weights: not a function", "weights(batch) -> [B]", weights)
    if any(function is not None for function in losses_of_batches):
        raise ProblemError(
            "weights: population_loss and batched_loss return means over a batch that do not know them",
            expected="weights and a per-example loss alone",
            hint="Leave population_loss and batched_loss out: the loss is then mapped over the networks.",
        )
