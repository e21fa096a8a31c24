"""Measures the barrier between two networks: one straight path, refined around its maximum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.compute import Progress, shown
from landscape.connectivity import barrier_interval, endpoints, measure
from landscape.connectivity.aligning import HowAligned, aligned_barrier
from landscape.connectivity.barrier import Barrier
from landscape.network import bar_label
from landscape.problem import problem_for
from landscape.results import check_evaluation, check_seed, check_whole

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["loss_barrier"]


def loss_barrier(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    a: Any,
    b: Any,
    *,
    num_points: int = 25,
    split: str = "train",
    splits: Iterable[str] | None = None,
    refine: bool = True,
    seed: int = 0,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    repair: bool = False,
    align: str | None = None,
    symmetry: str | Sequence[str] = "permutation",
    allow_nonfinite: bool = False,
    names: tuple[str, str] | None = None,
    progress: Progress | None = None,
) -> Barrier:
    r"""Measure the loss along the straight path between two networks, and its barrier.

    The path is :math:`\theta(\alpha) = a + \alpha (b - a)` at `num_points` evenly spaced α, exactly
    `a` at 0 and exactly `b` at 1, and L(α) the mean loss of θ(α) over a split. Two barriers are
    common and both are given: above the chord, :math:`\max_\alpha L(\alpha) - [(1-\alpha) L(0) +
    \alpha L(1)]` [1]_, and above the mean, :math:`\max_\alpha L(\alpha) - \frac12 [L(0) + L(1)]`
    [2]_ [3]_. They differ when the ends differ. Maxima include the ends.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the first checkpoint names.
    a, b : Checkpoint, path of one, or pytree
        The networks at α = 0 and α = 1. With batch statistics a bare tree is the pair
        ``(params, batch_stats)``.
    num_points : int
        Points of the grid, at least 3 (Frankle et al. use 30, git-re-basin 25).
    split : str
        The split of the two barriers, their intervals and the refinement.
    splits : iterable of str, optional
        Splits evaluated along the path; all of the problem's by default.
    refine : bool
        Whether to evaluate 8 more points on `split` around the maximum of each definition. They are
        kept apart from the grid.
    seed : int
        Seed of the resampling.
    num_resamples : int
        Paired resamples of the examples of `split` for the interval.
    confidence : float
        Coverage of the interval.
    batch_size : int, optional
        Examples per batch.
    dtype : {"float32", "float64"}, optional
        ``"float32"`` or ``"float64"`` on the device, local to the call. By default that of the weights,
        but float64 weights are measured in float32 unless float64 is asked for.
    batch_stats : {"recompute", "keep"}
        For models with batch statistics: recompute them on the training split at every point, the
        ends included, or interpolate the stored ones.
    repair : bool
        Whether to renormalise the networks inside the path (REPAIR [4]_): each hidden unit gets the mean and
        standard deviation of its pre-activations over the training data that lie between those of the ends at
        α. Units under normalisation layers get them by the recomputed statistics, all others by a scale
        and a shift in their kernel and bias. The ends stay as they are.
    align : {"weights", "activations", "barrier"}, optional
        Bring the second network to the first, as `landscape.align` does by this method on `split`, and
        measure the path between the two then; what the barrier was before is in the result as well.
    symmetry : str or sequence of str
        What `align` may use: ``"permutation"``, ``"scale"``.
    allow_nonfinite : bool
        Whether to compute with NaN or infinite weights; the status is then ``"non-finite"``.
    names : tuple of str, optional
        What to call the two networks; by default their files.
    progress : Progress, optional
        Is told of every point; by default a bar where standard error is a terminal.

    Returns
    -------
    Barrier
        With status ``"incomplete"`` if a loss overflows on a part of the path.

    Raises
    ------
    ArchitectureMismatchError
        If the networks differ in a path or shape.
    NonFiniteError
        If a weight is NaN or infinite.
    ProblemError
        If the loss is not a deterministic function of single examples, a split is missing, or a hidden layer
        cannot be renormalised: it has no bias, say, or is used twice.
    DeviceMemoryError
        If a batch does not fit the device.
    ConfigurationError
        If a setting is invalid.

    Notes
    -----
    Costs `num_points` evaluations of every split and 16 of `split` for the refinement, and with `repair` at
    most one pass over the training data per hidden layer and point. The losses of
    all examples of `split` along the grid are held on the host. The interval is simultaneous over
    the path: with d̂(α) the mean excess over the baseline, se(α) its standard error over examples,
    and c a quantile over paired resamples of ``max_α |d*(α) − d̂(α)| / se(α)``, it is
    ``[max_α(d̂ − c·se)₊, max_α(d̂ + c·se)]``. A finite grid bounds the supremum from below. Of weighted
    examples losses are weighted means, and every resample is divided by a standard error of its own
    (bootstrap-t), since deviations of such ratios are skewed.

    References
    ----------
    .. [1] Entezari et al., 2022. The role of permutation invariance in linear mode connectivity of
       neural networks. arXiv:2110.06296.
    .. [2] Frankle et al., 2020. Linear mode connectivity and the lottery ticket hypothesis.
       arXiv:1912.05671.
    .. [3] Ainsworth et al., 2023. Git re-basin. arXiv:2209.04836.
    .. [4] Jordan et al., 2022. REPAIR: renormalizing permuted activations for interpolation repair.
       arXiv:2211.08403.

    Examples
    --------
    A double well has its barrier half way:

    >>> import numpy as np
    >>> from landscape import Problem, loss_barrier
    >>> def loss(params, batch):
    ...     return (params["w"] ** 2 - 1) ** 2 + 0 * batch
    >>> problem = Problem(loss, train=np.zeros(4, np.float32))
    >>> barrier = loss_barrier(problem, {"w": np.float32(-1)}, {"w": np.float32(1)})
    >>> barrier.barrier_above_chord, barrier.alpha_max["above_chord"]
    (1.0, 0.5)
    """
    check_whole("num_points", num_points, 3)
    check_seed(seed)
    check_evaluation(dtype, batch_stats)
    barrier_interval.check_settings(num_resamples, confidence)
    given = (endpoints.read(a), endpoints.read(b))
    problem = problem_for(problem, *given)
    # What a barrier costs depends on these.
    path: dict[str, Any] = {"num_points": num_points, "split": split, "refine": refine, "dtype": dtype}
    path |= {"batch_size": batch_size, "batch_stats": batch_stats, "repair": repair}
    path |= {"allow_nonfinite": allow_nonfinite}
    resamples: dict[str, Any] = {"seed": int(seed), "num_resamples": int(num_resamples)}
    resamples["confidence"] = float(confidence)
    if align is not None:
        how = HowAligned(method=align, symmetry=symmetry, seed=seed, split=split, batch_size=batch_size)
        same = {**path, **resamples, "splits": splits, "names": names, "progress": progress}
        return aligned_barrier(loss_barrier, problem, given, how, **same)
    pair = endpoints.make_pair(given, names=names, problem=problem, allow_nonfinite=allow_nonfinite)
    from landscape.connectivity import line
    from landscape.connectivity.cost import barrier_cost

    plan = line.Plan(
        split=split,
        splits=problem.splits_with(split, splits),
        alphas=np.linspace(0.0, 1.0, num_points),
        refine=refine,
        batch_size=batch_size,
        dtype=dtype,
        batch_stats=batch_stats,
        repair=bool(repair),
        allow_nonfinite=allow_nonfinite,
    )
    progress = shown(progress)
    label = bar_label(progress, "loss along the path", lambda: barrier_cost(problem, *given, **path))
    curve = line.evaluate(problem, pair, plan, progress, label=label)
    measured = measure.Measurement(problem, pair, plan, curve)
    return Barrier(**measured.fields(**resamples))
