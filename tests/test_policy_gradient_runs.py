"""Tickets by policy gradient: trained, stopped, scored, rewound, moved from evolution and back."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import StopAfter, assert_same_run

from cli.main import run as command_line
from landscape.errors import ConfigurationError, InterruptedRunError
from landscape.problem import problem_of
from landscape.trees import Layout, by_path
from trainers import open_run, train_tickets, transfer_config, transfer_table
from trainers.config import PAPER_PPO_TASKS, PPOConfig, RunConfig, from_dict, paper_ppo, resolve, to_toml
from trainers.runs import Run, RunFolder
from trainers.tasks import control_task, load_task
from trainers.tickets import plan
from trainers.tickets.ticket import Tickets
from trainers.training import Space

pytest.importorskip("gymnax")

OPTIONS = {"episode_length": 12, "train_episodes": 24, "validation_episodes": 6, "test_episodes": 8}
PPO = {
    "environment_steps": 6 * 16,
    "num_environments": 2,
    "rollout_steps": 8,
    "minibatches": 2,
    "epochs": 2,
    "critic_widths": [3],
    "learning_rate": 0.01,
    "eval_every": 2,
}


def tiny(**changes: Any) -> RunConfig:
    late = {"algorithm": "ppo", "score": "magnitude", "pruning": {"rewind": "step", "rewind_step": 3}}
    values: dict[str, Any] = {
        "name": "tiny",
        "task": "pendulum",
        "task_options": OPTIONS,
        "network": {"kind": "policy", "widths": [5]},
        "methods": ["ppo-magnitude", "ppo-snr", "late"],
        "method": {"late": late},
        "seeds": [0, 1],
        "pruning": {"levels": 2, "ratio": 0.5},
        "evolution": {"population_size": 8, "generations": 4, "batch_size": 3, "eval_every": 4},
        "ppo": PPO,
        "runtime": {"chunk_seconds": 0.001},
    }
    return from_dict({**values, **changes}, own_problem=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_tickets(tiny(), tmp_path_factory.mktemp("ppo") / "tiny")


def test_a_ticket_is_the_policy_alone_and_evaluates_again_to_the_bit(run: Run) -> None:
    assert run.headline == ("test", "return")
    for entry in run.checkpoints():
        checkpoint = entry.load()
        paths = {"Dense_0/kernel", "Dense_0/bias", "Dense_1/kernel", "Dense_1/bias"}
        assert set(by_path(checkpoint.params)) == paths
        assert checkpoint.std is None
        info = checkpoint.info or {}
        assert (info["trainer"], info["algorithm"], info["step"]) == ("ppo", "ppo", 6)
        if entry in run.checkpoints(seed=1, level=1)[:1]:
            problem = problem_of(checkpoint)
            for split in ("train", "validation", "test"):
                assert problem.evaluate(checkpoint.params, split) == info["metrics"][split]
        for path, free in by_path(checkpoint.mask).items():
            assert not np.asarray(by_path(checkpoint.params)[path])[~np.asarray(free, bool)].any()
            assert not np.asarray(by_path(checkpoint.state["second_moment"])[path])[
                ~np.asarray(free, bool)
            ].any()
        history = checkpoint.history or {}
        assert history["train_num_episodes"].sum() == 2 * 2 * (6 * 8 // 12) / 2
        curve = np.asarray(history["validation_return"])
        np.testing.assert_array_equal(history["evaluation_step"], [2, 4, 6])
        assert info["best"]["step"] == [2, 4, 6][int(curve.argmax())]


@pytest.mark.parametrize("score", ["magnitude", "snr"])
def test_the_next_level_keeps_the_weights_that_score_highest(run: Run, score: str) -> None:
    """By |θ|, or by |θ|·√v̂ with Adam's second moment of the policy's gradient."""
    for seed in run.seeds:
        dense, half = (
            run.checkpoints(method=f"ppo-{score}", seed=seed, level=level)[0].load() for level in (0, 1)
        )
        flat = Layout.of(dense.params)
        weights = np.abs(flat.flatten(dense.params)).astype(np.float64)
        moment = flat.flatten(dense.state["second_moment"]).astype(np.float64)
        values = weights * np.sqrt(moment) if score == "snr" else weights
        prunable = flat.prunable(biases=False)
        kept = flat.flatten(half.mask).astype(bool)
        assert kept[~prunable].all()
        assert kept[prunable].sum() == prunable.sum() // 2
        assert values[prunable & kept].min() >= values[prunable & ~kept].max()
    assert (moment > 0).mean() > 0.9


def test_a_ticket_starts_from_the_initialisation_or_from_an_early_update(run: Run) -> None:
    config = run.config
    task = load_task(config.task, dict(config.network), **config.task_options)
    space = Space.of(task.problem, task.init, 0)
    with RunFolder.open(run.path, config, resume=True) as folder:
        tickets = Tickets(config, folder, space)
        start = {name: tickets.ticket(config.resolved(name), config.seeds[1], 1) for name in config.methods}
    mask = start["ppo-magnitude"].mask
    np.testing.assert_array_equal(start["ppo-magnitude"].start, np.where(mask, space.initial(1), 0))
    (kept,) = [entry for entry in run.trajectory("late", 1, 0) if entry.step == 3]
    weights = space.layout.flatten(kept.load().params)
    np.testing.assert_array_equal(start["late"].start, np.where(start["late"].mask, weights, 0))
    assert not np.array_equal(weights, space.initial(1))


def test_methods_of_policy_gradient_share_their_dense_level(run: Run) -> None:
    first, second = (run.checkpoints(method=m, seed=0, level=0)[0].load() for m in ("ppo-magnitude", "late"))
    assert first.digest == second.digest
    assert "shared_from" in {**(first.info or {}), **(second.info or {})}


@pytest.mark.faults
def test_a_stopped_run_goes_on_to_the_bitwise_same_result(run: Run, tmp_path: Path) -> None:
    """Faults 22 and 23: environments, critics and moments are in the snapshot."""
    folder, stops = tmp_path / "stopped", 0
    while len(list(folder.rglob("level-01.h5"))) < 6:
        with contextlib.suppress(InterruptedRunError):
            train_tickets(tiny(), folder, resume=stops > 0, should_stop=StopAfter(1 + 3 * stops))
        stops += 1
    assert stops > 2
    assert_same_run(run.path, folder)


def test_tickets_move_from_evolution_to_policy_gradient_and_back(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = train_tickets(tiny(methods=["es-snr"], method={}, seeds=[0]), tmp_path / "es")
    folder = tmp_path / "to-ppo"
    arguments = ["transfer", str(source.path), "--to", "ppo", "-o", str(folder), "--json", "-q"]
    assert command_line([*arguments, "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)["data"]["config"]
    assert planned["methods"] == ["ppo-magnitude", "ppo-random", "ppo-from-es-snr"]
    assert command_line(arguments) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["metric"], data["split"]) == ("return", "test")
    assert {(cell["target"], cell["tickets"]) for cell in data["cells"]} == {
        ("ppo", "own"),
        ("ppo", "random"),
        ("ppo", "es-snr"),
    }
    there = open_run(folder)
    assert there.config.resolved("ppo-from-es-snr").ppo == tiny().ppo
    back = train_tickets(transfer_config([run.path], ["es"], methods=["ppo-snr"]), tmp_path / "back")
    assert {cell.tickets for cell in transfer_table(back)} == {"own", "random", "ppo-snr"}
    for moved, name, origin, method in (
        (there, "ppo-from-es-snr", source, "es-snr"),
        (back, "es-from-ppo-snr", run, "ppo-snr"),
    ):
        for entry in moved.checkpoints(method=name):
            taken = entry.load()
            (own,) = origin.checkpoints(method=method, seed=entry.seed, level=entry.level)
            for part in ("mask", "init"):
                for path, leaf in by_path(getattr(own.load(), part)).items():
                    np.testing.assert_array_equal(by_path(getattr(taken, part))[path], leaf)
            assert (taken.info or {})["source"]["digest"] == own.load().digest


def test_a_transfer_where_none_trains_by_it_has_the_papers_settings_or_the_sections(
    run: Run, tmp_path: Path
) -> None:
    for name, changes, expected, note in (
        ("bare", {"ppo": {}}, paper_ppo("pendulum"), "settings of the paper on pendulum"),
        ("given", {}, tiny().ppo, "settings of the first run's ppo section"),
    ):
        config = tiny(methods=["es-snr"], method={}, **changes)
        RunFolder.open(tmp_path / name, config).close()
        found = transfer_config([tmp_path / name], ["ppo"])
        assert found.resolved("ppo-from-es-snr").ppo == expected
        assert found.method["ppo-magnitude"]["note"] == note
    assert "ppo-magnitude" not in transfer_config([run.path], ["ppo"], methods=["ppo-snr"]).method


def test_an_environment_of_ones_own_is_played(tmp_path: Path) -> None:
    given = load_task("pendulum", {"kind": "policy", "widths": [5]}, **OPTIONS).environment
    mine = control_task(
        type(given)(**{**vars(given), "name": "mine"}), {"kind": "policy", "widths": [5]}, options=OPTIONS
    )
    config = tiny(methods=["ppo-magnitude"], method={}, seeds=[0], pruning={"levels": 1})
    given_too = {"problem": mine.problem, "init": mine.init}
    with pytest.raises(ConfigurationError, match="not known to have an environment"):
        train_tickets(config, tmp_path / "unknown", **given_too)
    mine.problem.weights = lambda seeds: seeds + 1.0
    with pytest.raises(ConfigurationError, match="expected episodes without weights"):
        train_tickets(config, tmp_path / "unknown", environment=mine.environment, **given_too)
    mine.problem.weights = None
    assert not (tmp_path / "unknown").exists()
    own = train_tickets(config, tmp_path / "own", environment=mine.environment, **given_too)
    same = train_tickets(config, tmp_path / "same")
    assert own.checkpoints()[0].load().digest == same.checkpoints()[0].load().digest


@pytest.mark.faults
def test_what_has_no_environment_is_refused_by_key_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fault 31."""
    folder = tmp_path / "digits"
    arguments = ["train", "smoke", "--set", "methods=['es-snr', 'ppo-magnitude']", "-o", str(folder)]
    for more in ([], ["--dry-run"]):
        assert command_line([*arguments, *more]) == 2
        shown = capsys.readouterr().err
        assert "methods[1]: expected another algorithm" in shown
        assert "digits" in shown
    assert not folder.exists()


