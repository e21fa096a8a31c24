"""What cannot be trained is told at once, all of it, before there is a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optax
import pytest

from cli.main import run as command_line
from landscape import Problem
from landscape.errors import ConfigurationError, ProblemError
from trainers import resolve, train_tickets
from trainers.config import RunConfig
from trainers.reports import run_quickstart
from trainers.tickets import plan


def smoke(*overrides: str) -> RunConfig:
    return resolve("smoke", overrides=overrides)


CASES = {
    "evolution.batch_size": ["evolution.batch_size=5000"],
    "gradient.batch_size": ["gradient.batch_size=1258"],
    "method.wide.gradient.batch_size": [
        "methods=['es-snr', 'wide']",
        "method={wide={algorithm='gd', score='random', gradient={batch_size=4000}}}",
    ],
    "gradient.warmup_steps": ["gradient.warmup_steps=9"],
    "pruning.rewind_step": ["pruning.rewind='step'", "pruning.rewind_step=10", "methods=['es-snr']"],
    "seeds[1].branch_step": ["seeds=[0, {init=0, train=1, branch_from=0, branch_step=10}]"],
    "method.taken.pruning": [
        "methods=['es-snr', 'taken']",
        "method={taken={algorithm='es', source='es-snr', pruning={densities=[1.0, 0.3]}}}",
    ],
}


@pytest.mark.faults
@pytest.mark.parametrize("key", CASES)
def test_rows_19_and_31_what_cannot_be_trained_is_named_by_key_and_nothing_is_written(
    key: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ConfigurationError) as caught:
        train_tickets(smoke(*CASES[key]), folder)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [key]
    assert not folder.exists()
    with pytest.raises(ConfigurationError):
        plan(smoke(*CASES[key]))


@pytest.mark.faults
def test_row_31_all_that_sizes_forbid_is_listed_at_once_and_once(tmp_path: Path) -> None:
    changes = ["evolution.batch_size=2000", "gradient.batch_size=9999", "gradient.warmup_steps=5"]
    methods = "methods=['es-snr', 'es-random', 'gd-magnitude', 'adam-random']"
    with pytest.raises(ConfigurationError) as caught:
        train_tickets(smoke(*changes, methods), tmp_path / "run")
    assert caught.value.problems == (
        "evolution.batch_size: larger than the training data: expected at most 1,257 (examples of digits), "
        "got 2,000",
        "gradient.batch_size: larger than the training data: expected at most 1,257 (examples of digits), "
        "got 9,999",
    )


def test_the_largest_sizes_that_fit_are_taken() -> None:
    sizes = ["evolution.batch_size=1257", "gradient.batch_size=139", "gradient.warmup_steps=8"]
    branch = "seeds=[0, {init=0, train=1, branch_from=0, branch_step=9}]"
    assert plan(smoke(*sizes, branch)).num_checkpoints == 8


@pytest.mark.faults
@pytest.mark.parametrize("key", ["evolution.batch_size", "gradient.batch_size"])
def test_the_corrected_command_goes_through(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "zz"
    arguments = ["train", "smoke", "--set", "methods=['gd-magnitude']", "--set", "pruning.levels=1"]
    if key.startswith("evolution"):
        arguments[3] = "methods=['es-snr']"
    assert command_line([*arguments, "--set", f"{key}=5000", "-o", str(folder)]) == 2
    assert f"{key}: larger than the training data" in capsys.readouterr().err
    assert not folder.exists()
    assert command_line([*arguments, "-o", str(folder), "-q"]) == 0


@pytest.mark.faults
@pytest.mark.parametrize("key", ["evolution.batch_size", "gradient.batch_size"])
def test_a_quickstart_that_cannot_be_trained_leaves_nothing(key: str, tmp_path: Path) -> None:
    folder = tmp_path / "story"
    with pytest.raises(ConfigurationError, match=key):
        run_quickstart(folder, overrides=[f"{key}=99999999"])
    assert not folder.exists()


def own_problem(loss: object) -> tuple[Problem, object]:
    rng = np.random.default_rng(0)
    split = (rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=40).astype(np.float32))
    problem = Problem(loss, train=split, name="lines")  # type: ignore[arg-type]
    return problem, lambda seed: {"kernel": np.random.default_rng(seed).normal(size=(3, 1)).astype("f4")}


def squares(params: object, batch: object) -> object:
    inputs, targets = batch  # type: ignore[misc]
    return ((inputs @ params["kernel"])[:, 0] - targets) ** 2  # type: ignore[index]


@pytest.mark.faults
def test_a_problem_of_your_own_is_measured_and_probed_before_there_is_a_folder(tmp_path: Path) -> None:
    problem, init = own_problem(squares)
    config = smoke("evolution.batch_size=41", "gradient.batch_size=40", "gradient.epochs=2")
    with pytest.raises(ConfigurationError, match="examples of lines"):
        train_tickets(config, tmp_path / "run", problem=problem, init=init)  # type: ignore[arg-type]
    mixing, init = own_problem(lambda params, batch: squares(params, batch) - squares(params, batch).mean())
    config = smoke("evolution.batch_size=8", "gradient.batch_size=8")
    with pytest.raises(ProblemError):
        train_tickets(config, tmp_path / "run", problem=mixing, init=init)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.faults
def test_an_optimizer_of_your_own_has_no_warm_up_and_no_moments(tmp_path: Path) -> None:
    config = smoke("methods=['adam-magnitude', 'adam-snr']", "gradient.warmup_steps=500")
    with pytest.raises(ConfigurationError) as caught:
        train_tickets(config, tmp_path / "run", optimizer=optax.sgd(0.1))
    (problem,) = caught.value.problems
    assert problem.startswith("methods[1]: expected another score than snr")
    assert not (tmp_path / "run").exists()
