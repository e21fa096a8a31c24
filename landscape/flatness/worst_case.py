"""Highest rise of the loss within a ball: m-sharpness, adaptive and plain worst-case sharpness.

All are lower bounds: the best point that projected gradient ascent found, from several starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.errors import ConfigurationError
from landscape.flatness.ascent import ascend, check_ascent, known_rises, make_ball, make_starts, outcome
from landscape.flatness.gaussian import with_temperature
from landscape.flatness.measurement import measured
from landscape.flatness.meter import with_bar
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.register import ADAPTIVE_RADII
from landscape.flatness.results import LOWER_BOUND, FlatnessMeasure
from landscape.network import Cost, differentiable
from landscape.results import check_choice, check_real, check_whole

__all__ = ["adaptive_sharpness", "sam_sharpness"]


@with_bar
def sam_sharpness(  # noqa: PLR0913  one keyword per setting
    problem: Any,
    params: Any,
    *,
    radius: float = 0.05,
    m: int = 128,
    ascent: bool = False,
    normalise: bool = False,
    temperature: float = 1.0,
    steps: int | None = None,
    starts: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the m-sharpness of Foret et al. 2021 [1]_.

    The mean over batches M of m examples of :math:`\max_{\|\epsilon\|_2\le\rho} L_M(w + \epsilon) - L_M(w)`,
    each with a maximiser of its own: the first-order one :math:`\rho\, g/\|g\|`, or by `ascent`.

    Parameters
    ----------
    problem, params
        As for `gaussian_robustness`.
    radius : float
        ρ, in the units of the parameters.
    m : int
        Examples per batch, in the order of the data; the last batch may be smaller and counts less. Batches
        of weighted examples count by their weight.
    ascent : bool
        Whether to maximise by projected gradient ascent instead of one first-order step.
    normalise, temperature
        As for `average_sharpness`.
    steps, starts : int, optional
        Of the ascent, 20 and 2 unless given; its first step from the first start is the first-order one.
    seed : int
        Of the random starts.
    progress, **options
        As for `gaussian_robustness`.

    Returns
    -------
    FlatnessMeasure
        A lower bound; ``details["first_order"]`` is the value of the first-order step.

    Raises
    ------
    ConfigurationError
        Steps or starts without an ascent.

    References
    ----------
    .. [1] Foret et al., 2021. Sharpness-aware minimization for efficiently improving generalization.
       ICLR, arXiv:2010.01412.
    """
    around = Neighbourhood(problem, params, Options(**options), progress=progress, slopes_of="sam_sharpness")
    divisor = check_real("temperature", temperature) if normalise else None
    if not ascent:
        if steps is not None or starts is not None:
            raise ConfigurationError(
                "sam_sharpness: steps and starts are of the ascent", hint="Set ascent=True."
            )
        return sam_of(around, radius=radius, m=m, temperature=divisor, seed=seed)
    steps, starts = 20 if steps is None else steps, 2 if starts is None else starts
    return sam_of(around, radius=radius, m=m, temperature=divisor, steps=steps, starts=starts, seed=seed)


def sam_of(
    around: Neighbourhood,
    *,
    radius: float,
    m: int = 128,
    temperature: float | None = None,
    steps: int = 1,
    starts: int = 1,
    seed: int,
) -> FlatnessMeasure:
    """Measure `sam_sharpness` in given surroundings."""
    settings: dict[str, Any] = {"radius": radius, "m": m, "steps": steps, "starts": starts, "seed": seed}
    settings |= {"norm": "l2", "scale": "absolute", "temperature": temperature}
    name = "sam" if steps == starts == 1 else "sam_ascent"
    name = with_temperature(name, temperature)
    return _batches_worst(around, name, around.scale("absolute"), settings, units="ℓ2 length")


