"""``landscape train`` and ``landscape quickstart``: configuration in, one call, a summary out."""

from __future__ import annotations

import json
import sys
import tomllib
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.main import run
from cli.shared import devices
from landscape.errors import CheckpointError, InterruptedRunError, OutputExistsError
from landscape.files.hdf5 import HINT

ROWS = [("es-snr, test accuracy", "0.95 at 4 %"), ("gd-magnitude, test accuracy", "0.9 at 4 %")]


class Calls(list[dict[str, Any]]):
    """The calls of the library, and what it will say."""

    error: BaseException | None = None
    troubles: tuple[str, ...] = ()

    def answer(self, value: Any, **call: Any) -> Any:
        self.append(call)
        if self.error is not None:
            raise self.error
        return value


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """Stand-ins for training; the configuration is the real one."""
    calls = Calls()
    tickets, reports = (types.ModuleType(f"trainers.{name}") for name in ("tickets", "reports"))

    def done(folder: Path) -> SimpleNamespace:
        diverged, troubles = bool(calls.troubles), list(calls.troubles)
        return SimpleNamespace(
            summary_rows=lambda: ROWS, path=folder, troubles=lambda: troubles, diverged=diverged
        )

    reports.write_run_page = lambda _, path, **__: [path, path]  # type: ignore[attr-defined]
    story = SimpleNamespace(
        rows=lambda: [("test accuracy es-snr", "0.95"), ("page", "quickstart/quickstart.html")],
        to_dict=lambda: {"accuracy": {"es-snr": float("nan")}},
        page=Path("quickstart/quickstart.html"),
    )
    estimate = SimpleNamespace(rows=lambda: [("evaluations", "1,000")], to_dict=lambda: {"memory_bytes": 5})
    tickets.train_tickets = lambda config, folder, **options: calls.answer(  # type: ignore[attr-defined]
        done(folder), config=config, folder=folder, **options
    )
    reports.run_quickstart = lambda folder, **options: calls.answer(  # type: ignore[attr-defined]
        story, folder=folder, **options
    )
    tickets.plan = lambda config, **_: calls.answer(estimate, planned=config)  # type: ignore[attr-defined]
    for module in (tickets, reports):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(devices, "configure", lambda *_, **__: None)
    monkeypatch.setattr(devices, "require", lambda device: device)
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('name = "mine"\nseeds = [4]\n', encoding="utf-8")
    return calls