@pytest.mark.faults
def test_row_31_settings_that_contradict_themselves_are_listed_by_key() -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_dict({"ppo": {"clip": 1.5, "discount": 2, "epochs": 0, "critic_widths": [0], "lambda": 1}})
    keys = [problem.split(":")[0] for problem in caught.value.problems]
    assert keys == ["ppo.clip", "ppo.discount", "ppo.epochs", "ppo.critic_widths[0]", "ppo.lambda"]
    with pytest.raises(ConfigurationError) as caught:
        from_dict(
            {"ppo": {"num_environments": 4, "rollout_steps": 5, "minibatches": 3, "environment_steps": 7}}
        )
    assert caught.value.problems == (
        "ppo.minibatches: expected a divisor of num_environments · rollout_steps = 20, got 3",
        "ppo.environment_steps: expected at least one update (num_environments · rollout_steps = 20), got 7",
    )
    with pytest.raises(ConfigurationError, match=r"method\.x\.ppo\.epochs: expected a whole number"):
        from_dict(
            {"methods": ["x"], "method": {"x": {"algorithm": "ppo", "score": "snr", "ppo": {"epochs": 0}}}}
        )


@pytest.mark.faults
def test_a_rewind_beyond_the_updates_of_a_level_is_refused(tmp_path: Path) -> None:
    pruning = {"levels": 2, "ratio": 0.5, "rewind": "step", "rewind_step": 6}
    with pytest.raises(ConfigurationError, match="fewer than the 6 steps of a level"):
        train_tickets(tiny(methods=["ppo-magnitude"], method={}, pruning=pruning), tmp_path / "late")


