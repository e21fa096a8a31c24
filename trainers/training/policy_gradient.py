"""Proximal policy optimisation (PPO; Schulman et al. 2017) of a masked policy.

An update of one replicate, which is one step of a level:

1. play: every environment goes on for T steps with actions that the policy samples
   (`trainers.training.rollout`); none stands still, an episode that is over is followed by another one;
2. advantages: by the critic's values, once per update (`trainers.training.advantages`);
3. learn: some passes over the T·E steps in random minibatches, each one step of Adam down the clipped loss of
   the policy, plus the critic's squared error, minus the bonus for entropy, the norm of the whole gradient
   clipped;
4. mask: the policy's gradient is zero in pruned entries before its norm is taken, and so is the policy.

The policy is the vector that evolution searches, with the same activations and outputs: its deterministic
form is what is evaluated, and all that a ticket holds. The critic and the standard deviation of continuous
actions are a replicate's own, begin anew with every level, and are neither pruned nor part of a ticket.
Environments, critics, samples and minibatches of a replicate come from its train seed and the level:
replicates share nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from landscape.errors import ConfigurationError
from landscape.trees import Layout
from trainers.config import PPOConfig
from trainers.tasks import Environment, build, load_control_task, policy_of
from trainers.training.advantages import clipped_loss, generalised_advantages, normalised, weighted_mean
from trainers.training.gradient import unbiased_moments
from trainers.training.protocol import Step, strong
from trainers.training.rollout import Play, Transitions, begin, rollout
from trainers.training.space import Space
from trainers.training.stochastic import sampler_of

__all__ = ["PPO", "Critic", "make_ppo", "network_critic", "policy_actor"]

PyTree = Any
# actor(vector [n], observations [B, …]) -> outputs [B, num_outputs]
Actor = Callable[[jax.Array, jax.Array], jax.Array]
_ADAM_EPSILON = 1e-5  # Huang et al. 2022: "37 implementation details", detail 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Critic:
    """What estimates the value of an observation.

    Attributes
    ----------
    init : callable
        ``init(key) -> params``.
    values : callable
        ``values(params, observations [B, …]) -> [B]``.
    """

    init: Callable[[jax.Array], PyTree]
    values: Callable[[PyTree, jax.Array], jax.Array]


class Weights(NamedTuple):
    """All that is learnt: the masked policy [n], the critic, and the standard deviations' logarithms."""

    actor: jax.Array
    critic: PyTree
    log_std: PyTree


class State(NamedTuple):
    """The state of a batch of replicates, arrays [S, …].

    Attributes
    ----------
    weights : Weights
        What is learnt.
    optimizer : pytree
        Adam's.
    play : Play
        The environments.
    recent : float32 array [S]
        Mean return of the episodes that ended in the latest update in which any did; NaN before.
    """

    weights: Weights
    optimizer: PyTree
    play: Play
    recent: jax.Array


class Lesson(NamedTuple):
    """What is learnt from: arrays [B, …] of steps."""

    observation: jax.Array
    sample: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array
    weight: jax.Array


def make_ppo(config: PPOConfig, space: Space, environment: Environment | None = None) -> PPO:
    """Return the policy gradient of a space whose problem is a control task.

    Parameters
    ----------
    config : PPOConfig
        Settings.
    space : Space
        Its problem names the policy's network, and a built-in task unless there is an `environment`.
    environment : Environment, optional
        The one whose episodes the problem is made of.
    """
    task = space.problem.task or {}
    if environment is None:
        environment = load_control_task(task["name"], task["network"], **task["options"]).environment
    return PPO(
        config,
        policy_actor(task["network"], environment, space.layout, space.like),
        network_critic(task["network"], environment, config.critic_widths),
        environment=environment,
        episodes=space.problem.arrays("train"),
    )


def policy_actor(network: Mapping[str, Any], environment: Environment, layout: Layout, like: PyTree) -> Actor:
    """Return the policy of a network's description, on vectors: what evolution evaluates too."""
    policy = policy_of(network, environment.observation_shape)
    return lambda vector, observations: policy(layout.unflatten(vector, like), observations)


def network_critic(network: Mapping[str, Any], environment: Environment, widths: tuple[int, ...]) -> Critic:
    """Return a critic of the policy's kind with other widths and one output, LeCun-normal at its start."""
    described = {**network, "widths": list(widths)}
    values = policy_of(described, environment.observation_shape)
    module = build(described, 1)
    example = jnp.zeros((1, *environment.observation_shape))
    return Critic(
        init=lambda key: module.init(key, example)["params"],
        values=lambda params, observations: values(params, observations)[..., 0],
    )