@pytest.mark.faults
def test_a_damaged_file_of_the_run_can_be_trained_again(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.error = CheckpointError("runs/mine/es-snr/seed-0/level-01.h5: truncated", hint=HINT)
    assert run(["train", "mine.toml", "--resume"]) == 3
    said = capsys.readouterr().err
    assert "remove it and train that level again: landscape train --resume -o runs/mine" in said
    calls.error = CheckpointError("other/level-01.h5: truncated", hint=HINT)
    assert run(["train", "mine.toml", "--resume"]) == 3
    assert HINT in capsys.readouterr().err


def test_a_file_its_changes_and_the_command_line_become_one_configuration(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("more.toml").write_text("[pruning]\nlevels = 3\nratio = 0.5\n", encoding="utf-8")
    assert run(["train", "mine.toml", "--config", "more.toml", "--set", "pruning.levels=2"]) == 0
    (call,) = calls
    assert call["folder"] == Path("runs/mine")
    assert call["resume"] is False
    assert call["config"].pruning.levels == 2
    assert call["config"].pruning.ratio == 0.5
    assert call["config"].seeds[0].init == 4
    said = capsys.readouterr()
    assert "gd-magnitude, test accuracy  0.9 at 4 %" in said.out
    assert "wrote runs/mine" in said.err


@pytest.mark.faults
def test_row_30_training_that_diverged_says_so_and_ends_with_status_4(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.troubles = tuple(f"es-snr, seed {i}, level 0: 3 fitness values were not finite" for i in range(7))
    assert run(["train", "mine.toml", "--json", "-q"]) == 4
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["status"] == "non-finite"
    assert envelope["warnings"] == list(calls.troubles)
    assert run(["train", "mine.toml", "-q"]) == 4
    said = capsys.readouterr().out
    assert "warning: es-snr, seed 4, level 0: 3 fitness" in said
    assert "seed 5" not in said
    assert "and 2 more" in said


@pytest.mark.faults
def test_resuming_where_there_is_no_run_is_refused_by_name(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--resume", "-o", "nowhere"]) == 3
    assert "nowhere: no run to go on with" in capsys.readouterr().err
    assert not calls


def test_json_of_a_run(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "mine.toml", "-o", "here", "--json", "-q"]) == 0
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["data"] == {"summary": dict(ROWS), "run": "here"}
    assert envelope["outputs"] == ["here", "here/results/tickets.html"]


def test_resume_takes_the_configuration_from_the_folder(calls: Calls) -> None:
    Path("here").mkdir()
    Path("here/run.toml").write_text('name = "stored"\n', encoding="utf-8")
    assert run(["train", "--resume", "-o", "here", "-q"]) == 0
    assert calls[0]["config"].name == "stored"
    assert calls[0]["resume"] is True


def test_no_configuration_is_a_usage_error(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train"]) == 2
    assert "no CONFIG or PRESET" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", ""])
def test_the_name_of_a_run_never_leaves_the_folder_of_runs(name: str, calls: Calls) -> None:
    assert run(["train", "mine.toml", "--set", f"name={name!r}", "-q"]) == 2
    assert not calls


@pytest.mark.faults
def test_row_31_all_errors_of_a_configuration_are_listed_and_nothing_is_written(
    calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["evolution.population_size=1", "pruning.ratio=-0.5", "evolution.generatoins=3", "seeds=2"]
    options = [word for change in changes for word in ("--set", change)]
    assert run(["train", "mine.toml", *options, "--json"]) == 2
    said = capsys.readouterr()
    problems = json.loads(said.out)["error"]["problems"]
    for key in ("population_size", "pruning.ratio", "generatoins", "seeds"):
        assert any(key in problem for problem in problems)
        assert key in said.err
    assert "generations" in said.err
    assert not calls
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("source", ["no-such-preset", "missing.toml", "quickstrat"])
def test_an_unknown_source_is_a_usage_error(
    source: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", source]) == 2
    assert source in capsys.readouterr().err


def test_dry_run_prints_toml_that_is_the_configuration_and_what_it_takes(
    calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "mine.toml", "--dry-run", "--set", "pruning.levels=4"]) == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text)["pruning"]["levels"] == 4
    assert "# evaluations  1,000" in text
    assert text.splitlines()[-1].split() == ["#", "folder", "runs/mine,", "a", "new", "run"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    assert run(["train", "mine.toml", "--dry-run", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["plan"] == {"memory_bytes": 5}
    assert data["config"]["name"] == "mine"
    assert all("planned" in call for call in calls)


def test_a_dry_run_refuses_the_folder_that_the_command_would_refuse(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/other.txt").write_text("", encoding="utf-8")
    assert run(["train", "mine.toml", "--dry-run"]) == 3
    assert "runs/mine: not empty, and not a run" in capsys.readouterr().err
    assert not calls


@pytest.mark.faults
def test_row_22_an_interrupted_run_names_the_command_that_goes_on(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/run.toml").write_text("", encoding="utf-8")
    calls.error = InterruptedRunError("runs/mine: stopped on request", signum=15)
    assert run(["train", "mine.toml"]) == 143
    assert "landscape train --resume -o runs/mine" in capsys.readouterr().err


@pytest.mark.faults
def test_row_22_an_interrupted_quickstart_names_the_command_that_goes_on(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.error = InterruptedRunError("stopped between barriers", signum=2)
    assert run(["quickstart", "-o", "story", "--force"]) == 130
    assert "landscape quickstart --force -o story" in capsys.readouterr().err


def test_quickstart_prints_its_summary_and_page(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quickstart", "--plotlyjs", "cdn", "--set", "pruning.levels=2"]) == 0
    (call,) = calls
    assert call["folder"] == Path("quickstart")
    assert call["plotlyjs"] == "cdn"
    assert call["force"] is False
    assert call["overrides"] == ("pruning.levels=2",)
    assert "quickstart/quickstart.html" in capsys.readouterr().out


def test_quickstart_json_is_strict(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quickstart", "--json", "-q"]) == 0
    envelope = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert envelope["data"] == {"accuracy": {"es-snr": None}}
    assert envelope["outputs"] == ["quickstart/quickstart.html"]


def test_quickstart_never_overwrites_without_force(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.error = OutputExistsError("quickstart/quickstart.html: already exists", hint="Give --force")
    assert run(["quickstart"]) == 3
    assert "--force" in capsys.readouterr().err