@with_bar
def adaptive_sharpness(  # noqa: PLR0913  one keyword per setting
    problem: Any,
    params: Any,
    *,
    radius: float | None = None,
    norm: str = "l2",
    scale: str = "weights",
    eta: float = 0.0,
    m: int = 128,
    normalise: bool = False,
    temperature: float = 1.0,
    steps: int = 20,
    starts: int = 2,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure adaptive worst-case sharpness (Kwon et al. 2021 [1]_, Andriushchenko et al. 2023 [2]_).

    The mean over batches M of m examples of
    :math:`\max_{\|\delta\circ c^{-1}\|_p\le\rho} L_M(w + \delta) - L_M(w)` with c = |w| + η, or the norm of
    each filter, or 1 (worst-case sharpness proper). With c = |w| alone it does not change under rescalings
    that leave a ReLU network's function unchanged. For small ρ it is :math:`\rho\|g\circ c\|_q` with
    1/p + 1/q = 1 away from a critical point.

    Parameters
    ----------
    problem, params
        As for `gaussian_robustness`.
    radius : float, optional
        ρ, relative to c; 0.5 for ``"l2"`` and 0.005 for ``"linf"`` unless given, a tenth of it where
        c = 1.
    norm : {"l2", "linf"}
        p.
    scale : {"weights", "filter", "absolute"}
        c: |w|, the norm of the filter, or 1.
    eta : float
        η; greater than 0 gives up the invariance.
    m : int
        Examples per batch.
    normalise, temperature
        As for `average_sharpness`.
    steps, starts, seed, progress, **options
        As for `sam_sharpness`; ``steps=1, starts=1`` is the first-order maximiser.

    References
    ----------
    .. [1] Kwon et al., 2021. ASAM: adaptive sharpness-aware minimization. ICML, arXiv:2102.11600.
    .. [2] Andriushchenko et al., 2023. A modern look at the relationship between sharpness and
       generalization. ICML, arXiv:2302.07011.
    """
    around = Neighbourhood(
        problem, params, Options(**options), progress=progress, slopes_of="adaptive_sharpness"
    )
    check_choice("norm", norm, ("l2", "linf"))
    default = ADAPTIVE_RADII[norm] / (10 if scale == "absolute" else 1)
    return adaptive_of(
        around,
        radius=default if radius is None else radius,
        norm=norm,
        scale=scale,
        eta=eta,
        m=m,
        temperature=check_real("temperature", temperature) if normalise else None,
        steps=steps,
        starts=starts,
        seed=seed,
    )


def adaptive_of(  # noqa: PLR0913
    around: Neighbourhood,
    *,
    radius: float,
    norm: str,
    scale: str = "weights",
    eta: float = 0.0,
    m: int = 128,
    temperature: float | None = None,
    steps: int = 20,
    starts: int = 2,
    seed: int,
) -> FlatnessMeasure:
    """Measure `adaptive_sharpness` in given surroundings."""
    check_choice("scale", scale, ("weights", "filter", "absolute"))
    settings: dict[str, Any] = {"radius": radius, "m": m, "steps": steps, "starts": starts, "seed": seed}
    settings |= {"norm": norm, "scale": scale, "eta": eta, "temperature": temperature}
    if eta:
        check_real("eta", eta)
    vector = around.scale(scale, filter_norm=True, eta=eta)
    name = _adaptive_name(norm, scale, eta, temperature)
    units = f"{'ℓ2' if norm == 'l2' else 'ℓ∞'} length"
    size = {"weights": "|θ|", "filter": "the filter's norm", "absolute": "1" if eta else ""}[scale]
    if size:
        units += f" relative to {size}" + (f" + {eta:g}" if eta else "")
    return _batches_worst(around, name, vector, settings, units=units)


def _adaptive_name(norm: str, scale: str, eta: float, temperature: float | None) -> str:
    """Return the catalogue's name of a variant, or one of its own that says every setting."""
    if (norm, scale, eta, temperature) == ("linf", "weights", 0, 1):
        return "adaptive_normalised"
    name = f"worst_case_{norm}" if scale == "absolute" else f"adaptive_{norm}"
    name += "_filter" if scale == "filter" else ""
    return with_temperature(name + (f"_eta_{eta:g}" if eta else ""), temperature)


def _batches_worst(
    around: Neighbourhood, name: str, scale: np.ndarray, settings: dict[str, Any], *, units: str
) -> FlatnessMeasure:
    """Maximise on every batch of m examples apart, and average."""
    check_ascent(settings)
    m = min(check_whole("m", settings["m"], 1), around.count)
    gradients = settings["starts"] * (settings["steps"] + 1)
    best, first, bad, sizes = [], [], [], []
    with around.computing(), differentiable():
        ball = make_ball(around, scale, None, settings, norm=settings["norm"])
        programs = around.parts(settings["temperature"])[0]
        for number, (part, real) in enumerate(around.pieces(m, settings["temperature"])):
            begins = make_starts(ball, settings["starts"], settings["seed"], number)
            found = ascend(programs, around.place, ball, begins, parts=part)
            best.append(found[0])
            first.append(found[1])
            bad.append(found[2])
            sizes.append(real)
            around.meter.spend(Cost(gradients=gradients * real / around.count))
    around.num_evaluations += gradients
    rises = [
        known_rises(np.asarray(values, np.float64), np.asarray(count))
        for values, count in zip(best, bad, strict=True)
    ]
    highs = np.array([np.nanmax(row) if np.isfinite(row).any() else np.nan for row in rises])
    ones = np.array(
        [
            np.nan if np.isnan(row[0]) else float(np.asarray(values)[0])
            for row, values in zip(rises, first, strict=True)
        ]
    )
    share = np.array(sizes) / sum(sizes)
    single = settings["steps"] == 1 and settings["starts"] == 1
    chosen = ones if single else highs
    value = float(share @ chosen)
    return measured(
        around,
        name,
        value,
        label=LOWER_BOUND,
        radius=settings["radius"],
        details={
            "units": units,
            "first_order": float(share @ ones),
            "m": m,
            "num_batches": len(sizes),
            "batches": chosen,
            "steps": settings["steps"],
            "starts": settings["starts"],
        },
        settings=settings,
        **outcome(np.array([np.asarray(part) for part in bad]), chosen),
    )
