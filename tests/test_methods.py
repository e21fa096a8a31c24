"""Methods beyond the three of the quickstart: branches, rewinding, sources, batches of methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from small_runs import SIZES

from landscape import Problem
from landscape.errors import (
    ArchitectureMismatchError,
    CodeRefusedError,
    ConfigurationError,
    DeviceMemoryError,
    InterruptedRunError,
    RunError,
)
from landscape.trees import by_path
from trainers import resolve, train_tickets
from trainers.config import RunConfig
from trainers.pruning import CONTROLS
from trainers.runs import Run
from trainers.training import Engine


def small(*overrides: str) -> RunConfig:
    lists_densities = any(text.startswith("pruning.densities") for text in overrides)
    base = [text for text in SIZES if not (lists_densities and text.startswith("pruning."))]
    return resolve("smoke", overrides=[*base, *overrides])


def flat(tree: Any) -> np.ndarray:
    leaves = by_path(tree)
    return np.concatenate([np.asarray(leaves[path]).reshape(-1) for path in sorted(leaves)])


def loaded(run: Run, method: str, seed: int, level: int) -> Any:
    return run.checkpoints(method=method, seed=seed, level=level)[0].load()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every two steps kept; seed 1 is a branch of seed 0 at step 5; a method that rewinds to step 3."""
    config = small(
        "methods=['es-snr', 'late', 'tune', 'gd-magnitude']",
        "method={late={algorithm='es', score='snr', pruning={rewind='step', rewind_step=3}},"
        " tune={algorithm='gd', score='magnitude', pruning={rewind='none', mode='one-shot'}}}",
        "seeds=[{init=0, train=0}, {init=0, train=1, branch_from=0, branch_step=5}]",
        "runtime.trajectory_every=4",
    )
    return train_tickets(config, tmp_path_factory.mktemp("runs") / "methods")


def test_a_trajectory_has_the_steps_asked_for_and_ends_with_the_level(run: Run) -> None:
    found = run.trajectory("gd-magnitude", 0, 1)
    assert [entry.step for entry in found] == [4, 8, None]
    es = run.trajectory("es-snr", 0, 0)
    assert [entry.step for entry in es] == [3, 4, 8, None]
    losses = []
    for entry in es:
        checkpoint = entry.load()
        assert checkpoint.std is not None
        assert (checkpoint.info or {})["step"] == (entry.step or 12)
        losses.append(flat(checkpoint.params))
    assert len({values.tobytes() for values in losses}) == 4


def test_a_branch_is_its_trunk_up_to_the_branch_step_and_not_after(run: Run) -> None:
    """Frankle et al. 2020: the same ticket, the same minibatches and noise, then others."""
    for level in range(3):
        trunk, branch = (run.trajectory("es-snr", seed, level) for seed in (0, 1))
        assert [(a.step, b.step) for a, b in zip(trunk, branch, strict=True)][-3:] == [
            (4, 4),
            (8, 8),
            (None, None),
        ]
        for one, other in zip(trunk, branch, strict=True):
            x, y = flat(one.load().params), flat(other.load().params)
            np.testing.assert_array_equal(flat(one.load().mask), flat(other.load().mask))
            assert np.array_equal(x, y) == (one.step is not None and one.step <= 5)
        rows = [
            r for r in run.metrics() if r["method"] == "es-snr" and r["level"] == level and r["step"] == 5
        ]
        assert rows[0]["validation"] == rows[1]["validation"]


BRANCHING = {
    **{
        score: f"algorithm='gd', score='{score}'"
        for score in ("random", "snip", "grasp", "synflow", "magnitude")
    },
    **{
        control: f"algorithm='gd', source='magnitude', control='{control}'"
        for control in CONTROLS
        if control != "none"
    },
}


# A permutation of a sparser mask is no part of the permutation of a denser one.
NOT_NESTED = ("permute-mask", "connected-random")


