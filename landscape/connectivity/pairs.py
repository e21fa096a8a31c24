"""The pairs of a matrix: measured one after the other, kept as they are finished, gathered in the end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.compute import Progress
from landscape.connectivity import endpoints, measure
from landscape.connectivity.barrier_interval import DEFINITIONS
from landscape.connectivity.measure import INCOMPLETE, NON_FINITE
from landscape.connectivity.relations import relation
from landscape.files import Pieces
from landscape.results import provenance, read_from

if TYPE_CHECKING:
    from landscape.connectivity.line import Curve, Ends, Plan
    from landscape.connectivity.renormalisation import Renormaliser
    from landscape.problem import Problem

__all__ = ["Pairs"]


class _Inner:
    """The progress of one path inside that of all pairs: it counts points and passes nothing else on."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def start(self, label: str, total: int | None = None) -> None:
        """Say nothing: the bar of all pairs stands."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count points."""
        self._outer.advance(n, **fields)

    def note(self, text: str) -> None:
        """Say nothing."""

    def stop(self) -> None:
        """Leave the bar of all pairs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
    """Everything that decides a matrix."""

    problem: Problem
    ends: list[endpoints.Endpoint]
    records: list[dict[str, Any]]
    pairs: list[tuple[int, int]]
    plan: Plan
    settings: dict[str, Any]

    def run(self, resume: str | Path | None, progress: Progress, *, asked: Any, label: str) -> dict[str, Any]:
        """Measure the pairs that are not kept yet, and return the fields of the matrix."""
        digests = [end.digest for end in self.ends]
        pieces = Pieces(resume, self._key(digests))
        found: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        kept: Ends = {}
        renormaliser = self._renormaliser()
        counts: dict[str, Any] = {"evaluations": 0, "compile": 0.0, "run": 0.0}
        progress.start(label, total=len(self.pairs) * len(self.plan.alphas))
        progress.note("compiling")
        try:
            for first, second in self.pairs:
                name = f"pair-{first:04d}-{second:04d}"
                if name in pieces.found:
                    progress.advance(len(self.plan.alphas))
                    found[first, second] = pieces.found[name]
                    continue
                found[first, second] = self._pair(
                    first, second, digests, (kept, renormaliser), counts, _Inner(progress)
                )
                pieces.keep(name, found[first, second])
        finally:
            progress.stop()
        counts["renormalised"] = renormaliser.summary if renormaliser is not None else None
        result = self._result([found[pair] for pair in self.pairs], digests, counts, asked)
        pieces.remove()
        return result

    def _renormaliser(self) -> Renormaliser | None:
        """Return what renormalises the networks of all pairs, where that is asked for."""
        from landscape.compute import precision
        from landscape.connectivity.line import renormaliser_for

        with precision(self.plan.dtype):
            return renormaliser_for(self.problem, self.ends[0], self.plan)

    def _key(self, digests: Sequence[str]) -> dict[str, Any]:
        plan = {**dataclasses.asdict(self.plan), "alphas": self.plan.alphas.tolist()}
        data = {split: self.problem.data_digest(split) for split in self.plan.splits}
        return {"networks": list(digests), "plan": plan, "data": data, **self.settings}

    def _pair(  # noqa: PLR0917  the state that pairs share
        self,
        first: int,
        second: int,
        digests: Sequence[str],
        shared: tuple[Ends, Renormaliser | None],
        counts: dict[str, Any],
        inner: _Inner,
    ) -> dict[str, np.ndarray]:
        """Return the numbers of one pair as arrays by name."""
        from landscape.connectivity import line

        pair = endpoints.pair_of(self.ends[first], self.ends[second], keys=(digests[first], digests[second]))
        curve = line.evaluate(self.problem, pair, self.plan, inner, ends=shared[0], renormaliser=shared[1])
        if pair.identical:
            inner.advance(len(self.plan.alphas) - 1)
        started = time.perf_counter()
        numbers = self._numbers(pair, curve)
        counts["evaluations"] += curve.evaluations
        counts["compile"] += curve.seconds["compile"]
        counts["run"] += curve.seconds["run"] + time.perf_counter() - started
        return numbers

    def _numbers(self, pair: endpoints.Pair, curve: Curve) -> dict[str, np.ndarray]:
        measured = measure.Measurement(self.problem, pair, self.plan, curve)
        barriers, places = measured.barriers()
        bands = measured.bands(**self.settings)
        out = {
            f"losses/{split}/{metric}": values
            for split, metrics in curve.losses.items()
            for metric, values in metrics.items()
        }
        for split, metrics in barriers.items():
            for metric, heights in metrics.items():
                for definition, value in heights.items():
                    out[f"barriers/{split}/{metric}/{definition}"] = _number(value)
        for definition in DEFINITIONS:
            interval = bands[definition].interval if bands is not None else (np.nan, np.nan)
            out[f"intervals/{definition}"] = np.array(interval, np.float64)
            out[f"alpha_max/{definition}"] = _number(places[definition])
        out["distance"] = _number(endpoints.distance(pair))
        out["identical"] = np.array(pair.identical)
        out["non_finite"] = np.array(len(measured.non_finite()))
        return out

    def _result(
        self,
        found: list[dict[str, np.ndarray]],
        digests: Sequence[str],
        counts: Mapping[str, Any],
        asked: Any,
    ) -> dict[str, Any]:
        stacked = {name: np.stack([one[name] for one in found]) for name in found[0]}
        bad = int(np.sum(stacked["non_finite"] > 0))
        finite = all(end.finite for end in self.ends)
        warnings = dict.fromkeys(
            f"{end.name}: {text}" for end in self.ends if end.checkpoint for text in end.checkpoint.warnings
        )
        notes = (f"not finite on a part of {bad} of {len(self.pairs)} paths",) if bad else ()
        return dict(
            records=tuple(self.records),
            pairs=np.array(self.pairs, np.int64),
            relations=tuple(relation(self.records[i], self.records[j]) for i, j in self.pairs),
            alphas=self.plan.alphas,
            losses=_nested(stacked, "losses"),
            barriers=_nested(stacked, "barriers"),
            intervals={name: stacked[f"intervals/{name}"] for name in DEFINITIONS},
            alpha_max={name: stacked[f"alpha_max/{name}"] for name in DEFINITIONS},
            distances=stacked["distance"],
            identical=stacked["identical"],
            split=self.plan.split,
            num_points=len(self.plan.alphas),
            status=NON_FINITE if not finite else (INCOMPLETE if bad else "ok"),
            warnings=(*warnings, *notes, *self.problem.weighting(self.plan.split).cautions(self.plan.split)),
            config=self._config(asked),
            stats={
                "num_examples": self.problem.num_examples(self.plan.split),
                "evaluations": counts["evaluations"],
                "seconds": {"compile": counts["compile"], "run": counts["run"]},
                **({"renormalised": counts["renormalised"]} if self.plan.repair else {}),
                **self.problem.weighting(self.plan.split).facts,
            },
            provenance=self._provenance(digests),
        )

    def _config(self, asked: Any) -> dict[str, Any]:
        plan, problem = self.plan, self.problem
        stated = asked if isinstance(asked, str) else [a if isinstance(a, str) else list(a) for a in asked]
        return {
            "pairs": stated,
            "num_points": len(plan.alphas),
            "split": plan.split,
            "splits": list(plan.splits),
            "batch_size": {name: problem.resolve_batch_size(name, plan.batch_size) for name in plan.splits},
            "dtype": plan.dtype,
            "batch_stats": plan.batch_stats,
            "repair": plan.repair,
            "problem": problem.described,
            "higher_is_better": {key: metric.higher_is_better for key, metric in problem.metrics.items()},
            **self.settings,
        }

    def _provenance(self, digests: Sequence[str]) -> dict[str, Any]:
        data = {split: self.problem.data_digest(split) for split in self.plan.splits}
        sources = {f"network {i + 1}": end.checkpoint for i, end in enumerate(self.ends)}
        return provenance(
            seed=self.settings["seed"],
            dtype=self.plan.dtype or "float32",
            digests={"networks": list(digests), "data": data, **read_from(sources)},
        )


def _number(value: float | None) -> np.ndarray:
    return np.array(np.nan if value is None else value, np.float64)


def _nested(stacked: Mapping[str, np.ndarray], head: str) -> dict[str, Any]:
    """Return ``losses/split/metric`` or ``barriers/split/metric/definition`` as nested dictionaries."""
    found: dict[str, Any] = {}
    for name, values in stacked.items():
        if not name.startswith(f"{head}/"):
            continue
        split, metric = name.removeprefix(f"{head}/").split("/", 1)
        if head == "losses":
            found.setdefault(split, {})[metric] = values
        else:
            metric, definition = metric.rsplit("/", 1)
            found.setdefault(split, {}).setdefault(metric, {})[definition] = values
    return found
