"""Evaluating populations: every form gives the same losses, tiles bound memory, precision is local."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Problem
from landscape.errors import ConfigurationError
from landscape.trees import Layout
from trainers.config import Evaluation, resolve, to_toml
from trainers.tasks import load_task
from trainers.tasks.classification import Task, classification_task
from trainers.tasks.datasets import Dataset
from trainers.tickets import train_tickets
from trainers.training import population_evaluator
from trainers.training.evaluation import chosen_form, memory_budget

NETWORKS = [
    {"kind": "paper-cnn"},
    {"kind": "lenet-300-100"},
    {"kind": "mlp", "widths": [7]},
    {"kind": "mlp", "widths": []},
]
IDS = ["paper-cnn", "lenet", "mlp", "linear"]


def made(network: dict[str, Any]) -> tuple[Task, Layout, Any]:
    """Return a task of 8×12 images, its layout and a population [P, n]."""
    return _made(NETWORKS.index(network))


@functools.cache
def _made(index: int, *, members: int = 5, count: int = 21) -> tuple[Task, Layout, Any]:
    network = NETWORKS[index]
    rng = np.random.default_rng(count)
    images = rng.normal(size=(count, 8, 12, 1)).astype(np.float32)
    split = (images, rng.integers(0, 10, count))
    dataset = Dataset(name="mnist", splits=dict.fromkeys(("train", "validation", "test"), split))
    task = classification_task(dataset, network, options={})
    layout = Layout.of(task.init(0))
    noise = rng.normal(size=(members, layout.size)).astype(np.float32)
    return task, layout, jnp.asarray(layout.flatten(task.init(0)) + 0.1 * noise)


def losses(task: Task, layout: Layout, population: Any, **settings: Any) -> np.ndarray:
    evaluate = population_evaluator(task.problem, layout, task.init(0), Evaluation(**settings))
    return np.asarray(jax.jit(evaluate)(population, task.problem.arrays("train")))


def expected(task: Task, layout: Layout, population: Any) -> np.ndarray:
    """Return ``vmap(model.apply)`` and the cross-entropy, in float64 on the host from there."""
    key = (task.problem.name, layout.size, float(population[0, 0]))
    if key not in _EXPECTED:
        _EXPECTED[key] = _expected(task, layout, population)
    return _EXPECTED[key]


_EXPECTED: dict[tuple[str, int, float], np.ndarray] = {}


def _expected(task: Task, layout: Layout, population: Any) -> np.ndarray:
    inputs, labels = task.problem.arrays("train")
    params = layout.unflatten(population, task.init(0))
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(jax.vmap(task.apply, in_axes=(0, None))(params, inputs), np.float64)
    top = logits.max(-1, keepdims=True)
    normalised = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    return -normalised[:, np.arange(len(labels)), np.asarray(labels)].mean(-1)


@pytest.mark.parametrize("network", NETWORKS, ids=IDS)
@pytest.mark.parametrize("form", ["mapped", "batched", "plain"])
def test_every_form_is_vmap_of_the_model(form: str, network: dict[str, Any]) -> None:
    task, layout, population = made(network)
    found = losses(task, layout, population, form=form)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(task, layout, population), rtol=2e-6)


@pytest.mark.parametrize("network", NETWORKS[:2], ids=IDS[:2])
@pytest.mark.parametrize("budget", [1, 400_000, 900_000])
def test_tiles_of_members_change_nothing(budget: int, network: dict[str, Any]) -> None:
    """One member at a time, and numbers of members that do not fill the last tile."""
    task, layout, population = made(network)
    params = layout.unflatten(population, task.init(0))
    assert task.problem.batched_loss is not None
    found = task.problem.batched_loss(params, task.problem.arrays("train"), budget)
    np.testing.assert_allclose(found, expected(task, layout, population), rtol=2e-6)


def test_the_batched_form_keeps_to_its_memory() -> None:
    """MNIST's images: the temporaries of 24 members, 44 MB in one tile, stay within 8 MiB and patches."""
    task = load_task("digits", {"kind": "paper-cnn"})
    assert task.problem.batched_loss is not None
    images = jax.ShapeDtypeStruct((16, 28, 28, 1), jnp.float32)
    kernels = {
        "Conv_0": {"kernel": (5, 5, 1, 8), "bias": (8,)},
        "Conv_1": {"kernel": (5, 5, 8, 16), "bias": (16,)},
        "Dense_0": {"kernel": (784, 10), "bias": (10,)},
    }
    params = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct((24, *shape), jnp.float32),
        kernels,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    batch = (images, jax.ShapeDtypeStruct((16,), jnp.int32))
    compiled = jax.jit(task.problem.batched_loss, static_argnums=2).lower(params, batch, 8 * 2**20).compile()
    shared = 36 * 14 * 14 * 16 * 4 + 24 * 36 * 8 * 64 * 4 + 24 * 11_274 * 4
    assert compiled.memory_analysis().temp_size_in_bytes < 8 * 2**20 + 2 * shared


