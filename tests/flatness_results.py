"""Results of flatness made of plain numbers, for the tests of figures, pages and the command."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from landscape.flatness import MEASURES
from landscape.flatness.results import Flatness, FlatnessMeasure

BOUNDS = {"keskar", "keskar_subspace", "sam", "sam_ascent", "adaptive_l2", "adaptive_linf"}


def record(measure: str, value: float | None, **facts: Any) -> dict[str, Any]:
    bound = measure in BOUNDS
    known = value is not None and not bound
    return {
        **facts,
        "measure": measure,
        "value": value,
        "standard_error": 0.05 * abs(value) if known and value is not None else None,
        "interval": [0.9 * value, 1.1 * value] if known and value is not None else None,
        "label": "lower bound" if bound else "estimate",
        "radius": 0.05,
        "units": "standard deviation of each parameter",
        "status": "ok" if value is not None else "not-found",
        "details": {},
    }


def a_table(
    *,
    seeds: int = 2,
    levels: int = 3,
    methods: tuple[str, ...] = ("es-snr", "gd-magnitude"),
    measures: tuple[str, ...] = tuple(MEASURES),
    spaces: tuple[str, ...] = ("ticket",),
    density: bool = True,
    missing: tuple[str, ...] = (),
    name: str = "run",
) -> Flatness:
    rng = np.random.default_rng(0)
    records, networks, curves = [], [], []
    for method in methods:
        for seed in range(seeds):
            for level in range(levels):
                for space in spaces:
                    facts = {
                        "name": f"{name}/{method}/seed-{seed}/level-{level}.h5",
                        "method": method,
                        "seed": seed,
                        "level": level,
                        "density": 0.5**level if density else None,
                        "space": space,
                    }
                    networks.append(
                        {**facts, "dim": 100, "parameter_norm": 3.0 + level, "loss": 0.2, "metrics": {}}
                    )
                    for measure in measures:
                        value = None if measure in missing else float(rng.lognormal())
                        sign = -1 if measure.startswith("local") else 1
                        records.append(record(measure, None if value is None else sign * value, **facts))
                    radii = np.array([0.01, 0.1, 1.0])
                    for measure in [m for m in ("gaussian", "gaussian_relative") if m in measures]:
                        curves.append(
                            {
                                **facts,
                                "measure": measure,
                                "units": "standard deviation",
                                "radii": radii,
                                "loss_rise": radii**2 * rng.lognormal(),
                                "loss_rise_error": 0.1 * radii**2,
                            }
                        )
    pairs = [(a, b) for i, a in enumerate(measures) for b in (*measures[i + 1 :], "gap")]
    correlations = [
        {
            "a": a,
            "b": b,
            "space": spaces[0],
            "tau": None if i % 7 == 6 else float(rng.uniform(-1, 1)),
            "interval": [-0.5, 0.5] if i % 2 else None,
            "networks": 12,
            "runs": 4,
        }
        for i, (a, b) in enumerate(pairs)
    ]
    return Flatness(
        records=records,
        networks=networks,
        curves=curves,
        correlations=correlations if len(networks) > 2 else [],
        measures=list(measures),
        warnings=("a warning",),
        provenance={"seed": 0, "dtype": "float32"},
    )


def a_measure(*, curve: bool = True) -> FlatnessMeasure:
    radii = np.array([0.01, 0.1])
    shape = {"radii": radii, "loss_rise": radii**2, "loss_rise_error": 0.1 * radii**2}
    return FlatnessMeasure(
        name="gaussian" if curve else "trace",
        value=0.01,
        standard_error=0.001,
        interval=(0.008, 0.012),
        label="estimate",
        dim=10,
        loss=0.5,
        parameter_norm=2.0,
        details={"units": "standard deviation", "curve": shape} if curve else {},
    )


def figures(page: Any) -> list[str]:
    return re.findall(r'<figure id="([^"]+)"', page.html(plotlyjs="cdn"))
