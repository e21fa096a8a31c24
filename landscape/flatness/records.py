"""The rows of a table of flatness: records, networks and curves, network by network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landscape.errors import InputError, LandscapeError, ProblemError
from landscape.flatness.forecast import costs_of, lacking
from landscape.flatness.meter import Meter
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.ranks import correlations
from landscape.flatness.request import Request
from landscape.flatness.results import Flatness, FlatnessMeasure, metric_rises
from landscape.network import facts_of
from landscape.results import provenance, read_from_each
from landscape.trees import text_digest

# A measure that is not defined at a network is not a failure of the table: its record says so.
UNDEFINED = ("not-found", "indefinite")


class Rows:
    """The rows of a table, network by network."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.records: list[dict[str, Any]] = []
        self.networks: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.left_out: dict[str, list[str]] = {}
        self.stats: list[Mapping[str, Any]] = []
        self.digests: list[Mapping[str, Any]] = []
        self.config: Mapping[str, Any] = {}
        self.files: list[str | None] = []

    def add(self, name: str, space: str, around: Neighbourhood, meter: Meter) -> None:
        """Measure one network in one space."""
        checkpoint = around.subject.checkpoint
        facts = {
            "name": name,
            **facts_of(checkpoint),
            "density": None if checkpoint is None else checkpoint.density,
            "space": space,
        }
        self.networks.append({**facts, **_network(around)})
        around.meter = meter
        possible = costs_of(around, self.request)
        if not possible:
            raise ProblemError(
                f"flatness: {around.problem.name} allows none of {', '.join(self.request.measures)}",
                expected="a measure that it allows",
                got=lacking(around, self.request.measures[0]),
                hint="Ask for measures='all': what is possible is measured, and the rest is listed.",
            )
        for measure, cost in possible.items():
            meter.begin(measure, cost)
            found = self._measured(around, measure, f"{name}: ")
            if found is not None:
                self._record(facts, measure, found)
            meter.end()
        for measure in self.request.measures:
            missing = lacking(around, measure)
            if missing and measure not in self.request.chosen:
                self.left_out.setdefault(measure, []).append(missing)
        self.stats.append(around.stats)
        self.digests.append(around.digests())
        self.config = around.config
        self.files.append(None if checkpoint is None or not checkpoint.path else str(checkpoint.path))

    def _measured(self, around: Neighbourhood, measure: str, where: str) -> FlatnessMeasure | None:
        """Return a measure; one that was not asked for by name may be impossible here."""
        try:
            found = self.request.compute(around, measure)
        except (InputError, ProblemError) as error:
            if measure in self.request.chosen or type(error) not in (InputError, ProblemError):
                raise
            self.left_out.setdefault(measure, []).append(_first_line(error))
            return None
        self.warnings += [f"{where}{text}" for text in found.warnings]
        return found

    def _record(self, facts: Mapping[str, Any], measure: str, found: FlatnessMeasure) -> None:
        details = dict(found.details)
        curve = details.pop("curve", None)
        record = {
            **facts,
            "measure": measure,
            "value": found.value,
            "standard_error": found.standard_error,
            "interval": None if found.interval is None else list(found.interval),
            "label": found.label,
            "radius": found.radius,
            "units": details.get("units"),
            "status": found.status,
            "metric_rises": metric_rises(found.radius, curve),
            "details": details,
        }
        self.records.append(record)
        if curve is not None and len(curve["radii"]) > 1:
            self.curves.append({**facts, "measure": measure, "units": details.get("units"), **curve})

    def _left_out(self) -> list[str]:
        """Return one line that names the measures left out, and what they need."""
        total = len(self.networks)
        groups: dict[str, list[str]] = {}
        for name, reasons in self.left_out.items():
            which = "" if len(reasons) == total else f" (for {len(reasons)} of {total} networks)"
            groups.setdefault(reasons[0], []).append(name + which)
        listed = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in groups.items())
        return [f"left out, {len(self.left_out)} measures: {listed}"] if groups else []

    def result(self, spaces: Sequence[str], *, seconds: float) -> Flatness:
        """Return the table."""
        answers = ("ok", *UNDEFINED)
        bad = [record["status"] for record in self.records if record["status"] not in answers]
        notes = self._left_out()
        params = [found["params"] for found in self.digests]
        digest, first = params[0] if len(params) == 1 else text_digest("".join(params)), self.stats[0]
        return Flatness(
            records=self.records,
            networks=self.networks,
            curves=self.curves,
            correlations=correlations(self.records, self.networks),
            measures=[name for name in self.request.measures if name in {r["measure"] for r in self.records}],
            status=bad[0] if bad else "ok",
            warnings=tuple(dict.fromkeys([*notes, *self.warnings])),
            config={
                **self.config,
                "measures": list(self.request.measures),
                "radii": dict(self.request.radii),
                "settings": {name: dict(own) for name, own in self.request.settings.items()},
                "draws": self.request.draws,
                "spaces": list(spaces),
                "seed": self.request.seed,
                "checkpoints": list(dict.fromkeys(self.files)),
            },
            stats={
                **{name: first[name] for name in ("num_examples", "weights") if name in first},
                "num_evaluations": sum(found["num_evaluations"] for found in self.stats),
                "compile_seconds": sum(found["compile_seconds"] for found in self.stats),
                "seconds": seconds,
            },
            provenance=provenance(
                seed=self.request.seed,
                dtype=self.config["dtype"],
                digests={
                    "params": digest,
                    "data": self.digests[0]["data"],
                    **read_from_each(self.digests),
                },
            ),
        )


def _network(around: Neighbourhood) -> dict[str, Any]:
    """Return what is known of a network itself: norm, losses, and the gap between train and test."""
    found: dict[str, Any] = {
        "dim": around.dim,
        "parameter_norm": around.norm,
        "loss": around.base["loss"],
        "metrics": {name: value for name, value in around.base.items() if name != "loss"},
    }
    problem, point = around.problem, around.subject.point
    if "test" in problem.splits and around.subject.finite:
        size = around.options.batch_size
        values = problem.evaluate(point, "test", batch_size=size, dtype=around.dtype)
        train = (
            around.base
            if around.whole_train
            else problem.evaluate(point, batch_size=size, dtype=around.dtype)
        )
        found["test_loss"] = values.pop("loss")
        found["gap"] = found["test_loss"] - train["loss"]
        found["test_metrics"] = values
    return found


def _first_line(error: LandscapeError) -> str:
    return str(error).splitlines()[0]
