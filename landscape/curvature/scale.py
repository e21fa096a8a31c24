"""Whether an evolution strategy's search distribution knows the curvature."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from landscape.compute import SILENT, Progress, shown
from landscape.curvature.cost import curvature_cost, smoothed_cost
from landscape.curvature.estimates import Diagonal
from landscape.curvature.operators import CurvatureOperator, hessian
from landscape.curvature.perturbed import Perturbed
from landscape.curvature.smoothed import diagonal_around
from landscape.curvature.smoothed_results import SmoothedDiagonal
from landscape.curvature.stochastic import diagonal
from landscape.curvature.symmetric import MOST_DENSE
from landscape.errors import InputError
from landscape.files import Checkpoint, Pieces, load
from landscape.network import Estimate, bar_label, facts_of
from landscape.problem import Problem, problem_for_all
from landscape.results import (
    Alike,
    Items,
    Maybe,
    Numbers,
    OnePer,
    Plain,
    Record,
    Result,
    Text,
    check_whole,
    count,
    interval,
    mean_interval,
    provenance,
    with_error,
)
from landscape.trees import check_same_architecture

__all__ = ["ScaleCurvature", "scale_curvature"]

ALL = "all"
_ALMOST = 1 - 1e-12
_MOST_LINES = 40
_FEWEST = 3  # pairs below which a correlation says nothing
_CORRELATION = Maybe(Numbers(finite=True, least=-1 - 1e-9, most=1 + 1e-9), absent=False)
_CORRELATIONS = ("rank", "linear")


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ScaleCurvature(Result):
    """Correlation of ``1/σ²`` with the diagonal of the Hessian.

    Attributes
    ----------
    records : list of dict
        One per network and group of parameters: ``name``, ``method``, ``seed``, ``level``, ``layer``
        (``"all"`` or a path), ``size``, ``rank`` (Spearman's), ``linear`` (Pearson's), ``attenuation``
        (reliability of an estimated diagonal; 1 if exact), ``linear_corrected`` (clipped to ±1), all None
        where a product was not finite, and
        ``spread`` (the standard deviation of log σ: 0 for a distribution that has not adapted).
    summary : list of dict
        One per method and layer, over seeds at the same level: means of ``rank``, ``linear`` and
        ``linear_corrected``, with Student's t intervals on Fisher's scale (None below 2 networks).
    precision, curvature : list of numpy.ndarray
        ``1/σ²`` and the diagonal of each network, thinned to 2,000 points for the figure.
    method : str
        ``"exact"``, ``"hutchinson"`` or ``"smoothed"``.
    """

    kind: ClassVar[str] = "scale_curvature"

    statuses = ("ok", "not-converged", "non-finite")
    spec = Record(
        {
            "records": Maybe(
                Items(
                    Record(
                        {
                            "name": Text(),
                            "layer": Text(),
                            **dict.fromkeys(("method", "seed", "level"), Maybe(Plain())),
                            "size": Maybe(count()),
                            **dict.fromkeys(_CORRELATIONS, _CORRELATION),
                            "linear_corrected": Maybe(_CORRELATION.inner),
                            "attenuation": Maybe(Numbers(least=0, most=1)),
                            "spread": Maybe(Numbers()),
                        }
                    )
                )
            ),
            "summary": Maybe(
                Items(
                    Record(
                        {
                            "layer": Text(),
                            **dict.fromkeys(("method", "level"), Maybe(Plain())),
                            **dict.fromkeys(_CORRELATIONS, _CORRELATION),
                            "linear_corrected": Maybe(_CORRELATION.inner),
                            "rank_interval": Maybe(interval(), absent=False),
                            "linear_interval": Maybe(interval(), absent=False),
                            "linear_corrected_interval": interval(),
                        }
                    )
                )
            ),
            "precision": Items(Numbers("thinned", finite=True, least=0), "networks"),
            "curvature": Items(Numbers("thinned", finite="ok"), "networks"),
            "method": Text(),
        },
        (Alike("precision", "curvature"), OnePer("precision", "records", "layer", ALL)),
    )

    records: Sequence[Mapping[str, Any]]
    summary: Sequence[Mapping[str, Any]]
    precision: Sequence[np.ndarray]
    curvature: Sequence[np.ndarray]
    method: str

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: each group of networks, over all parameters and by layer."""
        rows = [("correlation of", f"1/σ² and the Hessian diagonal ({self.method})")]
        if self.estimated:
            note = "linear is corrected for the noise of the probes; rank is not, and comes out smaller"
            rows.append(("estimated", note))
        for found in self.summary[:_MOST_LINES]:
            label = " ".join(str(found[key]) for key in ("method", "layer") if found.get(key) is not None)
            if found.get("level") is not None:
                label += f", level {found['level']}"
            name = "linear_corrected" if "linear_corrected" in found else "linear"
            rows.append((label, f"rank {_text(found, 'rank')}, linear {_text(found, name)}"))
        if len(self.summary) > _MOST_LINES:
            rows.append(("", f"and {len(self.summary) - _MOST_LINES} more (all in the JSON form)"))
        return rows

    @property
    def estimated(self) -> bool:
        """Whether any diagonal was estimated from probes."""
        return self.method != "exact"


