"""From two networks to a connecting curve: train, measure along it, and along the straight line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.compute import Progress, compile_seconds, device_memory, precision
from landscape.connectivity import line
from landscape.connectivity.barrier_interval import DEFINITIONS, bands, excess
from landscape.connectivity.curve_form import arc_mean, length_of, weights_at
from landscape.connectivity.curve_training import Training, train
from landscape.connectivity.endpoints import Endpoint, Pair
from landscape.connectivity.measure import INCOMPLETE
from landscape.files import Pieces
from landscape.network import Network, Subject, make_subject, network_of
from landscape.results import provenance
from landscape.trees import arrays_by_path

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["CurveWork"]

PyTree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveWork:
    """Everything that decides a connecting curve."""

    problem: Problem
    pair: Pair
    subjects: tuple[Subject, Subject]
    training: Training
    plan: line.Plan
    bends: int
    num_resamples: int
    confidence: float

    @classmethod
    def of(cls, problem: Problem, pair: Pair, **settings: Any) -> CurveWork:
        """Return the work of a pair; `settings` are the keywords of `landscape.connect`."""
        training = Training(
            curve=settings["curve"],
            steps=settings["steps"],
            learning_rate=settings["learning_rate"],
            batch_size=settings["train_batch_size"],
            seed=settings["seed"],
        )
        plan = line.Plan(
            split=settings["split"],
            splits=settings["splits"],
            alphas=np.linspace(0.0, 1.0, settings["num_points"]),
            refine=False,
            batch_size=settings["batch_size"],
            dtype=settings["dtype"],
            batch_stats=settings["batch_stats"],
            allow_nonfinite=False,
        )
        first, second = (_subject(problem, end) for end in (pair.a, pair.b))
        return cls(
            problem=problem,
            pair=pair,
            subjects=(first, second),
            training=training,
            plan=plan,
            bends=settings["bends"],
            num_resamples=settings["num_resamples"],
            confidence=settings["confidence"],
        )

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self.plan.dtype or np.float32)

    def _vectors(self) -> tuple[np.ndarray, np.ndarray]:
        first, second = (_vector(subject) for subject in self.subjects)
        return first, second

    def _free(self) -> np.ndarray | None:
        """Return where the bends may move: the union of both masks, None for everywhere."""
        masks = [
            end.checkpoint.mask if end.checkpoint is not None else None for end in (self.pair.a, self.pair.b)
        ]
        if any(mask is None for mask in masks):
            return None
        layout = self.subjects[0].layout
        found = [arrays_by_path(mask) for mask in masks]
        union = [
            np.logical_or(*(np.asarray(mask[path]) for mask in found)).reshape(-1) for path in layout.paths
        ]
        return np.concatenate(union)

    def fields(self, resume: str | Path | None, progress: Progress, *, label: str) -> dict[str, Any]:
        """Train and measure, and return the fields of the result; `label` begins what the bars are called."""
        pieces = Pieces(resume, self._key())
        first, last = self._vectors()
        with (
            precision(self.plan.dtype),
            device_memory(self.training.batch_size),
            compile_seconds() as compiling,
        ):
            networks = [network_of(subject, self._dtype) for subject in self.subjects]
            trained = train(
                self.problem,
                self.training,
                network=networks[0],
                layout=self.subjects[0].layout,
                ends=(first, last),
                free=self._free(),
                num_bends=self.bends,
                dtype=self._dtype,
                pieces=pieces,
                progress=progress,
                label=f"{label}: training",
            )
            controls = np.concatenate([first[None], trained.bends, last[None]]).astype(self._dtype)
            losses, values = self._along(networks, controls, progress, label=f"{label}: loss along it")
        straight = line.evaluate(
            self.problem,
            self.pair,
            dataclasses.replace(self.plan, splits=(self.plan.split,)),
            progress,
            label=f"{label}: loss along the straight line",
        )
        found = self._numbers(controls, losses, values, straight)
        pieces.remove()
        seconds = {"compile": float(sum(compiling)), "training": trained.seconds}
        return {
            **found,
            "losses": losses,
            "history": trained.history,
            "controls": controls,
            **self._facts(),
            "config": self._config(),
            "stats": {
                "num_examples": self.problem.num_examples(self.plan.split),
                "evaluations": len(self.plan.alphas) * len(self.plan.splits) + straight.evaluations,
                "steps": self.training.steps,
                "seconds": seconds,
                **self.problem.weighting(self.plan.split).facts,
            },
            "provenance": self._provenance(),
        }

    def _along(
        self, networks: list[Network], controls: np.ndarray, progress: Progress, *, label: str
    ) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
        """Return the means at every time by split and metric, and the losses of all examples of the split."""
        problem, plan = self.problem, self.plan
        treatment = line.treatment(problem, self.pair.a, plan.batch_stats)
        means: dict[str, dict[str, list[float]]] = {split: {} for split in plan.splits}
        values = []
        progress.start(label, total=len(plan.alphas))
        try:
            for t in plan.alphas:
                point = self._point(networks, controls, float(t), treatment)
                for split in plan.splits:
                    found = problem.per_example(point, split, batch_size=plan.batch_size, dtype=plan.dtype)
                    for key, value in found.items():
                        means[split].setdefault(key, []).append(problem.weighting(split).mean(value))
                    if split == plan.split:
                        values.append(found["loss"])
                progress.advance(1, loss=means[plan.split]["loss"][-1])
        finally:
            progress.stop()
        losses = {split: {key: np.array(v) for key, v in found.items()} for split, found in means.items()}
        return losses, np.stack(values)

    def _point(self, networks: list[Network], controls: np.ndarray, t: float, treatment: str) -> PyTree:
        """Return what the loss takes first at a time; the ends are the networks themselves."""
        network = networks[1 if t == 1 else 0]
        leaves = network.leaves
        if t not in (0, 1):
            vector = (weights_at(self.training.curve, t, self.bends) @ controls).astype(self._dtype)
            leaves = self.subjects[0].layout.split(vector)
        point = network.point(leaves)
        if treatment != line.RECOMPUTE:
            return point
        params, stats = point
        return params, self.problem.recompute_stats(params, stats, batch_size=self.plan.batch_size)

    def _numbers(
        self,
        controls: np.ndarray,
        losses: dict[str, dict[str, np.ndarray]],
        values: np.ndarray,
        straight: line.Curve,
    ) -> dict[str, Any]:
        """Return maxima, means, barriers and intervals of the curve and of the straight line."""
        loss = losses[self.plan.split]["loss"]
        whole = bool(np.isfinite([v for metrics in losses.values() for v in metrics.values()]).all())
        finite = bool(np.isfinite(loss).all())
        times, form = self.plan.alphas, self.training.curve
        own = self._barriers(loss, values)
        lines = self._barriers(straight.losses[self.plan.split]["loss"], straight.values)
        return {
            "ts": times,
            "line_losses": straight.losses[self.plan.split]["loss"],
            "maximum": float(loss.max()) if finite else None,
            "mean": float(np.trapezoid(loss, times)) if finite else None,
            "arc_mean": arc_mean(form, controls, times, loss) if finite else None,
            **{f"barrier_{name}": own[name][0] for name in DEFINITIONS},
            **{f"interval_{name}": own[name][1] for name in DEFINITIONS},
            "line_barrier_above_chord": lines["above_chord"][0],
            "line_interval_above_chord": lines["above_chord"][1],
            "length": length_of(form, controls),
            "line_length": float(np.linalg.norm(controls[-1].astype(np.float64) - controls[0])),
            "status": "ok" if whole else INCOMPLETE,
            "warnings": (
                *self.pair.notes,
                *(() if whole else ("not finite on a part of the curve",)),
                *self.problem.weighting(self.plan.split).cautions(self.plan.split),
            ),
        }

    def _barriers(
        self, loss: np.ndarray, values: np.ndarray
    ) -> dict[str, tuple[float | None, tuple[float, float] | None]]:
        if not np.isfinite(loss).all():
            return dict.fromkeys(DEFINITIONS, (None, None))
        heights = {name: float(excess(loss, self.plan.alphas, name).max()) for name in DEFINITIONS}
        if len(values) < len(loss):  # one network: nothing was resampled
            return {name: (heights[name], (0.0, 0.0)) for name in DEFINITIONS}
        weighting = self.problem.weighting(self.plan.split)
        if weighting.count < 2:
            return {name: (heights[name], None) for name in DEFINITIONS}
        found = bands(
            weighting.counted(values),
            self.plan.alphas,
            weights=weighting.weights,
            seed=self.training.seed,
            num_resamples=self.num_resamples,
            confidence=self.confidence,
        )
        return {name: (heights[name], found[name].interval) for name in DEFINITIONS}

    def _facts(self) -> dict[str, Any]:
        layout, leaves = self.subjects[0].layout, arrays_by_path(self.subjects[0].params)
        return {
            "curve": self.training.curve,
            "paths": layout.paths,
            "shapes": layout.shapes,
            "dtypes": tuple(np.asarray(leaves[path]).dtype.name for path in layout.paths),
            "split": self.plan.split,
            "endpoints": (self.pair.a.name, self.pair.b.name),
        }

    def _key(self) -> dict[str, Any]:
        return {
            "networks": [self.pair.a.digest, self.pair.b.digest],
            "training": dataclasses.asdict(self.training),
            "bends": self.bends,
            "data": self.problem.data_digest("train"),
            "dtype": self.plan.dtype,
        }

    def _config(self) -> dict[str, Any]:
        plan, problem = self.plan, self.problem
        training = dataclasses.asdict(self.training)
        training["train_batch_size"] = training.pop("batch_size")
        return {
            **training,
            "bends": self.bends,
            "num_points": len(plan.alphas),
            "split": plan.split,
            "splits": list(plan.splits),
            "num_resamples": self.num_resamples,
            "confidence": self.confidence,
            "batch_size": {name: problem.resolve_batch_size(name, plan.batch_size) for name in plan.splits},
            "dtype": plan.dtype,
            "batch_stats": line.treatment(problem, self.pair.a, plan.batch_stats),
            "problem": problem.described,
            "higher_is_better": {key: metric.higher_is_better for key, metric in problem.metrics.items()},
        }

    def _provenance(self) -> dict[str, Any]:
        splits = dict.fromkeys(("train", *self.plan.splits))
        data = {split: self.problem.data_digest(split) for split in splits}
        digests = {"a": self.pair.a.digest, "b": self.pair.b.digest, "data": data}
        return provenance(seed=self.training.seed, dtype=self._dtype.name, digests=digests)


def _subject(problem: Problem, end: Endpoint) -> Subject:
    """Return an end as a subject of all its weights."""
    return make_subject(problem, end.point, mask=False)


def _vector(subject: Subject) -> np.ndarray:
    leaves = arrays_by_path(subject.params)
    return np.concatenate([np.asarray(leaves[path], np.float64).reshape(-1) for path in subject.layout.paths])
