"""Iterative pruning end to end: densities, rewinding, sharing, ranks, plans, networks of one's own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr
from small_runs import arrays, smoke

from landscape import Problem
from landscape.compute import compile_seconds
from landscape.errors import ConfigurationError
from landscape.trees import Layout
from trainers import ChainLayer, train_tickets
from trainers.reports import write_run_page
from trainers.reports.ranks import final_rank_correlations
from trainers.runs import Run
from trainers.tickets import plan
from trainers.tickets.iterative import _Session


@pytest.fixture
def run(small_run: Run) -> Run:
    return small_run


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


def test_a_network_of_your_own_has_every_diagnostic_once_its_chain_is_known(tmp_path: Path) -> None:
    """Two layers of ones: what is on a path can be counted by hand from the mask."""
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n\n\ndef size(inputs):\n    return abs(inputs.mean)\n"
    )

    def loss(params: Any, batch: Any) -> jax.Array:
        return 0.5 * ((batch[0] @ params["a"] @ params["b"])[:, 0] - batch[1]) ** 2

    def init(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return {k: rng.normal(size=n).astype(np.float32) for k, n in (("a", (3, 4)), ("b", (4, 1)))}

    tables = (
        f"method={{mine={{algorithm='gd', score='{tmp_path}/mine.py:size'}},"
        " joined={algorithm='gd', source='mine', control='connected-random'}}"
    )
    config = smoke("methods=['mine', 'joined']", tables, "gradient.batch_size=32", "seeds=[0]")
    own: dict[str, Any] = {"problem": Problem(loss, train=(x, x[:, 0])), "init": init}
    own["allow_code"] = [f"{tmp_path}/mine.py:size"]
    with pytest.raises(ConfigurationError, match="layers are not known"):
        train_tickets(config, tmp_path / "own", **own)
    backwards = [ChainLayer(path="b"), ChainLayer(path="a")]
    for chain, fault in ((backwards, "b has 1 outputs, a takes 3"), (backwards[1:], "b is left out")):
        with pytest.raises(ConfigurationError, match="does not fit") as caught:
            train_tickets(config, tmp_path / "own", chain=chain, **own)
        assert caught.value.got == fault
    assert not (tmp_path / "own").exists()
    found = train_tickets(config, tmp_path / "own", chain=backwards[::-1], **own)
    for entry in found.checkpoints():
        mask = entry.load().mask
        on_path = (mask["a"] & mask["b"][:, 0]).sum() + (mask["b"][:, 0] & mask["a"].any(0)).sum()
        assert entry.info["effective_density"] == on_path / 16
        assert ("rank_correlation" in entry.info) == (entry.method == "mine" and entry.level > 0)
        assert entry.method == "mine" or entry.info["effective_density"] == entry.info["density"]


def test_ranks_are_compared_over_the_weights_that_survive_to_the_end(run: Run) -> None:
    """Figure 7: Spearman's correlation of |mean| / std at level k and when dense, by scipy."""
    found = final_rank_correlations(run, "es-snr")
    assert [(r.layer, r.level) for r in found] == [
        (layer, level) for layer in ("all", "Dense_0/kernel", "Dense_1/kernel") for level in (1, 2)
    ]
    for entry in found:
        assert entry.density == 0.5**entry.level
        assert entry.mean == pytest.approx(np.mean(entry.values))
        assert entry.interval is None  # two seeds
        for seed, value in zip(run.seeds, entry.values, strict=True):
            dense, then, last = (
                run.checkpoints(method="es-snr", seed=seed, level=k)[0].load() for k in (0, entry.level, 2)
            )
            alive = arrays(last.mask)
            paths = [f"/{entry.layer}"] if entry.layer != "all" else [p for p in alive if "kernel" in p]
            now, before = (
                np.concatenate(
                    [np.abs(arrays(c.params)[p][alive[p]]) / arrays(c.std)[p][alive[p]] for p in paths]
                )
                for c in (then, dense)
            )
            assert value == pytest.approx(spearmanr(now, before).statistic)
    level_two = run.infos["es-snr", 0, 2]["rank_correlation"]["all"]  # its survivors are those of the end
    assert next(r for r in found if (r.layer, r.level) == ("all", 2)).values[0] == pytest.approx(level_two)
    assert final_rank_correlations(run, "es-random") == []


def test_the_page_of_a_run_shows_ranks_by_layer_with_a_csv(run: Run, tmp_path: Path) -> None:
    page = write_run_page(run, tmp_path / "page.html", plotlyjs="cdn")[0].read_text(encoding="utf-8")
    assert "Do the ranks last?" in page
    assert "ranks.csv" in page
    assert "Dense_1/kernel" in page


def test_a_plan_counts_what_a_run_does(run: Run) -> None:
    found = plan(smoke())
    assert found.num_checkpoints == len(run.checkpoints())
    es = 2 * 12 * 16 * 128
    assert found.evaluations == {"es-snr": 3 * es, "es-random": 2 * es, "gd-magnitude": 3 * 2 * 9 * 128}
    assert found.num_params == 610
    json.dumps(found.to_dict())


def test_a_plan_compiles_nothing_unless_it_is_asked_for_the_memory() -> None:
    with compile_seconds() as spent:
        found = plan(smoke())
    assert spent == []
    assert found.memory_bytes is None
    assert "memory" not in dict(found.rows())


def test_a_plan_takes_an_initialiser_that_jax_cannot_trace() -> None:
    def init(seed: int) -> Any:
        return {"w": np.random.default_rng(int(seed)).standard_normal(3).astype(np.float32)}

    problem = Problem(lambda p, b: b @ p["w"], train=np.ones((256, 3), np.float32))
    assert plan(smoke(), problem=problem, init=init).num_params == 3


def test_the_memory_of_a_plan_is_that_of_the_methods_trained_together() -> None:
    """What counts is how many replicates one program holds: three methods of two seeds, or six seeds."""
    methods = "methods=['es-snr', 'es-magnitude', 'es-random']"
    together = plan(smoke(methods, "runtime.together=methods"), memory=True).memory_bytes
    assert together == plan(smoke("methods=['es-snr']", "seeds=[0, 1, 2, 3, 4, 5]"), memory=True).memory_bytes
    assert together > plan(smoke(methods, "runtime.together=seeds"), memory=True).memory_bytes
    dense = plan(smoke(methods, "runtime.together=methods", "pruning.levels=1"), memory=True).memory_bytes
    assert dense == plan(smoke("methods=['es-snr']"), memory=True).memory_bytes


@pytest.mark.data
def test_real_mnist_trains_for_a_few_generations(data_folder: Path, tmp_path: Path) -> None:
    config = smoke("task=mnist", "evolution.generations=3", "pruning.levels=1", "methods=['es-snr']")
    found = train_tickets(config, tmp_path / "mnist")
    assert found.checkpoints()[0].info["metrics"]["test"]["loss"] < 3
