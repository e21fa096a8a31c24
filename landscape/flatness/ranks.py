"""How measures rank networks: Kendall's τ, with intervals over whole runs. No jax."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.flatness.results import bound_of

__all__ = ["correlations", "kendall_tau"]

_FEWEST = 3  # networks below which a rank correlation says nothing
FEW_RUNS = 5


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
    records: Sequence[Mapping[str, Any]], networks: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return Kendall's τ of every pair of measures, the norm and the gap, over the networks of a space.

    Parameters
    ----------
    records, networks
        As in `Flatness`.
    """
    found = []
    for space in dict.fromkeys(network["space"] for network in networks):
        here = [network for network in networks if network["space"] == space]
        columns = _columns([r for r in records if r["space"] == space], here)
        runs, ranks = _runs(here), {name: _ranks(column) for name, column in columns.items()}
        found += [
            {
                "a": a,
                "b": b,
                "space": space,
                **_pair(ranks[a], ranks[b], runs),
                "censored": _censored(columns[a], columns[b]),
            }
            for a, b in itertools.combinations(columns, 2)
        ]
    return [entry for entry in found if entry["networks"] >= _FEWEST]


def _columns(
    records: Sequence[Mapping[str, Any]], networks: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Return each measure over the networks: NaN where there is no value, infinite where only a bound."""
    places = {network["name"]: i for i, network in enumerate(networks)}
    columns: dict[str, np.ndarray] = {}
    for record in records:
        column = columns.setdefault(record["measure"], np.full(len(networks), np.nan))
        bound = bound_of(record)
        if bound is not None:
            column[places[record["name"]]] = -np.inf if bound[0] == "≤" else np.inf
        elif record["value"] is not None and np.isfinite(record["value"]):
            column[places[record["name"]]] = record["value"]
    for name in ("parameter_norm", "gap"):
        values = np.array([float(network.get(name, np.nan)) for network in networks])
        columns[name] = np.where(np.isfinite(values), values, np.nan)
    return columns


def _ranks(column: np.ndarray) -> np.ndarray:
    """Return dense ranks, NaN where nothing is known; infinities are beyond all values, and tied."""
    known = ~np.isnan(column)
    ranks = np.full(len(column), np.nan)
    ranks[known] = np.unique(column[known], return_inverse=True)[1]
    return ranks


def _censored(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.count_nonzero(~np.isnan(a) & ~np.isnan(b) & (np.isinf(a) | np.isinf(b))))


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


def _pair(x: np.ndarray, y: np.ndarray, runs: np.ndarray) -> dict[str, Any]:
    known = np.isfinite(x) & np.isfinite(y)
    x, y, runs = x[known], y[known], runs[known]
    count = len(np.unique(runs))
    tau = kendall_tau(x, y) if len(x) >= _FEWEST else None
    interval = None if tau is None or count < FEW_RUNS else _interval(x, y, runs, tau)
    return {"tau": tau, "interval": interval, "networks": len(x), "runs": count}


def _interval(x: np.ndarray, y: np.ndarray, runs: np.ndarray, tau: float) -> list[float] | None:
    r"""Return a 95 % interval of the τ that many such runs would have; None where every pair agrees.

    Two networks of many runs are nearly always of different runs, so pairs within a run do not count:
    Student's interval about Fisher's z of :math:`\tau_b` over the other pairs, with the standard error of
    the jackknife that leaves out whole runs (Arvesen, 1969. Jackknifing U-statistics. Ann. Math. Statist.
    40(6)). It is widened to hold ``tau``, which is of all pairs. Percentiles of resampled runs will not
    do: a run drawn twice is paired with itself, and of nominally 95 % they cover from 10 to 90 %.
    """
    from scipy.special import stdtrit

    order = np.argsort(runs, kind="stable")
    numbers, starts = np.unique(runs[order], return_index=True)
    a, b = (np.sign(np.subtract.outer(v, v)) for v in (x[order], y[order]))
    agree, untied_a, untied_b = (_between_runs(form, starts) for form in (a * b, np.abs(a), np.abs(b)))
    scale = np.sqrt(untied_a * untied_b)
    if not (scale > 0).all():
        return None
    taus = agree / scale  # of all runs, then without each
    limit = (
        1 - 2 / scale[0]
    )  # one pair in disagreement has a finite z, and the error of the rest is then kept
    z = np.arctanh(np.clip(taus, -limit, limit))
    count = len(numbers)
    error = np.sqrt((count - 1) / count * np.sum((z[1:] - z[1:].mean()) ** 2))
    if not error:
        return None
    half = float(stdtrit(count - 1, 0.975)) * error
    low, high = np.tanh((z[0] - half, z[0] + half))
    return [float(min(low, tau)), float(max(high, tau))]


def _between_runs(form: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the sum of a symmetric form [n, n] over pairs of different runs: of all, then without each."""
    blocks = np.add.reduceat(np.add.reduceat(form, starts, axis=0), starts, axis=1)
    np.fill_diagonal(blocks, 0)
    return np.concatenate([[blocks.sum()], blocks.sum() - 2 * blocks.sum(axis=1)])
