"""``landscape flatness``: arguments in, one call, outputs out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from cli.commands.flatness import command
from cli.main import run
from landscape import Checkpoint, load_result, save
from landscape.flatness import MEASURES
from trainers.tasks import load_task

NETWORK = {"kind": "mlp", "widths": [2]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tickets of the digits task and one network with NaN."""
    folder = tmp_path_factory.mktemp("flatness")
    task = load_task("digits", NETWORK)
    info = {"task": {"name": "digits", "options": {}}, "network": NETWORK, "method": "gd-magnitude"}
    for seed, name in enumerate(("a.h5", "b.h5", "bad.h5")):
        params = task.init(seed)
        mask = {
            layer: {k: np.ones(np.shape(v), bool) for k, v in leaves.items()}
            for layer, leaves in params.items()
        }
        if name == "b.h5":
            mask["Dense_0"]["kernel"][:30] = False
        if name == "bad.h5":
            params["Dense_0"]["bias"] = np.full(2, np.nan, np.float32)
        given = Checkpoint(params=params, mask=mask, info={**info, "level": seed, "seed": 0})
        save(folder / name, given, apply_mask=True)
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


QUICK = ["--measures", "gaussian,sam", "--measures", "fisher_rao", "--examples", "40", "--draws", "3", "-q"]