def test_a_branch_trains_the_tickets_of_its_trunk_by_every_method(tmp_path: Path) -> None:
    """Wherever a mask seed enters it is the trunk's, so masks are nested and first steps are equal."""
    names, tables = list(BRANCHING), ", ".join(f"'{name}'={{{table}}}" for name, table in BRANCHING.items())
    found = train_tickets(
        small(
            f"methods={names}",
            f"method={{{tables}}}",
            "seeds=[{init=0, train=0, mask=7}, {init=0, train=2, branch_from=0, branch_step=3}]",
            "pruning.score_examples=64",
            "runtime.trajectory_every=3",
        ),
        tmp_path / "branches",
    )
    for name in names:
        nested = name not in NOT_NESTED
        for level in range(3):
            trunk, branch = (found.trajectory(name, seed, level) for seed in (0, 2))
            assert (branch[0].step, branch[0].load().info["seeds"]["mask"]) == (3, 7)
            for attribute in ("mask", "init"):
                for one, other in zip(trunk, branch, strict=True):
                    x, y = (flat(getattr(entry.load(), attribute)) for entry in (one, other))
                    np.testing.assert_array_equal(x, y)
            np.testing.assert_array_equal(flat(trunk[0].load().params), flat(branch[0].load().params))
            assert not np.array_equal(flat(trunk[-1].load().params), flat(branch[-1].load().params))
            if level and nested:
                before, after = (
                    flat(loaded(found, name, 2, k).mask).astype(bool) for k in (level - 1, level)
                )
                assert not (after & ~before).any()
                assert after.sum() < before.sum()


def test_late_rewinding_starts_from_the_dense_weights_at_that_step(tmp_path: Path, run: Run) -> None:
    """With no learning at the second level, the ticket is where it was rewound to."""
    rewound = "pruning={rewind='step', rewind_step=4}"
    frozen = f"{{late={{algorithm='gd', score='magnitude', gradient={{learning_rate=1e-12}}, {rewound}}}}}"
    config = small("methods=['late']", f"method={frozen}", "seeds=[0]", "runtime.trajectory_every=4")
    found = train_tickets(config, tmp_path / "late")
    kept = found.trajectory("late", 0, 0)[0].load()
    ticket = loaded(found, "late", 0, 2)
    mask = flat(ticket.mask).astype(bool)
    np.testing.assert_allclose(flat(ticket.params)[mask], flat(kept.params)[mask], atol=1e-9)
    late = loaded(run, "late", 0, 1)
    assert (late.info or {})["score"] == "snr"


def test_one_shot_masks_come_from_the_dense_level(run: Run) -> None:
    dense = loaded(run, "tune", 0, 0)
    for level in (1, 2):
        ticket = loaded(run, "tune", 0, level)
        kernel = np.concatenate(
            [np.full(v.size, v.ndim == 2) for _, v in sorted(by_path(ticket.mask).items())]
        )
        kept = flat(ticket.mask).astype(bool)
        size = np.abs(flat(dense.params))
        assert size[kept & kernel].min() >= size[~kept & kernel].max()


def test_the_dense_level_of_methods_with_one_trainer_is_trained_once(run: Run) -> None:
    for a, b in (("es-snr", "late"), ("tune", "gd-magnitude")):
        one, other = loaded(run, a, 0, 0), loaded(run, b, 0, 0)
        assert one.digest == other.digest
        assert (other.info or {})["shared_from"] == a
        assert [c.step for c in run.trajectory(a, 0, 0)] == [c.step for c in run.trajectory(b, 0, 0)]


def test_methods_trained_as_one_batch_are_the_methods_trained_alone(tmp_path: Path) -> None:
    options = ["methods=['es-snr', 'es-magnitude', 'es-random']", "seeds=[0, 1]"]
    alone = train_tickets(small(*options), tmp_path / "alone")
    batched = train_tickets(small(*options, "runtime.together=methods"), tmp_path / "batched")
    assert len(batched.checkpoints()) == len(alone.checkpoints()) == 18
    for one, other in zip(alone.checkpoints(), batched.checkpoints(), strict=True):
        x, y = one.load(), other.load()
        if one.level < 2:  # the masks of the third level rank scores that differ in rounding
            np.testing.assert_array_equal(flat(x.mask), flat(y.mask))
            np.testing.assert_allclose(flat(x.params), flat(y.params), atol=2e-5)
    started = [e["methods"] for e in batched.events() if e["event"] == "level started"]
    assert started == [["es-snr"], *[["es-snr", "es-magnitude", "es-random"]] * 2]


def test_a_stopped_batch_of_methods_goes_on(tmp_path: Path) -> None:
    config = small("methods=['es-snr', 'es-random']", "seeds=[0]", "runtime.together=methods")
    whole = train_tickets(config, tmp_path / "whole")
    polls = iter([None] * 5 + [15])
    with pytest.raises(InterruptedRunError):
        train_tickets(config, tmp_path / "part", should_stop=lambda: next(polls))
    part = train_tickets(config, tmp_path / "part", resume=True)
    for one, other in zip(whole.checkpoints(), part.checkpoints(), strict=True):
        assert one.load().digest == other.load().digest


