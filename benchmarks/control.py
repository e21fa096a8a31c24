"""Control tasks: a generation of evolution against the environment steps alone, and two seeds against one.

    .venv/bin/python -m benchmarks.control [--tasks pendulum cartpole …] [--members 64] [--episodes 8]

"steps" is what a user would write first: a jitted ``vmap(vmap(scan))`` over members and episodes, in which a
policy acts in gymnax's own step to the time limit, with a mask after the end. "no policy" is the same with a
fixed action for each member. A generation (SNES: ask, evaluate, tell, info) is measured as part of a chunk of
several that all draw around the initial policy with standard deviation 0.1, as "steps" does.
Our loop ends when all episodes of a tile of members have ended, which is why a generation can be cheaper than
the steps. Rounds are interleaved, figures are medians, ratios are taken round by round: of seconds on the
wall and of seconds of the processor, which are those to look at where other work shares the cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import interleaved_clocks, machine, median, ratio
from landscape.trees import Layout
from trainers.config import CONTROL, EvolutionConfig
from trainers.tasks import load_task
from trainers.tasks.control import ControlTask
from trainers.training import Engine, Evolution, population_evaluator

TASKS = ("pendulum", "cartpole", "acrobot", "breakout", "reacher")
GOALS = "goals: generation at most 1.25 times steps, two seeds at most 2.1 times one, one compilation"
_STD = 0.1
_STILL = 1e-9  # learning rate of the mean: better policies play other episodes, which take longer or shorter
_GENERATIONS = 4


def members_of(task: ControlTask, count: int) -> Any:
    """Return the policies of a first generation, stacked."""
    noise = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + noise.normal(0, _STD, (count, *leaf.shape)), jnp.float32),
        task.init(0),
    )


def plain(name: str, length: int, *, acting: bool) -> Callable[[Any, jax.Array], jax.Array]:
    """Return the plain program: mean returns [P] of members on episodes of a seed each."""
    env, constants = gymnax.make(CONTROL[name].title)
    space = env.action_space(constants)
    discrete = hasattr(space, "n")

    def action_of(outputs: jax.Array) -> jax.Array:
        if discrete:
            return jnp.argmax(outputs)
        return space.low + (space.high - space.low) * (jnp.tanh(outputs) + 1) / 2

    def episode(params: Any, seed: jax.Array) -> jax.Array:
        key = jax.random.key(seed)
        observation, state = env.reset_env(key, constants)
        last = max(params)

        def step(carry: Any, t: jax.Array) -> Any:
            observation, state, alive, total = carry
            values = observation.reshape(-1)
            for layer in sorted(params) if acting else ():
                values = values @ params[layer]["kernel"] + params[layer]["bias"]
                values = values if layer == last else jnp.tanh(values)
            action = action_of(values if acting else params[last]["bias"])
            now = jax.random.fold_in(key, t)
            observation, new, reward, terminated, _ = env.step_env(now, state, action, constants)
            total = total + jnp.where(alive, reward, 0.0)
            state = jax.tree.map(lambda x, y: jnp.asarray(x, y.dtype), new, state)
            return (observation, state, alive & ~terminated, total), None

        start = (observation, jax.tree.map(jnp.asarray, state), jnp.bool_(True), jnp.float32(0))
        total: jax.Array = jax.lax.scan(step, start, jnp.arange(length))[0][3]
        return total

    over_episodes = jax.vmap(episode, in_axes=(None, 0))
    return jax.jit(lambda params, seeds: jax.vmap(over_episodes, in_axes=(0, None))(params, seeds).mean(1))


def chunk(
    task: ControlTask, members: int, episodes: int, *, seeds: int
) -> tuple[Engine, Callable[[], object]]:
    """Return an engine and a call of `_GENERATIONS` generations of so many seeds, from the start."""
    like = task.init(0)
    layout = Layout.of(like)
    settings = EvolutionConfig(
        population_size=members,
        generations=1_000,
        batch_size=episodes,
        std_init=_STD,
        mean_decay=0.0,
        mean_learning_rate=_STILL,
    )
    evaluate = population_evaluator(task.problem, layout, like)
    engine = Engine(Evolution(settings, layout.size, evaluate), task.problem.arrays("train"), episodes=True)
    starts = np.stack([layout.flatten(like)] * seeds)
    for number in range(2):  # of two levels with different masks
        mask = np.ones((seeds, layout.size), bool)
        mask[:, : number * layout.size // 2] = False
        level = engine.level(list(range(seeds)), number, mask)
        jax.block_until_ready(engine.run(engine.start(level, starts), level, 0, 2))
    level = engine.level(list(range(seeds)), 0, np.ones((seeds, layout.size), bool))
    first = engine.start(level, starts)
    # The engine gives the buffers of its carry up: every round gets a copy.
    return engine, lambda: engine.run(jax.tree.map(jnp.copy, first), level, 0, _GENERATIONS)


def report(name: str, members: int, episodes: int, rounds: int) -> str:
    """Return the line of a task."""
    task = load_task(name)
    length = task.environment.length
    params, seeds = members_of(task, members), jnp.arange(episodes, dtype=jnp.uint32)
    acting, still = (plain(name, length, acting=flag) for flag in (True, False))
    one, generation = chunk(task, members, episodes, seeds=1)
    _, pair = chunk(task, members, episodes, seeds=2)
    times = interleaved_clocks(
        {
            "steps": lambda: acting(params, seeds),
            "no policy": lambda: still(params, seeds),
            "one seed": generation,
            "two seeds": pair,
        },
        repeats=rounds,
    )
    lines = []
    for clock, place in (("wall", 0), ("processor", 1)):
        seconds = {key: values[place] for key, values in times.items()}
        each = [second / _GENERATIONS for second in seconds["one seed"]]
        rate = members * episodes * length / median(seconds["steps"]) / 1e6
        lines.append(
            f"  {name:<9} {clock:<9} steps {1e3 * median(seconds['steps']):6.1f} ms ({rate:5.2f} M/s), "
            f"no policy {1e3 * median(seconds['no policy']):6.1f} ms, "
            f"generation {1e3 * median(each):6.1f} ms = {ratio(each, seconds['steps']):4.2f} x steps, "
            f"two seeds {ratio(seconds['two seeds'], seconds['one seed']):4.2f} x one"
        )
    return "\n".join([*lines, f"  {name:<9} compilations of two levels: {one.num_compilations}"])


def main() -> None:
    """Print the machine and a line per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(CONTROL))
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(machine())
    print(f"{given.members} members, {given.episodes} episodes ({GOALS})")
    for name in given.tasks:
        print(report(name, given.members, given.episodes, given.rounds), flush=True)


if __name__ == "__main__":
    main()