def records(capsys: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["data"]["records"]
    return found


def test_values_are_printed_with_their_uncertainty_and_bounds_as_bounds(capsys: Any) -> None:
    assert run(["flatness", "a.h5", *QUICK]) == 0
    text = capsys.readouterr().out
    assert "gaussian" in text
    assert "standard error" in text
    assert "≥" in text
    assert "exact" in text


def test_json_is_one_object_with_a_record_a_network_and_measure(capsys: Any) -> None:
    assert run(["flatness", "a.h5", "b.h5", *QUICK, "--json"]) == 0
    found = records(capsys)
    assert [(r["name"], r["measure"]) for r in found] == [
        (name, measure) for name in ("a.h5", "b.h5") for measure in ("gaussian", "sam", "fisher_rao")
    ]


def test_mask_no_mask_and_both_choose_the_space(capsys: Any) -> None:
    spaces = {}
    for flags in ((), ("--no-mask",), ("--both",)):
        assert run(["flatness", "b.h5", *QUICK, *flags, "--json"]) == 0
        networks = json.loads(capsys.readouterr().out)["data"]["networks"]
        spaces[flags] = [(network["space"], network["dim"]) for network in networks]
    assert spaces[()] == [("ticket", 100)]
    assert spaces[("--no-mask",)] == [("full", 160)]
    assert spaces[("--both",)] == [("ticket", 100), ("full", 160)]


def test_a_stored_choice_of_spaces_gives_way_to_one_that_is_given(capsys: Any) -> None:
    quick = ["--measures", "fisher_rao", "--examples", "20", "-q"]
    assert run(["flatness", "b.h5", *quick, "--both", "-o", "both.h5", "--force"]) == 0
    capsys.readouterr()
    for flags, spaces in (((), ["ticket", "full"]), (("--no-mask",), ["full"]), (("--mask",), ["ticket"])):
        assert run(["flatness", "--config", "both.h5", *flags, "--json", "-q"]) == 0
        assert [r["space"] for r in records(capsys)] == spaces


def test_a_radius_replaces_the_default(capsys: Any) -> None:
    assert run(["flatness", "a.h5", *QUICK, "--radius", "sam=0.2", "--json"]) == 0
    assert {r["measure"]: r["radius"] for r in records(capsys)}["sam"] == 0.2


def test_a_stored_result_is_loaded_and_run_again_with_changes(folder: Path, capsys: Any) -> None:
    given = ["flatness", "a.h5", *QUICK, "--seed", "4"]
    assert run([*given, "-o", "one.h5", "-o", "one.html", "-o", "one.json", "--force"]) == 0
    stored = load_result(folder / "one.h5")
    assert stored.config["seed"] == 4
    assert "plotly" in (folder / "one.html").read_text(encoding="utf-8").lower()
    capsys.readouterr()
    assert run(["flatness", "--config", "one.h5", "--json", "-q"]) == 0
    again = records(capsys)
    first = json.loads((folder / "one.json").read_text(encoding="utf-8"))["data"]["records"]
    assert again == first  # names are relative to where the answer goes
    assert run(["flatness", "--config", "one.h5", "--measures", "trace", "--json", "-q"]) == 0
    assert [r["measure"] for r in records(capsys)] == ["trace"]


def test_the_list_names_every_measure_without_a_checkpoint(capsys: Any) -> None:
    assert run(["flatness", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(MEASURES)
    assert run(["flatness", "--list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["data"]["measures"]) == len(MEASURES)


@pytest.mark.faults
def test_row_31_names_that_are_none_are_answered_with_the_nearest(capsys: Any) -> None:
    assert run(["flatness", "a.h5", "--measures", "gausian"]) == 2
    assert "Did you mean gaussian?" in capsys.readouterr().err
    assert run(["flatness", "a.h5", "--radius", "sam"]) == 2
    assert "sam=0.1" in capsys.readouterr().err
    assert run(["flatness"]) == 2


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--both", "--no-mask"], "exclude each other"),
        (["--measures", " , "], "no name in it"),
        (["--radius", "sam=0.1", "--radius", "sam=0.2"], "a second one of sam"),
        (["--measures", "sam", "--radius", "sam=nan"], "radius of sam"),
        (["--measures", "sam", "--radius", "sam=-1"], "radius of sam"),
        (["--measures", "fisher_rao", "--radius", "fisher_rao=1"], "takes no radius"),
        (["--measures", "fisher_rao", "--radius", "sam=1"], "sam is not measured"),
        (["--draws", "1"], "--draws"),
        (["--radius", "0.1"], "of which measure"),
        (["--measures", "sam,keskar", "--radius", "0.1"], "of which measure"),
        (["--measures", "sam", "--radius", "0.1,0.2"], "takes one radius"),
        (["--set", "sam"], "MEASURE.KEY=VALUE"),
        (["--set", "sma.m=3"], "Did you mean sam?"),
        (["--set", "sam_ascent.step=3"], "did you mean steps?"),
        (["--set", "sam.steps=3"], "measure sam_ascent"),
        (["--set", "sam.radius=3"], "--radius"),
        (["--set", "sam.m=0"], "1 or more"),
        (["--set", "adaptive_l2.scale=3"], "expected a word"),
        (["--measures", "sam", "--set", "keskar.steps=3"], "is not measured"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(arguments: list[str], said: str, capsys: Any) -> None:
    assert run(["flatness", "a.h5", *arguments, "-q", "-o", "never.h5"]) == 2
    assert said in capsys.readouterr().err
    assert not Path("never.h5").exists()


@pytest.mark.parametrize(
    ("incomplete", "found"),
    [
        ("gaussian_", ["gaussian_relative", "gaussian_filter"]),
        ("sam,fisher", ["sam,fisher_rao", "sam,fisher_rao_model"]),
        ("x", []),
    ],
)
def test_names_of_measures_are_completed(incomplete: str, found: list[str]) -> None:
    params = {param.name: param for param in command.params}
    ctx = click.Context(command)
    assert [item.value for item in params["measures"].shell_complete(ctx, incomplete)] == found
    radii = params["radii"].shell_complete(ctx, incomplete)
    assert [item.value for item in radii] == [f"{name}=" for name in found]


@pytest.mark.faults
def test_row_12_weights_that_are_not_finite_are_refused_unless_asked_for(capsys: Any) -> None:
    assert run(["flatness", "bad.h5", *QUICK]) == 3
    assert "Dense_0/bias" in capsys.readouterr().err
    assert run(["flatness", "bad.h5", *QUICK, "--allow-nonfinite", "--json"]) == 4
    form = json.loads(capsys.readouterr().out)
    assert form["status"] == "non-finite"
    assert all(record["value"] is None for record in form["data"]["records"])


@pytest.mark.faults
def test_a_search_distribution_that_is_not_there_is_refused_by_name(capsys: Any) -> None:
    assert run(["flatness", "a.h5", "--measures", "search"]) == 3
    assert "Leave the measure" in capsys.readouterr().err


def test_a_result_of_another_command_is_no_configuration(folder: Path, capsys: Any) -> None:
    assert run(["curvature", "a.h5", "--top", "1", "--no-trace", "--examples", "20", "-q", "-o", "c.h5"]) == 0
    capsys.readouterr()
    assert run(["flatness", "--config", "c.h5"]) == 2
    assert "not written by this command" in capsys.readouterr().err
    assert (folder / "c.h5").exists()


def test_a_radius_without_a_name_is_of_the_only_measure_that_has_one(capsys: Any) -> None:
    quick = ["--examples", "20", "--draws", "2", "-q", "--json"]
    assert run(["flatness", "a.h5", "--measures", "sam,fisher_rao", "--radius", "0.2", *quick]) == 0
    assert {r["measure"]: r["radius"] for r in records(capsys)} == {"sam": 0.2, "fisher_rao": None}


def test_several_radii_are_those_of_the_curve_and_the_value_is_at_the_first(capsys: Any) -> None:
    quick = ["--measures", "gaussian", "--examples", "20", "--draws", "2", "-q"]
    assert run(["flatness", "a.h5", *quick, "--radius", "gaussian=0.05,0.01,0.2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["records"][0]["radius"] == 0.05
    assert data["curves"][0]["radii"] == [0.01, 0.05, 0.2]
    assert data["records"][0]["value"] == data["curves"][0]["loss_rise"][1]


def test_settings_of_a_measure_are_set_stored_and_used_again(capsys: Any) -> None:
    quick = ["--measures", "sam,adaptive_l2", "--examples", "40", "-q"]
    given = [*quick, "--set", "sam.m=10", "--set", "adaptive_l2.scale=filter", "--set", "adaptive_l2.steps=3"]
    assert run(["flatness", "a.h5", *given, "-o", "set.h5", "--force", "--json"]) == 0
    first = records(capsys)
    expected = {"sam": {"m": 10}, "adaptive_l2": {"scale": "filter", "steps": 3}}
    assert load_result("set.h5").config["settings"] == expected
    assert [r["details"]["num_batches"] for r in first] == [4, 1]
    assert first[1]["details"]["steps"] == 3
    assert run(["flatness", "--config", "set.h5", "-q", "--json"]) == 0
    assert [r["value"] for r in records(capsys)] == [r["value"] for r in first]


def test_a_stiffness_above_the_reference_says_how_to_set_both(capsys: Any) -> None:
    given = ["flatness", "a.h5", "--measures", "local_entropy_gaussian", "--radius", "20000", "-q"]
    assert run(given) == 2
    assert "--set local_entropy_gaussian.reference=200000" in capsys.readouterr().err
    assert run([*given, "--examples", "20", "--set", "local_entropy_gaussian.reference=1e5", "--json"]) == 0
    assert records(capsys)[0]["radius"] == 20000
