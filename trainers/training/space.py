"""What is trained: a problem, the flat vector of its parameters, and the network as a chain of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from landscape import Problem
from landscape.errors import ConfigurationError
from landscape.trees import Layout, tree_digest
from trainers.config import CONTROL, Method
from trainers.pruning import ChainLayer, Derivatives, chain_faults

PyTree = Any


@dataclasses.dataclass
class Space:
    """What is trained: a problem, and the vector of its parameters.

    Attributes
    ----------
    problem : Problem
        Loss and data.
    init : callable
        ``init(seed) -> params``.
    like : pytree
        Parameters of the right structure.
    layout : Layout
        Their flat vector [n].
    given_chain : sequence of ChainLayer, optional
        The user's own network as a chain of layers.
    """

    problem: Problem
    init: Callable[[int], PyTree]
    like: PyTree
    layout: Layout
    given_chain: Sequence[ChainLayer] | None = None

    @classmethod
    def of(
        cls,
        problem: Problem,
        init: Callable[[int], PyTree],
        seed: int,
        *,
        chain: Sequence[ChainLayer] | None = None,
    ) -> Space:
        """Return the space of a problem, probed with the parameters of one seed.

        Raises
        ------
        ConfigurationError
            If `chain` does not fit the parameters.
        """
        like = init(seed)
        problem.check(like)
        layout = Layout.of(like)
        if chain is not None:
            _refuse_misfit(chain, layout)
        return cls(problem, init, like, layout, chain)

    @cached_property
    def _initial(self) -> dict[int, np.ndarray]:
        return {}

    def initial(self, seed: int) -> np.ndarray:
        """Return the initialisation [n] of a seed."""
        if seed not in self._initial:
            self._initial[seed] = self.layout.flatten(self.init(seed))
        return self._initial[seed]

    def identity(self, init_seeds: set[int]) -> dict[str, str]:
        """Return the digests of the data and of the initialisations, by name."""
        data = {f"data {split}": self.problem.data_digest(split) for split in self.problem.splits}
        return data | {f"init {seed}": tree_digest(self.tree(self.initial(seed))) for seed in init_seeds}

    @cached_property
    def chain(self) -> tuple[ChainLayer, ...] | None:
        """The network as a chain of layers: as the user says, or where it is a built-in network."""
        if self.given_chain is not None:
            return tuple(self.given_chain)
        network = (self.problem.task or {}).get("network")
        if not isinstance(network, Mapping):
            return None
        from trainers.tasks import chain

        return chain(network)

    @cached_property
    def constant_policy(self) -> dict[str, float] | None:
        """Mean return on every split of the policy that always does the same, the best on validation.

        None for other problems than the control tasks of this package.
        """
        name, problem = (self.problem.task or {}).get("name"), self.problem
        if name not in CONTROL or "validation" not in problem.splits:
            return None
        from trainers.tasks import constant_policies

        best = max(
            constant_policies(name, self.like), key=lambda one: problem.evaluate(one, "validation")["return"]
        )
        return {split: problem.evaluate(best, split)["return"] for split in problem.splits}

    def derivatives(self, num_examples: int, seed: int) -> Derivatives:
        """Return what data-dependent scores need; compiled once for each choice of examples."""
        key = (num_examples, seed)
        if key not in self._derivatives:
            from trainers.pruning import loss_derivatives

            self._derivatives[key] = loss_derivatives(
                self.problem, self.layout, self.like, num_examples=num_examples, seed=seed
            )
        return self._derivatives[key]

    @cached_property
    def _derivatives(self) -> dict[tuple[int, int], Derivatives]:
        return {}

    def tree(self, vector: np.ndarray) -> PyTree:
        """Return the parameters of a vector."""
        return self.layout.unflatten(vector, self.like)

    def prunable(self, method: Method) -> np.ndarray:
        """Return which entries [n] a method may prune."""
        return self.layout.prunable(biases=method.pruning.prune_biases)


def _refuse_misfit(chain: Sequence[ChainLayer], layout: Layout) -> None:
    """Refuse a chain whose kernels do not exist or do not fit one another."""
    faults = chain_faults(chain, layout)
    if faults:
        raise ConfigurationError(
            "chain: does not fit the parameters",
            expected="ChainLayer(path=…) of every kernel ([in, out], [h, w, in, out]), inputs first",
            got="; ".join(faults[:3]),
            hint=f"Paths are {', '.join(layout.slices)}.",
        )
