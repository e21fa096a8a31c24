"""From the losses along a path to the fields of a barrier. No jax."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.connectivity.barrier_interval import DEFINITIONS, Band, bands, baseline, excess
from landscape.connectivity.endpoints import Pair, file_of
from landscape.results import provenance, read_from

if TYPE_CHECKING:
    from landscape.connectivity.line import Curve, Plan
    from landscape.problem import Problem

INCOMPLETE, NON_FINITE = "incomplete", "non-finite"
_FEW_BEYOND = 10  # a quantile with fewer resamples beyond it is a matter of luck


class Measurement:
    """One evaluated path, and everything that is derived from it."""

    def __init__(self, problem: Problem, pair: Pair, plan: Plan, curve: Curve) -> None:
        self.problem = problem
        self.pair = pair
        self.plan = plan
        self.curve = curve
        self.warnings = list(pair.notes)

    def fields(self, *, seed: int, num_resamples: int, confidence: float) -> dict[str, Any]:
        """Return all fields of the result by name."""
        barriers, places = self.barriers()
        started = time.perf_counter()
        found = self.bands(seed=seed, num_resamples=num_resamples, confidence=confidence)
        seconds = {**self.curve.seconds, "resampling": time.perf_counter() - started}
        loss, non_finite = barriers[self.plan.split]["loss"], self.non_finite()
        numbers = {name: loss[name] for name in DEFINITIONS}
        bounds = {name: found[name].interval if found else None for name in DEFINITIONS}
        biases = {name: found[name].bias if found else None for name in DEFINITIONS}
        return {
            "alphas": self.plan.alphas,
            "losses": self.curve.losses,
            **{f"barrier_{name}": value for name, value in numbers.items()},
            "barriers": barriers,
            "alpha_max": places,
            **{f"interval_{name}": value for name, value in bounds.items()},
            **{f"bias_{name}": value for name, value in biases.items()},
            "band": None if found is None else {name: _band_fields(found[name]) for name in DEFINITIONS},
            "refined_alphas": self.curve.refined_alphas,
            "refined_losses": self.curve.refined_losses,
            "barrier_refined": self.refined(numbers),
            "identical": self.pair.identical,
            "split": self.plan.split,
            "num_points": len(self.plan.alphas),
            "endpoints": (self.pair.a.name, self.pair.b.name),
            "non_finite": non_finite,
            "densities": self.densities(),
            "status": self.status(non_finite),
            "warnings": tuple(self.warnings),
            "config": {
                **self.config(),
                "seed": seed,
                "num_resamples": num_resamples,
                "confidence": confidence,
            },
            "stats": self.stats(seconds),
            "provenance": self.provenance(seed),
        }

    def barriers(self) -> tuple[dict[str, dict[str, dict[str, float | None]]], dict[str, float | None]]:
        """Return the barrier of every metric, and where that of the loss on the split lies."""
        found: dict[str, dict[str, dict[str, float | None]]] = {}
        places: dict[str, float | None] = {}
        for split, metrics in self.curve.losses.items():
            found[split] = {}
            # Where the loss is not finite, neither are the outputs, and no metric of them is a number.
            finite = bool(np.isfinite(metrics["loss"]).all())
            for key, means in metrics.items():
                worse = -means if self._higher_is_better(key) else means
                heights = {name: excess(worse, self.plan.alphas, name) for name in DEFINITIONS}
                whole = finite and bool(np.isfinite(means).all())
                found[split][key] = {
                    name: float(height.max()) if whole else None for name, height in heights.items()
                }
                if split == self.plan.split and key == "loss":
                    places = {
                        name: float(self.plan.alphas[np.argmax(height)]) if whole else None
                        for name, height in heights.items()
                    }
        return found, places

    def _higher_is_better(self, key: str) -> bool:
        return key != "loss" and self.problem.metrics[key].higher_is_better

    def bands(self, *, seed: int, num_resamples: int, confidence: float) -> dict[str, Band] | None:
        """Return the bands of both definitions; None, and a warning, where there can be none."""
        points = len(self.plan.alphas)
        losses = self.curve.losses[self.plan.split]["loss"]
        if not np.isfinite(losses).all():
            return None
        if self.pair.identical:
            flat = np.zeros(points)
            return dict.fromkeys(DEFINITIONS, Band(flat, flat, 0.0, (0.0, 0.0), 0.0))
        weighting = self.problem.weighting(self.plan.split)
        if weighting.count < 2:
            self.warnings.append(f"{self.plan.split} has a single example: no interval")
            return None
        self.warnings += weighting.cautions(self.plan.split)
        if num_resamples * (1 - confidence) < _FEW_BEYOND:
            self.warnings.append(f"only {num_resamples} resamples: the interval's ends are uncertain")
        return bands(
            weighting.counted(self.curve.values),
            self.plan.alphas,
            weights=weighting.weights,
            seed=seed,
            num_resamples=num_resamples,
            confidence=confidence,
        )

    def refined(self, numbers: dict[str, float | None]) -> dict[str, float] | None:
        """Return the maximum over grid and refinement, by definition; None without a refinement."""
        losses = self.curve.losses[self.plan.split]["loss"]
        if not self.plan.refine or not np.isfinite([*losses, *self.curve.refined_losses]).all():
            return None
        out = {}
        for name in DEFINITIONS:
            base = baseline(self.curve.refined_alphas, losses[0], losses[-1], name)
            extra = float(np.max(self.curve.refined_losses - base, initial=-np.inf))
            out[name] = max(extra, numbers[name] or 0.0)
        return out

    def non_finite(self) -> np.ndarray:
        """Return the points at which anything is NaN or infinite, and warn of them."""
        means = [values for metrics in self.curve.losses.values() for values in metrics.values()]
        grid = self.plan.alphas[~np.isfinite(means).all(axis=0)]
        refined = self.curve.refined_alphas[~np.isfinite(self.curve.refined_losses)]
        points = np.union1d(grid, refined)
        if len(points):
            shown = ", ".join(f"{alpha:.4g}" for alpha in points[:4])
            more = f" and {len(points) - 4} more" if len(points) > 4 else ""
            self.warnings.append(f"not finite at {len(points)} points of the path: α = {shown}{more}")
        return points

    def status(self, non_finite: np.ndarray) -> str:
        """Return the status: whether the numbers can be trusted."""
        if not self.pair.finite:
            return NON_FINITE
        return INCOMPLETE if len(non_finite) else "ok"

    def densities(self) -> tuple[float, float] | None:
        """Return the densities of both networks if a mask is known; one without is dense."""
        found = [end.density for end in (self.pair.a, self.pair.b)]
        if found == [None, None]:
            return None
        first, second = (1.0 if value is None else value for value in found)
        return first, second

    def config(self) -> dict[str, Any]:
        """Return the resolved settings."""
        plan, problem = self.plan, self.problem
        return {
            "num_points": len(plan.alphas),
            "split": plan.split,
            "splits": list(plan.splits),
            "refine": plan.refine,
            "batch_size": {name: problem.resolve_batch_size(name, plan.batch_size) for name in plan.splits},
            "dtype": plan.dtype,
            "batch_stats": self.curve.batch_stats,
            "repair": plan.repair,
            "allow_nonfinite": plan.allow_nonfinite,
            "checkpoints": [file_of(self.pair.a), file_of(self.pair.b)],
            "problem": problem.described,
            "higher_is_better": {key: metric.higher_is_better for key, metric in problem.metrics.items()},
        }

    def stats(self, seconds: dict[str, float]) -> dict[str, Any]:
        """Return counts and seconds."""
        return {
            "num_examples": self.problem.num_examples(self.plan.split),
            "evaluations": self.curve.evaluations,
            "examples": self.curve.examples,
            "grid_spacing": 1 / (len(self.plan.alphas) - 1),
            "bound": "the maximum over a finite grid is a lower bound on the supremum over the path",
            "seconds": seconds,
            **self.curve.stored,
            **({"renormalised": self.curve.renormalised} if self.plan.repair else {}),
            **self.problem.weighting(self.plan.split).facts,
        }

    def provenance(self, seed: int) -> dict[str, Any]:
        """Return where the numbers come from."""
        digests = {
            "a": self.pair.a.digest,
            "b": self.pair.b.digest,
            "data": {split: self.problem.data_digest(split) for split in self.plan.splits},
            **read_from({"a": self.pair.a.checkpoint, "b": self.pair.b.checkpoint}),
        }
        return provenance(seed=seed, dtype=self.curve.dtypes, digests=digests)


def _band_fields(band: Band) -> dict[str, Any]:
    return {"excess": band.excess, "standard_error": band.standard_error, "critical": band.critical}
