"""Plain numbers and stand-ins that the tests of figures and pages draw."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

ODD_NAME = "<img src=x onerror='window.obeyed=true'><b>e</b>\x1b[1m\u202e%{x}$a$"
SHOWN_NAME = "<img src=x onerror='window.obeyed=true'><b>e</b>\\x1b[1m\\u202e%{x}$a$"
DENSITIES = [1.0, 0.5, 0.2, 0.05]


def a_barrier(
    *, height: float = 0.38, overflow: bool = False, names: tuple[str, str] = ("a.h5", "b.h5"), **changes: Any
) -> SimpleNamespace:
    """A stand-in with the fields of a Barrier."""
    alphas = np.linspace(0, 1, 25)
    bump = 4 * alphas * (1 - alphas)
    chord = 0.02 + 0.03 * alphas
    excess, error = height * bump, 0.03 * height * np.sqrt(bump)
    train = chord + excess
    if overflow:
        train[8:12] = np.inf
        excess[8:12] = error[8:12] = np.nan
    fields = {
        "kind": "barrier",
        "alphas": alphas,
        "losses": {
            "train": {"loss": train, "accuracy": 1 - 0.3 * bump},
            "test": {"loss": chord + 1.1 * height * bump, "accuracy": 0.97 - 0.3 * bump},
        },
        "split": "train",
        "barrier_above_chord": None if overflow else height,
        "alpha_max": {"above_chord": None if overflow else 0.5},
        "interval_above_chord": None if overflow else [0.9 * height, 1.1 * height],
        "band": {"above_chord": {"excess": excess, "standard_error": error, "critical": 2.8}},
        "refined_alphas": np.linspace(0.45, 0.55, 5),
        "refined_losses": np.linspace(0.4, 0.41, 5),
        "identical": False,
        "endpoints": names,
        "non_finite": alphas[8:12] if overflow else np.array([]),
    }
    return SimpleNamespace(**{**fields, **changes})


def a_sweep(name: str = "ES, SNR", *, seeds: int = 2) -> list[dict[str, Any]]:
    values = [[0.98 - 0.01 * seed, 0.97, 0.95, 0.90] for seed in range(seeds)]
    interval = [(0.95, 0.99), (0.94, 0.98), (0.92, 0.97), (0.87, 0.92)]
    return [
        {"name": name, "densities": DENSITIES, "values": values, "interval": interval},
        {"name": "ES, random", "densities": DENSITIES, "values": [[0.98, 0.9, 0.7, 0.3]], "interval": None},
    ]


def some_layers(name: str = "ES, SNR") -> tuple[Any, Any, Any]:
    layers = [{name: [1.0, 0.4, 0.1, 0.0], "out": [1.0, 0.9, 0.7, 0.4]}]
    return layers, DENSITIES, [name]


def some_levels(name: str = "ES, SNR") -> list[dict[str, Any]]:
    es = [[0.05, 0.06, 0.07, 0.04], [0.04, 0.03, 0.08, 0.06]]
    gd = [[0.005, 0.0, 0.004, None], [0.004, 0.0003, 0.002, 0.01]]
    intervals = [[(0.5 * v, 2 * v) if v is not None else None for v in row] for row in gd]
    return [
        {"name": name, "densities": DENSITIES, "values": es},
        {"name": "GD", "densities": DENSITIES, "values": gd, "intervals": intervals},
    ]


def some_pairs(name: str = "ES, SNR") -> list[dict[str, Any]]:
    rows = (
        (name, "one initialisation", 0.05, (0.04, 0.07), "100 %"),
        ("GD", "one initialisation", 0.0, (0.0, 0.001), "100 %"),
        (name, "two initialisations", 0.33, None, "100 %"),
        ("GD", "two initialisations", 0.39, (0.3, 0.5), "5 %"),
        ("GD", "one initialisation", 0.001, None, "5 %"),
        ("GD", "one initialisation", None, None, "5 %"),
    )
    return [dict(zip(("method", "group", "value", "interval", "panel"), row, strict=True)) for row in rows]


def a_spectral_table(
    *, levels: int, methods: tuple[str, ...] = ("es-snr", "gd-magnitude"), seeds: int = 1
) -> SimpleNamespace:
    """A stand-in with the fields of a CurvatureTable: eigenvalues, traces by layer and densities."""
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []
    spectra = []
    for method in methods:
        for seed in range(seeds):
            for level in range(levels):
                trace = 50 * 0.8**level * float(rng.lognormal(0, 0.1))
                records.append(_spectral_record(method, seed, level, trace))
                grid, log_grid = np.linspace(-1, 10, 500), np.linspace(-6, 1.5, 500)
                density = np.exp(-0.5 * ((log_grid + 3 + 0.1 * level) / 0.8) ** 2)
                spectra.append(
                    {
                        "grid": grid,
                        "density": np.exp(-grid),
                        "standard_error": 0.05 * np.exp(-grid),
                        "log_grid": log_grid,
                        "log_density": density,
                        "log_standard_error": 0.05 * density,
                        "checks": {"mass": 1.0},
                    }
                )
    return SimpleNamespace(
        kind="curvature",
        records=records,
        spectra=spectra,
        spectrum=lambda i: spectra[i],
        which="largest",
        k=3,
        config={"split": "train"},
        status="ok",
    )


def _spectral_record(method: str, seed: int, level: int, trace: float) -> dict[str, Any]:
    def estimate(share: float) -> dict[str, Any]:
        value = share * trace
        return {"value": value, "standard_error": 0.05 * value, "interval": [0.9 * value, 1.1 * value]}

    return {
        "name": f"runs/{method}/seed-{seed}/level-{level:02d}.h5",
        "method": method,
        "seed": seed,
        "level": level,
        "density": 0.8**level,
        "eigenvalues": np.array([10.0, 6.0, 3.0]),
        "residuals": np.array([0.1, 0.1, 0.1]),
        "converged": np.array([True, True, level % 2 == 0]),
        "trace": {**estimate(1.0), "data_standard_error": 2.0, "method": "hutch++"},
        "per_layer": {"a/kernel": estimate(0.6), "b/kernel": estimate(0.4)},
        "status": "ok",
    }
