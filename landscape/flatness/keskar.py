"""ε-sharpness: the highest rise of the loss within a box, in the whole space or in random subspaces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.errors import ConfigurationError, ProblemError
from landscape.flatness.ascent import ascend, check_ascent, known_rises, make_ball, make_starts, outcome
from landscape.flatness.measurement import mean_of, measured
from landscape.flatness.meter import with_bar
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.results import LOWER_BOUND, FlatnessMeasure
from landscape.network import differentiable
from landscape.results import check_whole

__all__ = ["keskar_sharpness"]

_MOST_BASIS = 2**28  # entries of a random subspace: 1 GiB


@with_bar
def keskar_sharpness(  # noqa: PLR0913  one keyword per setting
    problem: Any,
    params: Any,
    *,
    epsilon: float = 1e-3,
    subspace: int | None = None,
    subspaces: int = 4,
    steps: int = 20,
    starts: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the ε-sharpness of Keskar et al. 2017 [1]_ (their Metric 2.1).

    :math:`100\,\bigl(\max_{y\in C_\epsilon} L(x + Ay) - L(x)\bigr) / (1 + L(x))` over the box
    :math:`|y_i| \le \epsilon(|(A^+x)_i| + 1)`, with A the identity or a random matrix whose columns, in
    number `subspace`, are normal vectors scaled to length 1.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data (arrays); None rebuilds the task that the checkpoint names.
    params : Checkpoint, path of one, or pytree
        The network.
    epsilon : float
        Size of the box; the paper's are 1e-3 and 5e-4.
    subspace : int, optional
        Dimension of the random subspace (the paper's is 100), at most half the number of free
        parameters; None for the full space.
    subspaces : int
        Independent random subspaces, at least 4, whose mean is returned.
    steps, starts : int
        Gradient steps from each start: the network itself, then random corners of the box.
    seed : int
        Of subspace and starts.
    progress : Progress, optional
        Is told of every evaluation of the data; by default a bar where standard error is a terminal.
    **options
        ``mask``, ``where``, ``split``, ``subset``, ``batch_size``, ``dtype``, ``allow_nonfinite``: see
        `Options`.

    Returns
    -------
    FlatnessMeasure
        A lower bound, in per cent; ``details["starts"]`` holds the highest value from each start. In random
        subspaces it is a mean, with its standard error and t interval over them; each of its terms is a
        lower bound.

    Notes
    -----
    A⁺x grows without limit as the subspace nears the whole space: the mean square of its entries is
    n/(n − p − 1) times that in an orthonormal basis, n free parameters, p the dimension. Of 200 random
    matrices with n = 100, the condition number is 5.2 in the median and 6.3 in the 99 % quantile where
    p = 50, 12 and 16 where p = 75, 336 and 9,442 where p = 100. So p is n/2 at most; the p used is
    ``details["subspace"]``. The value grows with p: where they differ, values do not compare.

    The paper maximises with at most ten iterations of L-BFGS-B, which is an inexact lower bound as well.
    Rises are computed example by example, so that the ratio keeps its digits in float32.

    References
    ----------
    .. [1] Keskar et al., 2017. On large-batch training for deep learning: generalization gap and sharp
       minima. ICLR, arXiv:1609.04836.
    """
    around = Neighbourhood(
        problem, params, Options(**options), progress=progress, slopes_of="keskar_sharpness"
    )
    return keskar_of(
        around,
        radius=epsilon,
        subspace=subspace,
        subspaces=subspaces,
        steps=steps,
        starts=starts,
        seed=seed,
    )


