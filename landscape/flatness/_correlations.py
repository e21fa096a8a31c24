"""How measures rank networks: Kendall's τ, with intervals over whole runs. No jax."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["correlations", "kendall_tau"]

_FEWEST = 3  # networks below which a rank correlation says nothing
FEW_RUNS = 5
_RESAMPLES = 1000


def kendall_tau(x: np.ndarray, y: np.ndarray) -> float | None:
    r"""Return Kendall's τ-b; None where one of the two does not vary.

    :math:`\tau_b = (C - D)/\sqrt{(P - T_x)(P - T_y)}` with C and D the concordant and discordant pairs of
    P, and T those tied in one variable. Kendall, 1945. The treatment of ties in ranking problems.
    Biometrika 33(3).

    Examples
    --------
    >>> kendall_tau(np.arange(4.0), np.array([0.0, 1.0, 3.0, 2.0]))
    0.6666666666666666
    """
    upper = np.triu_indices(len(x), 1)
    a, b = (np.sign(np.subtract.outer(v, v))[upper] for v in (x, y))
    scale = float(np.count_nonzero(a)) * float(np.count_nonzero(b))
    return None if not scale else float(a @ b) / scale**0.5


def correlations(
    records: Sequence[Mapping[str, Any]], networks: Sequence[Mapping[str, Any]], *, seed: int
) -> list[dict[str, Any]]:
    """Return Kendall's τ of every pair of measures, the norm and the gap, over the networks of a space.

    Parameters
    ----------
    records, networks
        As in `Flatness`.
    seed : int
        Of the resampling.
    """
    found = []
    for space in dict.fromkeys(network["space"] for network in networks):
        here = [network for network in networks if network["space"] == space]
        columns = _columns([r for r in records if r["space"] == space], here)
        runs = _runs(here)
        found += [
            {"a": a, "b": b, "space": space, **_pair(columns[a], columns[b], runs, seed)}
            for a, b in itertools.combinations(columns, 2)
        ]
    return [entry for entry in found if entry["networks"] >= _FEWEST]


def _columns(
    records: Sequence[Mapping[str, Any]], networks: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Return the values of each measure over the networks, NaN where there are none."""
    places = {network["name"]: i for i, network in enumerate(networks)}
    columns: dict[str, np.ndarray] = {}
    for record in records:
        column = columns.setdefault(record["measure"], np.full(len(networks), np.nan))
        if record["value"] is not None:
            column[places[record["name"]]] = record["value"]
    columns["parameter_norm"] = np.array([float(network["parameter_norm"]) for network in networks])
    columns["gap"] = np.array([float(network.get("gap", np.nan)) for network in networks])
    return columns


def _runs(networks: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the number of the run (a method and seed) that each network is of; alone if it says neither."""
    keys = [
        (network.get("method"), network.get("seed"), None)
        if network.get("method") is not None or network.get("seed") is not None
        else (None, None, i)
        for i, network in enumerate(networks)
    ]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([order[key] for key in keys])


def _pair(x: np.ndarray, y: np.ndarray, runs: np.ndarray, seed: int) -> dict[str, Any]:
    known = np.isfinite(x) & np.isfinite(y)
    x, y, runs = x[known], y[known], runs[known]
    numbers = np.unique(runs)
    tau = kendall_tau(x, y) if len(x) >= _FEWEST else None
    interval = None
    if tau is not None and len(numbers) >= FEW_RUNS:
        interval = _interval(x, y, runs, seed)
    return {"tau": tau, "interval": interval, "networks": len(x), "runs": len(numbers)}


def _interval(x: np.ndarray, y: np.ndarray, runs: np.ndarray, seed: int) -> list[float] | None:
    """Return the 95 % percentile interval over resampled runs.

    Two copies of one network are no pair: they are tied in both, and count in neither scale.
    """
    rng = np.random.default_rng(seed)
    numbers, member = np.unique(runs, return_inverse=True)
    drawn = rng.integers(0, len(numbers), (_RESAMPLES, len(numbers)))
    times = np.stack([np.bincount(row, minlength=len(numbers)) for row in drawn])[:, member].astype(float)
    a, b = (np.sign(np.subtract.outer(values, values)) for values in (x, y))
    # How often each pair was drawn, times what it says: a quadratic form in the numbers of copies.
    agree, untied_a, untied_b = (
        np.einsum("rn,rn->r", times @ form, times) for form in (a * b, np.abs(a), np.abs(b))
    )
    scale = np.sqrt(untied_a * untied_b)
    taus = agree[scale > 0] / scale[scale > 0]
    return [float(end) for end in np.quantile(taus, (0.025, 0.975))] if len(taus) else None