def test_tickets_of_another_run_are_trained_from_their_own_initialisation(run: Run, tmp_path: Path) -> None:
    """Transfer to gradient descent: mask and initialisation carried over."""
    table = f"{{moved={{algorithm='gd', source='{run.path}:es-snr'}}}}"
    config = small("methods=['moved']", f"method={table}", "seeds=[0]")
    moved = train_tickets(config, tmp_path / "moved")
    for level in range(3):
        target, source = loaded(moved, "moved", 0, level), loaded(run, "es-snr", 0, level)
        np.testing.assert_array_equal(flat(target.mask), flat(source.mask))
        np.testing.assert_array_equal(flat(target.init), flat(source.init))
        info = target.info or {}
        assert info["trainer"] == "gd"
        assert info["source"]["digest"] == source.digest
        assert info["score"] is None
        assert not np.array_equal(flat(target.params), flat(source.params))


def test_tickets_are_matched_by_density_not_by_level(run: Run, tmp_path: Path) -> None:
    table = f"{{moved={{algorithm='gd', source='{run.path}:es-snr'}}}}"
    config = small("methods=['moved']", f"method={table}", "seeds=[0]", "pruning.densities=[1.0, 0.25]")
    moved = train_tickets(config, tmp_path / "moved")
    target, source = loaded(moved, "moved", 0, 1), loaded(run, "es-snr", 0, 2)
    np.testing.assert_array_equal(flat(target.mask), flat(source.mask))
    other = small("methods=['moved']", f"method={table}", "seeds=[0]", "pruning.densities=[1.0, 0.3]")
    with pytest.raises(RunError, match=r"density 0\.3"):
        train_tickets(other, tmp_path / "other")


@pytest.mark.faults
def test_tickets_that_are_not_there_are_refused_before_anything_is_trained(run: Run, tmp_path: Path) -> None:
    base = ["methods=['es-snr', 'moved']", "seeds=[7]"]
    table = f"method={{moved={{algorithm='gd', source='{run.path}:es-snr'}}}}"
    with pytest.raises(RunError, match=r"no ticket of es-snr, seed 7, density 1") as caught:
        train_tickets(small(*base, table), tmp_path / "none")
    assert "finished seeds of es-snr: [0, 1]" in str(caught.value.expected)
    wider = small("methods=['moved']", "seeds=[0]", table, "network.widths=[9]")
    with pytest.raises(ArchitectureMismatchError, match=r"\d paths differ"):
        train_tickets(wider, tmp_path / "wide")
    assert not list(tmp_path.rglob("level-*.h5"))
    with pytest.raises(RunError, match="no such folder"):
        train_tickets(
            small(*base, "method={moved={algorithm='gd', source='nowhere:es-snr'}}"), tmp_path / "no"
        )


def test_a_matrix_of_algorithms_and_scores_is_every_pair() -> None:
    config = small("matrix={algorithms=['snes', 'sep-cma-es', 'adam'], scores=['snr', 'random']}")
    assert config.methods == (
        "snes-snr",
        "snes-random",
        "sep-cma-es-snr",
        "sep-cma-es-random",
        "adam-snr",
        "adam-random",
    )
    method = config.resolved("sep-cma-es-snr")
    assert (method.algorithm, method.evolution.population_size) == ("sep-cma-es", 16)
    assert config.resolved("adam-random").gradient == config.gradient


