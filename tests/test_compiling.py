"""Programs are compiled with the options that this compiler knows, and without them where it knows none."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Problem
from landscape.compute import compiling, program


@pytest.fixture
def anew() -> Iterator[None]:
    """Ask the compiler again, before and after."""
    compiling._compiler_options.cache_clear()
    yield
    compiling._compiler_options.cache_clear()


def test_this_compiler_knows_the_options(anew: None) -> None:
    expected = compiling._CPU if jax.default_backend() == "cpu" else None
    assert compiling._compiler_options() == expected


def test_options_that_a_compiler_does_not_know_are_left_out(
    anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "_CPU", {"xla_cpu_of_another_version": True})
    assert compiling._compiler_options() is None
    assert program(lambda x: x + 1)(1.0) == 2.0


def test_keywords_reach_jit(anew: None) -> None:
    repeated = program(lambda x, times: jnp.tile(x, times) + 1, static_argnames="times")
    np.testing.assert_array_equal(repeated(jnp.arange(2), times=2), [1, 2, 1, 2])


def test_a_problem_does_not_start_the_device(anew: None) -> None:
    Problem(lambda p, batch: batch[0] @ p, train=(np.zeros((4, 2)), np.zeros(4)))
    assert compiling._compiler_options.cache_info().misses == 0
