"""Measures that weigh curvature with the parameters themselves: relative flatness, Fisher-Rao norm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.errors import ConfigurationError, InputError
from landscape.flatness.features import feature_spreads
from landscape.flatness.measurement import drawn_mean_of, estimate, measured
from landscape.flatness.meter import with_bar
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.results import EXACT, FlatnessMeasure
from landscape.network import as_matrix, from_matrix
from landscape.results import check_choice, check_seed, check_whole

__all__ = ["fisher_rao_norm", "relative_flatness"]


@with_bar
def relative_flatness(
    problem: Any,
    params: Any,
    *,
    draws: int = 64,
    feature_std: Mapping[str, Any] | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the relative flatness of Petzka et al. 2021 [1]_ of every kernel, and their sum.

    For a layer with rows :math:`w_s` (one an output)
    :math:`\kappa = \sum_{s,s'} \langle w_s, w_{s'}\rangle \operatorname{Tr} H_{s,s'}`, H the Hessian of the
    loss; neither its root nor its square. It is estimated as :math:`E[u^\top H u]` with
    :math:`u = Z C^{1/2} D`, Z independent random signs of the kernel's shape (inputs, outputs), D the
    lengths of its columns and C their cosines, so that :math:`D C D = K^\top K`: one Hessian product a
    draw serves all layers.

    Parameters
    ----------
    problem, params
        As for `gaussian_robustness`; kernels are the leaves of two axes or more, outputs last.
    draws : int
        Products.
    feature_std : "measured" or mapping of path to array [inputs], optional
        Standard deviations of the features that enter a layer: it is then measured as if these were
        scaled to 1 and the kernel in return, as the authors' code does. ``"measured"`` takes them from
        the data, by ``Problem(features=…)``, weighted as the loss is. A feature of deviation 0 acts as a
        bias, and is not part of the kernel. Without deviations the measure changes under
        rescalings of single neurons of the layer before; ``details["features"]`` says which.
    seed, progress, **options
        As for `gaussian_robustness`.

    Returns
    -------
    FlatnessMeasure
        ``details["layers"]`` holds value, standard error and interval of each kernel. The intervals are
        the hull of Student's and of one corrected for the skewness of the draws [2]_.

    Notes
    -----
    In 1,500 runs of 64 draws the corrected intervals held the dense value in 94.2 % on a ReLU network of 68
    parameters and in 95.2 % on a digits network of 610; t intervals in 93.1 % and 94.5 %. Draws
    :math:`z\,(r^\top K)` of two sign vectors have the same mean, and 1.35 and 2.3 times the standard error.

    References
    ----------
    .. [1] Petzka et al., 2021. Relative flatness and generalization. NeurIPS, arXiv:2001.00939.
    .. [2] Hall, 1992. On the removal of skewness by transformation. Journal of the Royal Statistical
       Society B 54(1).
    """
    around = Neighbourhood(
        problem, params, Options(**options), progress=progress, slopes_of="relative_flatness"
    )
    return relative_of(around, draws=draws, feature_std=feature_std, seed=seed)