def keskar_of(
    around: Neighbourhood,
    *,
    radius: float,
    subspace: int | None = None,
    subspaces: int = 4,
    steps: int = 20,
    starts: int = 3,
    seed: int,
) -> FlatnessMeasure:
    """Measure `keskar_sharpness` in given surroundings."""
    settings: dict[str, Any] = {"radius": radius, "steps": steps, "starts": starts, "seed": seed}
    check_ascent(settings)
    if around.base["loss"] <= -1:
        raise ProblemError(
            "ε-sharpness: 1 + loss is not positive, so that its ratio means nothing",
            expected="a loss above -1",
            got=f"{around.base['loss']:.6g}",
            hint="Add a constant to the loss, or measure adaptive_linf.",
        )
    if subspace is None:
        balls = [(None, np.where(around.free, np.abs(around.weights) + 1, 0.0))]
        used = None
    else:
        used = _dimension(around, subspace)
        rng = np.random.default_rng(seed)
        count = check_whole("subspaces", subspaces, 4)
        balls = (_subspace(around, used, subspace, rng) for _ in range(count))  # type: ignore[assignment]
        settings |= {"subspace": subspace, "subspaces": count}
    around.meter.progress.note("maximising")
    best, first, bad = _boxes_worst(around, balls, settings)
    found = known_rises(best, bad)
    highs = np.array([np.nanmax(row) if np.isfinite(row).any() else np.nan for row in found])
    factor = 100 / (1 + around.base["loss"])
    value, error, interval = mean_of(factor * highs)
    ended = outcome(bad, found)
    return measured(
        around,
        "keskar" if subspace is None else "keskar_subspace",
        value,
        standard_error=error,
        interval=interval,
        label=LOWER_BOUND,
        radius=radius,
        details={
            "units": "of (|θ| + 1), per cent of 1 + loss",
            "starts": factor * (found[0] if subspace is None else found),
            "first_order": factor * float(first[:, 0].mean()),
            "steps": steps,
            "subspace": used,
            **({} if subspace is None else {"subspaces": len(highs)}),
        },
        settings=settings,
        status=ended.get("status", "ok"),
        warnings=[*ended.get("warnings", ()), *_fewer(used, subspace)],
    )


def _boxes_worst(
    around: Neighbourhood, balls: Iterable[tuple[np.ndarray | None, np.ndarray]], settings: dict[str, Any]
) -> np.ndarray:
    """Return highest rise, rise of the first step and points that are not finite, [3, boxes, starts]."""
    rows = []
    with around.computing(), differentiable():
        parts = around.stacked()
        programs = around.parts()[0]
        for number, (basis, scale) in enumerate(balls):
            ball = make_ball(around, scale, basis, settings, norm="linf")
            begins = make_starts(ball, settings["starts"], settings["seed"], number)
            climbed = ascend(programs, around.place, ball, begins, parts=parts)[:3]
            rows.append([np.asarray(part, np.float64) for part in climbed])
            around.worked(gradients=settings["starts"] * (settings["steps"] + 1))
    return np.array(rows).transpose(1, 0, 2)


def _dimension(around: Neighbourhood, wanted: int) -> int:
    """Return the dimension of a subspace: what is asked for, at most half the free parameters."""
    count = min(check_whole("subspace", wanted, 1), max(around.dim // 2, 1))
    if count * around.size > _MOST_BASIS:
        raise ConfigurationError(
            f"subspace: {count} vectors of {around.size:,} entries do not fit",
            expected=f"at most {_MOST_BASIS // around.size}",
        )
    return count


def _fewer(used: int | None, wanted: int | None) -> list[str]:
    if used == wanted:
        return []
    return [
        f"keskar_subspace: {used} directions, half the free parameters, instead of {wanted}; the value grows "
        "with their number"
    ]


def _subspace(
    around: Neighbourhood, count: int, rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a basis [rows, size] of `count` rows of length 1 (zero where not free) and the box's scale.

    Numbers are drawn for the free coordinates alone: a ticket has the subspace of the smaller network.
    Further rows are zero, so that networks with fewer free entries keep the shape, and the program.
    """
    drawn = rng.standard_normal((count, around.dim))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    coordinates = np.linalg.solve(drawn @ drawn.T, drawn @ around.weights[around.free])
    basis, scale = np.zeros((rows, around.size)), np.zeros(rows)
    basis[:count, around.free] = drawn
    scale[:count] = np.abs(coordinates) + 1
    return basis, scale