def test_a_method_with_a_table_may_be_added_to_a_run_but_not_changed(tmp_path: Path) -> None:
    folder = tmp_path / "grown"
    base = ["seeds=[0]", "pruning.levels=1"]
    train_tickets(small(*base, "methods=['gd-magnitude']"), folder)
    table = "method={slow={algorithm='gd', score='random', gradient={learning_rate=1e-4}}}"
    grown = train_tickets(small(*base, "methods=['gd-magnitude', 'slow']", table), folder, resume=True)
    assert {c.method for c in grown.checkpoints()} == {"gd-magnitude", "slow"}
    changed = small(*base, "methods=['gd-magnitude', 'slow']", table.replace("1e-4", "1e-3"))
    with pytest.raises(RunError, match="has changed"):
        train_tickets(changed, folder, resume=True)


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every score and every control once, in one run."""
    scores = ["es-snr", "es-movement", "gd-snr", "gd-movement", "gd-snip", "gd-grasp", "gd-synflow"]
    controls = [name for name in CONTROLS if name != "none"]
    tables = ", ".join(f"'{name}'={{algorithm='gd', source='es-snr', control='{name}'}}" for name in controls)
    scopes = ", ".join(
        f"{scope}={{algorithm='gd', score='magnitude', pruning={{scope='{scope}'}}}}"
        for scope in ("layerwise", "er", "erk")
    )
    config = small(
        f"methods={[*scores, *controls, 'layerwise', 'er', 'erk']}".replace('"', "'"),
        f"method={{{tables}, {scopes}}}",
        "seeds=[0, 1]",
        "pruning.levels=2",
    )
    return train_tickets(config, tmp_path_factory.mktemp("runs") / "controlled")


def test_every_score_scope_and_control_trains_tickets_of_the_exact_count(controlled: Run) -> None:
    for entry in controlled.checkpoints(level=1):
        info = entry.info
        assert info["num_weights"] == (64 * 8 + 8 * 10) // 2
        assert 0 < info["effective_density"] <= info["density"] == 0.5
        assert np.isfinite(info["metrics"]["test"]["loss"])
    masks = {
        method: flat(loaded(controlled, method, 0, 1).mask).tobytes()
        for method in controlled.methods
        if method not in ("own-init", "reinitialise", "permute-weights", "erk")  # of dense layers erk is er
    }
    assert len(set(masks.values())) == len(masks)


def test_masks_at_initialisation_do_not_depend_on_training(controlled: Run, tmp_path: Path) -> None:
    """SNIP, GraSP and SynFlow see the initialisation alone, and prune from the dense level."""
    longer = small(
        "methods=['gd-snip', 'gd-grasp', 'gd-synflow']",
        "seeds=[0, 1]",
        "gradient.epochs=2",
        "pruning.levels=2",
    )
    found = train_tickets(longer, tmp_path / "longer")
    for method in found.methods:
        for seed in (0, 1):
            one, other = loaded(found, method, seed, 1), loaded(controlled, method, seed, 1)
            np.testing.assert_array_equal(flat(one.mask), flat(other.mask))


def test_gradient_snr_keeps_weights_of_large_magnitude_and_curvature(controlled: Run) -> None:
    dense, sparse = (loaded(controlled, "gd-snr", 0, level) for level in (0, 1))
    kernel = np.concatenate([np.full(v.size, v.ndim == 2) for _, v in sorted(by_path(dense.mask).items())])
    scores = np.abs(flat(dense.params)) * np.sqrt(flat(dense.state["second_moment"]))
    kept = flat(sparse.mask).astype(bool)
    assert scores[kept & kernel].min() >= scores[~kept & kernel].max()


def test_controls_say_what_they_are_and_change_what_they_say(controlled: Run) -> None:
    source = controlled.checkpoints(method="es-snr", seed=1, level=1)[0].load()
    for name in ("own-init", "reinitialise", "permute-weights", "permute-mask", "layer-random"):
        ticket = loaded(controlled, name, 1, 1)
        assert (ticket.info or {})["control"] == name
        assert (ticket.info or {})["source"] == {"method": "es-snr"}
        same_mask = np.array_equal(flat(ticket.mask), flat(source.mask))
        same_init = np.array_equal(flat(ticket.init), flat(source.init))
        assert same_mask == (name in ("own-init", "reinitialise", "permute-weights"))
        assert same_init == (name not in ("reinitialise", "permute-weights"))


def test_diagnostics_are_stored_with_every_level(controlled: Run) -> None:
    first, second = (controlled.checkpoints(method="es-snr", seed=0, level=k)[0].info for k in (0, 1))
    assert "rank_correlation" not in first
    assert set(second["rank_correlation"]) == {"all", "Dense_0/kernel", "Dense_1/kernel"}
    assert -1 <= second["rank_correlation"]["all"] <= 1
    assert set(second["overlap"]) == {"1"}
    assert 0 < second["overlap"]["1"]["jaccard"] < 1
    assert second["overlap"]["1"]["by_chance"] == pytest.approx(1 / 3, abs=0.05)


def test_a_score_and_an_optimiser_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n\n\ndef late(inputs):\n    return np.arange(inputs.mean.size)\n"
        "\n\ndef short(inputs):\n    return np.arange(3)\n"
    )
    table = f"method={{mine={{algorithm='gd', score='{tmp_path}/mine.py:late'}}}}"
    config = small("methods=['mine']", table, "seeds=[0]", "pruning.levels=2", "pruning.ratio=0.25")
    allowed = [f"{tmp_path}/mine.py:late", f"{tmp_path}/mine.py:short"]
    found = train_tickets(config, tmp_path / "own", optimizer=optax.lion(1e-3), allow_code=allowed)
    mask = by_path(loaded(found, "mine", 0, 1).mask)
    kept = np.concatenate([mask["Dense_0/kernel"].reshape(-1), mask["Dense_1/kernel"].reshape(-1)])
    assert kept[-148:].all()
    assert not kept[:-148].any()
    adam = train_tickets(config, tmp_path / "adam", allow_code=allowed)
    assert loaded(adam, "mine", 0, 0).digest != loaded(found, "mine", 0, 0).digest
    wrong = small("methods=['mine']", table.replace("late", "short"), "seeds=[0]", "pruning.levels=2")
    with pytest.raises(ConfigurationError, match="must give one score per weight"):
        train_tickets(wrong, tmp_path / "wrong", allow_code=allowed)


@pytest.mark.faults
def test_no_hdf5_file_says_what_score_to_run(tmp_path: Path) -> None:
    table = "method={mine={algorithm='gd', score='os.path:join'}}"
    config = small("methods=['mine']", table, "seeds=[0]", "pruning.levels=1")
    run = train_tickets(config, tmp_path / "own", allow_code=["os.path:join"])
    with pytest.raises(CodeRefusedError, match=r"a file names the function os\.path:join"):
        train_tickets(resolve(run.checkpoints()[0].path), tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.faults
def test_going_on_with_other_data_or_another_initialisation_is_refused(tmp_path: Path) -> None:
    def problem(scale: float) -> Problem:
        x = scale * np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
        return Problem(lambda p, b: (b @ p["w"]).sum(1) ** 2, train=x)

    def init(offset: int) -> Any:
        return lambda seed: {"w": np.random.default_rng(seed + offset).normal(size=(5, 4)).astype(np.float32)}

    config = small("methods=['gd-magnitude']", "seeds=[0]", "pruning.levels=1", "gradient.batch_size=32")
    more = small("methods=['gd-magnitude']", "seeds=[0]", "pruning.levels=2", "gradient.batch_size=32")
    folder = tmp_path / "own"
    train_tickets(config, folder, problem=problem(1.0), init=init(0))
    with pytest.raises(RunError, match="trained on something else") as caught:
        train_tickets(more, folder, problem=problem(2.0), init=init(0), resume=True)
    assert caught.value.got == "another data train"
    with pytest.raises(RunError, match="trained on something else") as caught:
        train_tickets(more, folder, problem=problem(1.0), init=init(1), resume=True)
    assert caught.value.got == "another init 0"
    found = train_tickets(more, folder, problem=problem(1.0), init=init(0), resume=True)
    # Without a validation split nothing was chosen, so nothing claims to be the best.
    for entry in found.checkpoints():
        assert entry.load().best is None
        assert entry.info["best"] is None


@pytest.mark.faults
def test_metrics_of_a_level_that_starts_anew_are_not_doubled(tmp_path: Path) -> None:
    """A run is stopped within a level, and goes on with more seeds: the snapshot no longer fits."""
    folder, polls = tmp_path / "run", iter([None] * 4 + [15])
    config = small("methods=['es-snr']", "seeds=[0]", "evolution.eval_every=2", "pruning.levels=1")
    with pytest.raises(InterruptedRunError):
        train_tickets(config, folder, should_stop=lambda: next(polls))
    wider = small("methods=['es-snr']", "seeds=[0, 1]", "evolution.eval_every=2", "pruning.levels=1")
    found = train_tickets(wider, folder, resume=True)
    rows = [(row["seed"], row["step"]) for row in found.metrics()]
    assert sorted(rows) == [(seed, step) for seed in (0, 1) for step in range(2, 13, 2)]


@pytest.mark.faults
def test_row_21_a_level_that_does_not_fit_names_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(Engine, "run", full)
    with pytest.raises(DeviceMemoryError, match="batches of 128") as caught:
        train_tickets(small("methods=['es-snr']", "seeds=[0]"), tmp_path / "big")
    assert "evolution.population_size" in str(caught.value.hint)
    assert not list(tmp_path.rglob("level-*.h5"))