def _text(found: Mapping[str, Any], name: str) -> str:
    value, interval = found.get(name), found.get(f"{name}_interval")
    if value is None:
        return "not defined"
    return with_error(value, interval=interval)


def scale_curvature(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Any,
    *,
    split: str = "train",
    subset: int | None = None,
    smoothed: float | None = None,
    exact_up_to: int = MOST_DENSE,
    num_probes: int = 400,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> ScaleCurvature:
    r"""Correlate the precision of a search distribution with the curvature, over all and by layer.

    Where a strategy has adapted, its :math:`\sigma_i` should be small where the loss is curved: on a
    quadratic the ideal is :math:`1/\sigma_i^2 \propto H_{ii}`. Given are Spearman's and Pearson's
    correlation of :math:`1/\sigma_i^2` with :math:`H_{ii}` over the free parameters.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the checkpoints name.
    checkpoints : Checkpoint, path of one, or an iterable of them
        Each with the standard deviations of its search distribution (`std`).
    split, subset
        As for `hessian`.
    smoothed : float, optional
        The radius of `smoothed_diagonal`, whose entries then stand in place of the Hessian's: for losses
        without derivatives. Always estimated.
    exact_up_to : int
        Free parameters up to which the diagonal is computed exactly, with one product per entry.
    num_probes : int
        Probes of a larger one, or pairs of a smoothed one. Their noise lowers correlations;
        ``linear_corrected`` divides by the root of the reliability: 1 minus the mean squared standard error
        over the diagonal's variance.
        It is what is printed; the rank correlation has no such correction.
    seed : int
        Of the probes.
    progress : Progress, optional
        Is told of every network; by default a bar where standard error is a terminal.
    **options
        `mask`, `where`, `batch_size`, `dtype`, `allow_nonfinite` of `hessian`.

    Raises
    ------
    InputError
        If a checkpoint has no `std`, or one that is not positive where free.
    ConfigurationError
        If `problem` is None and the checkpoints name different tasks.

    Notes
    -----
    Parameters of a network are not independent: intervals are over networks (seeds) of a method and
    level, never over parameters.

    References
    ----------
    Spearman's correction for attenuation: Spearman, 1904. The proof and measurement of association
    between two things. American Journal of Psychology 15(1).
    """
    check_whole("num_probes", num_probes, 10)
    single = isinstance(checkpoints, (Checkpoint, str, Path))
    given = [load(c) if isinstance(c, (str, Path)) else c for c in ([checkpoints] if single else checkpoints)]
    if not given:
        raise InputError("scale_curvature: no checkpoints")
    started, progress = time.perf_counter(), shown(progress)
    problem = problem_for_all(problem, given)
    records: list[dict[str, Any]] = []
    points: list[tuple[np.ndarray, np.ndarray]] = []
    methods, digests = set(), []
    statuses: list[str] = []
    warnings: list[str] = []
    label = bar_label(
        progress,
        "scale against curvature",
        lambda: _cost(problem, given, smoothed, num_probes, split=split, subset=subset, **options),
    )
    progress.start(label, total=len(given))
    try:
        for i, checkpoint in enumerate(given):
            data = {"split": split, "subset": subset, "seed": seed, **options}
            operator = _operator(problem, checkpoint, smoothed, **data)
            precision = _precision(checkpoint, operator, i)
            found = _diagonal(operator, num_probes, exact_up_to=exact_up_to, seed=seed)
            methods.add(found.method)
            digests.append(operator.digests())
            groups = {ALL: np.arange(operator.dim), **operator.layers()}
            facts = {
                "name": str(checkpoint.path) if checkpoint.path else f"network {i + 1}",
                **facts_of(checkpoint),
            }
            statuses.append(found.status)
            warnings += [f"{facts['name']}: {note}" for note in found.warnings]
            records += [
                {**facts, "layer": layer, **_correlations(precision[at], found.values[at], _noise(found, at))}
                for layer, at in groups.items()
            ]
            thin = np.linspace(0, operator.dim - 1, min(operator.dim, 2000)).astype(int)
            points.append((precision[thin], found.values[thin]))
            progress.advance(1)
    finally:
        progress.stop()
    config = {"num_probes": num_probes, "exact_up_to": exact_up_to, "smoothed": smoothed, "seed": seed}
    return ScaleCurvature(
        records=records,
        summary=_summary(records),
        precision=[pair[0] for pair in points],
        curvature=[pair[1] for pair in points],
        method=" and ".join(sorted(methods)),
        status=next((status for status in statuses if status != "ok"), "ok"),
        warnings=tuple(dict.fromkeys(warnings)),
        config={**operator.config, **config, "checkpoints": sorted({record["name"] for record in records})},
        stats={**operator.stats, "seconds": time.perf_counter() - started, "networks": len(given)},
        provenance=provenance(seed=seed, dtype=operator.dtype.name, digests=digests[0]),
    )


def _cost(
    problem: Problem, given: Sequence[Any], smoothed: float | None, num_probes: int, **options: Any
) -> Estimate:
    """Return what the diagonals take."""
    if smoothed is not None:
        return smoothed_cost(problem, given, num_pairs=num_probes, **options)
    return curvature_cost(problem, given, scale=True, order=2, **options)


def _operator(
    problem: Problem, checkpoint: Checkpoint, smoothed: float | None, *, seed: int, **options: Any
) -> CurvatureOperator | Perturbed:
    """Return the Hessian of a network, or the network with the pairs around it."""
    if smoothed is not None:
        return Perturbed(problem, checkpoint, radius=smoothed, seed=seed, **options)
    return hessian(problem, checkpoint, **options)


def _diagonal(
    operator: CurvatureOperator | Perturbed, num_probes: int, *, exact_up_to: int, seed: int
) -> Diagonal | SmoothedDiagonal:
    if isinstance(operator, Perturbed):
        settings = {
            "num_pairs": num_probes,
            "relative_error": None,
            "max_pairs": num_probes,
            "confidence": 0.95,
        }
        return diagonal_around(operator, settings, Pieces(None, {}), SILENT)
    method = "exact" if operator.dim <= exact_up_to else "hutchinson"
    return diagonal(operator, method=method, num_probes=num_probes, seed=seed, progress=SILENT)


def _precision(checkpoint: Checkpoint, operator: Any, position: int) -> np.ndarray:
    name = str(checkpoint.path) if checkpoint.path else f"network {position + 1}"
    if checkpoint.std is None:
        raise InputError(
            f"{name}: holds no standard deviations of a search distribution",
            expected="a checkpoint of an evolution strategy, with std",
            hint="Leave out the checkpoints of gradient descent.",
        )
    check_same_architecture(checkpoint.params, checkpoint.std, ("params", "std"))
    std = operator.flatten(checkpoint.std).astype(np.float64)
    if not np.isfinite(std).all() or not (std > 0).all():
        raise InputError(
            f"{name}: std is not positive at {np.count_nonzero(~(std > 0)):,} free entries",
            expected="finite and positive",
        )
    precision: np.ndarray = std**-2
    return precision


def _noise(found: Any, at: np.ndarray) -> float:
    """Return the mean squared standard error of an estimated diagonal's entries."""
    if found.method == "exact" or found.standard_errors is None:
        return 0.0
    return float(np.mean(found.standard_errors[at] ** 2))


def _correlations(precision: np.ndarray, curvature: np.ndarray, noise: float) -> dict[str, Any]:
    spread = float(np.std(-0.5 * np.log(precision)))
    if not np.isfinite(curvature).all():  # a part of a diagonal has another correlation than the whole
        unknown = dict.fromkeys(("rank", "linear", "attenuation", "linear_corrected"))
        return {"size": len(precision), **unknown, "spread": spread}
    linear, rank = _pearson(precision, curvature), _pearson(_ranks(precision), _ranks(curvature))
    variance = float(np.var(curvature))
    reliability = max(1 - noise / variance, 0.0) if variance else 0.0
    attenuated = linear is not None and reliability > 0
    return {
        "size": len(precision),
        "rank": rank,
        "linear": linear,
        "attenuation": reliability,
        "linear_corrected": _clipped(linear / reliability**0.5)
        if attenuated and linear is not None
        else None,
        "spread": spread,
    }


def _clipped(correlation: float) -> float:
    """Return it within [-1, 1], which a correction by an estimated reliability may leave."""
    return float(np.clip(correlation, -1, 1))


def _pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return the correlation; None where it is not defined (too few points, or one does not vary)."""
    if len(x) < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    u, v = x - x.mean(), y - y.mean()
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    ranks: np.ndarray = rankdata(values)
    return ranks


def _summary(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over the networks of a method, level and layer, with intervals over networks."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["method"], record["level"], record["layer"]), []).append(record)
    summary = []
    for (method, level, layer), members in groups.items():
        entry: dict[str, Any] = {"method": method, "level": level, "layer": layer, "networks": len(members)}
        for name in ("rank", "linear", "linear_corrected"):
            known = [member[name] for member in members if member[name] is not None]
            entry[name] = float(np.mean(known)) if known else None
            entry[f"{name}_interval"] = _interval(known)
        summary.append(entry)
    return summary


def _interval(correlations: Sequence[float]) -> list[float] | None:
    """Return Student's t interval over networks on Fisher's scale, where it cannot leave [-1, 1]."""
    ends = mean_interval(np.arctanh(np.clip(correlations, -_ALMOST, _ALMOST)).tolist())
    return None if ends is None else np.tanh(ends).tolist()
