"""The cost of an analysis, counted in units whose price depends on the network. No jax.

The units are evaluations over all its data: forward passes, gradients, products with a curvature matrix; and,
for the memory, vectors as long as the parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from landscape.compute import SILENT, Progress

__all__ = ["Cost", "Estimate", "Pace", "bar_label", "duration_text", "estimate_for", "trace_products"]

# Prices where none was measured. A reverse sweep costs about two forward passes beside its own (Griewank and
# Walther, 2008. Evaluating derivatives, section 4.4), the derivative of the gradient about as much again.
PASSES_PER_GRADIENT, GRADIENTS_PER_PRODUCT = 3.0, 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of an analysis at one network.

    Attributes
    ----------
    passes, gradients, products : float
        Evaluations of the whole data: of the loss, of its gradient, of a curvature matrix.
    vectors : int
        Vectors of the parameters' length that are held at once.
    stops : bool
        Whether it stops by itself, so that the counts are typical ones.
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
        return self.passes / PASSES_PER_GRADIENT + self.gradients + GRADIENTS_PER_PRODUCT * self.products

    def __str__(self) -> str:
        """Return the counts in words."""
        units = (
            (self.passes, "pass", "passes"),
            (self.gradients, "gradient", "gradients"),
            (self.products, "product", "products"),
        )
        text = ", ".join(f"{n:,.0f} {one if round(n) == 1 else many}" for n, one, many in units if n)
        return f"about {text}" if self.stops and text else text or "nothing more"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """How long one evaluation of a network over its data takes, without compilation.

    Attributes
    ----------
    forward, gradient, product : float
        Seconds.
    measured : int
        Which of them were measured: 0, the forward pass alone; 1, the gradient too; 2, all. The others have
        the usual price.
    vector_bytes : int
        Size of a vector of the parameters.
    """

    forward: float
    gradient: float
    product: float
    measured: int
    vector_bytes: int

    def seconds(self, cost: Cost) -> float:
        """Return how long something takes."""
        return cost.passes * self.forward + cost.gradients * self.gradient + cost.products * self.product

    def text(self, total: Cost) -> str:
        """Return the prices of what a cost counts, in words."""
        named = (
            ("forward pass", self.forward, total.passes),
            ("gradient", self.gradient, total.gradients),
            ("product", self.product, total.products),
        )
        return ", ".join(
            f"{name} {1e3 * seconds:,.3g} ms" + ("" if i <= self.measured else " (not measured)")
            for i, (name, seconds, count) in enumerate(named)
            if count
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimated cost of an analysis, before it begins.

    Attributes
    ----------
    name : str
        Of the analysis.
    parts : mapping of str to Cost
        What each part costs at one network.
    networks : int
        How many networks.
    pace : Pace
        Of the first network.
    """

    name: str
    parts: Mapping[str, Cost]
    networks: int
    pace: Pace

    @property
    def seconds(self) -> float:
        """Seconds for all networks, without compilation."""
        return self.networks * sum(self.pace.seconds(cost) for cost in self.parts.values())

    @property
    def memory(self) -> int:
        """Bytes of the vectors that are held at once, beside the data and a batch's activations."""
        return self.pace.vector_bytes * max((cost.vectors for cost in self.parts.values()), default=0)

    @property
    def label(self) -> str:
        """The name with the estimate behind it, for the bar; with the memory where that is large."""
        memory = f", {_bytes_text(self.memory)} of vectors" if self.memory >= _NOTABLE else ""
        return f"{self.name}, about {duration_text(self.seconds)}{memory}"

    def __str__(self) -> str:
        """Return the table that a dry run prints."""
        table = [("part", "cost per network", "time per network")]
        table += [
            (name, str(cost), duration_text(self.pace.seconds(cost))) for name, cost in self.parts.items()
        ]
        widths = [max(len(row[i]) for row in table) for i in range(2)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in table]
        count = f"{self.networks} networks" if self.networks > 1 else "1 network"
        return "\n".join(
            [
                *lines,
                "",
                f"time     about {duration_text(self.seconds)} for {count}, without compilation",
                f"pace     {self.pace.text(sum(self.parts.values(), Cost()))}",
                f"memory   {_bytes_text(self.memory)} of vectors, beside the data and a batch's activations",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers."""
        return {
            "analysis": self.name,
            "networks": self.networks,
            "seconds": self.seconds,
            "vector_bytes": self.memory,
            "pace": dataclasses.asdict(self.pace),
            "parts": [
                {"name": name, **dataclasses.asdict(cost), "seconds": self.pace.seconds(cost)}
                for name, cost in self.parts.items()
            ],
        }


_NOTABLE = 2**28  # bytes of vectors that are told beside the time


def trace_products(relative_error: float) -> float:
    """Return the products that a trace usually takes: 20 of a pilot, and those that the error asks for.

    Typical of trained networks of 600 to 17,000 parameters, whose spectra decay fast enough for Hutch++, the
    error of which falls like one over the products. Networks that are not trained take up to three times as
    many.
    """
    return 20 + 20 * 0.05 / relative_error


def bar_label(progress: Progress, plain: str, estimate: Callable[[], Estimate]) -> str:
    """Return what a bar is called: the estimate's label, or `plain` where nothing is shown."""
    found = estimate_for(progress, estimate)
    return plain if found is None else found.label


def estimate_for(progress: Progress, estimate: Callable[[], Estimate]) -> Estimate | None:
    """Return the estimate that a bar shows before the first part; None where nothing is shown.

    An estimate compiles and times an evaluation: who is not shown it does not pay for it.
    """
    return None if progress is SILENT else estimate()


def duration_text(seconds: float) -> str:
    """Return a duration to two digits, in the unit that a reader would take."""
    if seconds < 1:
        return f"{max(seconds, 1e-3):.1g} s"
    for limit, unit, size in ((90, "s", 1.0), (5400, "min", 60.0), (172_800, "h", 3600.0)):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86_400:.3g} days"


def _bytes_text(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
