"""The cost of each measure at one network, with its settings. No jax.

The counts of a measure that stops by itself are typical ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from landscape.network import Cost, trace_products

# What a measure costs with these settings: its keywords, `draws`, `num_radii` and `dim`.
Costing = Callable[[Mapping[str, Any]], Cost]


def of_draws(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of mirrored pairs at every radius of a curve."""
    return Cost(passes=2 * settings["draws"] * settings.get("num_radii", 1))


def of_curve(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of mirrored pairs at the five radii of the default curve, or at those given."""
    return of_draws({"num_radii": 5, **settings})


def of_ascents(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of projected ascents; batches apart add up to the whole data."""
    return Cost(gradients=settings["starts"] * (settings["steps"] + 1))


def of_subspaces(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of ascents in random subspaces, whose bases are as large as the parameters."""
    rows = min(settings["subspace"], max(settings.get("dim", 2 * settings["subspace"]) // 2, 1))
    found = of_ascents(settings)
    return dataclasses.replace(found, gradients=settings["subspaces"] * found.gradients, vectors=rows + 4)


def of_noise_search(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of bisecting the noise of a drop, and of both ends of its interval."""
    return Cost(passes=30 * 2 * settings["draws"], stops=True)


def of_box_search(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of bisecting the box of a drop, with ascents in each."""
    starts, boxes = settings["starts"], 14
    return Cost(passes=boxes * starts, gradients=boxes * starts * (settings["steps"] + 1), stops=True)


def of_products(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of a product per draw."""
    return Cost(products=settings["draws"])


def of_one_product(_: Mapping[str, Any]) -> Cost:
    """Return the cost of one product with the Fisher matrix, which is two sweeps: less than one of H."""
    return Cost(products=1)


def of_eigenpair(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of one eigenpair and the probe beside it, or of the matrix of a small network."""
    return _krylov(settings, 40)


def of_trace(settings: Mapping[str, Any]) -> Cost:
    """Return the usual cost of a trace with an error of five per cent; the spectrum decides."""
    return _krylov(settings, trace_products(settings.get("relative_error", 0.05)))


def of_quadrature(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of log det (H + γI) by Lanczos quadrature, with the lowest eigenvalue before it."""
    return _krylov(settings, 60.0 + 30 * (settings["probes"] + 1))


def _krylov(settings: Mapping[str, Any], products: float) -> Cost:
    dim = settings.get("dim", products)
    return Cost(products=min(products, dim), vectors=int(min(products, dim, 60)) + 4, stops=dim > products)


def of_chains(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of Langevin chains: burn-in and samples at six stiffnesses or more."""
    samples, chains = settings["samples"], settings["chains"]
    nodes = max(4, math.ceil(math.log(settings["reference"] / settings["radius"])))
    pilots = 5 * max(3, math.ceil(samples / 15))  # three blocks of turns or more
    gradients = 33 + chains * nodes * (pilots + samples + 1)
    return Cost(gradients=gradients, vectors=(nodes + 8) * chains + 48, stops=True)
