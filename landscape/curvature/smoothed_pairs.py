"""The pairs evaluated so far, at one length of each or at two; kept in a folder, so that they can go on."""

from __future__ import annotations

import time

import numpy as np

from landscape.compute import Progress
from landscape.curvature.perturbed import Perturbed
from landscape.files import Pieces

_SECONDS_PER_PIECE = 5.0


class Pairs:
    """The pairs evaluated so far, kept in a folder if there is one.

    Attributes
    ----------
    rises : numpy.ndarray [m, lengths, 2]
        By how much the mean loss grows on both sides of each pair, at one length of it or at two.
    stretch : numpy.ndarray [m, lengths]
        The lengths, 1 the first.
    squares : numpy.ndarray [m, leaves]
        ``Σ (z_i² − 1)`` over the free coordinates of each leaf.
    examples : numpy.ndarray [3, N]
        Of each example, summed over pairs: second differences of the pilot, those of the answer, and those
        times the whole ``Σ (s²z_i² − 1)``; means over the lengths s.
    """

    def __init__(self, around: Perturbed, pieces: Pieces, progress: Progress, *, lengths: int) -> None:
        self.around, self.pieces, self.progress = around, pieces, progress
        fresh = {
            "rises": np.empty((0, lengths, 2)),
            "stretch": np.empty((0, lengths)),
            "squares": np.empty((0, len(around.subject.layout.paths))),
            "examples": np.zeros((3, around.count)),
        }
        # Replaced as a whole: what is kept when a signal stops the work must be of the same pairs throughout.
        self._state: dict[str, np.ndarray] = pieces.found.get("pairs", fresh)

    @property
    def rises(self) -> np.ndarray:
        """Growth of the mean loss [m, lengths, 2]."""
        return self._state["rises"]

    @property
    def stretch(self) -> np.ndarray:
        """Lengths [m, lengths]."""
        return self._state["stretch"]

    @property
    def squares(self) -> np.ndarray:
        """``Σ (z_i² − 1)`` by leaf [m, leaves]."""
        return self._state["squares"]

    @property
    def examples(self) -> np.ndarray:
        """Sums of each example [3, N]."""
        return self._state["examples"]

    def upto(self, total: int, *, pilot: bool) -> None:
        """Evaluate pairs until there are `total`; the state is kept now and then, and when it is stopped."""
        last = time.monotonic()
        try:
            while len(self.rises) < total:
                first = len(self.rises)
                count = self.around.affordable(total - first)
                self._add(first, count, pilot=pilot)
                self.progress.advance(count)
                if time.monotonic() - last > _SECONDS_PER_PIECE:
                    self.keep()
                    last = time.monotonic()
        except BaseException:
            self.keep()
            raise

    def _add(self, first: int, count: int, *, pilot: bool) -> None:
        squares = self.around.squares(first, count)
        stretch = self._stretched(squares.sum(axis=1))
        found = np.stack([self.around.rises(first, count, s) for s in stretch.T], axis=1)
        examples = self.examples.copy()
        offs = stretch**2 * (squares.sum(axis=1) + self.around.dim)[:, None] - self.around.dim
        for second, off in zip(found.sum(axis=2), offs, strict=True):  # in the order of pairs
            if pilot:
                examples[0] += second.mean(axis=0)
            else:
                examples[1] += second.mean(axis=0)
                examples[2] += off @ second / len(off)
        self._state = {
            "rises": np.concatenate([self.rises, self.around.weighting.over(found)]),
            "stretch": np.concatenate([self.stretch, stretch]),
            "squares": np.concatenate([self.squares, squares]),
            "examples": examples,
        }

    def _stretched(self, offs: np.ndarray) -> np.ndarray:
        """Return the lengths of pairs with ``‖z‖² − n`` [m]: 1, and where there are two the mirrored one."""
        ones = np.ones((len(offs), self.stretch.shape[1]))
        if ones.shape[1] > 1:
            from scipy.special import chdtr, chdtri

            square = offs + self.around.dim
            ones[:, 1] = np.sqrt(chdtri(self.around.dim, chdtr(self.around.dim, square)) / square)
        return ones

    def keep(self) -> None:
        """Publish the state."""
        self.pieces.keep("pairs", self._state)
