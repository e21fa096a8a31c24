"""Random masks in which every weight lies on a path from an input to an output.

A uniformly random mask of a sparse network leaves many weights on no path, so that it has fewer
effective weights than it counts. This control has exactly `keep` of them:

1. draw a random order of the prunable weights; its starts are nested masks;
2. bisect for the longest start whose effective part (`trainers.pruning.paths`) has at most `keep`
   weights, and take that part;
3. while weights are missing: if the mask is empty, add a random path;
4. else, if enough free places lie between units that are connected already, fill random ones of them:
   every such weight is on a path at once;
5. else connect a random further unit, with one weight in and one out, and go on with 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landscape.errors import MaskError
from landscape.trees import Layout
from trainers.pruning.paths import ChainLayer, effective_mask

__all__ = ["connected_mask"]

Unit = tuple[int, int]  # (level, number); level 0 are the inputs


def connected_mask(
    keep: int,
    prunable: np.ndarray,
    *,
    layout: Layout,
    chain: Sequence[ChainLayer],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return a random mask [n] of exactly `keep` prunable weights, all of them on paths.

    The largest random mask of one nested sequence whose effective part fits is cut down to that
    part. What is missing is then drawn from the weights between units that are connected already;
    where these are too few, random further units are connected first.

    Raises
    ------
    MaskError
        If there are too few weights for a single path.
    """
    if keep < len(chain):
        raise MaskError(
            "connected mask: too few weights for a path from an input to an output",
            expected=f"at least {len(chain)}, one per layer",
            got=f"{keep}",
            hint="Fewer levels.",
        )
    scores = np.where(prunable, rng.random(prunable.size), -1.0)
    order = np.argsort(-scores, kind="stable")[: int(prunable.sum())]
    grown = _Grown(_largest_fitting(order, keep, layout, chain), layout, chain, rng)
    grown.grow(keep)
    return grown.mask


def _largest_fitting(order: np.ndarray, keep: int, layout: Layout, chain: Sequence[ChainLayer]) -> np.ndarray:
    """Return the effective part of the longest start of `order` whose effective part fits `keep`."""

    def effective(count: int) -> np.ndarray:
        mask = np.zeros(layout.size, bool)
        mask[order[:count]] = True
        return effective_mask(mask, layout, chain)

    low, high = 0, len(order)
    while low < high:  # bisection is right: more weights never take a weight off its path
        middle = (low + high + 1) // 2
        low, high = (middle, high) if effective(middle).sum() <= keep else (low, middle - 1)
    return effective(low)


class _Grown:
    """A mask all of whose weights lie on paths, and that stays so while it grows."""

    def __init__(
        self, mask: np.ndarray, layout: Layout, chain: Sequence[ChainLayer], rng: np.random.Generator
    ) -> None:
        self.mask, self.rng = mask, rng
        shapes = dict(zip(layout.paths, layout.shapes, strict=True))
        self.links = []  # views of the mask: [taps, units before, units after] of every layer
        for layer in chain:
            shape = shapes[layer.path]
            view = mask[layout.slices[layer.path]].reshape(-1, layer.channels or shape[-2], shape[-1])
            self.links.append(view)

    def grow(self, keep: int) -> None:
        """Add random weights until there are `keep`."""
        while (missing := keep - int(self.mask.sum())) > 0:
            if not self.mask.any():
                self._add_path()
            elif self._num_between() >= missing:
                self._fill(missing)
            else:
                self._connect_unit(missing)

    def _alive(self) -> list[np.ndarray]:
        """Return which units of every level are connected, inputs and outputs included."""
        inputs = self.links[0].any(axis=(0, 2))
        return [np.asarray(inputs), *(np.asarray(link.any(axis=(0, 1))) for link in self.links)]

    def _add_path(self) -> None:
        units = [int(self.rng.integers(self.links[0].shape[1]))]
        units += [int(self.rng.integers(link.shape[2])) for link in self.links]
        for layer in range(len(self.links)):
            self._add_link(layer, units[layer], units[layer + 1])

    def _add_link(self, layer: int, before: int, after: int) -> None:
        tap = int(self.rng.integers(self.links[layer].shape[0]))
        self.links[layer][tap, before, after] = True

    def _between(self) -> list[np.ndarray]:
        """Return what is missing between connected units, [taps, before, after] of every layer."""
        alive = self._alive()
        return [
            before[None, :, None] & after[None, None, :] & ~link
            for link, before, after in zip(self.links, alive[:-1], alive[1:], strict=True)
        ]

    def _num_between(self) -> int:
        return sum(int(places.sum()) for places in self._between())

    def _fill(self, count: int) -> None:
        places = [(layer, int(i)) for layer, p in enumerate(self._between()) for i in np.flatnonzero(p)]
        for chosen in self.rng.choice(len(places), count, replace=False):
            layer, place = places[chosen]
            self.links[layer].reshape(-1)[place] = True

    def _connect_unit(self, missing: int) -> None:
        """Connect a random unit: an input or output by one weight, a hidden unit by two."""
        alive, last = self._alive(), len(self.links)
        dead: list[Unit] = [
            (level, int(unit))
            for level, units in enumerate(alive)
            for unit in np.flatnonzero(~units)  # a hidden unit with one weight would be on no path
            if level in (0, last) or missing > 1
        ]
        if not dead:
            raise MaskError(
                "connected mask: no mask of exactly that many weights was found", hint="Another mask seed."
            )
        level, unit = dead[int(self.rng.integers(len(dead)))]
        if level > 0:
            self._add_link(level - 1, self._any(alive[level - 1]), unit)
        if level < last:
            self._add_link(level, unit, self._any(alive[level + 1]))

    def _any(self, alive: np.ndarray) -> int:
        return int(self.rng.choice(np.flatnonzero(alive)))
