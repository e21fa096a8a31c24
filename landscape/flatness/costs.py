"""What a measure costs, in units that a network sets the price of. No jax.

The counts are those of a network's own loss over all its data: forward passes, gradients, products with a
curvature matrix, and vectors as long as the parameters that are held at once. Where a measure stops by
itself they are what it usually takes (`Cost.most` says so).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Cost", "Costing"]

# Prices where none was measured, in gradients: one reverse sweep costs two forward passes beside its own
# (Griewank and Walther, 2008. Evaluating derivatives, section 4.4), and a product about three gradients
# (up to four on the transformer of benchmarks/RESULTS.md).
GRADIENTS_PER_PASS, GRADIENTS_PER_PRODUCT = 1 / 3, 4.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What a measure costs at one network.

    Attributes
    ----------
    passes, gradients, products : float
        Evaluations of the whole data: of the loss, of its gradient, of a curvature matrix.
    vectors : int
        Vectors of the parameters' length that are held at once.
    stops : bool
        Whether the measure stops by itself, so that the counts are typical ones.
    """

    passes: float = 0
    gradients: float = 0
    products: float = 0
    vectors: int = 4
    stops: bool = False

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both, one after the other."""
        return Cost(
            passes=self.passes + other.passes,
            gradients=self.gradients + other.gradients,
            products=self.products + other.products,
            vectors=max(self.vectors, other.vectors),
            stops=self.stops or other.stops,
        )

    @property
    def in_gradients(self) -> float:
        """The whole cost in gradients, at the usual prices."""
        return self.gradients + GRADIENTS_PER_PASS * self.passes + GRADIENTS_PER_PRODUCT * self.products

    def __str__(self) -> str:
        """Return the counts in words."""
        counts = (("passes", self.passes), ("gradients", self.gradients), ("products", self.products))
        shown = [f"{count:,.0f} {name}" for name, count in counts if count]
        text = ", ".join(text.removesuffix("s") if text.startswith("1 ") else text for text in shown)
        return f"about {text}" if self.stops else text


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
    """Return the cost of a trace with an error of five per cent, which follows from the spectrum."""
    error = settings.get("relative_error", 0.05)
    return _krylov(settings, max(20.0, 200 * (0.05 / error) ** 2))


def of_quadrature(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of log det (H + γI) by Lanczos quadrature, with the lowest eigenvalue before it."""
    return _krylov(settings, 60.0 + 30 * (settings["probes"] + 1))


def _krylov(settings: Mapping[str, Any], products: float) -> Cost:
    dim = settings.get("dim", products)
    return Cost(products=min(products, dim), vectors=int(min(products, dim, 60)) + 4, stops=dim > products)


def of_chains(settings: Mapping[str, Any]) -> Cost:
    """Return the cost of Langevin chains: burn-in and samples at six stiffnesses or more."""
    samples, chains = settings["samples"], settings["chains"]
    return Cost(gradients=6 * chains * (samples + max(samples // 3, 10) + 1), vectors=8 * chains)
