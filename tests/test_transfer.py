"""Transfer of tickets, and the list of runs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import SIZES

from cli.commands.transfer import _rows
from cli.main import run as command_line
from landscape.errors import ConfigurationError, RunError
from landscape.problem import load_trainable
from landscape.trees import by_path
from trainers import resolve, train_tickets, transfer_config, transfer_table
from trainers.config import EvolutionConfig, from_dict, paper_settings, to_toml
from trainers.reports import summaries
from trainers.reports.summary import summary
from trainers.runs import Run, RunFolder
from trainers.tickets import TransferCell

TINY = [*SIZES, "seeds=[0, 1]", "pruning.levels=2"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = resolve("smoke", overrides=[*TINY, "methods=['es-snr', 'es-magnitude', 'gd-magnitude']"])
    return train_tickets(config, tmp_path_factory.mktemp("runs") / "source")


@pytest.fixture(scope="module")
def moved(source: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("moved") / "to-gd"
    return train_tickets(transfer_config([source.path], ["gd"], methods=["es-snr", "es-magnitude"]), folder)


def test_a_transfer_trains_own_random_and_taken_tickets(moved: Run, source: Run) -> None:
    assert moved.methods == ("gd-magnitude", "gd-random", "gd-from-es-snr", "gd-from-es-magnitude")
    for entry in moved.checkpoints(method="gd-from-es-magnitude"):
        ticket = entry.load()
        origin = source.checkpoints(method="es-magnitude", seed=entry.seed, level=entry.level)[0].load()
        for name in ("mask", "init"):
            mine, theirs = by_path(getattr(ticket, name)), by_path(getattr(origin, name))
            for path, leaf in mine.items():
                np.testing.assert_array_equal(leaf, theirs[path])


def test_the_targets_own_tickets_are_those_of_a_run_of_its_own(moved: Run, source: Run) -> None:
    for one, other in zip(
        moved.checkpoints(method="gd-magnitude"), source.checkpoints(method="gd-magnitude"), strict=True
    ):
        assert one.load().digest == other.load().digest


def test_the_table_has_a_cell_for_every_target_ticket_and_density(moved: Run) -> None:
    cells = transfer_table(moved)
    assert [(cell.target, cell.tickets) for cell in cells[::2]] == [
        ("gd", "own"),
        ("gd", "random"),
        ("gd", "es-snr"),
        ("gd", "es-magnitude"),
    ]
    assert [cell.density for cell in cells] == [1.0, 0.5] * 4
    for cell in cells:
        assert len(cell.scores) == 2
        assert cell.mean == pytest.approx(np.mean(cell.scores))
    accuracies = moved.accuracies("gd-from-es-snr", 1)
    np.testing.assert_array_equal(cells[5].scores, accuracies)
    assert cells[5].interval is not None
    assert (cells[5].mean, cells[5].interval) == moved.score("gd-from-es-snr", 1)
    assert (
        transfer_table(moved, metric="loss")[5].interval is None
    )  # two seeds of a loss say nothing of others


def test_printed_scores_of_a_transfer_have_their_intervals() -> None:
    cells = [
        TransferCell(target="gd", tickets=tickets, density=density, scores=(0.5, 0.7), interval=interval)
        for tickets, interval in (("own", (0.4567, 0.7)), ("random", None))
        for density in (1.0, 0.125)
    ]
    assert _rows(cells) == [
        ("weights left, %", f"{'100':<20}  12.5"),
        ("gd, own", "0.600 [0.457, 0.700]  0.600 [0.457, 0.700]"),
        ("gd, random", f"{'0.600':<20}  0.600"),
    ]


def test_runs_of_one_name_are_told_apart(source: Run) -> None:
    config = transfer_config([source.path, source.path], ["snes", "gd"], methods=["es-snr"])
    assert [name for name in config.methods if "from" in name] == [
        "snes-from-1-smoke-es-snr",
        "snes-from-2-smoke-es-snr",
        "gd-from-1-smoke-es-snr",
        "gd-from-2-smoke-es-snr",
    ]


def test_every_target_trains_as_the_first_source_that_trains_by_it(source: Run, tmp_path: Path) -> None:
    own = ["evolution.strategy=pgpe", "evolution.mean_learning_rate=0.033", "evolution.std_init=0.07"]
    pgpe = resolve("smoke", overrides=[*TINY, "methods=['es-snr', 'adam-random']", *own])
    RunFolder.open(tmp_path / "pgpe", pgpe).close()
    runs = [source.path, tmp_path / "pgpe"]
    config = transfer_config(runs, ["es", "snes", "pgpe", "adam", "sep-cma-es"], methods=["es-snr"])
    assert from_dict(tomllib.loads(to_toml(config))) == config
    for name in ("pgpe-snr", "pgpe-random", "pgpe-from-1-smoke-es-snr", "pgpe-from-2-smoke-es-snr"):
        assert config.resolved(name).evolution == pgpe.evolution
        assert config.method[name]["note"] == "settings of es-snr in pgpe"
    for name in ("es-snr", "snes-random"):
        assert config.resolved(name).evolution == source.config.evolution
        assert name not in config.method
    assert config.resolved("adam-random").gradient == source.config.gradient
    defaults = config.resolved("sep-cma-es-snr").evolution
    assert (defaults.std_init, defaults.generations) == (
        EvolutionConfig().std_init,
        source.config.evolution.generations,
    )
    assert "defaults of sep-cma-es" in config.method["sep-cma-es-snr"]["note"]


def test_a_strategy_that_no_source_has_trains_as_the_paper_has_it(source: Run) -> None:
    options = {"task": "kmnist", "overrides": {"evolution": {"generations": 7}}}
    config = transfer_config([source.path], ["pgpe"], methods=["es-snr"], **options)
    found = config.resolved("pgpe-from-es-snr").evolution
    assert found == paper_settings(
        "pgpe",
        "kmnist",
        population_size=16,
        generations=7,
        batch_size=128,
        eval_every=source.config.evolution.eval_every,
    )
    assert config.method["pgpe-snr"]["note"] == "settings of the paper on kmnist"


@pytest.mark.faults
def test_tickets_of_a_problem_of_ones_own_are_not_taken_to_the_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = f"{Path(__file__).parent.parent / 'examples/own_model.py'}:trainable"
    config = resolve("smoke", overrides=[*TINY, "methods=['es-snr']", "seeds=[0]"])
    problem, init, chain = load_trainable(example)
    run = train_tickets(config, tmp_path / "own", problem=problem, init=init, chain=chain)
    arguments = ["transfer", str(run.path), "--to", "gd", "-o", str(tmp_path / "moved"), "--json", "-q"]
    for more in ([], ["--dry-run"]):
        assert command_line([*arguments, *more]) == 3
        assert "--problem" in capsys.readouterr().out
    assert command_line([*arguments, "--problem", example, "--task", "digits"]) == 2
    capsys.readouterr()
    assert command_line([*arguments, "--problem", example, "--dry-run"]) == 0
    plan = json.loads(capsys.readouterr().out)["data"]["plan"]
    assert plan["num_params"] == problem_size(init)
    assert command_line([*arguments, "--problem", example]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["metric"], data["split"]) == ("error", "test")
    assert {cell["tickets"] for cell in data["cells"]} == {"own", "random", "es-snr"}


def problem_size(init: Any) -> int:
    return sum(leaf.size for leaf in by_path(init(0)).values())


def test_another_task_gets_the_tickets_and_keeps_the_network(source: Run) -> None:
    config = transfer_config([source.path], ["es"], task="mnist", overrides={"pruning": {"levels": 1}})
    assert (config.task, config.network, config.pruning.levels) == ("mnist", source.config.network, 1)
    assert config.methods == ("es-snr", "es-random", "es-from-es-snr")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["sness"], {}, "no such target: sness"),
        ([], {}, "no such target"),
        (["gd"], {"methods": ["es-random"]}, "has no method es-random"),
    ],
)
def test_what_cannot_be_transferred_is_refused(
    source: Run, targets: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigurationError, RunError), match=message):
        transfer_config([source.path], targets, **options)


@pytest.mark.faults
def test_runs_that_do_not_fit_together_are_refused(source: Run, tmp_path: Path) -> None:
    config = resolve("smoke", overrides=[*TINY, "seeds=[5]"])
    RunFolder.open(tmp_path / "elsewhere", config).close()
    with pytest.raises(RunError, match="no train seed in common"):
        transfer_config([source.path, tmp_path / "elsewhere"], ["gd"])
    wide = resolve("smoke", overrides=[*TINY, "network.widths=[9]"])
    RunFolder.open(tmp_path / "wide", wide).close()
    with pytest.raises(RunError, match="its network are not those"):
        transfer_config([source.path, tmp_path / "wide"], ["gd"])


def test_the_command_trains_and_prints_the_matrix(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "moved"
    args = ["transfer", str(source.path), "--to", "gd", "-o", str(folder), "--json", "-q"]
    assert command_line(args) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "landscape.transfer/1"
    cells = found["data"]["cells"]
    assert {cell["tickets"] for cell in cells} == {"own", "random", "es-snr"}
    assert all(cell["mean"] == pytest.approx(np.mean(cell["scores"])) for cell in cells)
    assert command_line([*args, "--dry-run"]) == 3  # as the command itself: the folder holds a run
    assert "holds a run already" in capsys.readouterr().out
    assert command_line([*args, "--dry-run", "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["config"]["methods"][2] == "gd-from-es-snr"


def test_the_list_of_runs_says_how_far_each_has_come(source: Run, tmp_path: Path) -> None:
    found = summary(source.path)
    assert (found.state, found.num_finished, found.num_checkpoints) == ("finished", 12, 12)
    (dense, first), (half, last) = found.methods[0].scores
    assert (dense, half) == (1.0, 0.5)
    assert first == source.accuracies("es-snr", 0).mean()
    assert last == source.accuracies("es-snr", 1).mean()
    config = resolve("smoke", overrides=TINY)
    with RunFolder.open(tmp_path / "a" / "b" / "begun", config) as begun:
        assert [run.state for run in summaries(tmp_path)] == ["running"]
        assert begun.path == summaries(tmp_path)[0].path
    assert [(run.state, run.num_finished) for run in summaries(tmp_path)] == [("unfinished", 0)]


@pytest.mark.faults
def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run in it"):
        summaries(tmp_path)
    with pytest.raises(RunError, match="no such folder"):
        summaries(tmp_path / "nowhere")


@pytest.mark.faults
def test_a_run_that_cannot_be_read_hides_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("good", "torn"):
        RunFolder.open(tmp_path / name, resolve("smoke", overrides=TINY)).close()
    (tmp_path / "torn/run.toml").write_text("x = [")
    found = summaries(tmp_path)
    assert [(run.path.name, run.state) for run in found] == [("good", "unfinished"), ("torn", "unreadable")]
    assert "run.toml" in str(found[1].reason)
    assert command_line(["runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "unreadable" in text
    assert "not the configuration of a run" in text
    with pytest.raises(RunError, match="not the configuration of a run"):
        summaries(tmp_path / "torn")


def test_the_command_lists_runs_without_jax(source: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["runs", str(source.path.parent)]) == 0
    text = capsys.readouterr().out
    assert "12 of 12" in text
    assert "4 of 4 checkpoints; test accuracy" in text
