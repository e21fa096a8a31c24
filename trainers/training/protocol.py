"""What a trainer is: pure functions on a batch of replicates.

A replicate is one seed of one method. All arrays of a state have the replicates as their first
axis, so that several seeds are one compiled program. A trainer never sees a parameter tree: it
searches in the flat vector of a `landscape.trees.Layout`, whose length is the same at every
sparsity; a mask says which entries are free.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any


class Step(NamedTuple):
    """What one step takes beside the state: arrays with the replicates first.

    Attributes
    ----------
    batch : pytree of arrays [S, B, …]
        The minibatch of each replicate.
    keys : PRNG keys [S]
        A function of the train seed, the level and the step alone.
    mask : bool array [S, n]
        Free entries.
    constants : pytree
        `Trainer.constants` of the level.
    """

    batch: PyTree
    keys: jax.Array
    mask: jax.Array
    constants: PyTree


class Trainer(Protocol):
    """The protocol of evolution and gradient training.

    `State` continues a run, `Info` is what a diagnostic wants: a dictionary of arrays [S].
    """

    name: str
    batch_size: int
    num_steps: int
    eval_every: int
    info_names: tuple[str, ...]

    def constants(self, num_free: int) -> PyTree:
        """Return what depends on the number of free dimensions, as arrays (data, not shapes)."""

    def init(
        self, mean: np.ndarray, mask: np.ndarray, constants: PyTree, *, keys: jax.Array | None = None
    ) -> PyTree:
        """Return the State of replicates that start from `mean` [S, n].

        What a trainer draws beside the solution comes from `keys` [S], one per replicate and level.
        """

    def step(self, state: PyTree, step: Step) -> tuple[PyTree, dict[str, jax.Array]]:
        """Return the next State and the step's Info."""

    def solution(self, state: PyTree) -> jax.Array:
        """Return the current solution [S, n]: search mean or parameters."""

    def std(self, state: PyTree) -> jax.Array | None:
        """Return the search distribution's standard deviation [S, n], if there is one."""

    def moments(self, state: PyTree) -> tuple[jax.Array, jax.Array] | None:
        """Return estimates of the gradient's mean and mean square [S, n] each, if there are any."""


def strong(tree: PyTree) -> PyTree:
    """Return a tree of arrays without weak types.

    evosax and optax leave weakly typed scalars; unmended, the first chunk would be compiled twice.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)