class PPO:
    """A batch of policy gradients on masked vectors, all replicates in one program.

    Parameters
    ----------
    config : PPOConfig
        Settings.
    actor : callable
        ``actor(vector [n], observations [B, …]) -> outputs [B, num_outputs]``.
    critic : Critic
        Its counterpart.
    environment : Environment
        What is played.
    episodes : whole-number array [N]
        Seeds of the training episodes.
    """

    name = "ppo"
    info_names: tuple[str, ...] = (
        "loss",
        "num_episodes",
        "num_nan",
        "entropy",
        "value_loss",
        "divergence",
        "clipped",
        "gradient_norm",
    )

    def __init__(
        self, config: PPOConfig, actor: Actor, critic: Critic, *, environment: Environment, episodes: Any
    ) -> None:
        self.config = config
        self.actor = actor
        self.critic = critic
        self.environment = environment
        self.sampler = sampler_of(environment.actions)
        self.episodes = np.asarray(episodes).astype(np.uint32)
        self.num_steps = config.num_updates
        self.eval_every = config.eval_every
        # Of the examples that the engine draws none is used: an update begins as many episodes as end in it.
        self.batch_size = min(config.num_environments, len(self.episodes))
        self.optimizer = optax.chain(
            optax.clip_by_global_norm(config.gradient_norm), optax.adam(self._rate(), eps=_ADAM_EPSILON)
        )

    def _rate(self) -> float | optax.Schedule:
        config = self.config
        if config.schedule == "constant":
            return config.learning_rate
        return optax.linear_schedule(
            config.learning_rate, 0.0, config.num_updates * config.epochs * config.minibatches
        )

    def constants(self, num_free: int) -> PyTree:
        """Return the seeds of the training episodes; nothing depends on the dimension."""
        del num_free
        return jnp.asarray(self.episodes)

    def init(
        self, mean: np.ndarray, mask: np.ndarray, constants: PyTree, *, keys: jax.Array | None = None
    ) -> PyTree:
        """Return the State of S replicates that start from `mean` [S, n], critics drawn from `keys` [S].

        Raises
        ------
        ConfigurationError
            Without keys.
        """
        del constants
        if keys is None:
            raise ConfigurationError(
                "ppo: expected a key per replicate, from which critics are drawn, got none"
            )
        actor = jnp.asarray(np.where(mask, mean, 0.0), jnp.float32)

        def one(actor: jax.Array, key: jax.Array) -> State:
            # Minibatches and steps of the engine fold 0 and 1 into the same key.
            critic = self.critic.init(jax.random.fold_in(key, 2))
            weights = Weights(actor, critic, self.sampler.start(self.config.log_std_init))
            play = begin(self.environment, self.config.num_environments)
            return State(weights, self.optimizer.init(weights), play, jnp.float32(jnp.nan))

        state = jax.jit(jax.vmap(one))(actor, keys)
        return strong(state)

    def step(self, state: PyTree, step: Step) -> tuple[PyTree, dict[str, jax.Array]]:
        """Advance every replicate by one update."""

        def one(state: State, key: jax.Array, mask: jax.Array) -> tuple[State, dict[str, jax.Array]]:
            return self._update(state, key, mask, step.constants)

        # Float32 products, as in evaluation, which chaotic dynamics would tell apart from rounded ones.
        with jax.default_matmul_precision("highest"):
            result: tuple[PyTree, dict[str, jax.Array]] = jax.vmap(one)(state, step.keys, step.mask)
        return result

    def _update(
        self, state: State, key: jax.Array, mask: jax.Array, episodes: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        playing, learning = jax.random.split(key)
        play, seen = self.play(state, playing, episodes)  # step 1
        lesson = self.lesson(state.weights, seen)  # step 2
        weights, optimizer, infos = self.learn(state, lesson, learning, mask)  # step 3
        num_episodes = jnp.sum(seen.ended & seen.counts)
        returns = jnp.sum(jnp.where(seen.ended & seen.counts, seen.total, 0.0))
        recent = jnp.where(num_episodes > 0, returns / jnp.maximum(num_episodes, 1), state.recent)
        info = {
            "loss": -recent,
            "num_episodes": num_episodes.astype(jnp.float32),
            "num_nan": jnp.sum(~seen.counts).astype(jnp.float32),
            **{name: jnp.mean(values) for name, values in infos.items()},
        }
        return State(weights, optimizer, play, recent), info

    def play(self, state: State, key: jax.Array, episodes: jax.Array) -> tuple[Play, Transitions]:
        """Return the environments of one replicate after an update's steps, and what was seen."""
        weights, shape = state.weights, (self.config.rollout_steps, self.config.num_environments)
        drawing, sampling = jax.random.split(key)
        seeds = episodes[jax.random.randint(drawing, shape, 0, episodes.shape[0])]
        noise = self.sampler.noise(sampling, shape)

        def act(
            observations: jax.Array, noise: jax.Array
        ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
            outputs = self.actor(weights.actor, observations)
            samples = self.sampler.sample(outputs, weights.log_std, noise)
            log_probs = self.sampler.log_prob(outputs, weights.log_std, samples)
            return samples, self.sampler.action(samples), log_probs, jnp.isfinite(outputs).all(axis=-1)

        return rollout(self.environment, act, state.play, seeds=seeds, noise=noise)

    def lesson(self, weights: Weights, seen: Transitions) -> Lesson:
        """Return what is learnt from a rollout: T·E steps in one row, with advantages and targets."""
        shape = seen.reward.shape

        def flat(values: jax.Array) -> jax.Array:
            return values.reshape(-1, *values.shape[2:])

        def values_of(observations: jax.Array) -> jax.Array:
            return self.critic.values(weights.critic, flat(observations)).reshape(shape)

        # A step that does not count has the advantage 0 like this, so that none before it hears of it.
        values = jnp.where(seen.counts, values_of(seen.observation), 0.0)
        advantages = generalised_advantages(
            self.config.reward_scale * seen.reward,
            values,
            values_of(seen.following),
            terminated=seen.terminated,
            ended=seen.ended,
            discount=self.config.discount,
            trace_decay=self.config.trace_decay,
        )
        parts = (seen.observation, seen.sample, seen.log_prob, advantages, advantages + values)
        return Lesson(*map(flat, (*parts, seen.counts.astype(jnp.float32))))

    def learn(
        self, state: State, lesson: Lesson, key: jax.Array, mask: jax.Array
    ) -> tuple[Weights, PyTree, dict[str, jax.Array]]:
        """Return weights and optimiser after all passes, and the infos of every minibatch."""
        config = self.config
        Carry = tuple[Weights, PyTree]

        def minibatch(carry: Carry, part: Lesson) -> tuple[Carry, dict[str, jax.Array]]:
            weights, optimizer = carry
            gradient, info = jax.grad(self.objective, has_aux=True)(weights, part)
            # Step 4, before the norm is taken and any moment gathers on pruned entries.
            gradient = gradient._replace(actor=jnp.where(mask, gradient.actor, 0.0))
            squares = jax.tree.map(lambda leaf: jnp.sum(leaf**2), gradient)
            info["gradient_norm"] = jnp.sqrt(jax.tree.reduce(jnp.add, squares))
            updates, optimizer = self.optimizer.update(gradient, optimizer, weights)
            weights = jax.tree.map(jnp.add, weights, updates)
            return (weights._replace(actor=jnp.where(mask, weights.actor, 0.0)), optimizer), info

        def epoch(carry: Carry, key: jax.Array) -> tuple[Carry, dict[str, jax.Array]]:
            order = jax.random.permutation(key, lesson.weight.shape[0])
            parts = jax.tree.map(lambda x: x[order].reshape(config.minibatches, -1, *x.shape[1:]), lesson)
            return jax.lax.scan(minibatch, carry, parts)

        keys = jax.random.split(key, config.epochs)
        (weights, optimizer), infos = jax.lax.scan(epoch, (state.weights, state.optimizer), keys)
        return weights, optimizer, infos

    def objective(self, weights: Weights, part: Lesson) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss of a minibatch, and its parts."""
        config = self.config
        outputs = self.actor(weights.actor, part.observation)
        log_probs = self.sampler.log_prob(outputs, weights.log_std, part.sample)
        advantages = part.advantage
        if config.normalise_advantages:
            advantages = normalised(advantages, part.weight)
        loss, clipped, divergence = clipped_loss(
            log_probs, part.log_prob, advantages, weights=part.weight, clip=config.clip
        )
        errors = self.critic.values(weights.critic, part.observation) - part.target
        value_loss = 0.5 * weighted_mean(errors**2, part.weight)
        entropy = weighted_mean(self.sampler.entropy(outputs, weights.log_std), part.weight)
        total = loss + config.value_loss * value_loss - config.entropy * entropy
        return total, {
            "entropy": entropy,
            "value_loss": value_loss,
            "divergence": divergence,
            "clipped": clipped,
        }

    def solution(self, state: PyTree) -> jax.Array:
        """Return the policies [S, n]."""
        actor: jax.Array = state.weights.actor
        return actor

    def std(self, state: PyTree) -> None:
        """Return None: the noise is on actions, not on weights."""
        del state

    def moments(self, state: PyTree) -> tuple[jax.Array, jax.Array]:
        """Return Adam's moments (m̂, v̂) of the policy's clipped gradient, each [S, n]."""
        return unbiased_moments(state.optimizer, lambda moment: moment.actor)
