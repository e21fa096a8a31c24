"""What alignment meets in the wild: tied weights, equal and empty networks, odd data, hostile names."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import alignment as planting
from landscape import Problem, align, align_all
from landscape.alignment import structure_of
from landscape.errors import (
    ArchitectureMismatchError,
    DeviceMemoryError,
    InputError,
    NonFiniteError,
    ProblemError,
)
from landscape.plots.report import page_of

pytestmark = pytest.mark.faults

X = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
METHODS = ("weights", "activations", "barrier")


def _tied(params: Any, batch: Any) -> Any:
    """An autoencoder whose decoder is its encoder, transposed."""
    hidden = jnp.maximum(batch @ params["w"] + params["b"], 0)
    return jnp.square(hidden @ params["w"].T - batch).sum(1)


def _weights(seed: int, width: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"w": (5, width), "b": (width,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_tied_weights_are_aligned_together_and_have_no_scale(method: str) -> None:
    problem, a, order = Problem(_tied, train=X), _weights(0), np.array([3, 1, 5, 0, 2, 4])
    b = {"w": a["w"][:, order], "b": a["b"][order]}
    found = align(problem, a, b, method=method, symmetry=("permutation", "scale"))
    for name, leaf in a.items():
        np.testing.assert_array_equal(found.params[name], leaf)
    assert not found.scales
    (units,) = structure_of(_tied, a, X[:2]).groups.values()
    assert units.size == 6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetry", [("permutation",), ("permutation", "scale")])
def test_equal_networks_stay_as_they_are(method: str, symmetry: Any) -> None:
    problem, a, _ = planting.planted("plain", 4, 0)
    found = align(problem, a, a, method=method, symmetry=symmetry, steps=2)
    assert planting.same(found.params, a)
    assert found.distance_after == 0
    assert set(found.moved.values()) == {0.0}


def test_networks_of_zeros_stay_and_have_no_gradient_to_lower_a_barrier_by() -> None:
    problem, a, _ = planting.planted("plain", 4, 0)
    zeros = {name: np.zeros_like(leaf) for name, leaf in a.items()}
    for method in ("weights", "activations"):
        found = align(problem, zeros, zeros, method=method, symmetry=("permutation", "scale"))
        assert planting.same(found.params, zeros)
    with pytest.raises(ProblemError, match="gradient"):
        align(problem, zeros, zeros, method="barrier", steps=2)


def test_a_device_out_of_memory_names_the_batch_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    from landscape.alignment import matchers

    def full(*given: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    problem, a, b = planting.planted("plain", 4, 0)
    monkeypatch.setattr(matchers, "observer", lambda *_: full)
    with pytest.raises(DeviceMemoryError, match="48"):
        align(problem, a, b, method="activations")


def test_networks_on_a_line_come_to_one_alignment() -> None:
    problem, a, b = planting.planted("residual", 5, 2)
    middle = {name: (a[name] + b[name]) / 2 for name in a}
    found = align_all(problem, [a, middle, b], names=["a", "m", "b"])
    assert found[2].distance_after == 0
    assert found[1].distance_after <= found[1].distance_before


def test_one_example_and_a_batch_larger_than_the_data_are_enough() -> None:
    _, a, b = planting.planted("plain", 5, 1)
    one = Problem(planting.LOSSES["plain"], train=(planting.X[:1], planting.Y[:1]))
    assert planting.same(align(one, a, b, method="weights").params, a)
    few = Problem(planting.LOSSES["plain"], train=(planting.X[:7], planting.Y[:7]))
    for size in (3, 1000):
        assert planting.same(align(few, a, b, method="activations", batch_size=size).params, a)


def test_networks_of_other_widths_are_refused_with_their_paths() -> None:
    problem, a, _ = planting.planted("plain", 4, 0)
    with pytest.raises(ArchitectureMismatchError) as refused:
        align(problem, a, planting.parameters("plain", 5, 0))
    for path in ("bias", "in", "mid"):
        assert path in str(refused.value)


def test_weights_that_are_not_finite_are_refused_before_anything_is_computed() -> None:
    problem, a, b = planting.planted("plain", 4, 0)
    with pytest.raises(NonFiniteError, match="mid"):
        align(problem, a, {**b, "mid": b["mid"] * np.nan})


def test_a_loss_that_is_nowhere_finite_shows_nothing_and_one_that_is_somewhere_does() -> None:
    def loss(params: Any, batch: Any) -> Any:
        return _tied(params, batch) / jnp.where(batch[:, 0] > 0, 1.0, 0.0)

    a, order = _weights(1), np.array([1, 0, 2, 3, 4, 5])
    b = {"w": a["w"][:, order], "b": a["b"][order]}
    some = align(Problem(loss, train=X), a, b)
    assert some.equivalence_error < 1e-5
    assert some.distance_after == 0
    with pytest.raises(InputError, match="no loss is finite"):
        align(Problem(loss, train=-np.abs(X)), a, b)


def test_a_loss_that_is_not_deterministic_is_refused() -> None:
    problem = Problem(lambda p, batch: _tied(p, batch) * random.random(), train=X)  # noqa: S311  a loss that changes
    with pytest.raises(ProblemError, match="determin"):
        align(problem, _weights(0), _weights(1))


def test_tags_and_control_characters_in_names_are_text_on_the_page(tmp_path: Path) -> None:
    problem, a, b = planting.planted("plain", 4, 0)
    found = align(problem, a, b, names=["<script>alert(1)</script>", "b\x1b[31m"])
    page_of(found).write(tmp_path / "page.html", plotlyjs="cdn")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert "\x1b" not in text
