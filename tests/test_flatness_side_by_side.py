"""Small networks are measured two at a time, with the same answers, errors and stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flatness_samples import relu_network, relu_problem

import landscape
from landscape.compute import SILENT
from landscape.errors import NonFiniteError
from landscape.flatness import _side_by_side
from landscape.flatness._side_by_side import Job, side_by_side

needs_two_cores = pytest.mark.skipif(_side_by_side._cores() < 2, reason="one core: one network at a time")


def surroundings(size: int = 10, *, stream: bool = False) -> Any:
    layout = SimpleNamespace(paths=("w",), shapes=((size,),))
    subject = SimpleNamespace(free=None)
    return SimpleNamespace(size=size, count=5, batch_size=5, stream=stream, layout=layout, subject=subject)


def jobs(measures: list[Callable[[Any, Any], Any]], sizes: list[int] | None = None) -> list[Job[Any]]:
    given = sizes or [10] * len(measures)
    return [
        Job(lambda size=size: surroundings(size), measure)
        for measure, size in zip(measures, given, strict=True)
    ]


@needs_two_cores
def test_two_small_networks_are_measured_at_once_and_come_in_their_order() -> None:
    meeting = threading.Barrier(2, timeout=20)

    def meet(number: int) -> Callable[[Any, Any], int]:
        def measure(around: Any, progress: Any) -> int:
            meeting.wait()
            time.sleep(0.1 if number == 1 else 0)  # the earlier one is ready later
            return number

        return measure

    found = side_by_side(jobs([lambda *_: 0, meet(1), meet(2)]), progress=SILENT)
    assert list(found) == [0, 1, 2]


@needs_two_cores
@pytest.mark.parametrize("sizes", [[10, 11, 12, 13, 14], [10, 2**24, 2**24, 2**24, 2**24]])
def test_new_shapes_and_large_networks_are_measured_one_at_a_time(sizes: list[int]) -> None:
    running: list[int] = []
    most = 0

    def measure(around: Any, progress: Any) -> int:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        time.sleep(0.05)
        running.pop()
        return int(around.size)

    assert list(side_by_side(jobs([measure] * 5, sizes), progress=SILENT)) == sizes
    assert most == 1


def test_a_large_first_network_keeps_all_of_them_in_this_thread() -> None:
    threads: list[int] = []

    def measure(around: Any, progress: Any) -> None:
        threads.append(threading.get_ident())

    list(side_by_side(jobs([measure] * 3, [2**24, 10, 10]), progress=SILENT))
    assert threads == [threading.get_ident()] * 3


@needs_two_cores
def test_an_error_ends_the_others_at_their_next_step() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fails(around: Any, progress: Any) -> None:
        begun.wait(20)
        raise ValueError("mine")

    def goes_on(around: Any, progress: Any) -> None:
        begun.set()
        try:
            for _ in range(2000):
                time.sleep(0.01)
                progress.advance()
        except BaseException:
            ended.set()
            raise

    never = pytest.fail
    with pytest.raises(ValueError, match="mine"):
        list(side_by_side(jobs([lambda *_: 0, fails, goes_on, never, never, never]), progress=SILENT))
    assert ended.is_set()


@needs_two_cores
def test_whoever_stops_listening_ends_them_too() -> None:
    begun, ended = threading.Event(), threading.Event()

    def goes_on(around: Any, progress: Any) -> None:
        begun.set()
        try:
            for _ in range(2000):
                time.sleep(0.01)
                progress.note("here")
        except BaseException:
            ended.set()
            raise

    found = side_by_side(jobs([lambda *_: 0, lambda *_: begun.wait(20), goes_on]), progress=SILENT)
    assert [next(found), next(found)] == [0, True]
    found.close()  # type: ignore[attr-defined]  # as an interrupt does
    assert ended.is_set()


@needs_two_cores
def test_settings_of_this_thread_hold_in_the_others() -> None:
    seen: list[tuple[Any, Any]] = []

    def measure(around: Any, progress: Any) -> None:
        seen.append((jnp.zeros(1, float).dtype, jnp.zeros(1).devices()))

    device = jax.devices()[-1]
    with jax.enable_x64(True), jax.default_device(device):
        list(side_by_side(jobs([measure] * 3), progress=SILENT))
    assert seen == [(np.float64, {device})] * 3


def networks(count: int) -> list[Any]:
    return [relu_network(seed=seed) for seed in range(count)]


def test_a_table_is_the_same_one_and_two_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [*networks(4), relu_network(bias=True), relu_network(bias=True, seed=3)]
    measures = ["gaussian", "sam", "keskar", "pac_bayes", "trace", "local_entropy"]
    tables = []
    for cores in (1, 2):
        monkeypatch.setattr(_side_by_side, "_cores", lambda cores=cores: cores)
        tables.append(landscape.flatness_table(relu_problem(), given, measures=measures, spaces=("full",)))
    one, two = tables
    assert repr(one.records) == repr(two.records)
    assert repr(one.networks) == repr(two.networks)
    assert repr(one.correlations) == repr(two.correlations)
    assert (one.warnings, one.config, one.stats["num_evaluations"]) == (
        two.warnings,
        two.config,
        two.stats["num_evaluations"],
    )


def test_a_bad_network_among_good_ones_is_refused_as_ever() -> None:
    given = networks(4)
    given[2] = jax.tree.map(lambda x: np.full_like(x, np.nan), given[2])
    with pytest.raises(NonFiniteError):
        landscape.flatness_table(relu_problem(), given, measures=["gaussian"])
