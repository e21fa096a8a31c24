"""Points on the straight path between two networks, and the problem's losses at them."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import compile_seconds, device_memory, on_device, precision
from landscape.connectivity.refinement import REFINEMENTS, refine
from landscape.connectivity.renormalisation import Renormaliser, between
from landscape.errors import ConfigurationError, ProblemError
from landscape.network import refuse_statistics, statistics_in
from landscape.problem import per_example_along
from landscape.trees import sealed

if TYPE_CHECKING:
    from landscape.compute import Progress
    from landscape.connectivity.endpoints import Endpoint, Pair
    from landscape.connectivity.renormalisation import Statistics
    from landscape.network import Subject
    from landscape.problem import Problem

PyTree = Any
# By a network's key: [split][metric] to the values of every example.
Ends = dict[Any, dict[str, dict[str, np.ndarray]]]

RECOMPUTE, KEEP, NONE = "recompute", "keep", "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The splits, precision and treatment of statistics of an evaluation along the path."""

    split: str
    splits: tuple[str, ...]
    alphas: np.ndarray
    refine: bool
    batch_size: int | None
    dtype: str | None
    batch_stats: str
    allow_nonfinite: bool
    repair: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Losses along the path, and what they cost.

    Attributes
    ----------
    losses : dict
        ``[split][metric]`` to means [T].
    values : numpy.ndarray [T, N]
        Loss of each example of the plan's split.
    refined_alphas, refined_losses : numpy.ndarray [R]
        Further points around the maxima, and their losses on the plan's split.
    batch_stats : str
        How the statistics of normalisation layers were treated.
    dtypes : str
        Floating types of the parameters on the device.
    evaluations, examples : int
        Evaluations of a network on a split, and of a network on an example.
    seconds : dict
        Compilation and the rest, apart.
    stored : dict
        Where statistics were recomputed, the endpoints' losses with those that were stored.
    renormalised : dict
        Which layers were renormalised, and what it cost; empty where none was asked for.
    """

    losses: dict[str, dict[str, np.ndarray]]
    values: np.ndarray
    refined_alphas: np.ndarray
    refined_losses: np.ndarray
    batch_stats: str
    dtypes: str
    evaluations: int
    examples: int
    seconds: dict[str, float]
    stored: dict[str, list[float]]
    renormalised: dict[str, Any]


@jax.jit
def _between(a: PyTree, b: PyTree, alpha: np.ndarray) -> PyTree:
    def point(x: jax.Array, y: jax.Array) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        wide = jnp.promote_types(x.dtype, jnp.float32)  # a step in half precision would be a staircase
        u, v = x.astype(wide), y.astype(wide)
        return (u + alpha * (v - u)).astype(x.dtype)

    return jax.tree.map(point, a, b)


def _on_line(ends: tuple[PyTree, PyTree], alpha: jax.Array) -> PyTree:
    return _between(*ends, alpha)


class Line:
    """The straight path ``a + α(b − a)``, exactly `a` at 0 and exactly `b` at 1.

    Leaves of whole numbers stay those of `a` but for the far end.
    """

    def __init__(self, a: PyTree, b: PyTree, dtype: str | None) -> None:
        a, b = sealed(a), sealed(b)
        self.a = jax.tree.map(lambda x, y: _matched(x, y, dtype), a, b)
        self.b = jax.tree.map(lambda x, y: _matched(x, y, dtype), b, a)

    def __call__(self, alpha: float) -> PyTree:
        """Return the network at `alpha`."""
        if alpha in (0, 1):
            return self.b if alpha else self.a
        # A NumPy scalar goes into the program as it is; jnp.asarray would run two of its own for it.
        return _between(self.a, self.b, np.asarray(alpha, jnp.result_type(float)))


def _matched(leaf: Any, other: Any, dtype: str | None) -> jax.Array:
    """Return a leaf as `dtype`, or as the common type of both ends."""
    array = on_device(leaf)
    if dtype is None and jnp.issubdtype(array.dtype, jnp.floating):
        kind = jnp.promote_types(array.dtype, jax.dtypes.canonicalize_dtype(np.asarray(other).dtype))
        return on_device(array, kind)
    return on_device(array, dtype)


class _Evaluator:
    """Evaluates points of one path, and counts what it costs."""

    def __init__(
        self,
        problem: Problem,
        pair: Pair,
        plan: Plan,
        ends: Ends | None = None,
        *,
        renormaliser: Renormaliser | None = None,
    ) -> None:
        self.problem = problem
        self.plan = plan
        self.renormaliser = renormaliser
        self._keys = {0.0: pair.keys[0], 1.0: pair.keys[1]}
        self._ends = {} if ends is None else ends
        self.treatment = treatment(problem, pair.a, plan.batch_stats)
        self.line = Line(pair.a.params, pair.b.params, plan.dtype)
        self.stats = None
        if pair.a.batch_stats is not None:
            self.stats = Line(pair.a.batch_stats, pair.b.batch_stats, plan.dtype)
        self.evaluations = 0
        self.examples = 0

    def point(self, alpha: float) -> PyTree:
        """Return what the loss takes first at `alpha`."""
        params = self.line(alpha)
        stats = None if self.stats is None else self.stats(alpha)
        if self.renormaliser is not None and 0 < alpha < 1:
            params = self.renormaliser.renormalised(params, stats, between(alpha, *self._of_ends))
        if stats is None:
            return params
        if self.treatment == RECOMPUTE:
            stats = self.problem.recompute_stats(params, stats, batch_size=self.plan.batch_size)
        return params, stats

    @functools.cached_property
    def _of_ends(self) -> list[Statistics]:
        """The statistics of hidden units at both ends."""
        if self.renormaliser is None:
            return []
        stats = [None if self.stats is None else self.stats(end) for end in (0.0, 1.0)]
        return [
            self.renormaliser.end(self._keys[end], self.line(end), found)
            for end, found in zip((0.0, 1.0), stats, strict=True)
        ]

    def along(self, alphas: np.ndarray) -> Iterator[dict[str, dict[str, np.ndarray]]]:
        """Yield the values at points, those inside the path several per program where that is faster.

        The first is an end: the loss is checked there.
        """
        several: Iterator[dict[str, dict[str, np.ndarray]]] | None = None
        for number, alpha in enumerate(alphas):
            if number == 1:
                several = self._several(alphas)
            if several is None or alpha in (0, 1):
                yield self.values(float(alpha))
                continue
            self.evaluations += len(self.plan.splits)
            self.examples += sum(map(self.problem.num_examples, self.plan.splits))
            yield next(several)

    def _several(self, alphas: np.ndarray) -> Iterator[dict[str, dict[str, np.ndarray]]] | None:
        """Return the values inside the path, several points per program; None where that helps nothing."""
        if self.renormaliser is not None or self.stats is not None:
            return None
        return per_example_along(
            self.problem,
            _on_line,
            (self.line.a, self.line.b),
            np.array([alpha for alpha in alphas if 0 < alpha < 1], jnp.result_type(float)),
            splits=self.plan.splits,
            batch_size=self.plan.batch_size,
            dtype=self.plan.dtype,
        )

    def values(self, alpha: float) -> dict[str, dict[str, np.ndarray]]:
        """Return ``[split][metric]`` to the values of every example; an end's are kept for other pairs."""
        key = self._keys.get(alpha)
        if key is not None and key in self._ends:
            return self._ends[key]
        point = self.point(alpha)
        found = {split: self.per_example(point, split) for split in self.plan.splits}
        if key is not None:
            self._ends[key] = found
        return found

    def per_example(self, point: PyTree, split: str) -> dict[str, np.ndarray]:
        """Return the values of every example of `split`."""
        self.evaluations += 1
        self.examples += self.problem.num_examples(split)
        return self.problem.per_example(point, split, batch_size=self.plan.batch_size, dtype=self.plan.dtype)

    def stored_losses(self) -> dict[str, list[float]]:
        """Return the endpoints' losses with stored statistics, where others were computed."""
        if self.stats is None or self.treatment != RECOMPUTE:
            return {}
        ends = [(self.line(alpha), self.stats(alpha)) for alpha in (0.0, 1.0)]
        weighting = self.problem.weighting(self.plan.split)
        losses = [weighting.mean(self.per_example(end, self.plan.split)["loss"]) for end in ends]
        return {"endpoint_losses_with_stored_statistics": losses}

    def dtypes(self) -> str:
        """Return the floating types of the parameters on the device."""
        kinds = {x.dtype.name for x in jax.tree.leaves(self.line.a) if jnp.issubdtype(x.dtype, jnp.inexact)}
        return ", ".join(sorted(kinds)) or "none"


