"""Iterative pruning end to end: densities, rewinding, sharing, stopping and going on."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from landscape import Problem, load
from landscape.errors import ConfigurationError, InterruptedRunError, RunError
from landscape.layout import Layout
from trainers import open_run, resolve, train_tickets
from trainers.config import RunConfig
from trainers.plan import plan
from trainers.runs import Run
from trainers.tickets import _Session

SMALL = [
    "runtime.chunk_seconds=0.02",
    "network={kind='mlp', widths=[8]}",
    "methods=['es-snr', 'es-random', 'gd-magnitude']",
    "seeds=[0, 1]",
    "pruning.levels=3",
    "pruning.ratio=0.5",
    "evolution.population_size=16",
    "evolution.generations=12",
    "evolution.batch_size=128",
    "evolution.eval_every=5",
    "gradient.epochs=1",
    "gradient.batch_size=128",
]


def smoke(*overrides: str) -> RunConfig:
    return resolve("smoke", overrides=[*SMALL, *overrides])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_tickets(smoke(), tmp_path_factory.mktemp("runs") / "whole")


def arrays(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {k: v for key, sub in tree.items() for k, v in arrays(sub, f"{prefix}/{key}").items()}


def assert_same_run(first: Path, second: Path) -> None:
    """Bitwise the same weights, histories and metrics."""
    a, b = open_run(first).checkpoints(), open_run(second).checkpoints()
    assert [(c.method, c.seed, c.level) for c in a] == [(c.method, c.seed, c.level) for c in b]
    for one, other in zip(a, b, strict=True):
        x, y = one.load(), other.load()
        assert x.digest == y.digest
        assert x.info == y.info
        for name in ("mask", "std", "best", "history", "init"):
            left, right = arrays(getattr(x, name)), arrays(getattr(y, name))
            assert left.keys() == right.keys()
            for path in left:
                np.testing.assert_array_equal(left[path], right[path], err_msg=f"{one.path} {name}{path}")
    metrics = [(folder / "metrics.jsonl").read_bytes() for folder in (first, second)]
    assert metrics[0] == metrics[1]


def test_every_level_of_every_seed_and_method_is_on_disk(run: Run) -> None:
    found = {(c.method, c.seed, c.level) for c in run.checkpoints()}
    assert found == {
        (m, s, k) for m in ("es-snr", "es-random", "gd-magnitude") for s in (0, 1) for k in range(3)
    }
    assert not list(run.path.rglob("*.partial"))
    assert not list(run.path.rglob("state.h5"))


def test_densities_are_exact_and_biases_are_spared(run: Run) -> None:
    prunable = 64 * 8 + 8 * 10
    for entry in run.checkpoints():
        mask = arrays(entry.load().mask)
        kept = sum(int(m.sum()) for path, m in mask.items() if path.endswith("kernel"))
        assert kept == int(np.floor(prunable * 0.5**entry.level + 0.5))
        assert all(m.all() for path, m in mask.items() if path.endswith("bias"))
        assert entry.info["num_weights"] == kept


def test_a_pruned_weight_never_revives_and_stays_zero(run: Run) -> None:
    for method in run.methods:
        for seed in run.seeds:
            levels = [entry.load() for entry in run.checkpoints(method=method, seed=seed)]
            for before, after in itertools.pairwise(levels):
                for path, mask in arrays(after.mask).items():
                    assert not (mask & ~arrays(before.mask)[path]).any()
            for checkpoint in levels:
                for path, mask in arrays(checkpoint.mask).items():
                    assert not arrays(checkpoint.params)[path][~mask].any()


def test_snr_keeps_the_weights_of_highest_signal_to_noise(run: Run) -> None:
    before, after = (entry.load() for entry in run.checkpoints(method="es-snr", seed=0)[:2])
    mean, std, mask = (
        np.concatenate([v.ravel() for p, v in sorted(arrays(t).items()) if p.endswith("kernel")])
        for t in (before.params, before.std, after.mask)
    )
    scores = np.abs(mean) / std
    assert scores[mask].min() >= scores[~mask].max()


def test_every_level_starts_from_the_original_initialisation(run: Run) -> None:
    for seed in run.seeds:
        inits = [arrays(entry.load().init) for entry in run.checkpoints(seed=seed)]
        for init in inits[1:]:
            for path, value in init.items():
                np.testing.assert_array_equal(value, inits[0][path])


def test_the_dense_level_is_trained_once_and_shared(run: Run) -> None:
    snr, other = (run.checkpoints(method=m, seed=0, level=0)[0].load() for m in ("es-snr", "es-random"))
    assert snr.digest == other.digest
    assert other.info is not None
    assert other.info["shared_from"] == "es-snr"
    assert "shared_from" not in (snr.info or {})


def test_a_checkpoint_rebuilds_its_problem_and_its_metrics(run: Run) -> None:
    from landscape import problem_of

    checkpoint = run.checkpoints(method="gd-magnitude", seed=1, level=2)[0].load()
    problem = problem_of(checkpoint)
    assert checkpoint.info is not None
    for split in problem.splits:
        assert problem.evaluate(checkpoint.params, split) == checkpoint.info["metrics"][split]


def test_best_is_chosen_on_the_validation_split(run: Run) -> None:
    for entry in run.checkpoints():
        checkpoint = entry.load()
        curve = checkpoint.history["validation_accuracy"]
        best = entry.info["best"]
        assert best["metrics"]["validation"]["accuracy"] == curve.max()
        assert best["step"] == checkpoint.history["evaluation_step"][int(curve.argmax())]


def test_the_metrics_file_has_one_line_an_evaluation(run: Run) -> None:
    rows = run.metrics()
    es = [row for row in rows if row["method"] == "es-snr" and row["seed"] == 0]
    assert [(row["level"], row["step"]) for row in es] == [(k, s) for k in range(3) for s in (5, 10, 12)]


def test_the_number_of_compilations_does_not_depend_on_the_number_of_levels(tmp_path: Path) -> None:
    counts = []
    for levels in (2, 4):
        config = smoke(f"pruning.levels={levels}", "methods=['es-magnitude', 'gd-magnitude']")
        sessions: list[_Session] = []
        original = _Session.__post_init__

        def spy(self: _Session, original: Callable[[_Session], None] = original) -> None:
            original(self)
            sessions.append(self)  # noqa: B023  called before the next turn

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_Session, "__post_init__", spy)
            train_tickets(config, tmp_path / f"levels-{levels}")
        engines = [runner.engine for runner in sessions[0].runners.values()]
        counts.append({engine.trainer.name: engine.num_compilations for engine in engines})
    assert counts == [{"es": 1, "gd": 1}] * 2


class StopAfter:
    """Asks for a stop once it has been asked `count` times."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self) -> int | None:
        self.count -= 1
        return signal.SIGTERM if self.count < 0 else None


