r"""Curvature without gradients: derivatives of the loss smoothed by noise on the parameters.

The smoothed loss :math:`L_\sigma(\theta) = E\,L(\theta + \sigma\varepsilon)`, ε standard normal in the n free
coordinates, has derivatives whatever L is. Stein's identities [1]_ [2]_ give them as means of values of L.
With mirrored pairs [3]_, the first difference :math:`d = L(\theta+\sigma\varepsilon) -
L(\theta-\sigma\varepsilon)` and the second :math:`w = L(\theta+\sigma\varepsilon) +
L(\theta-\sigma\varepsilon) - 2L(\theta)` of each:

1. *Gradient*: :math:`\nabla L_\sigma = E[d\,\varepsilon] / 2\sigma`.
2. *Diagonal* of the Hessian: :math:`E[(w - c)(\varepsilon^2 - 1)] / 2\sigma^2`.
3. *Trace*, Gaussian: :math:`E[(w - c)(\|\varepsilon\|^2 - n)] / 2\sigma^2`; over the coordinates of a layer,
   the share of that layer. Each pair is evaluated at two lengths (`landscape.curvature.smoothed_run`).
4. *Trace*, sphere: :math:`\frac{2n}{r^2}(E\,L(\theta + u) - L(\theta))`, u uniform on the sphere of radius r:
   the mean of w times :math:`n/r^2`. It is the Laplacian of another smoothing of L, equal on quadratics, with
   less variance: none where the Hessian is a multiple of the identity.

Any constant c leaves the means as they are, since ε² − 1 has mean 0. Beside the 2L(θ) that is in w, the mean
of w over a pilot is taken off: on a quadratic w is σ² times the trace and some noise, and without c that
would be multiplied by ε² − 1 as well.

The Gaussian forms do not depend on L(θ), which drops out. The sphere does: where the loss makes steps, it
holds the height of the very point θ, which selection on the same examples has favoured.

The sphere has r = σ√n here, the length of Gaussian noise of the same radius: each free coordinate then moves
by σ in either form, and one radius means the same for networks of every size and sparsity.

On a quadratic all are exact in the mean for every σ; as σ → 0 they tend to the derivatives where those
exist. At the σ of an evolution strategy they are what evolution itself feels.

References
----------
.. [1] Stein, 1981. Estimation of the mean of a multivariate normal distribution. Annals of Statistics 9(6).
.. [2] Nesterov and Spokoiny, 2017. Random gradient-free minimization of convex functions. Foundations of
   Computational Mathematics 17(2).
.. [3] Salimans et al., 2017. Evolution strategies as a scalable alternative to reinforcement learning.
   arXiv:1703.03864.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from landscape.compute import Progress, shown
from landscape.curvature.perturbed import GAUSSIAN, SPHERE, Perturbed
from landscape.curvature.smoothed_results import SmoothedDiagonal, SmoothedGradient, SmoothedTrace
from landscape.curvature.smoothed_run import FEWEST, PILOT, SmoothedRun, Wishes
from landscape.files import Pieces
from landscape.results import check_real, check_whole, provenance

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["smoothed_diagonal", "smoothed_gradient", "smoothed_trace"]

T = TypeVar("T")


def smoothed_trace(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    params: Any,
    *,
    radius: float,
    form: str = GAUSSIAN,
    relative_error: float = 0.05,
    absolute_error: float | None = None,
    num_pairs: int | None = None,
    max_pairs: int = 4000,
    confidence: float = 0.95,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> SmoothedTrace:
    r"""Estimate the trace of the Hessian of the smoothed loss, from values of the loss alone.

    Gaussian: :math:`\operatorname{tr}\nabla^2 L_\sigma` with :math:`L_\sigma(\theta) = E\,L(\theta +
    \sigma\varepsilon)`, σ = `radius`. Sphere: :math:`\frac{2n}{r^2}(E\,L(\theta + u) - L(\theta))` with u
    uniform on the sphere of radius :math:`r = \sigma\sqrt n` in the n free coordinates. Steps and sources are
    those of `landscape.curvature.smoothed`.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data, with or without derivatives; None rebuilds the task that the checkpoint names.
    params : Checkpoint, path of one, or pytree
        The network.
    radius : float
        Standard deviation of each free coordinate, in the units of the parameters.
    form : {"gaussian", "sphere"}
        Which of the two smoothings; equal on quadratics.
    relative_error : float
        Standard error asked for, relative to the trace, within a quarter.
    absolute_error : float, optional
        Standard error that is good enough in any case: a trace may be 0.
    num_pairs : int, optional
        Pairs of the answer, whatever their error; the pilot of 20 comes on top. Fewer than 100 (10 on the
        sphere) have no interval, and layers none below 300: there a stated .95 would cover less than .93.
    max_pairs : int
        Pairs of pilot and answer; the status is ``"not-converged"`` where they did not suffice.
    confidence : float
        Coverage of the intervals.
    seed : int
        Of the pairs: pair k depends on the seed and on k alone.
    resume : path, optional
        A folder that keeps the pairs, so that a stopped estimate resumes to a bit-identical result; removed
        at the end.
    progress : Progress, optional
        Is told of every pair; by default a bar where standard error is a terminal.
    **options
        `mask`, `where`, `split`, `subset`, `batch_size`, `dtype`, `allow_nonfinite` of `hessian`.

    Returns
    -------
    SmoothedTrace
        Status ``"non-finite"`` and no value if the loss is not finite at a pair.

    Raises
    ------
    ConfigurationError, InputError, MaskError, NonFiniteError, ProblemError
        If a setting or the network is refused.
    CheckpointError
        If `resume` holds another computation.

    Notes
    -----
    Costs four evaluations of the data for every pair, two on the sphere. Differences of losses are divided by
    σ²: in float32 a radius of 1e-3 leaves a rounding error of about a tenth of the loss, which is part of the
    standard error. Take ``dtype="float64"`` for small radii. A loss that makes steps needs a radius that
    reaches beyond them.

    Examples
    --------
    >>> import numpy as np
    >>> from landscape import Problem, smoothed_trace
    >>> def loss(params, batch):
    ...     return 0.5 * (batch @ params["w"]) ** 2
    >>> problem = Problem(loss, train=np.eye(2, dtype=np.float32))
    >>> found = smoothed_trace(problem, {"w": np.ones(2, np.float32)}, radius=0.5, form="sphere")
    >>> round(found.value, 4)
    1.0
    """
    around = Perturbed(problem, params, radius=radius, form=form, seed=seed, **options)
    settings = {
        "relative_error": relative_error,
        "absolute_error": absolute_error,
        "num_pairs": num_pairs,
        "max_pairs": max_pairs,
        "confidence": confidence,
    }
    return _finished(trace_around, around, "trace", settings, resume=resume, progress=progress)


def trace_around(
    around: Perturbed, settings: Mapping[str, Any], pieces: Pieces, progress: Progress
) -> SmoothedTrace:
    """Estimate `smoothed_trace` at a network whose pairs can be evaluated; the pieces stay."""
    check_real("relative_error", settings["relative_error"])
    floor = settings.get("absolute_error")
    wishes = _wishes(
        settings,
        fewest=FEWEST[around.form],
        relative_error=settings["relative_error"] if settings["num_pairs"] is None else None,
        absolute_error=0.0 if floor is None else check_real("absolute_error", floor),
    )
    run = SmoothedRun(around, wishes, pieces, progress, lengths=1 if around.form == SPHERE else 2)
    return SmoothedTrace(**run.trace(), **_base(around, settings, run))


def smoothed_diagonal(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    params: Any,
    *,
    radius: float,
    num_pairs: int = 300,
    relative_error: float | None = None,
    max_pairs: int = 4000,
    confidence: float = 0.95,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> SmoothedDiagonal:
    r"""Estimate the diagonal of the Hessian of the smoothed loss, from values of the loss alone.

    :math:`E[(w - c)(\varepsilon^2 - 1)] / 2\sigma^2` with the second differences w of mirrored pairs; see
    `landscape.curvature.smoothed`.

    Parameters
    ----------
    problem, params, radius
        As for `smoothed_trace`.
    num_pairs : int
        Pairs of the answer; the pilot of 20 comes on top. Fewer than 300 have no intervals (of a gradient,
        fewer than 30).
    relative_error : float, optional
        Length of the vector of standard errors asked for, relative to the length of the diagonal, within a
        quarter: a pilot foretells how many pairs it takes, if more than `num_pairs`.
    max_pairs, confidence, seed, resume, progress, **options
        As for `smoothed_trace`; the intervals are of each entry by itself.

    Returns
    -------
    SmoothedDiagonal

    Raises
    ------
    ConfigurationError, InputError, MaskError, NonFiniteError, ProblemError, CheckpointError
        As `smoothed_trace`.

    Notes
    -----
    The error of each entry is about the Frobenius norm of the Hessian over the root of the number of pairs:
    entries of a large network are told apart only where a few of them dominate.
    """
    around = Perturbed(problem, params, radius=radius, form=GAUSSIAN, seed=seed, **options)
    settings = _of_entries(num_pairs, relative_error, max_pairs, confidence)
    return _finished(diagonal_around, around, "diagonal", settings, resume=resume, progress=progress)


def diagonal_around(
    around: Perturbed, settings: Mapping[str, Any], pieces: Pieces, progress: Progress
) -> SmoothedDiagonal:
    """Estimate `smoothed_diagonal` at a network whose pairs can be evaluated; the pieces stay."""
    run = SmoothedRun(around, _wishes(settings, settings["relative_error"]), pieces, progress)
    return SmoothedDiagonal(**run.diagonal(), **_base(around, settings, run))


def smoothed_gradient(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    params: Any,
    *,
    radius: float,
    num_pairs: int = 300,
    relative_error: float | None = None,
    max_pairs: int = 4000,
    confidence: float = 0.95,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> SmoothedGradient:
    r"""Estimate the gradient of the smoothed loss, from values of the loss alone.

    :math:`E[(L(\theta + \sigma\varepsilon) - L(\theta - \sigma\varepsilon))\,\varepsilon] / 2\sigma` with
    σ = `radius`; see `landscape.curvature.smoothed`.

    Parameters
    ----------
    problem, params, radius
        As for `smoothed_trace`.
    num_pairs, relative_error, max_pairs, confidence, seed, resume, progress, **options
        As for `smoothed_diagonal`; errors are relative to the length of the gradient.

    Returns
    -------
    SmoothedGradient

    Raises
    ------
    ConfigurationError, InputError, MaskError, NonFiniteError, ProblemError, CheckpointError
        As `smoothed_trace`.

    Notes
    -----
    With m pairs the relative error is about √(n/m): the length, without the noise of the entries, is known
    long before the direction is.
    """
    around = Perturbed(problem, params, radius=radius, form=GAUSSIAN, seed=seed, **options)
    settings = _of_entries(num_pairs, relative_error, max_pairs, confidence)
    return _finished(_gradient_around, around, "gradient", settings, resume=resume, progress=progress)


def _gradient_around(
    around: Perturbed, settings: Mapping[str, Any], pieces: Pieces, progress: Progress
) -> SmoothedGradient:
    run = SmoothedRun(around, _wishes(settings, settings["relative_error"]), pieces, progress)
    return SmoothedGradient(**run.gradient(), **_base(around, settings, run))


def _finished(
    estimate: Callable[[Perturbed, Mapping[str, Any], Pieces, Progress], T],
    around: Perturbed,
    what: str,
    settings: Mapping[str, Any],
    *,
    resume: str | Path | None,
    progress: Progress | None,
) -> T:
    """Return an estimate, after which the pairs that were kept for it go."""
    pieces = Pieces(resume, pairs_key(around, what, settings))
    found = estimate(around, settings, pieces, shown(progress))
    pieces.remove()
    return found


def _of_entries(
    num_pairs: int, relative_error: float | None, max_pairs: int, confidence: float
) -> dict[str, Any]:
    check_whole("num_pairs", num_pairs, 2)
    return {
        "num_pairs": num_pairs,
        "relative_error": relative_error,
        "max_pairs": max_pairs,
        "confidence": confidence,
    }


def _wishes(
    settings: Mapping[str, Any],
    relative_error: float | None,
    absolute_error: float = 0.0,
    *,
    fewest: int = FEWEST["entries"],
) -> Wishes:
    """Return how exact the answer is to be; an exact number of pairs has its pilot on top."""
    asked = settings["num_pairs"]
    least = fewest if asked is None else check_whole("num_pairs", asked, 2)
    most = check_whole("max_pairs", settings["max_pairs"], 2)
    return Wishes(
        relative_error=None if relative_error is None else check_real("relative_error", relative_error),
        absolute_error=absolute_error,
        least=min(least, most) if asked is None else least,
        most=most if asked is None else max(most, least + PILOT),
        confidence=check_real("confidence", settings["confidence"], most=1),
    )


def pairs_key(around: Perturbed, what: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the pairs and how they are used."""
    config = {key: value for key, value in around.config.items() if key not in ("checkpoint", "batch_size")}
    return {"what": what, "seed": around.seed, **config, **settings, **around.digests()}


def _base(around: Perturbed, settings: Mapping[str, Any], run: SmoothedRun) -> dict[str, Any]:
    """Return settings, statistics and provenance."""
    return {
        "config": {**around.config, **settings, "seed": around.seed},
        "stats": around.stats,
        "warnings": tuple(run.warnings),
        "provenance": provenance(seed=around.seed, dtype=around.dtype.name, digests=around.digests()),
    }