def treatment(problem: Problem, end: Endpoint | Subject, asked: str) -> str:
    """Return how batch statistics are treated: ``"none"`` for a model without them.

    Parameters
    ----------
    problem : Problem
        Recomputes them, if it can.
    end : Endpoint or Subject
        A network: its name and its statistics.
    asked : {"recompute", "keep"}
        What the caller wants.

    Raises
    ------
    ProblemError
        If they should be recomputed and the problem cannot, or they stand among the weights.
    """
    inside = statistics_in(problem, end.params)
    if inside and asked == RECOMPUTE:
        refuse_statistics(end.name, inside)
    if end.batch_stats is None:
        return asked if inside else NONE
    if asked == RECOMPUTE and problem.update_stats is None:
        raise ProblemError(
            f"{end.name}: has batch statistics, and the problem cannot recompute them on the path",
            expected="Problem(update_stats=…)",
            got="a problem without update_stats",
            hint="Give update_stats, or interpolate the stored statistics with batch_stats='keep'.",
        )
    return asked


def evaluate(
    problem: Problem,
    pair: Pair,
    plan: Plan,
    progress: Progress,
    *,
    ends: Ends | None = None,
    renormaliser: Renormaliser | None = None,
    label: str = "loss along the path",
) -> Curve:
    """Return the losses along the path, at one point only if the networks are identical.

    Parameters
    ----------
    problem, pair, plan, progress : Problem, Pair, Plan, Progress
        What is evaluated, and who is told of every point.
    ends : dict, optional
        Values at the ends of other paths by the pair's `keys`: those that are there are not evaluated again,
        and those of this path are added.
    renormaliser : Renormaliser, optional
        That of other paths, where the plan is to renormalise; a new one unless given.
    label : str
        What the progress calls it.

    Raises
    ------
    ProblemError, DeviceMemoryError
        From the problem.
    """
    size = problem.resolve_batch_size(plan.split, plan.batch_size)
    alphas = plan.alphas[:1] if pair.identical else plan.alphas
    refined = 2 * REFINEMENTS if plan.refine and not pair.identical else 0
    progress.start(label, total=len(alphas) + refined)
    progress.note("compiling")
    started = time.perf_counter()
    try:
        with precision(plan.dtype), device_memory(size), compile_seconds() as compiling:
            renormaliser = renormaliser or renormaliser_for(problem, pair.a, plan)
            run = _Evaluator(problem, pair, plan, ends, renormaliser=renormaliser)
            losses, values = _grid(run, alphas, progress)
            extra: dict[float, float] = {}
            if refined and np.isfinite(losses[plan.split]["loss"]).all():
                extra = _refined(run, losses[plan.split]["loss"], progress)
            stored = run.stored_losses()
    finally:
        progress.stop()
    elapsed = time.perf_counter() - started
    repeats = len(plan.alphas) // len(alphas)
    return Curve(
        losses={s: {k: np.tile(v, repeats) for k, v in found.items()} for s, found in losses.items()},
        values=values,
        refined_alphas=np.array(sorted(extra), np.float64),
        refined_losses=np.array([extra[alpha] for alpha in sorted(extra)], np.float64),
        batch_stats=run.treatment,
        dtypes=run.dtypes(),
        evaluations=run.evaluations,
        examples=run.examples,
        seconds={"compile": sum(compiling), "run": max(0.0, elapsed - sum(compiling))},
        stored=stored,
        renormalised={} if renormaliser is None else renormaliser.summary,
    )


