"""Mean rise of the loss under random perturbations: Gaussian robustness, average-case sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.errors import InputError
from landscape.flatness.draws import rises_of_draws
from landscape.flatness.measurement import estimate, mean_of
from landscape.flatness.meter import with_bar
from landscape.flatness.neighbourhood import SCALES, Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.results import FlatnessMeasure
from landscape.results import check_choice, check_real, check_seed, check_whole
from landscape.trees import check_std

__all__ = ["average_sharpness", "gaussian_robustness", "search_sharpness"]

# The curve around a radius, in multiples of it.
MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
UNITS = {
    "absolute": "standard deviation of each parameter",
    "weights": "standard deviation relative to |θ|",
    "filter": "standard deviation relative to the filter's RMS",
}


@with_bar
def gaussian_robustness(
    problem: Any,
    params: Any,
    *,
    radius: float = 0.05,
    scale: str = "absolute",
    radii: Sequence[float] | None = None,
    draws: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the mean rise of the loss under Gaussian noise on the parameters.

    :math:`E_{u\sim N(0,I)} L(\theta + \sigma\, c\circ u) - L(\theta)` with σ = `radius` and c = 1, |θ|
    or the root mean square of θ over each filter. For c = 1 and small σ it is
    :math:`\tfrac12\sigma^2 \operatorname{tr} H + O(\sigma^4)`. Draws come in pairs ±u, which removes
    all odd orders.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the checkpoint names.
    params : Checkpoint, path of one, or pytree
        The network.
    radius : float
        σ, a standard deviation (not a variance), of the value.
    scale : {"absolute", "weights", "filter"}
        c. Filter: all entries of a kernel that lead to one output; a bias vector counts as one.
    radii : sequence of float, optional
        Of the curve in ``details["curve"]``, from the same draws; by default ¼ to 4 times `radius`.
    draws : int
        Mirrored pairs; the standard error is over pairs.
    seed : int
        Of the draws.
    progress : Progress, optional
        Is told of every evaluation of the data; by default a bar where standard error is a terminal.
    **options
        ``mask``, ``where``, ``split``, ``subset``, ``batch_size``, ``dtype``, ``allow_nonfinite``: see
        `Options`.

    Returns
    -------
    FlatnessMeasure
        With the rise of every metric of the problem beside that of the loss in the curve.

    Raises
    ------
    ConfigurationError, InputError, MaskError, NonFiniteError, ProblemError
        If a setting or the network is refused.

    Notes
    -----
    Costs 2 · `draws` evaluations of the data for every radius. The perturbation of every free parameter
    grows with c alone: the length of the whole is about σ‖c‖.

    Examples
    --------
    >>> import numpy as np
    >>> from landscape import Problem, gaussian_robustness
    >>> def loss(params, batch):
    ...     return 0.5 * (batch @ params["w"]) ** 2
    >>> problem = Problem(loss, train=np.eye(2, dtype=np.float32))
    >>> found = gaussian_robustness(problem, {"w": np.ones(2, np.float32)}, radius=0.1, draws=500)
    >>> bool(abs(found.value - 0.005) < 4 * found.standard_error)  # ½ σ² tr H = ½ · 0.01 · 1
    True
    """
    around = Neighbourhood(problem, params, Options(**options), progress=progress)
    return gaussian_of(around, radius=radius, scale=scale, radii=radii, draws=draws, seed=seed)


_NAMES = {"absolute": "gaussian", "weights": "gaussian_relative", "filter": "gaussian_filter"}


def gaussian_of(
    around: Neighbourhood,
    *,
    radius: float,
    scale: str,
    radii: Sequence[float] | None = None,
    draws: int,
    seed: int,
) -> FlatnessMeasure:
    """Measure `gaussian_robustness` in given surroundings."""
    check_choice("scale", scale, SCALES)
    settings = {"radius": radius, "scale": scale, "draws": draws, "seed": seed}
    vector = around.scale(scale)
    return _mean_rise(around, _NAMES[scale], vector, radii=radii, settings=settings, units=UNITS[scale])


