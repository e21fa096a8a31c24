"""Control tasks: an environment and a policy become a Problem whose examples are episodes.

An example is an episode, given by its seed: its loss is minus the return, the metric ``return`` is the
return. The splits are disjoint ranges of seeds. There is no useful gradient: dynamics with an argmax
in the loop are piecewise constant or chaotic.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import Metric, Problem
from landscape.compute import program
from trainers.config import (
    CONTROL,
    KNOWN_KEYS,
    Invalid,
    control_options,
    default_network,
    refusal,
    task_faults,
)
from trainers.tasks.environments import Environment
from trainers.tasks.episodes import Episodes, episodes_of, population_returns
from trainers.tasks.gymnax_environments import gymnax_environment
from trainers.tasks.networks import (
    build,
    check_params,
    expected_shapes,
    initialise,
    validate_network,
)
from trainers.tasks.policies import Policy, policy_of
from trainers.tasks.recording import Recording, recording_of

__all__ = ["ControlTask", "constant_policies", "control_task", "load_control_task"]

PyTree = Any

# The first seed of every split. A split has at most 2^20 episodes, so that no two share a seed.
_FIRST_SEEDS = {"train": 0, "validation": 2**30, "test": 2**31}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlTask:
    """A problem of episodes with the environment and the policy that it is made of.

    Attributes
    ----------
    name : str
        The task.
    problem : Problem
        Minus the return, and the return as a metric, of the episodes of train, validation and test.
    network : dict
        Description of the policy's network.
    environment : Environment
        One episode, as pure functions.
    init : callable
        ``init(seed) -> params``.
    policy : callable
        ``policy(params, observations [E, …]) -> outputs [E, num_outputs]``;
        ``environment.actions.of(outputs)`` is the action. Of a population, whose arrays have a leading axis
        P, the outputs [P, E, num_outputs] of observations [P, E, …].
    episodes : callable
        ``episodes(params, seeds [B]) -> Episodes`` of one policy: returns and lengths, each [B]. Compiled.
    record : callable
        ``record(params, seed) -> Recording``: one episode step by step. Compiled.
    """

    name: str
    problem: Problem
    network: Mapping[str, Any]
    environment: Environment
    init: Callable[[int], PyTree]
    policy: Policy
    episodes: Callable[[PyTree, jax.Array], Episodes]
    record: Callable[[PyTree, Any], Recording]


def load_control_task(name: str, network: Mapping[str, Any] | None = None, **options: Any) -> ControlTask:
    """Return a control task.

    Parameters
    ----------
    name : str
        A name of `trainers.config.CONTROL`.
    network : mapping, optional
        Description of the policy; by default the paper's, two tanh layers of 32.
    **options
        ``episode_length``, ``train_episodes``, ``validation_episodes``, ``test_episodes`` and the constants
        of the task's dynamics.

    Raises
    ------
    ConfigurationError
        Listing all that is unknown or of a wrong type or range.
    MissingDependencyError
        If the package of the environment is not installed.
    """
    described = network or default_network(name)
    faults = task_faults({"task": name, "task_options": options, "network": described})
    if faults:
        raise refusal(f"task {name}", Invalid(faults), KNOWN_KEYS)
    given = control_options(name, options)
    physics = {key: given[key] for key in CONTROL[name].physics}
    environment = gymnax_environment(name, length=given["episode_length"], physics=physics)
    span = CONTROL[name].span(environment.length)
    return control_task(environment, described, options=given, span=span)


def control_task(
    environment: Environment,
    network: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    span: float | None = None,
) -> ControlTask:
    """Return the task of an environment and a policy.

    Parameters
    ----------
    environment : Environment
        One episode.
    network : mapping
        Description of the policy.
    options : mapping
        All options of the task, which checkpoints store; ``train_episodes``, ``validation_episodes`` and
        ``test_episodes`` among them.
    span : float, optional
        Best minus worst return.
    """
    described = validate_network(network)
    shape, num_outputs = environment.observation_shape, environment.actions.num_outputs
    policy = policy_of(described, shape)

    def init(seed: int) -> PyTree:
        return initialise(described, shape, seed, num_outputs=num_outputs)

    # Shapes alone: a description from a file is not built before its arrays were compared with it.
    expected = expected_shapes(build(described, num_outputs), shape)

    def episodes(params: PyTree, seeds: jax.Array) -> Episodes:
        check_params(environment.name, params, expected, what="policy")
        # Products of a device's fast path round to 11 bits, which chaotic dynamics would make visible.
        with jax.default_matmul_precision("highest"):
            return episodes_of(environment, policy, params, seeds)

    def record(params: PyTree, seed: jax.Array) -> Recording:
        check_params(environment.name, params, expected, what="policy")
        with jax.default_matmul_precision("highest"):
            return recording_of(environment, policy, params, seed)

    def returns(params: PyTree, seeds: jax.Array) -> jax.Array:
        found = episodes(params, seeds).returns
        return found.astype(jnp.result_type(*jax.tree.leaves(params), jnp.float32))

    def population_loss(params: PyTree, seeds: jax.Array) -> jax.Array:
        return -population_returns(environment, policy, params, seeds).mean(axis=1)

    def batched_loss(params: PyTree, seeds: jax.Array, memory_bytes: int) -> jax.Array:
        found = population_returns(environment, policy, params, seeds, memory_bytes=memory_bytes)
        return -found.mean(axis=1)

    problem = Problem(
        lambda params, seeds: -returns(params, seeds),
        train=_seeds("train", options),
        validation=_seeds("validation", options),
        test=_seeds("test", options),
        metrics={"return": Metric(returns, higher_is_better=True, span=span)},
        differentiable=False,
        name=environment.name,
        population_loss=population_loss,
        batched_loss=batched_loss,
        task={"name": environment.name, "options": dict(options), "network": described},
    )
    return ControlTask(
        name=environment.name,
        problem=problem,
        network=described,
        environment=environment,
        init=init,
        policy=policy,
        episodes=program(episodes, episodes=True),
        record=program(record, episodes=True),
    )


def constant_policies(name: str, params: PyTree) -> list[PyTree]:
    """Return policies that do the same whatever they see: what a policy has to be better than.

    Parameters
    ----------
    name : str
        A name of `trainers.config.CONTROL`.
    params : pytree
        Parameters of one of its policies.

    Returns
    -------
    list of pytree
        One for each discrete action; of continuous ones, one for every combination of the least, the middle
        and the largest.
    """
    last = f"Dense_{max(int(layer.split('_')[1]) for layer in params if layer.startswith('Dense_'))}"
    size = int(np.shape(params[last]["bias"])[0])
    # tanh(20) is 1 in float32.
    actions = itertools.product((-20.0, 0.0, 20.0), repeat=size) if CONTROL[name].continuous else np.eye(size)
    still = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), np.float32), params)
    return [{**still, last: {**still[last], "bias": np.asarray(action, np.float32)}} for action in actions]


def _seeds(split: str, options: Mapping[str, Any]) -> np.ndarray:
    return _FIRST_SEEDS[split] + np.arange(options[f"{split}_episodes"], dtype=np.uint32)
