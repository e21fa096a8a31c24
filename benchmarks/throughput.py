"""Training throughput on the digits: generations a second against a plain program, in one run.

    .venv/bin/python -m benchmarks.throughput

The baseline is what a user would write first: a jitted `lax.scan` over evosax's SNES with
`vmap(model.apply)` over the population. Ours is the engine that trains tickets: masks, counts,
records and all. Prints medians of interleaved runs and ratios taken round by round.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import SNES

from benchmarks.timing import interleaved, machine, matmul_peak, median, ratio
from landscape.trees import Layout
from trainers.config import EvolutionConfig
from trainers.tasks import load_task
from trainers.training import Engine, Evolution, population_evaluator

GENERATIONS = 100
CONFIG = EvolutionConfig(strategy="snes", population_size=128, batch_size=512, generations=GENERATIONS)
TASK = load_task("digits", {"kind": "mlp", "widths": [32]})


def plain() -> Callable[[], object]:
    """Return the baseline: scan, vmap(model.apply), evosax as it comes."""
    params = TASK.init(0)
    inputs, labels = TASK.problem.arrays("train")
    strategy = SNES(population_size=CONFIG.population_size, solution=params)
    settings = strategy.default_params.replace(std_init=CONFIG.std_init)
    state = strategy.init(jax.random.key(0), params, settings)

    def cross_entropy(params: object, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = jax.nn.log_softmax(TASK.apply(params, x))
        return -jnp.take_along_axis(logits, y[:, None], axis=1).mean()

    @jax.jit
    def run(state: object, key: jax.Array, inputs: jax.Array, labels: jax.Array) -> object:
        def generation(state: object, key: jax.Array) -> tuple[object, jax.Array]:
            choose, ask, tell = jax.random.split(key, 3)
            index = jax.random.choice(choose, labels.shape[0], (CONFIG.batch_size,), replace=False)
            population, state = strategy.ask(ask, state, settings)
            fitness = jax.vmap(cross_entropy, in_axes=(0, None, None))(
                population, inputs[index], labels[index]
            )
            state, _ = strategy.tell(tell, population, fitness, state, settings)
            return state, fitness.mean()

        return jax.lax.scan(generation, state, jax.random.split(key, GENERATIONS))

    return lambda: run(state, jax.random.key(1), inputs, labels)


def ours(num_seeds: int) -> Callable[[], object]:
    """Return the engine on `num_seeds` seeds at once."""
    problem, like = TASK.problem, TASK.init(0)
    layout = Layout.of(like)
    trainer = Evolution(CONFIG, layout.size, population_evaluator(problem, layout, like))
    engine = Engine(trainer, problem.arrays("train"))
    level = engine.level(list(range(num_seeds)), 0, np.ones((num_seeds, layout.size), bool))
    start = np.stack([layout.flatten(TASK.init(seed)) for seed in range(num_seeds)])
    carry = engine.start(level, start)

    def run() -> object:
        nonlocal carry
        carry = engine.run(carry, level, 0, GENERATIONS)
        return carry

    return run


def flop_per_generation() -> float:
    """Return the floating-point operations of the matrix products of one generation."""
    sizes = [leaf.size for leaf in jax.tree.leaves(TASK.init(0)) if leaf.ndim == 2]
    return 2.0 * CONFIG.population_size * CONFIG.batch_size * sum(sizes)


def report(repeats: int = 11) -> None:
    """Print the table."""
    print(dataclasses.asdict(CONFIG))
    candidates = {}
    for name, build in {"plain": plain, "one seed": lambda: ours(1), "two seeds": lambda: ours(2)}.items():
        began = time.perf_counter()
        run = build()
        jax.block_until_ready(run())
        print(f"{name:<10} first call {time.perf_counter() - began:5.2f} s (with compilation)")
        candidates[name] = run
    seconds = interleaved(candidates, repeats=repeats)
    peak = matmul_peak()
    for name, values in seconds.items():
        rate = GENERATIONS / median(values)
        seeds = 2 if name == "two seeds" else 1
        gflops = flop_per_generation() * seeds * rate / 1e9
        share = f"{gflops / peak:5.1%} of the matrix-product peak"
        print(f"{name:<10} {rate:8.1f} generations/s  {gflops:7.1f} GFLOP/s  {share}")
    print(f"matrix-product peak {peak:.1f} GFLOP/s")
    faster, batched = (
        ratio(seconds["plain"], seconds["one seed"]),
        ratio(seconds["two seeds"], seconds["one seed"]),
    )
    print(f"ours / plain: {faster:.2f} times the generations a second (goal 1.4)")
    print(f"two seeds / one seed: {batched:.2f} times the time (goal 2.1 on a CPU, 1.5 on a GPU)")


def main() -> None:
    """Print the machine and the table."""
    print(machine())
    report()


if __name__ == "__main__":
    main()