@pytest.mark.faults
@pytest.mark.parametrize("polls", [0, 3, 9, 16])
def test_a_stopped_run_goes_on_to_the_bitwise_same_result(run: Run, tmp_path: Path, polls: int) -> None:
    """Faults 22 and 23: stopped again and again, at whatever chunk."""
    folder, codes = tmp_path / "stopped", []
    while not (folder / "gd-magnitude/seed-1/level-02.h5").exists():
        with contextlib.suppress(InterruptedRunError):
            try:
                train_tickets(
                    smoke(), folder, resume=bool(codes), should_stop=StopAfter(polls + 2 * len(codes))
                )
            except InterruptedRunError as stop:
                codes.append(stop.exit_code)
                raise
    assert set(codes) == {143}
    assert_same_run(run.path, folder)


@pytest.mark.faults
def test_a_killed_run_goes_on_to_the_bitwise_same_result(run: Run, tmp_path: Path) -> None:
    """Faults 1 and 23: kill -9 as soon as a level is on disk, while the next one trains."""
    folder = tmp_path / "killed"
    code = (
        "from trainers import resolve, train_tickets\n"
        f"train_tickets(resolve('smoke', overrides={SMALL!r}), {str(folder)!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(folder.rglob("level-01.h5")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    written = list(folder.rglob("level-*.h5"))
    assert 0 < len(written) < len(run.checkpoints())
    for path in written:
        load(path)
    train_tickets(smoke(), folder, resume=True)
    assert_same_run(run.path, folder)


@pytest.mark.faults
def test_a_torn_line_of_metrics_is_mended_on_resuming(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    with pytest.raises(InterruptedRunError):
        train_tickets(smoke(), folder, should_stop=StopAfter(4))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"method": "es-s')
    train_tickets(smoke(), folder, resume=True)
    assert_same_run(run.path, folder)


def test_more_levels_and_methods_are_appended_and_nothing_is_trained_twice(tmp_path: Path) -> None:
    folder = tmp_path / "grown"
    train_tickets(smoke("pruning.levels=2", "methods=['es-snr']"), folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("level-*.h5")}
    grown = train_tickets(smoke("methods=['es-snr', 'es-magnitude']"), folder, resume=True)
    assert len(grown.checkpoints()) == 12
    assert all(path.stat().st_mtime_ns == moment for path, moment in times.items())


@pytest.mark.faults
def test_an_existing_run_is_not_overwritten(run: Run) -> None:
    with pytest.raises(RunError, match="resume"):
        train_tickets(smoke(), run.path)


@pytest.mark.faults
def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="larger than the training data"):
        train_tickets(smoke("evolution.batch_size=2000"), tmp_path / "big")


def test_a_problem_of_your_own_trains_tickets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 5)).astype(np.float32)
    y = (x @ rng.normal(size=(5, 1)).astype(np.float32))[:, 0]

    def loss(params: Any, batch: Any) -> jax.Array:
        return 0.5 * ((batch[0] @ params["w"])[:, 0] - batch[1]) ** 2

    def init(seed: int) -> Any:
        return {"w": np.random.default_rng(seed).normal(size=(5, 1)).astype(np.float32)}

    config = smoke("evolution.batch_size=32", "gradient.batch_size=32", "pruning.levels=2")
    problem = Problem(loss, train=(x, y))
    found = train_tickets(config, tmp_path / "own", problem=problem, init=init)
    last = found.checkpoints(method="es-snr", seed=0, level=1)[0].load()
    assert last.density == pytest.approx(0.6)  # floor(5 · 0.5 + ½) of 5
    assert Layout.of(last.params).size == 5
    with pytest.raises(ConfigurationError, match="together"):
        train_tickets(config, tmp_path / "half", problem=problem)


def test_a_plan_counts_what_a_run_does(run: Run) -> None:
    found = plan(smoke())
    assert found.num_checkpoints == len(run.checkpoints())
    es = 2 * 12 * 16 * 128
    assert found.evaluations == {"es-snr": 3 * es, "es-random": 2 * es, "gd-magnitude": 3 * 2 * 9 * 128}
    assert found.num_params == 610
    json.dumps(found.to_dict())


@pytest.mark.data
def test_real_mnist_trains_for_a_few_generations(data_folder: Path, tmp_path: Path) -> None:
    config = smoke("task=mnist", "evolution.generations=3", "pruning.levels=1", "methods=['es-snr']")
    found = train_tickets(config, tmp_path / "mnist")
    assert found.checkpoints()[0].info["metrics"]["test"]["loss"] < 3
