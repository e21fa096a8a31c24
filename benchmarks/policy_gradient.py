"""PPO: its rate against environment steps and updates alone, and the returns that it reaches.

    .venv/bin/python -m benchmarks.policy_gradient [--tasks cartpole pendulum] [--rounds 7] [--no-returns]

Settings are those of the presets small-cartpole and small-pendulum, but for the length of a level where
returns are measured. "environment" is what a user would write first: a jitted scan of a vmap over gymnax's
own step, which begins another episode by itself, with actions drawn beforehand; as many steps as PPO plays.
"updates" are all passes over one rollout, again and again. PPO is compared with the rate of both in turn:
it has in addition its policy's samples, the critic's values and the advantages. Rounds are interleaved,
figures are medians, ratios are taken round by round, of seconds on the wall and of the processor. Returns
are means over the test episodes of the deterministic policy, of five seeds, beside those of the initial
policies.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import interleaved_clocks, machine, median, ratio
from trainers.config import CONTROL, PPOConfig, resolve
from trainers.tasks import load_task
from trainers.tasks.control import ControlTask
from trainers.training import PPO, Engine, Space, make_ppo

# Environment steps of a level and what has to be reached; Pendulum's budget of the paper is 1.75 million.
GOALS = {"cartpole": (100_000, 475.0), "pendulum": (500_000, -200.0)}
GOAL_OF_RATE = 0.6
_UPDATES = 4


def trainer_of(task: ControlTask, config: PPOConfig) -> tuple[PPO, Space]:
    """Return the policy gradient of a task with its space."""
    space = Space.of(task.problem, task.init, 0)
    return make_ppo(config, space), space


def started(trainer: PPO, space: Space, seeds: int) -> tuple[Engine, Any, Any]:
    """Return an engine with its level and carry before the first update."""
    engine = Engine(trainer, space.problem.arrays("train"), episodes=True)
    level = engine.level(list(range(seeds)), 0, np.ones((seeds, space.layout.size), bool))
    return engine, level, engine.start(level, np.stack([space.initial(seed) for seed in range(seeds)]))


def environment_alone(name: str, config: PPOConfig, seeds: int) -> Callable[[], object]:
    """Return a call that plays as many steps as `_UPDATES` updates, by gymnax's own loop."""
    env, constants = gymnax.make(CONTROL[name].title)
    lanes, steps = seeds * config.num_environments, _UPDATES * config.rollout_steps
    keys = jax.random.split(jax.random.key(0), lanes)
    actions = jax.vmap(lambda key: env.action_space(constants).sample(key))(
        jax.random.split(jax.random.key(1), steps * lanes)
    )
    actions = actions.reshape(steps, lanes, *actions.shape[1:])
    _, state = jax.vmap(lambda key: env.reset(key, constants))(keys)
    like = jax.eval_shape(lambda s, a: env.step(keys[0], s, a, constants)[1], _first(state), actions[0, 0])
    state = jax.tree.map(lambda x, y: jnp.asarray(x, y.dtype), state, like)

    @jax.jit
    def play(state: Any, actions: jax.Array) -> Any:
        def step(state: Any, given: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            t, action = given
            now = jax.vmap(lambda key: jax.random.fold_in(key, t))(keys)
            _, state, reward, *_ = jax.vmap(lambda k, s, a: env.step(k, s, a, constants))(now, state, action)
            return jax.tree.map(lambda x, y: jnp.asarray(x, y.dtype), state, like), reward

        return jax.lax.scan(step, state, (jnp.arange(steps), actions))

    return lambda: play(state, actions)


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)


def updates_alone(trainer: PPO, state: Any, level: Any) -> Callable[[], object]:
    """Return a call that takes the passes of `_UPDATES` updates over one rollout."""

    def rollouts(state: Any, key: jax.Array) -> Any:
        _, seen = trainer.play(state, key, level.constants)
        return trainer.lesson(state.weights, seen)

    lesson = jax.jit(jax.vmap(rollouts))(state, level.keys)

    @jax.jit
    def learn(state: Any, lesson: Any) -> Any:
        def once(state: Any, turn: jax.Array) -> tuple[Any, Any]:
            def one(state: Any, lesson: Any, key: jax.Array, mask: jax.Array) -> Any:
                weights, optimizer, infos = trainer.learn(state, lesson, jax.random.fold_in(key, turn), mask)
                return state._replace(weights=weights, optimizer=optimizer), infos

            with jax.default_matmul_precision("highest"):
                return jax.vmap(one)(state, lesson, level.keys, level.mask)

        return jax.lax.scan(once, state, jnp.arange(_UPDATES))

    return lambda: learn(state, lesson)


def rate(name: str, seeds: int, rounds: int) -> str:
    """Return the lines that compare PPO with its parts."""
    task, config = load_task(name), resolve(f"small-{name}").ppo
    trainer, space = trainer_of(task, config)
    engine, level, first = started(trainer, space, seeds)
    times = interleaved_clocks(
        {
            "ppo": lambda: engine.run(jax.tree.map(jnp.copy, first), level, 0, _UPDATES),
            "environment": environment_alone(name, config, seeds),
            "updates": updates_alone(trainer, first.state, level),
        },
        repeats=rounds,
    )
    lines, played = [], seeds * config.update_steps * _UPDATES
    for clock, place in (("wall", 0), ("processor", 1)):
        seconds = {key: values[place] for key, values in times.items()}
        alone = [sum(pair) for pair in zip(seconds["environment"], seconds["updates"], strict=True)]
        rates = {key: f"{played / median(values) / 1e3:,.0f} k/s" for key, values in seconds.items()}
        lines.append(
            f"  {name:<9} {clock:<9} ppo {rates['ppo']}, environment {rates['environment']}, "
            f"updates {rates['updates']}: {ratio(alone, seconds['ppo']):.2f} of the rate of both alone"
        )
    return "\n".join(lines)


def returns(name: str, seeds: int) -> str:
    """Return the line of what is reached."""
    steps, goal = GOALS[name]
    task = load_task(name)
    trainer, space = trainer_of(
        task, dataclasses.replace(resolve(f"small-{name}").ppo, environment_steps=steps)
    )
    engine, level, carry = started(trainer, space, seeds)
    began = time.perf_counter(), time.process_time()
    carry = jax.block_until_ready(engine.run(carry, level, 0, trainer.num_steps))
    took = time.perf_counter() - began[0], time.process_time() - began[1]
    before, after = (
        [task.problem.evaluate(space.tree(vector), "test")["return"] for vector in vectors]
        for vectors in ([space.initial(seed) for seed in range(seeds)], trainer.solution(carry.state))
    )
    found = ", ".join(f"{value:.1f}" for value in after)
    return (
        f"  {name:<9} {steps:,} steps, {seeds} seeds, {took[0]:.0f} s on the wall, {took[1]:.0f} s of the "
        f"processor, compilation included: test return {np.mean(after):.1f} ({found}), goal {goal:g}; "
        f"initial policies {np.mean(before):.1f}"
    )


def main() -> None:
    """Print the machine, and per task its rate and its returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(GOALS), choices=list(GOALS))
    parser.add_argument("--seeds", type=int, default=3, help="of the rates; returns have five")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-returns", action="store_true")
    given = parser.parse_args()
    print(machine())
    print(f"{given.seeds} seeds in one program (goal: at least {GOAL_OF_RATE} of the rate of both alone)")
    for name in given.tasks:
        print(rate(name, given.seeds, given.rounds), flush=True)
        if not given.no_returns:
            print(returns(name, 5), flush=True)


if __name__ == "__main__":
    main()