def renormaliser_for(problem: Problem, end: Endpoint, plan: Plan) -> Renormaliser | None:
    """Return what renormalises networks on paths from `end`; None where the plan is to leave them.

    Raises
    ------
    ConfigurationError
        If batch statistics are kept: they would undo it.
    ProblemError
        If a hidden layer cannot be renormalised, by name.
    """
    if not plan.repair:
        return None
    if treatment(problem, end, plan.batch_stats) == KEEP:
        raise ConfigurationError(
            "repair: with batch_stats='keep' normalisation layers keep statistics that are not their own",
            expected="batch_stats='recompute'",
        )
    stats = end.batch_stats
    return Renormaliser(problem, end.params, stats, batch_size=plan.batch_size, dtype=plan.dtype)


def _grid(
    run: _Evaluator, alphas: np.ndarray, progress: Progress
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    """Return the mean of every metric on every split, and the split's losses example by example."""
    means: dict[str, dict[str, list[float]]] = {split: {} for split in run.plan.splits}
    weightings = {split: run.problem.weighting(split) for split in run.plan.splits}
    values: np.ndarray | None = None
    for t, at_point in enumerate(run.along(alphas)):
        for split, found in at_point.items():
            for key, value in found.items():
                means[split].setdefault(key, []).append(weightings[split].mean(value))
            if split == run.plan.split:
                if values is None:
                    values = np.empty((len(alphas), len(found["loss"])), found["loss"].dtype)
                values[t] = found["loss"]
        progress.advance(1, loss=means[run.plan.split]["loss"][-1])
    losses = {s: {k: np.array(v) for k, v in found.items()} for s, found in means.items()}
    return losses, np.empty((0, 0)) if values is None else values


def _refined(run: _Evaluator, losses: np.ndarray, progress: Progress) -> dict[float, float]:
    """Return losses at further points around the grid's maxima."""
    found: dict[float, float] = {}
    weighting = run.problem.weighting(run.plan.split)

    def loss(alpha: float) -> float:
        if alpha not in found:
            found[alpha] = weighting.mean(run.per_example(run.point(alpha), run.plan.split)["loss"])
        progress.advance(1, loss=found[alpha])
        return found[alpha]

    refine(loss, run.plan.alphas, losses)
    return found
