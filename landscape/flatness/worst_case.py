"""Highest rise of the loss within a ball: ε-sharpness, m-sharpness, adaptive sharpness.

All are lower bounds: the best point that projected gradient ascent found, from several starts.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from landscape._network import differentiable
from landscape._settings import check_choice, check_real, check_whole
from landscape.errors import ConfigurationError, ProblemError
from landscape.flatness._ascents import check_ascent, known_rises, make_ball, make_starts, outcome
from landscape.flatness._measured import measured
from landscape.flatness._surroundings import Options, Surroundings
from landscape.flatness.results import LOWER_BOUND, FlatnessMeasure
from landscape.progress import Progress

__all__ = ["adaptive_sharpness", "keskar_sharpness", "sam_sharpness"]

_MOST_BASIS = 2**28  # entries of a random subspace: 1 GiB


def keskar_sharpness(
    problem: Any,
    params: Any,
    *,
    epsilon: float = 1e-3,
    subspace: int | None = None,
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
        Dimension of the random subspace (the paper's is 100); None for the full space.
    steps, starts : int
        Gradient steps from each start: the network itself, then random corners of the box.
    seed : int
        Of subspace and starts.
    progress : Progress, optional
        Is told of every start.
    **options
        ``mask``, ``where``, ``split``, ``subset``, ``batch_size``, ``dtype``, ``allow_nonfinite``: see
        `Options`.

    Returns
    -------
    FlatnessMeasure
        A lower bound, in per cent; ``details["starts"]`` holds what each start came to.

    Notes
    -----
    The paper maximises with at most ten iterations of L-BFGS-B, which is an inexact lower bound as well.
    Rises are computed example by example, so that the ratio keeps its digits in float32.

    References
    ----------
    .. [1] Keskar et al., 2017. On large-batch training for deep learning: generalization gap and sharp
       minima. ICLR, arXiv:1609.04836.
    """
    around = Surroundings(problem, params, Options(**options), progress=progress)
    return keskar_of(around, radius=epsilon, subspace=subspace, steps=steps, starts=starts, seed=seed)


def keskar_of(
    around: Surroundings,
    *,
    radius: float,
    subspace: int | None = None,
    steps: int = 20,
    starts: int = 3,
    seed: int,
) -> FlatnessMeasure:
    """Measure `keskar_sharpness` in given surroundings."""
    settings: dict[str, Any] = {
        "radius": radius,
        "subspace": subspace,
        "steps": steps,
        "starts": starts,
        "seed": seed,
    }
    check_ascent(settings)
    if around.base["loss"] <= -1:
        raise ProblemError(
            "ε-sharpness: 1 + loss is not positive, so that its ratio means nothing",
            expected="a loss above -1",
            got=f"{around.base['loss']:.6g}",
            hint="Add a constant to the loss, or measure adaptive_linf.",
        )
    around.progress.note("maximising")
    with around.computing(), differentiable():
        basis, scale = _subspace(around, subspace, seed)
        ball = make_ball(around, scale, basis, settings, norm="linf")
        parts = around.stacked()
        programs = around.parts()[0]
        climbed = programs.ascend(around.place, ball, make_starts(ball, starts, seed), parts)
        best, first, bad = (np.asarray(part, np.float64) for part in climbed)
        found, one = known_rises(best), float(first[0])
    around.num_evaluations += starts * (steps + 1)
    around.progress.advance(starts)
    high = float(np.nanmax(found)) if np.isfinite(found).any() else np.nan
    factor = 100 / (1 + around.base["loss"])
    return measured(
        around,
        "keskar" if subspace is None else "keskar_subspace",
        factor * high,
        label=LOWER_BOUND,
        radius=radius,
        details={
            "units": "of (|θ| + 1), per cent of 1 + loss",
            "starts": factor * found,
            "first_order": factor * one,
            "steps": steps,
            "subspace": subspace,
        },
        settings=settings,
        **outcome(bad, found),
    )