def test_the_numbers_of_the_papers_network_are_those_stated() -> None:
    from trainers.tasks.population_batched import cnn_floats, mlp_floats

    layers = {
        "Conv_0": {"kernel": np.empty((1, 6, 6, 1, 32))},
        "Conv_1": {"kernel": np.empty((1, 6, 6, 8, 64))},
        "Dense_0": {"bias": np.empty((1, 10))},
    }
    convolved, padded = 14 * 14 * (32 + 8), 18 * 18 * 8
    assert cnn_floats((28, 28), layers) == convolved + padded + 49 * (288 + 64 + 16) + 10 == 28_474
    assert mlp_floats([300, 100, 10]) == 410


@pytest.mark.parametrize("form", ["batched", "plain", "mapped"])
def test_replicates_may_be_batched_outside(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `map_replicates` does where there is no CPU: each has its own batch; memory is shared out."""
    task, layout, population = made(NETWORKS[0])
    batch = task.problem.arrays("train")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    evaluate = population_evaluator(task.problem, layout, task.init(0), Evaluation(form=form, memory_mib=1))
    batches = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), batch)
    found = jax.jit(jax.vmap(evaluate))(jnp.stack([population, 1.1 * population]), batches)
    np.testing.assert_allclose(found[0], expected(task, layout, population), rtol=2e-6)
    np.testing.assert_allclose(found[1], expected(task, layout, 1.1 * population), rtol=2e-6)


def test_a_problem_without_a_batched_loss_is_vmapped() -> None:
    x = np.arange(4, dtype=np.float32)
    like = {"w": np.zeros(1, np.float32)}
    problem = Problem(lambda params, batch: (params["w"][0] - batch) ** 2, train=x)
    population = jnp.asarray([[0.0], [2.0]])
    for form in ("mapped", "batched", "plain"):
        evaluate = population_evaluator(problem, Layout.of(like), like, Evaluation(form=form))
        np.testing.assert_allclose(evaluate(population, jnp.asarray(x)), [3.5, 1.5], rtol=1e-6)


def test_the_backend_decides_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_form("auto") == "mapped"
    assert memory_budget(3) == 3 * 2**20
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen_form("auto") == "batched"
    assert chosen_form("plain") == "plain"

    class Device:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 64 * 2**30}

    monkeypatch.setattr(jax, "devices", lambda: [Device()])
    assert memory_budget(0) == 8 * 2**30


@pytest.mark.parametrize("network", NETWORKS[:3], ids=IDS[:3])
def test_float32_is_to_the_bit_what_the_problem_computes(network: dict[str, Any]) -> None:
    task, layout, population = made(network)
    at_once = task.problem.population_loss
    assert at_once is not None
    like = task.init(0)
    program = jax.jit(lambda vectors, batch: at_once(layout.unflatten(vectors, like), batch))
    before = program(population, task.problem.arrays("train"))
    np.testing.assert_array_equal(losses(task, layout, population), before)
    # A CPU has no TF32.
    np.testing.assert_array_equal(losses(task, layout, population, precision="tf32"), before)


@pytest.mark.parametrize("network", NETWORKS[:3], ids=IDS[:3])
@pytest.mark.parametrize("form", ["mapped", "batched", "plain"])
def test_bfloat16_changes_losses_within_its_rounding(form: str, network: dict[str, Any]) -> None:
    """Three layers, each rounded to a relative 2⁻⁸, on losses that are a mean of 21."""
    task, layout, population = made(network)
    exact = expected(task, layout, population)
    found = losses(task, layout, population, form=form, precision="bfloat16")
    assert found.dtype == np.float32
    assert np.all(found != losses(task, layout, population, form=form))
    np.testing.assert_allclose(found, exact, rtol=3 * 2**-8)


def test_precision_never_touches_what_is_reported(tmp_path: Path) -> None:
    config = resolve("smoke", overrides=["methods=[es-snr]", "seeds=[0]", "evolution.precision=bfloat16"])
    assert 'precision = "bfloat16"' in to_toml(config)
    run = train_tickets(config, tmp_path / "run")
    exact = train_tickets(resolve("smoke", overrides=["methods=[es-snr]", "seeds=[0]"]), tmp_path / "exact")
    problem = load_task("digits", {"kind": "mlp", "widths": [8]}).problem
    checkpoint = run.checkpoints(method="es-snr")[0].load()
    stored = (checkpoint.info or {})["metrics"]["test"]["loss"]
    assert stored == problem.evaluate(checkpoint.params, "test")["loss"]
    assert stored != (exact.checkpoints(method="es-snr")[0].load().info or {})["metrics"]["test"]["loss"]


def test_forms_and_precisions_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve("smoke", overrides=["runtime.evaluation=fast", "evolution.precision=float16"])
    text = "\n".join(caught.value.problems)
    assert "runtime.evaluation: expected one of auto, mapped, batched, plain" in text
    assert "evolution.precision: expected one of float32, tf32, bfloat16" in text
