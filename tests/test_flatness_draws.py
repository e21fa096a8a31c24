"""Rises along normal draws: the same numbers however they are cut into calls."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Problem, Stream
from landscape.flatness import draws as draws_of_noise
from landscape.flatness.draws import MOST_DRAWS, MOST_STEPS, draw, rises_of_draws
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options

PARAMS = {"w": np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)}
STEPS = tuple(sign * step for step in np.linspace(0.1, 1, MOST_STEPS // 2 + 1) for sign in (1, -1))
DRAWS = MOST_DRAWS + 3


def loss(params: Any, batch: Any) -> jax.Array:
    return ((jnp.tanh(batch[0] @ params["w"]) - batch[1]) ** 2).sum(-1)


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(50, 3)).astype(np.float32)


def measured(train: Any = None, *, done: Any = lambda _: None, **options: Any) -> np.ndarray:
    around = Neighbourhood(
        Problem(loss, train=data() if train is None else train), PARAMS, Options(**options)
    )
    scale = 0.3 * around.scale("absolute")
    found = rises_of_draws(around, scale, STEPS, draws=DRAWS, seed=5, done=done)["loss"]
    assert around.num_evaluations == DRAWS * len(STEPS)
    return found


def test_rises_are_those_at_the_offsets() -> None:
    around = Neighbourhood(Problem(loss, train=data()), PARAMS, Options())
    found = measured()
    assert found.shape == (DRAWS, len(STEPS))
    for number in (0, MOST_DRAWS, DRAWS - 1):
        offset = np.asarray(draw(jax.random.key(5), np.uint32(number), np.full(12, np.float32(0.3))))
        expected = around.rises(offset, STEPS)["loss"]
        np.testing.assert_allclose(found[number], expected, rtol=1e-6)


@pytest.mark.parametrize("patience", [0.0, 1e-5, 1e3])
def test_values_do_not_depend_on_the_calls(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws_of_noise, "_PATIENCE", patience)
    told: list[int] = []
    np.testing.assert_array_equal(measured(done=told.append), measured())
    assert sum(told) == DRAWS
    if patience == 0:
        assert told == [1] * DRAWS  # a pair a call: nobody waits for more than that


def test_batches_and_streams_add_up() -> None:
    inputs, targets = data()
    ends = ((0, 20), (20, 40), (40, 50))
    whole = measured(dtype="float64")
    np.testing.assert_allclose(measured(batch_size=16, dtype="float64"), whole, rtol=1e-11)
    stream = measured(Stream([(inputs[a:b], targets[a:b]) for a, b in ends]), dtype="float64")
    np.testing.assert_allclose(stream, whole, rtol=1e-11)


def test_the_seconds_of_compiling_count_once() -> None:
    around = Neighbourhood(Problem(loss, train=data()), PARAMS, Options())
    before = around.compile_seconds
    with around.computing():
        pass
    assert around.compile_seconds == before
    rises_of_draws(around, around.scale("absolute"), (1.0, -1.0), draws=2, seed=0)
    once = around.compile_seconds
    assert once > before
    rises_of_draws(around, around.scale("absolute"), (0.5, -0.5), draws=7, seed=1)
    assert around.compile_seconds == once  # numbers of draws and steps are arguments