def _subspace(around: Surroundings, count: int | None, seed: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the basis [p, size] (rows of length 1, zero where not free) and the box's scale [p]."""
    if count is None:
        return None, np.where(around.free, np.abs(around.weights) + 1, 0.0)
    wanted, count = count, min(check_whole("subspace", count, 1), around.dim)
    if count * around.size > _MOST_BASIS:
        raise ConfigurationError(
            f"subspace: {count} vectors of {around.size:,} entries do not fit",
            expected=f"at most {_MOST_BASIS // around.size}",
        )
    basis = np.random.default_rng(seed).standard_normal((count, around.size))
    basis[:, ~around.free] = 0
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    coordinates = np.linalg.solve(basis @ basis.T, basis @ around.weights)
    # Networks with fewer free entries than that keep the shape, and the program.
    rest = wanted - count
    return np.pad(basis, ((0, rest), (0, 0))), np.pad(np.abs(coordinates) + 1, (0, rest))


def sam_sharpness(  # noqa: PLR0913  one keyword a setting
    problem: Any,
    params: Any,
    *,
    radius: float = 0.05,
    m: int = 128,
    ascent: bool = False,
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
        As for `keskar_sharpness`.
    radius : float
        ρ, in the units of the parameters.
    m : int
        Examples a batch, in the order of the data; the last batch may be smaller and counts less.
    ascent : bool
        Whether to maximise by projected gradient ascent instead of one first-order step.
    steps, starts : int, optional
        Of the ascent, 20 and 2 unless given; its first step from the first start is the first-order one.
    seed : int
        Of the random starts.
    progress, **options
        As for `keskar_sharpness`.

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
    around = Surroundings(problem, params, Options(**options), progress=progress)
    if not ascent:
        if steps is not None or starts is not None:
            raise ConfigurationError(
                "sam_sharpness: steps and starts are of the ascent", hint="Set ascent=True."
            )
        return sam_of(around, radius=radius, m=m, seed=seed)
    steps, starts = 20 if steps is None else steps, 2 if starts is None else starts
    return sam_of(around, radius=radius, m=m, steps=steps, starts=starts, seed=seed)


def sam_of(
    around: Surroundings, *, radius: float, m: int = 128, steps: int = 1, starts: int = 1, seed: int
) -> FlatnessMeasure:
    """Measure `sam_sharpness` in given surroundings."""
    settings: dict[str, Any] = {"radius": radius, "m": m, "steps": steps, "starts": starts, "seed": seed}
    settings |= {"norm": "l2", "scale": "absolute", "temperature": None}
    name = "sam" if steps == 1 else "sam_ascent"
    return _batches_worst(around, name, around.scale("absolute"), settings, units="ℓ2 length")


def adaptive_sharpness(  # noqa: PLR0913  one keyword a setting
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
    each filter. With c = |w| it does not change under rescalings that leave a ReLU network's function
    unchanged. For small ρ it is :math:`\rho\|g\circ c\|_q` with 1/p + 1/q = 1 away from a critical point.

    Parameters
    ----------
    problem, params
        As for `keskar_sharpness`.
    radius : float, optional
        ρ, relative to c; 0.5 for ``"l2"`` and 0.005 for ``"linf"`` unless given.
    norm : {"l2", "linf"}
        p.
    scale : {"weights", "filter"}
        c.
    eta : float
        η; greater than 0 gives up the invariance.
    m : int
        Examples a batch.
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
    around = Surroundings(problem, params, Options(**options), progress=progress)
    check_choice("norm", norm, ("l2", "linf"))
    return adaptive_of(
        around,
        radius=ADAPTIVE_RADII[norm] if radius is None else radius,
        norm=norm,
        scale=scale,
        eta=eta,
        m=m,
        temperature=check_real("temperature", temperature) if normalise else None,
        steps=steps,
        starts=starts,
        seed=seed,
    )


ADAPTIVE_RADII = {"l2": 0.5, "linf": 0.005}


def adaptive_of(  # noqa: PLR0913
    around: Surroundings,
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
    check_choice("scale", scale, ("weights", "filter"))
    settings: dict[str, Any] = {"radius": radius, "m": m, "steps": steps, "starts": starts, "seed": seed}
    settings |= {"norm": norm, "scale": scale, "eta": eta, "temperature": temperature}
    name = f"adaptive_{norm}" if temperature is None else "adaptive_normalised"
    if eta:
        check_real("eta", eta)
    vector = around.scale(scale, filter_norm=True, eta=eta)
    units = f"{'ℓ2' if norm == 'l2' else 'ℓ∞'} length relative to |θ|"
    return _batches_worst(around, name, vector, settings, units=units)


def _batches_worst(
    around: Surroundings, name: str, scale: np.ndarray, settings: dict[str, Any], *, units: str
) -> FlatnessMeasure:
    """Maximise on every batch of m examples apart, and average."""
    check_ascent(settings)
    m = min(check_whole("m", settings["m"], 1), around.count)
    best, first, bad, sizes = [], [], [], []
    with around.computing(), differentiable():
        ball = make_ball(around, scale, None, settings, norm=settings["norm"])
        programs = around.parts(settings["temperature"])[0]
        for number, (part, real) in enumerate(around.pieces(m, settings["temperature"])):
            parts = jax.tree.map(lambda x: x[None], part)
            begins = make_starts(ball, settings["starts"], settings["seed"], number)
            found = programs.ascend(around.place, ball, begins, parts)
            best.append(found[0])
            first.append(found[1])
            bad.append(found[2])
            sizes.append(real)
            around.progress.advance(1)
    around.num_evaluations += settings["starts"] * (settings["steps"] + 1)
    highs = known_rises(np.array([np.asarray(values, np.float64).max() for values in best]))
    ones = np.array([float(np.asarray(values)[0]) for values in first])
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
