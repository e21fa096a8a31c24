"""Results of flatness measures: one number with its uncertainty, and tables of many. No jax."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from landscape.results import (
    STATUSES,
    Among,
    Items,
    Maybe,
    Numbers,
    Paired,
    Plain,
    Record,
    Result,
    Table,
    Text,
    Within,
    count,
    format_value,
    interval,
    with_error,
)

__all__ = ["Flatness", "FlatnessMeasure"]

# What a value is: computed exactly on the stated data, a mean over random draws, the best that an
# inexact maximisation found, or exact for the quadratic model of the loss only.
# Lines of values up to which each is printed; beyond it a summary names the range.
_MOST_LINES = 60

EXACT, ESTIMATE, LOWER_BOUND, GAUSSIAN = "exact", "estimate", "lower bound", "Gaussian approximation"
LABELS = (EXACT, ESTIMATE, LOWER_BOUND, GAUSSIAN)

# What is stored of a value, of a curve over radii, and of what tables hold.
_VALUE = {
    "value": Maybe(Numbers(finite="ok"), absent=False),
    "standard_error": Maybe(Numbers(least=0)),
    "interval": interval(),
    "label": Text(LABELS),
    "radius": Maybe(Numbers()),
}
_DETAILS = {
    "units": Maybe(Text()),
    "draws": Maybe(count()),
    **{name: Maybe(Numbers()) for name in ("residual", "value_at_most", "value_at_least")},
}
_CURVE = Record(
    {"radii": Numbers("R", finite=True, least=0), "loss_rise": Numbers("R"), "loss_rise_error": Numbers("R")},
    (Paired("_rise", "_rise_error"),),
    endings={"_rise": Numbers("R"), "_rise_error": Numbers("R")},
)
_OF_NETWORK = {
    "name": Text(),
    "space": Text(),
    **dict.fromkeys(("method", "seed", "level"), Maybe(Plain())),
    "density": Maybe(Numbers(finite=True, least=0, most=1)),
}
_CURVE_OF = Record(
    {**_OF_NETWORK, "measure": Text(), "units": Maybe(Text()), **_CURVE.fields},
    _CURVE.relations,
    endings=_CURVE.endings,
)
_RISE = Record({"rise": Numbers(), "standard_error": Numbers()})
_RECORD = Record(
    {
        "status": Text(STATUSES),
        **_OF_NETWORK,
        "measure": Text(),
        **_VALUE,
        "units": Maybe(Text()),
        "metric_rises": Maybe(Table(_RISE)),
        "details": Maybe(Record(_DETAILS)),
    },
    (Within("value", "interval"),),
)
_NETWORK = Record(
    {
        **_OF_NETWORK,
        "dim": count(),
        "parameter_norm": Numbers(),
        "loss": Numbers(),
        "test_loss": Maybe(Numbers()),
        "gap": Maybe(Numbers()),
        "metrics": Maybe(Table(Numbers())),
        "test_metrics": Maybe(Table(Numbers())),
    }
)
_CORRELATION = Record(
    {
        "a": Text(),
        "b": Text(),
        "space": Text(),
        "tau": Maybe(Numbers(finite=True, least=-1 - 1e-9, most=1 + 1e-9)),
        "interval": interval(),
        "networks": Maybe(count()),
        "runs": Maybe(count()),
        "censored": Maybe(count()),
    },
    (Within("tau", "interval"),),
)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FlatnessMeasure(Result):
    """One sharpness or flatness measure at one network.

    Attributes
    ----------
    name : str
        Which measure.
    value : float or None
        Its value; None where it is not defined (the status says why).
    standard_error : float or None
        Over random draws; None for exact values, and for lower bounds but of random subspaces.
    interval : tuple of float, or None
        95 % interval over independent draws (the hull of Student's and Hall's, see
        `landscape.results.probes`; over chains and random subspaces Student's);
        None where nothing honest can be given.
    label : str
        ``"exact"``, ``"estimate"``, ``"lower bound"`` (of an inexact maximisation, a Ritz value) or
        ``"Gaussian approximation"``.
    radius : float or None
        Size of the perturbation, in the units that `details` name.
    dim : int
        Free parameters.
    loss : float
        Mean loss at the network itself, on the stated data.
    parameter_norm : float
        Euclidean norm of the free parameters: many measures depend on the scale of the weights.
    details : dict
        Further results of the measure: curves over radii, layers, starts, steps, bounds.
    """

    kind: ClassVar[str] = "flatness_measure"

    spec = Record(
        {
            "name": Text(),
            **_VALUE,
            "dim": count(),
            "loss": Numbers(),
            "parameter_norm": Numbers(least=0),
            "details": Maybe(Record({**_DETAILS, "curve": Maybe(_CURVE)})),
        },
        (Within("value", "interval"), Among("radius", "details.curve.radii")),
    )

    name: str
    value: float | None
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    label: str
    radius: float | None = None
    dim: int
    loss: float
    parameter_norm: float
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        rows = [(self.name.replace("_", " "), value_text(self.__dict__))]
        rises = metric_rises(self.radius, self.details.get("curve"))
        rows += [(f"rise of {metric}", _rise_text(rise)) for metric, rise in rises.items()]
        if self.radius is not None:
            rows.append(("radius", f"{format_value(self.radius)} {self.details.get('units', '')}".strip()))
        rows += [
            ("free parameters", f"{self.dim:,}, norm {format_value(self.parameter_norm)}"),
            ("loss", format_value(self.loss)),
        ]
        return rows

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build it from stored fields: tuples were stored as lists."""
        return super().from_fields(_with_tuple({"details": {}, **fields}), **base)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Flatness(Result):
    """Flatness measures of one or many networks: one row per network, space and measure.

    Attributes
    ----------
    records : list of dict
        One per value: ``name``, ``method``, ``seed``, ``level``, ``density`` (of weights) of the network;
        ``space`` (``"ticket"``: perturbed within the mask, or ``"full"``); ``measure``, ``value``,
        ``standard_error``, ``interval``, ``label``, ``radius``, ``units``, ``status``; ``metric_rises``,
        by metric, with the mean ``rise`` at the radius and its ``standard_error``, where perturbations
        are random; ``details``. A value that is known to lie beyond what was tried is None with status
        ``"not-found"``, and ``details["value_at_most"]`` or ``details["value_at_least"]`` is its bound.
    networks : list of dict
        One per network and space: ``name``, ``method``, ``seed``, ``level``, ``density``, ``space``,
        ``dim``, ``parameter_norm``, ``loss``, and, where the problem has other splits or metrics,
        ``test_loss``, ``gap`` (test minus train loss) and ``metrics``.
    curves : list of dict
        Perturbation curves: ``name``, ``method``, ``seed``, ``level``, ``density``, ``space``,
        ``measure``, ``units``, ``radii`` [R], ``loss_rise`` [R], ``loss_rise_error`` [R] and, for each
        metric, ``<metric>_rise`` and ``<metric>_rise_error``.
    correlations : list of dict
        Kendall's rank correlations across networks: ``a``, ``b`` (measures, ``"gap"``,
        ``"parameter_norm"``), ``space``, ``tau``, ``interval`` (for many such runs; None for fewer than 5),
        ``networks``, ``runs``, and ``censored``: how many of the networks have only a bound of ``a`` or
        ``b`` and are ranked beyond all values, tied with each other.
    measures : list of str
        What was measured, in order.
    """

    kind: ClassVar[str] = "flatness"

    spec = Record(
        {
            "networks": Maybe(Items(_NETWORK)),
            "records": Maybe(Items(_RECORD)),
            "curves": Maybe(Items(_CURVE_OF)),
            "correlations": Maybe(Items(_CORRELATION)),
            "measures": Maybe(Items(Text())),
        }
    )

    records: Sequence[Mapping[str, Any]]
    networks: Sequence[Mapping[str, Any]]
    curves: Sequence[Mapping[str, Any]] = ()
    correlations: Sequence[Mapping[str, Any]] = ()
    measures: Sequence[str]

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: every measure of a single network, or one line per measure of several."""
        if len(self.networks) * len(self.measures) > _MOST_LINES:
            return self._summary()
        rows = []
        many = len(self.networks) > 1
        for network in self.networks[:40]:
            head = f"{network['name']}, {network['space']} space" if many else str(network["name"])
            text = f"{network['dim']:,} free, norm {format_value(network['parameter_norm'])}, "
            rows.append((head, text + f"loss {format_value(network['loss'])}"))
            for found in self._of(network):
                rows.append((f"  {found['measure']}", value_text(found)))
                rises = found.get("metric_rises") or {}
                rows += [(f"    rise of {name}", _rise_text(rise)) for name, rise in rises.items()]
        if len(self.networks) > 40:
            rows.append(("", f"and {len(self.networks) - 40} more networks (all in the JSON form)"))
        return rows

    def _summary(self) -> list[tuple[str, str]]:
        """Return a line per measure and space: median and range over the networks."""
        spaces = list(dict.fromkeys(network["space"] for network in self.networks))
        rows = [("networks", f"{len(self.networks):,}; median, then lowest and highest")]
        for space in spaces:
            if len(spaces) > 1:
                rows.append((f"{space} space", ""))
            rows += [(f"  {measure}", self._range(measure, space)) for measure in self.measures]
        return [*rows, ("every value", "in the files of -o and in the JSON form")]

    def _range(self, measure: str, space: str) -> str:
        """Return median and range of a measure, and how many networks have no value of it."""
        records = [r for r in self.records if (r["measure"], r["space"]) == (measure, space)]
        known = [r for r in records if r["value"] is not None and math.isfinite(r["value"])]
        if not known:
            return f"no value at any of {len(records)} networks"
        ordered = sorted(known, key=lambda r: float(r["value"]))
        values = [float(r["value"]) for r in ordered]
        low, high = (
            f"{format_value(float(r['value']))} ({_short(r['name'])})" for r in (ordered[0], ordered[-1])
        )
        least = "≥ " if ordered[0]["label"] == LOWER_BOUND else ""
        text = f"{least}{format_value(statistics.median(values))}, from {low} to {high}"
        missing = len(records) - len(known)
        return f"{text}; no value at {missing} networks" if missing else text

    def _of(self, network: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        keys = ("name", "space")
        return [found for found in self.records if all(found[key] == network[key] for key in keys)]

    def column(self, measure: str, space: str | None = None) -> list[float | None]:
        """Return the values of one measure, in the order of `networks`."""
        found = {(r["name"], r["space"]): r["value"] for r in self.records if r["measure"] == measure}
        return [
            found.get((network["name"], network["space"]))
            for network in self.networks
            if space in (None, network["space"])
        ]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build it from stored fields: lists without entries were not stored."""
        empty: dict[str, Any] = {"records": (), "networks": (), "curves": (), "correlations": ()}
        return super().from_fields({**empty, "measures": (), **fields}, **base)


def _short(name: object, width: int = 24) -> str:
    """Return the end of a name, where paths differ."""
    text = str(name)
    return text if len(text) <= width else f"…{text[-width + 1 :]}"


def metric_rises(radius: float | None, curve: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the mean rise of every metric at a radius of a curve, and its standard error."""
    if curve is None or radius is None:
        return {}
    at = [float(one) for one in curve["radii"]].index(float(radius))
    if not math.isfinite(float(curve["loss_rise"][at])):
        return {}  # of perturbations at which the loss is no number a metric is none either
    names = [key.removesuffix("_rise") for key in curve if key.endswith("_rise") and key != "loss_rise"]
    return {
        name: {
            "rise": float(curve[f"{name}_rise"][at]),
            "standard_error": float(curve[f"{name}_rise_error"][at]),
        }
        for name in names
    }


def bound_of(found: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return ``("≤", bound)`` or ``("≥", bound)`` of a value that lies beyond what was tried, or None."""
    details = found.get("details") or {}
    for sign, key in (("≤", "value_at_most"), ("≥", "value_at_least")):
        if found.get("value") is None and details.get(key) is not None:
            return sign, float(details[key])
    return None


def _rise_text(rise: Mapping[str, Any]) -> str:
    return with_error(rise["rise"], rise["standard_error"])


def value_text(found: Mapping[str, Any]) -> str:
    """Return a value with its uncertainty, as far as it is known."""
    if found.get("value") is None:
        bound = bound_of(found)
        return (
            "not defined" if bound is None else f"{bound[0]} {format_value(bound[1])} (beyond what was tried)"
        )
    if not math.isfinite(found["value"]):
        return "not a number: the loss is not finite at some of the perturbations"
    if found["label"] == LOWER_BOUND:  # what is two-sided of it is that of what was found, not of the maximum
        residual = found.get("details", {}).get("residual")
        how = "best that was found"
        if residual is not None:
            how = f"Ritz value, residual {format_value(float(residual))}"
        return f"≥ {format_value(float(found['value']))} ({how})"
    text = with_error(float(found["value"]), found.get("standard_error") or None, found.get("interval"))
    return f"{text}, {found['label']}" if found["label"] in (EXACT, GAUSSIAN) else text


def _with_tuple(fields: Mapping[str, Any]) -> dict[str, Any]:
    interval = fields.get("interval")
    return {**fields, "interval": None if interval is None else tuple(interval)}