@pytest.mark.faults
def test_a_level_that_diverges_is_told_with_status_four(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(
        methods=["ppo-magnitude"], method={}, pruning={"levels": 1}, ppo={**PPO, "learning_rate": 1e38}
    )
    file = tmp_path / "wild.toml"
    file.write_text(to_toml(config))
    assert command_line(["train", str(file), "-o", str(tmp_path / "wild"), "--json", "-q"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "non-finite"
    assert any("training diverged" in line for line in found["warnings"])
    assert any("steps were not finite" in line for line in found["warnings"])


def test_the_plan_counts_what_is_played_in_episodes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = plan(tiny())
    # 96 steps are 8 episodes of 12; two seeds, two levels, of which the dense one is shared.
    assert found.evaluations == {"ppo-magnitude": 32, "ppo-snr": 16, "late": 16}
    assert found.num_checkpoints == 12
    file = tmp_path / "plan.toml"
    file.write_text(to_toml(tiny()))
    assert command_line(["train", str(file), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "[ppo]" in shown
    assert "evaluations ppo-snr" in shown


def test_published_settings_are_whole_updates_of_the_published_length() -> None:
    found = paper_ppo("pendulum")
    assert (found.environment_steps, found.update_steps, found.discount, found.clip) == (
        1_750_000,
        512,
        0.97,
        0.25,
    )
    ant, walker = paper_ppo("ant"), paper_ppo("walker2d", epochs=1)
    assert ant.update_steps // ant.minibatches == 5 * 1_024
    assert walker.update_steps // walker.minibatches == 50 * 256
    assert walker.epochs == 1
    assert all(isinstance(paper_ppo(task), PPOConfig) for task in PAPER_PPO_TASKS)
    with pytest.raises(ConfigurationError, match="nothing was published for ppo on cartpole"):
        paper_ppo("cartpole")


@pytest.mark.parametrize(
    "name", ["small-cartpole", "small-pendulum", "small-acrobot", "small-minatar", "paper-pendulum"]
)
def test_presets_of_control_tasks_train_by_policy_gradient_too(name: str) -> None:
    config = resolve(name)
    method = config.resolved("ppo-magnitude")
    assert (method.trainer, method.score, method.source) == ("ppo", "magnitude", None)
    assert method.ppo.num_updates >= 3 * method.ppo.eval_every
    if name.startswith("paper"):
        assert method.ppo == paper_ppo("pendulum", eval_every=method.ppo.eval_every)


def test_the_pole_is_learnt_to_be_balanced(tmp_path: Path) -> None:
    """Untrained policies hold it for 9 to 60 steps; after 40,000 steps two of two for 300 of 500 at least."""
    ppo = {"environment_steps": 40_960, "critic_widths": [32], "learning_rate": 2e-3, "eval_every": 20}
    config = from_dict(
        {
            "task": "cartpole",
            "task_options": {"validation_episodes": 16, "test_episodes": 32},
            "network": {"kind": "policy", "widths": [16]},
            "methods": ["ppo-magnitude"],
            "seeds": [0, 1],
            "pruning": {"levels": 1},
            "ppo": ppo,
        },
        own_problem=False,
    )
    run = train_tickets(config, tmp_path / "pole")
    for entry in run.checkpoints():
        checkpoint = entry.load()
        before = problem_of(checkpoint).evaluate(checkpoint.init, "test")["return"]
        after = (checkpoint.info or {})["metrics"]["test"]["return"]
        assert before < 100
        assert after > 300
