"""What curvature costs: products in gradients, Lanczos in products, certificates and traces in both.

Run from the repository root: ``python -m benchmarks.curvature [--quick]``. Real MNIST is used where
LANDSCAPE_DATA holds it, random images of ten classes otherwise. Ratios are taken within one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.timing import interleaved, machine, median, ratio
from landscape import (
    Checkpoint,
    Problem,
    curvature_table,
    gauss_newton,
    hessian,
    top_eigenpairs,
    trace,
)
from landscape.curvature import Lanczos
from landscape.errors import DataError
from landscape.trees import Layout
from trainers.tasks import load_task
from trainers.tasks.classification import classification_task
from trainers.tasks.datasets import Dataset

EXAMPLES = 2_000
STEPS = 50


def line(name: str, value: str, goal: str = "") -> None:
    """Print one row."""
    print(f"{name:<58} {value:>22}  {goal}", flush=True)


def image_task(kind: str) -> Any:
    """Return a task on MNIST, or on random images where it is not there."""
    try:
        return load_task("mnist", {"kind": kind})
    except DataError:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 10, EXAMPLES).astype(np.int32)
        centres = rng.normal(size=(10, 28, 28, 1))
        images = (0.1 * centres[labels] + rng.normal(size=(EXAMPLES, 28, 28, 1))).astype(np.float32)
        pair = (images, labels)
        data = Dataset(name="random images", splits={"train": pair, "validation": pair, "test": pair})
        return classification_task(data, {"kind": kind}, options={})


def trained(problem: Problem, params: Any, *, steps: int, mask: Any = None) -> Any:
    """Return parameters after some steps of Adam on the first examples, masked."""
    batch = jax.tree.map(lambda x: x[:EXAMPLES], problem.arrays("train"))
    rule = optax.adam(1e-3)

    @jax.jit
    def step(params: Any, state: Any, mask: Any) -> Any:
        gradient = jax.grad(lambda p: problem.loss(p, batch).mean())(params)
        update, state = rule.update(jax.tree.map(jnp.multiply, gradient, mask), state)
        return optax.apply_updates(params, update), state

    params = jax.tree.map(jnp.asarray, params)
    mask = jax.tree.map(jnp.ones_like, params) if mask is None else jax.tree.map(jnp.float32, mask)
    params, state = jax.tree.map(jnp.multiply, params, mask), rule.init(params)
    for _ in range(steps):
        params, state = step(params, state, mask)
    return jax.tree.map(np.asarray, params)


def gradient_of(problem: Problem, params: Any) -> Callable[[], Any]:
    """Return the compiled gradient on the first examples."""
    batch = jax.tree.map(lambda x: x[:EXAMPLES], problem.arrays("train"))
    with jax.default_matmul_precision("highest"):
        compiled = jax.jit(lambda p, b: jax.grad(lambda q: problem.loss(q, b).mean())(p))
        on_device = jax.tree.map(jnp.asarray, params)
        jax.block_until_ready(compiled(on_device, batch))
    return lambda: compiled(on_device, batch)


def products(kind: str, problem: Problem, params: Any, *, goal: float, repeats: int) -> Any:
    """Compare products with gradients; return the Hessian."""
    curved = hessian(problem, params, subset=EXAMPLES)
    newton = gauss_newton(problem, params, subset=EXAMPLES)
    vector = np.random.default_rng(0).standard_normal(curved.dim).astype(np.float32)
    block = np.random.default_rng(0).standard_normal((curved.dim, 8)).astype(np.float32)
    seconds = interleaved(
        {
            "gradient": gradient_of(problem, params),
            "hessian": lambda: curved.matvec(vector),
            "newton": lambda: newton.matvec(vector),
            "block": lambda: curved.matmat(block),
        },
        repeats=repeats,
    )
    name = f"{kind}, {curved.dim:,} parameters, {EXAMPLES:,} examples"
    line(f"{name}: gradient", f"{1e3 * median(seconds['gradient']):.1f} ms")
    line(
        "  Hessian product / gradient", f"{ratio(seconds['hessian'], seconds['gradient']):.2f}", f"<= {goal}"
    )
    line(
        "  Gauss-Newton product / gradient", f"{ratio(seconds['newton'], seconds['gradient']):.2f}", "<= 1.6"
    )
    line(
        "  one vector of a block of 8 / a single product",
        f"{ratio(seconds['block'], seconds['hessian']) / 8:.2f}",
    )
    line("  compile", f"{curved.stats['compile_seconds']:.2f} s", "< 5 s")
    return curved


def lanczos(operator: Any, repeats: int) -> None:
    """Compare a run with its products."""
    vector = np.random.default_rng(0).standard_normal(operator.dim).astype(np.float32)

    def run() -> float:
        state = Lanczos(
            operator.rows,
            operator.dim,
            num_vectors=STEPS + 1,
            rng=np.random.default_rng(0),
            dtype=operator.dtype,
        )
        for _ in range(STEPS):
            state.step()
        return state.scale

    def alone() -> float:
        return sum(float(operator.matvec(vector)[0]) for _ in range(STEPS))

    seconds = interleaved({"lanczos": run, "products": alone}, repeats=repeats)
    value = ratio(seconds["lanczos"], seconds["products"])
    line(f"  {STEPS}-step Lanczos / its {STEPS} products", f"{value:.2f}", "<= 1.25, median of five or more")


def power_iteration(operator: Any, k: int, tolerance: float = 1e-3) -> tuple[list[float], int]:
    """Return eigenvalues by deflated power iteration to a usual tolerance, and the products it took."""
    rng, found, values, spent = np.random.default_rng(0), np.empty((0, operator.dim)), [], 0
    for _ in range(k):
        vector, value = rng.standard_normal(operator.dim), np.inf
        for _ in range(100):
            vector -= (found @ vector) @ found
            vector /= np.linalg.norm(vector)
            image = operator.matvec(vector.astype(np.float32)).astype(np.float64)
            spent, last, value = spent + 1, value, float(vector @ image)
            if abs(value - last) <= tolerance * abs(value):
                break
            vector = image
        values.append(value)
        found = np.vstack([found, vector / np.linalg.norm(vector)])
    return values, spent


def certificates(operator: Any) -> None:
    """Count products for the top five, against deflated power iteration."""
    began = time.perf_counter()
    found = top_eigenpairs(operator, 5, which="magnitude")
    seconds = time.perf_counter() - began
    spent, worst = found.stats["matvecs"], float(found.relative_residuals.max())
    line("  top 5 to relative residual 1e-4: products", f"{sum(spent.values()) - spent['probe']}", "<= 45")
    line("    and for the probe that none was missed", f"{spent['probe']} ({found.status})")
    line("    worst relative residual, seconds", f"{worst:.1e}, {seconds:.2f} s")
    values, power = power_iteration(operator, 5)
    off = np.abs(np.array(values) / found.eigenvalues - 1)
    line("  deflated power iteration: products", f"{power}")
    line("    worst relative error", f"{off.max():.1e}")


def traces(operator: Any) -> None:
    """Count products for a trace to 2 % by every estimator."""
    for method in ("hutchinson", "hutch++", "auto"):
        found = trace(operator, method=method, relative_error=0.02)
        text = f"{found.num_matvecs} ({found.value:.4g} ± {found.standard_error:.2g})"
        line(f"  trace to 2 %, {method} ({found.method}): products", text)
    found = trace(operator, method="xtrace", num_probes=15)
    text = f"{found.num_matvecs} ({found.value:.4g}, error estimate {found.error_estimate:.2g})"
    line("  trace by XTrace: products", text)


def coverage(seeds: int) -> None:
    """Print how often 95 % intervals hold the trace where outliers dominate the spectrum."""
    values = np.r_[100.0, 60.0, 30.0, np.linspace(0, 0.5, 97)]
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((100, 100)))[0]
    matrix, truth = (basis * values) @ basis.T, float(values.sum())
    for method, options in (
        ("hutchinson", {"num_probes": 48}),
        ("hutch++", {"num_probes": 48}),
        ("xtrace", {"num_probes": 6, "num_replicates": 8}),
    ):
        hits = 0
        for seed in range(seeds):
            low, high = trace(matrix, method=method, seed=seed, **options).interval or (np.nan, np.nan)
            hits += low <= truth <= high
        line(f"coverage of 95 % intervals, three outliers: {method}", f"{hits / seeds:.3f} of {seeds} seeds")


def digits_run(levels: int, seeds: int, *, steps: int) -> tuple[Any, list[Checkpoint]]:
    """Return the digits task and tickets of all levels and seeds, with random masks."""
    task = load_task("digits", {"kind": "mlp", "widths": [32]})
    layout, rng, given = Layout.of(task.init(0)), np.random.default_rng(0), []
    for seed in range(seeds):
        for level in range(levels):
            free = (rng.random(layout.size) < 0.8**level) | ~layout.prunable()
            mask = layout.unflatten(free)
            params = trained(task.problem, task.init(seed), steps=steps, mask=mask)
            std = jax.tree.map(lambda x: np.full(np.shape(x), 0.05, np.float32), params)
            info = {"level": level, "seed": seed, "method": "gd"}
            given.append(Checkpoint(params=params, mask=mask, std=std, info=info))
    return task, given


def sweep(levels: int, seeds: int) -> None:
    """Measure all levels and seeds of a digits run: top 10 and trace of each."""
    task, given = digits_run(levels, seeds, steps=30)
    table = curvature_table(task.problem, given, k=10, relative_error=0.02)
    text = f"{table.stats['seconds']:.1f} s ({table.status})"
    line(f"digits, {levels} levels x {seeds} seeds: top 10 and trace of each", text, "< 30 s")
    line("  of which compiling", f"{table.stats['compile_seconds']:.1f} s", "< 5 s")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Fewer repeats and levels.")
    quick = parser.parse_args().quick
    print(machine())
    for kind, goal in (("lenet-300-100", 1.6), ("paper-cnn", 2.5)):
        task = image_task(kind)
        params = trained(task.problem, task.init(0), steps=10 if kind == "paper-cnn" else 100)
        operator = products(kind, task.problem, params, goal=goal, repeats=3 if quick else 9)
        if kind == "lenet-300-100":
            lanczos(operator, 3 if quick else 5)
            certificates(operator)
            traces(operator)
    coverage(50 if quick else 300)
    sweep(*((5, 1) if quick else (20, 2)))


if __name__ == "__main__":
    main()