def relative_of(
    around: Neighbourhood, *, draws: int = 64, feature_std: Mapping[str, Any] | str | None = None, seed: int
) -> FlatnessMeasure:
    """Measure `relative_flatness` in given surroundings."""
    check_whole("draws", draws, 2)
    kernels = {
        path: shape
        for path, shape in zip(around.layout.paths, around.layout.shapes, strict=True)
        if len(shape) > 1 and around.free[around.layout.slices[path]].any()
    }
    if not kernels:
        raise InputError("relative_flatness: no kernels", expected="a free leaf of two axes or more")
    axis = around.problem.output_axis
    if isinstance(feature_std, str):
        check_choice("feature_std", feature_std, ("measured",))
        feature_std = feature_spreads(around, kernels)
    inputs = {path: math.prod(shape) // shape[axis(path)] for path, shape in kernels.items()}
    sources = [
        _Source(around, path, shape, spread)
        for (path, shape), spread in zip(kernels.items(), _spreads(feature_std, inputs).values(), strict=True)
    ]
    operator = around.operator("hessian")
    rng = np.random.default_rng(check_seed(seed))
    layers: dict[str, list[float]] = {path: [] for path in kernels}
    totals = []
    for _ in range(draws):
        probe = np.zeros(around.size)
        for source in sources:
            probe[source.at] = source.draw(rng)
        given = operator.subject.gather(probe[None].astype(around.dtype))
        product = operator.subject.scatter(operator.rows(given))[0].astype(np.float64)
        for path, values in layers.items():
            at = around.layout.slices[path]
            values.append(float(probe[at] @ product[at]))
        totals.append(float(probe @ product))
        around.products.advance(1)
    return estimate(
        around,
        "relative_flatness" if feature_std is None else "relative_flatness_normalised",
        np.array(totals),
        details={
            "layers": {path: _layer(values) for path, values in layers.items()},
            "draws": draws,
            "features": "as they are" if feature_std is None else "divided by their standard deviation",
        },
        settings={"draws": draws, "seed": seed},
    )


def _spreads(given: Mapping[str, Any] | None, inputs: Mapping[str, int]) -> dict[str, Any]:
    """Return the standard deviations [inputs, 1] of each kernel's features, 1 where none are given."""
    spreads: dict[str, Any] = dict.fromkeys(inputs, 1.0)
    for path, values in (given or {}).items():
        expected = inputs.get(path)
        array = np.asarray(values, np.float64).reshape(-1)
        if array.size != expected or not (array >= 0).all() or not np.isfinite(array).all():
            raise ConfigurationError(
                f"feature_std: {path}: not the features of a kernel",
                expected=f"{expected} numbers from 0 on" if expected else "one of " + ", ".join(inputs),
                got=f"{array.size} numbers",
            )
        spreads[path] = array[:, None]
    return spreads


class _Source:
    """Draws u = Z C^½ D of one kernel, with K scaled up and Z down by the features' deviations.

    D holds the lengths of K's columns and C their cosines: a rescaled unit has the same draws, rescaled.

    Signs are drawn for rows and columns with free entries alone: a ticket without some units has the
    draws of the smaller network.
    """

    def __init__(self, around: Neighbourhood, path: str, shape: tuple[int, ...], spread: Any) -> None:
        self.at = around.layout.slices[path]
        self.form = shape, around.problem.output_axis(path)
        self.free = as_matrix(around.free[self.at], *self.form)
        outputs = self.free.shape[1]
        kernel = as_matrix(around.weights[self.at], *self.form) * spread
        lengths = np.linalg.norm(kernel, axis=0)
        self.root = np.full((outputs, outputs), np.nan)
        if np.isfinite(lengths).all():
            unit = kernel / np.where(lengths > 0, lengths, 1.0)
            values, vectors = np.linalg.eigh(unit.T @ unit)
            # The root of rounding would be large beside it where outputs outnumber inputs.
            values[values < outputs * np.finfo(np.float64).eps * values[-1]] = 0
            self.root = (vectors * np.sqrt(values)) @ vectors.T * lengths
        # A feature that never changes is scaled to nothing, and is not moved.
        self.spread = np.where(spread > 0, spread, np.inf)
        self.among = np.ix_(self.free.any(1), self.free.any(0))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return a draw [entries of the kernel], zero where not free."""
        signs = np.zeros(self.free.shape)
        among = self.free[self.among].shape
        signs[self.among] = 2.0 * rng.integers(0, 2, among) - 1
        drawn: np.ndarray = np.where(self.free, signs @ self.root / self.spread, 0.0)
        return from_matrix(drawn, *self.form)


def _layer(values: list[float]) -> dict[str, Any]:
    value, error, interval = drawn_mean_of(np.array(values))
    return {"value": value, "standard_error": error, "interval": interval}


@with_bar
def fisher_rao_norm(
    problem: Any,
    params: Any,
    *,
    labels: str = "data",
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Compute the square of the Fisher-Rao norm of Liang et al. 2019 [1]_, exactly.

    :math:`\|\theta\|_{fr}^2 = \langle\theta, I(\theta)\,\theta\rangle` with the Fisher matrix I of the
    data's labels (empirical) or of the model's own. For a bias-free ReLU network with L + 1 layers it is
    :math:`(L+1)^2 E\langle\partial\ell/\partial f, f_\theta(x)\rangle^2`.

    Parameters
    ----------
    problem, params
        As for `gaussian_robustness`.
    labels : {"data", "model"}
        Whose labels; ``"model"`` needs ``Problem(outputs=Outputs(..., likelihood=...))``.
    progress, **options
        As for `gaussian_robustness`.

    Returns
    -------
    FlatnessMeasure
        ``value`` is the square, ``details["norm"]`` its root. It does not change under node-wise
        rescalings of a ReLU network.

    References
    ----------
    .. [1] Liang et al., 2019. Fisher-Rao metric, geometry, and complexity of neural networks. AISTATS,
       arXiv:1711.01530.
    """
    around = Neighbourhood(
        problem, params, Options(**options), progress=progress, slopes_of="fisher_rao_norm"
    )
    return fisher_rao_of(around, labels=labels)


def fisher_rao_of(around: Neighbourhood, *, labels: str = "data", seed: int | None = None) -> FlatnessMeasure:
    """Compute `fisher_rao_norm` in given surroundings."""
    del seed  # nothing is drawn
    check_choice("labels", labels, ("data", "model"))
    operator = around.operator("fisher", labels=labels)
    vector = operator.subject.gather(around.weights[None].astype(around.dtype))
    product = operator.rows(vector)[0].astype(np.float64)
    value = float(vector[0].astype(np.float64) @ product)
    around.products.advance(1)
    return measured(
        around,
        "fisher_rao" if labels == "data" else "fisher_rao_model",
        value,
        label=EXACT,
        details={"norm": float(np.sqrt(max(value, 0.0))), "labels": labels},
        settings={"labels": labels},
    )