@with_bar
def average_sharpness(  # noqa: PLR0913  one keyword per setting
    problem: Any,
    params: Any,
    *,
    radius: float = 0.05,
    adaptive: bool = False,
    normalise: bool = False,
    temperature: float = 1.0,
    draws: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the average-case sharpness of Andriushchenko et al. 2023.

    :math:`S_{avg}^\rho(w, c) = E_{\delta\sim N(0, \rho^2 \operatorname{diag}(c^2))} L(w+\delta) - L(w)` with
    c = 1, or c = |w| if `adaptive` [1]_; for small ρ it is
    :math:`\tfrac12\rho^2\operatorname{tr}(H\circ cc^\top)`. The paper averages over batches of m
    examples; the expectation of that mean is the same for every m, so all examples are used at once.

    Parameters
    ----------
    problem, params
        As for `gaussian_robustness`.
    radius : float
        ρ.
    adaptive : bool
        Whether perturbations are relative to |w|.
    normalise : bool
        Whether logits are divided by their norm (and `temperature`) before the loss; the problem must
        say where its outputs are.
    temperature : float
        τ of the normalised logits.
    draws, seed, progress, **options
        As for `gaussian_robustness`.

    References
    ----------
    .. [1] Andriushchenko et al., 2023. A modern look at the relationship between sharpness and
       generalization. ICML, arXiv:2302.07011.
    """
    around = Neighbourhood(problem, params, Options(**options), progress=progress)
    return average_of(
        around,
        radius=radius,
        adaptive=adaptive,
        temperature=check_real("temperature", temperature) if normalise else None,
        draws=draws,
        seed=seed,
    )


def average_of(
    around: Neighbourhood,
    *,
    radius: float,
    adaptive: bool,
    temperature: float | None,
    draws: int,
    seed: int,
) -> FlatnessMeasure:
    """Measure `average_sharpness` in given surroundings."""
    scale = "weights" if adaptive else "absolute"
    name = "average_adaptive" if adaptive else "average"
    if temperature is not None:  # the catalogue's is adaptive
        name = with_temperature("average" if adaptive else "average_absolute", temperature)
    settings = {"radius": radius, "scale": scale, "draws": draws, "seed": seed}
    settings |= {"temperature": temperature}
    return _mean_rise(
        around,
        name,
        around.scale(scale),
        radii=[radius],
        settings=settings,
        units=UNITS[scale],
        temperature=temperature,
    )


def with_temperature(name: str, temperature: float | None) -> str:
    """Return the name of a measure on normalised logits; the catalogue's have temperature 1."""
    if temperature is None:
        return name
    return f"{name}_normalised" + ("" if temperature == 1 else f"_temperature_{temperature:g}")


@with_bar
def search_sharpness(
    problem: Any,
    params: Any,
    *,
    multiple: float = 1.0,
    draws: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the mean rise of the loss under an evolution strategy's own search distribution.

    :math:`E_{u\sim N(0,I)} L(\theta + \sigma\circ u) - L(\theta)` with the standard deviations σ that the
    checkpoint stores: the mean over this distribution is what evolution itself lowers.

    Parameters
    ----------
    problem
        As for `gaussian_robustness`.
    params : Checkpoint or path of one
        With ``std``.
    multiple : float
        Of σ.
    draws, seed, progress, **options
        As for `gaussian_robustness`.

    Raises
    ------
    InputError
        If the checkpoint has no standard deviations.
    """
    around = Neighbourhood(problem, params, Options(**options), progress=progress)
    return search_of(around, radius=multiple, draws=draws, seed=seed)


def search_of(around: Neighbourhood, *, radius: float, draws: int, seed: int) -> FlatnessMeasure:
    """Measure `search_sharpness` in given surroundings."""
    checkpoint = around.subject.checkpoint
    if checkpoint is None or checkpoint.std is None:
        raise InputError(
            f"{around.subject.name}: holds no standard deviations of a search distribution",
            expected="a checkpoint of an evolution strategy, with std",
            hint="Leave the measure 'search' out for other networks.",
        )
    check_std(checkpoint.std, around.subject.name)  # checkpoints of Python were not loaded
    std = around.flatten(checkpoint.std)
    settings = {"radius": radius, "draws": draws, "seed": seed}
    return _mean_rise(
        around, "search", std, radii=None, settings=settings, units="of the search distribution's σ"
    )


def mirrored(
    around: Neighbourhood,
    scale: np.ndarray,
    steps: Sequence[float],
    *,
    draws: int,
    seed: int,
    temperature: float | None = None,
) -> dict[str, np.ndarray]:
    """Return the mean rise of every quantity over each pair ±u, {name: [draws, T]}.

    The same draws serve every step, so that a curve is smooth and radii are compared pair by pair.
    """
    signed = [sign * step for step in steps for sign in (1, -1)]
    found = rises_of_draws(
        around,
        scale,
        signed,
        draws=draws,
        seed=seed,
        temperature=temperature,
    )
    return {name: values.reshape(draws, -1, 2).mean(2) for name, values in found.items()}


def _mean_rise(
    around: Neighbourhood,
    name: str,
    scale: np.ndarray,
    *,
    radii: Sequence[float] | None,
    settings: dict[str, Any],
    units: str,
    temperature: float | None = None,
) -> FlatnessMeasure:
    radius = check_real("radius", settings["radius"])
    draws = check_whole("draws", settings["draws"], 2)
    seed = check_seed(settings["seed"])
    chosen = [radius * k for k in MULTIPLES] if radii is None else [check_real("radii", r) for r in radii]
    steps = sorted({radius, *chosen})
    found = mirrored(around, scale, steps, draws=draws, seed=seed, temperature=temperature)
    curve: dict[str, Any] = {"radii": np.array(steps)}
    for quantity, values in found.items():
        summaries = [mean_of(column) for column in values.T]
        curve[f"{quantity}_rise"] = np.array([mean for mean, _, _ in summaries])
        curve[f"{quantity}_rise_error"] = np.array([error for _, error, _ in summaries], float)
    unknown = ~np.isfinite(curve["loss_rise"])
    for column in curve:  # beside a loss that is not a number no metric stands as if it were one
        if column != "radii":
            curve[column] = np.where(unknown, np.nan, curve[column])
    length = float(np.linalg.norm(scale)) * radius
    return estimate(
        around,
        name,
        found["loss"][:, steps.index(radius)],
        radius=radius,
        details={"units": units, "draws": draws, "rms_length": length, "curve": curve},
        settings=settings,
    )
