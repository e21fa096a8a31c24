"""Several small networks at a time on a CPU: one alone leaves its cores waiting for each other."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import jax
import numpy as np

from landscape.compute import Progress
from landscape.flatness._surroundings import Surroundings

T = TypeVar("T")

# Parameters times examples up to which a network is small: its operations take less time than a second core
# needs to join in. Two at a time take two thirds of the time on two cores (benchmarks/RESULTS.md).
_SMALL = 2**24
_AT_A_TIME = 2


@dataclasses.dataclass(frozen=True)
class Job(Generic[T]):
    """How to get at one network, and what to measure there, telling a progress."""

    surroundings: Callable[[], Surroundings]
    measure: Callable[[Surroundings, Progress], T]


class Stopped(BaseException):
    """Ends the work of a thread that nobody waits for; nothing that catches errors is to hold it up."""


class _Shared:
    """A progress that several threads report to, and that ends them when it is told to."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.stopped = False
        self._lock = threading.Lock()

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a task."""
        with self._lock:
            self.progress.start(label, total)

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count steps; raise `Stopped` in a thread that nobody waits for any more."""
        if self.stopped:
            raise Stopped
        with self._lock:
            self.progress.advance(n, **fields)

    def note(self, text: str) -> None:
        """Say what happens now."""
        if self.stopped:
            raise Stopped
        with self._lock:
            self.progress.note(text)

    def stop(self) -> None:
        """End the task."""
        with self._lock:
            self.progress.stop()


def side_by_side(jobs: Sequence[Job[T]], *, progress: Progress) -> Iterator[T]:
    """Yield what is measured at each of the networks, in their order.

    The first one is measured alone. Of those that are large, streamed, or of a shape that has not been there
    yet, one at a time is measured: no two threads trace anything, or run a user's Python functions, at once.

    Parameters
    ----------
    jobs : sequence of Job
        One or more; none may depend on what another one changes.
    progress : Progress
        Is told by all of them, one at a time.
    """
    first = jobs[0].surroundings()
    yield jobs[0].measure(first, progress)
    if not (_small(first) and jax.default_backend() == "cpu" and _cores() > 1):
        for job in jobs[1:]:
            yield job.measure(job.surroundings(), progress)
        return
    known, alone, shared = {_shape(first)}, threading.Lock(), _Shared(progress)
    del first
    # Another thread has settings of its own.
    x64 = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
    device = jax.config.jax_default_device  # type: ignore[attr-defined]  # jax does not declare it

    def run(job: Job[T]) -> T:
        with jax.enable_x64(x64), jax.default_device(device):
            around = job.surroundings()
            if _small(around) and _shape(around) in known:
                return job.measure(around, shared)
            with alone:
                found = job.measure(around, shared)
                known.add(_shape(around))
            return found

    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="landscape") as pool:
        try:
            yield from pool.map(run, jobs[1:])
        finally:  # after an error, or Ctrl-C: the others end with the measure that they are at
            shared.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)


def _small(around: Surroundings) -> bool:
    return not around.stream and around.size * around.count <= _SMALL


def _shape(around: Surroundings) -> tuple[object, ...]:
    """Return what programs are compiled for."""
    layout, masked = around.layout, around.subject.free is not None
    return tuple(layout.paths), tuple(layout.shapes), masked, around.count, around.batch_size


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
