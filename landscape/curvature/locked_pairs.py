"""The wanted end of a spectrum, the pairs locked so far, and the Ritz values beyond them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of `top_eigenpairs`."""

    k: int
    which: str
    tolerance: float
    num_vectors: int
    block_size: int
    max_matvecs: int
    probe_matvecs: int
    seed: int

    @property
    def num_wanted(self) -> int:
        """Return the number of pairs over all ends."""
        return self.k * (2 if self.which == "both" else 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
    """Approximate eigenpairs.

    Attributes
    ----------
    ritz_values : numpy.ndarray [l]
        In the order of the report.
    ritz_vectors : numpy.ndarray [l, n]
        Orthonormal rows.
    residual_norms : numpy.ndarray [l]
        Of the recurrence until they are certified.
    """

    ritz_values: np.ndarray
    ritz_vectors: np.ndarray
    residual_norms: np.ndarray

    def __len__(self) -> int:
        return len(self.ritz_values)

    def converged(self, tolerance: float, scale: float) -> np.ndarray:
        """Return which residual norms are at most `tolerance` times `scale`."""
        small: np.ndarray = self.residual_norms <= tolerance * scale
        return small


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """The result of the last search for missed eigenvalues.

    Attributes
    ----------
    missed : bool
        Whether a Ritz value lies beyond the last locked pair and its residual.
    resolved : bool
        Whether the probe's own extremes are known well enough to say that nothing does.
    num_matvecs : int
        Its products.
    extremes : numpy.ndarray [2] or None
        Its smallest and largest Ritz value.
    most_extreme : float or None
        That of the two which is nearest to the wanted end.
    exact : bool
        Whether the whole spectrum was computed instead.
    """

    missed: bool = False
    resolved: bool = False
    num_matvecs: int = 0
    extremes: np.ndarray | None = None
    most_extreme: float | None = None
    exact: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing was missed, as far as a probe can tell."""
        return self.exact or (self.resolved and not self.missed)

    def to_dict(self) -> dict[str, Any]:
        """Return the form of `Eigenpairs.complete_probe`."""
        decided = self.exact or self.resolved or self.missed
        form = {
            "passed": self.passed,
            "decided": decided,
            "exact": self.exact,
            "num_matvecs": self.num_matvecs,
        }
        return form if self.most_extreme is None else {**form, "most_extreme": self.most_extreme}


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """The state of a search: a record that continues it.

    Attributes
    ----------
    locked : Pairs
        What was found; later runs stay orthogonal to it.
    scale : float
        The largest size of a Ritz value seen, a lower bound on the spectral norm.
    probe : Probe
        The last one.
    num_products : dict of str to int
        By purpose.
    rounding : numpy.ndarray [l]
        What rounding may add to the residuals; empty before they are certified.
    limited_by_rounding : bool
        Whether the recurrence had converged, so that more steps would not help.
    finite : bool
        Whether every product was.
    """

    locked: Pairs
    scale: float = 0.0
    probe: Probe = Probe()
    num_products: Mapping[str, int]
    rounding: np.ndarray
    limited_by_rounding: bool = False
    finite: bool = True

    def charged(self, purpose: str, count: int) -> State:
        """Return the state after `count` more products."""
        spent = {**self.num_products, purpose: self.num_products[purpose] + count}
        return dataclasses.replace(self, num_products=spent)


def wanted_of(theta: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the positions of the wanted ones among ascending values, in the order of the report."""
    count, k = len(theta), settings.k
    descending = np.arange(count)[::-1]
    if settings.which == "largest":
        return descending[:k]
    if settings.which == "smallest":
        return np.arange(count)[:k]
    if settings.which == "magnitude":
        return np.argsort(-np.abs(theta), kind="stable")[:k]
    high = descending[:k]
    return np.concatenate([high, np.arange(min(k, count - len(high)))])


def _ends(state: State, settings: Settings) -> list[tuple[int, float, float]]:
    """Return the sign of each wanted end, the last locked value there, and how far that may be off."""
    values, residual_norms = state.locked.ritz_values, state.locked.residual_norms
    high = min(settings.k, len(values)) - 1
    last = {
        "largest": ((1, high),),
        "smallest": ((-1, -1),),
        "both": ((1, high), (-1, -1)),
        "magnitude": ((1, -1), (-1, -1)),
    }[settings.which]
    rounding = 10 * float(np.finfo(state.locked.ritz_vectors.dtype).eps) * state.scale
    by_size = settings.which == "magnitude"
    return [
        (
            sign,
            float(abs(values[at]) if by_size else sign * values[at]),
            float(residual_norms[at]) + rounding,
        )
        for sign, at in last
    ]


def beyond(state: State, settings: Settings, theta: np.ndarray) -> np.ndarray:
    """Return which Ritz values of a deflated run prove that an eigenvalue was missed."""
    proof = np.zeros(len(theta), bool)
    for sign, value, slack in _ends(state, settings):
        proof |= sign * theta > value + slack
    return proof


def extremes_are_resolved(
    state: State, settings: Settings, theta: np.ndarray, residual_norms: np.ndarray
) -> bool:
    """Return whether a deflated run knows its extremes well enough to say that none lies beyond."""
    return all(
        float((sign * theta + residual_norms).max()) <= value + 2 * slack
        for sign, value, slack in _ends(state, settings)
    )
