"""Permutations that lower the barrier itself, by a straight-through estimator.

Ainsworth et al. 2023 (arXiv:2209.04836), section 3.3. Matching weights or activations never looks at the loss
between the networks; this does. With A and B the two networks on their canonical scales:

1. start from the permutation π with the lowest measured barrier of those by weights, by activations, and of
   none; θ := A;
2. project: π := the permutation with the largest inner product ⟨θ, π(B)⟩, by coordinate ascent from the
   present one;
3. take the gradient of the loss of a minibatch half way, at ½(A + π(B)), and let it pass straight through
   the projection: a step of Adam on θ, in units of each array's root mean square;
4. repeat 2 and 3; keep the permutations with the lowest losses half way on a fixed set of examples;
5. measure the barriers of these on the whole split, on the grid that `landscape.loss_barrier` has by default.
   The lowest wins, and the start is among them, so the barrier never ends higher than it began.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from landscape.alignment.matching import Permutations, ascend
from landscape.alignment.symmetries import Side, Symmetries
from landscape.compute import SILENT, Progress, device_memory, program
from landscape.connectivity import loss_barrier
from landscape.errors import ProblemError
from landscape.network import differentiable
from landscape.problem import require_gradient, subset_of
from landscape.trees import fill, opened, sealed

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["EXAMPLES", "GRID", "MEASURED", "Refinement", "measured_barrier"]

PyTree = Any
Leaves = Mapping[str, np.ndarray]

GRID = 25  # points of the path on which barriers are measured, as in `loss_barrier`
_RATE = 0.05  # of an array's root mean square, per step
EXAMPLES = 256  # of a step
_PROBED = 2048  # examples on which midpoints are compared
MEASURED = 4  # permutations whose barriers are measured at the end
_FEWEST_RESAMPLES = 20  # the interval of a barrier is not used here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refinement:
    """Lowers the barrier between two networks of one architecture.

    Attributes
    ----------
    problem : Problem
        The loss and its data.
    symmetries : Symmetries
        Of the networks.
    like : pytree
        The structure of a network.
    split : str
        The data.
    steps : int
        Steps of the estimator.
    batch_size : int or None
        Examples per batch of measured barriers.
    progress : Progress
        Is told of every step.
    """

    problem: Problem
    symmetries: Symmetries
    like: PyTree
    split: str
    steps: int
    batch_size: int | None
    progress: Progress = SILENT

    def best(self, first: Side, second: Side, starts: Sequence[Permutations], *, seed: int) -> Permutations:
        """Return the permutations with the lowest measured barrier.

        Raises
        ------
        ProblemError
            If the loss has no gradient.
        """
        require_gradient(self.problem, "method='barrier'", instead="method='weights' or 'activations'")
        heights = [self.height(first, second, start) for start in starts]
        at = int(np.argmin(heights))
        found = [(starts[at], heights[at])]
        for permutations in self._visited(first, second, starts[at], seed=seed):
            found.append((permutations, self.height(first, second, permutations)))
        return min(found, key=lambda pair: pair[1])[0]

    def height(self, first: Side, second: Side, permutations: Permutations) -> float:
        """Return the barrier between the first network and the permuted second, on their canonical scales."""
        moved = self.symmetries.placed(permutations, first, second)
        ends = fill(self.like, first.leaves), fill(self.like, moved)
        return measured_barrier(self.problem, *ends, split=self.split, batch_size=self.batch_size)

    def _visited(self, first: Side, second: Side, start: Permutations, *, seed: int) -> list[Permutations]:
        """Return the permutations with the lowest losses half way that the estimator met: steps 2 to 4."""
        structure, rng = self.symmetries.structure, np.random.default_rng([seed, 0xB422])
        slope, update = self._programs()
        wide = {path: np.asarray(leaf, np.float64) for path, leaf in second.leaves.items()}
        present = start
        middle = _middle(first.leaves, self.symmetries.placed(present, first, second))
        moving = {path: jnp.asarray(leaf) for path, leaf in first.leaves.items() if _moves(leaf)}
        target, state = moving, optax.scale_by_adam().init(moving)
        sizes = {path: float(np.sqrt(np.mean(np.square(leaf)))) or 1.0 for path, leaf in moving.items()}
        losses: dict[bytes, tuple[float, Permutations]] = {}
        probe, batches = self._examples(rng)
        with differentiable(), device_memory(_PROBED):
            for _ in range(self.steps):
                loss, gradient = slope(middle, next(batches))
                _check_gradient(gradient)
                target, state = update(target, state, gradient, sizes)
                aimed = {**middle, **{path: np.asarray(leaf) for path, leaf in target.items()}}
                present, _ = ascend(structure, aimed, wide, present, rng)
                middle = _middle(first.leaves, self.symmetries.placed(present, first, second))
                key = b"".join(np.asarray(p).tobytes() for p in present.values())
                if key not in losses:
                    loss, _ = slope(middle, probe)
                    losses[key] = (float(loss), present)
                self.progress.advance(1, loss=float(loss))
        ranked = sorted(losses.values(), key=lambda pair: pair[0])
        return [permutations for loss, permutations in ranked[:MEASURED] if np.isfinite(loss)]

    def _programs(self) -> tuple[Any, Any]:
        """Return the programs of one gradient and one step."""
        problem, whole = self.problem, sealed(self.like)
        per_example = problem.weighed_loss(self.split, counted=True)

        def mean(moving: dict[str, jax.Array], still: dict[str, jax.Array], batch: PyTree) -> jax.Array:
            point = opened(fill(whole, {**still, **moving}))
            if problem.update_stats is not None:  # as in training: the statistics of the minibatch
                point = (point[0], problem.update_stats(point, batch))
            return jnp.mean(per_example(point, batch))

        def slope(leaves: dict[str, jax.Array], batch: PyTree) -> tuple[jax.Array, dict[str, jax.Array]]:
            moving = {path: leaf for path, leaf in leaves.items() if _moves(leaf)}
            still = {path: leaf for path, leaf in leaves.items() if path not in moving}
            loss, gradient = jax.value_and_grad(mean)(moving, still, batch)
            return loss, gradient

        def update(target: Any, state: Any, gradient: Any, sizes: Mapping[str, Any]) -> tuple[Any, Any]:
            steps, state = optax.scale_by_adam().update(gradient, state)
            moved = {path: leaf - _RATE * sizes[path] * steps[path] for path, leaf in target.items()}
            return moved, state

        return program(slope), program(update)

    def _examples(self, rng: np.random.Generator) -> tuple[PyTree, Any]:
        """Return the examples on which midpoints are compared, and minibatches without end."""
        count = self.problem.num_examples(self.split)
        if self.problem.is_stream(self.split):
            arrays = self.problem.head(min(count, _PROBED), self.split)
        else:
            numbers = self.problem.weighting(self.split).numbers
            arrays = subset_of(self.problem.arrays(self.split), numbers, self.split)
        count = int(jax.tree.leaves(arrays)[0].shape[0])
        taken = functools.partial(_rows, arrays)
        probe = taken(np.sort(rng.permutation(count)[:_PROBED]))
        size = min(EXAMPLES, count)
        return probe, (taken(rng.integers(0, count, size)) for _ in iter(int, 1))


def measured_barrier(problem: Problem, a: PyTree, b: PyTree, *, split: str, batch_size: int | None) -> float:
    """Return the barrier above the chord on the grid, infinite where a point of the path is."""
    found = loss_barrier(
        problem,
        a,
        b,
        num_points=GRID,
        split=split,
        splits=(split,),
        refine=False,
        num_resamples=_FEWEST_RESAMPLES,
        batch_size=batch_size,
        progress=SILENT,
    )
    return np.inf if found.barrier_above_chord is None else float(found.barrier_above_chord)


def _rows(arrays: PyTree, rows: np.ndarray) -> PyTree:
    return jax.tree.map(lambda array: array[rows], arrays)


def _moves(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _middle(a: Leaves, b: Leaves) -> dict[str, np.ndarray]:
    """Return the network half way."""
    return {
        path: ((leaf + b[path]) / 2).astype(leaf.dtype) if _moves(leaf) else leaf for path, leaf in a.items()
    }


def _check_gradient(gradient: Mapping[str, jax.Array]) -> None:
    if not any(bool(jnp.any(leaf != 0)) for leaf in gradient.values()):
        raise ProblemError(
            "method='barrier': needs a gradient, and that of this loss is 0 everywhere half way between the "
            "networks; use method='weights' or 'activations'"
        )
