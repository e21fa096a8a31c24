"""The frame of the command line: help, streams, statuses, errors."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import cli
from cli.main import COMMANDS, group, run
from cli.shared import explaining
from cli.shared.explaining import as_typed
from cli.shared.frame import Outcome, Session
from cli.shared.streams import printable
from landscape.errors import ConfigurationError, InputError, MissingDependencyError

HEAVY = {"jax", "numpy", "h5py", "plotly", "rich", "evosax", "flax", "optax", "scipy"}
SCRIPT = [str(Path(sys.executable).with_name("landscape"))]
ENVELOPE = {"schema", "status", "data", "warnings", "provenance", "outputs"}


def shell(
    args: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None, **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SCRIPT, *args],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=cwd,
        env={**os.environ, **(env or {})},
        check=False,
        **kwargs,
    )


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make ``landscape info`` raise `error`."""

    @click.pass_obj
    def callback(session: Session, **_: object) -> None:
        raise error

    monkeypatch.setattr(loaded("info"), "callback", callback)


def returning(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    monkeypatch.setattr(loaded("info"), "callback", lambda **_: outcome)


def loaded(name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def strict_json(text: str) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not strict JSON")

    envelope: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return envelope


@pytest.mark.parametrize("args", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_none_of_the_heavy_libraries(args: list[str]) -> None:
    code = (
        "import sys\nfrom cli.main import run\n"
        f"status = run({args!r})\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stderr.split()) & HEAVY
    assert done.stdout


def test_overview_lists_every_command_with_the_summary_of_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, summary in COMMANDS.items():
        assert f"{name} {summary}" in text


def test_the_overview_shows_its_examples_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[lines.index("Examples:") + 1 : lines.index("Examples:") + 3] == [
        "landscape quickstart",
        "landscape barrier --help",
    ]


def test_no_arguments_print_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_version_is_one_line_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    from landscape import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"landscape {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_opens_with_a_sentence_and_two_examples_and_ends_with_statuses(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    _, usage, sentence, examples, *_ = re.split(r"\n\n|^", text, maxsplit=4)
    assert usage.startswith("Usage: landscape")
    assert sentence.strip().endswith(".")
    assert sentence.count(". ") == 0
    assert examples.startswith("Examples:")
    assert len(examples.strip().splitlines()) >= 3
    for status in ("0 ", "1 ", "2 ", "3 ", "4 ", "130, 143"):
        assert f"\n  {status}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_default_of_every_option_with_a_value(name: str) -> None:
    command = loaded(name)
    ctx = click.Context(command, info_name=name, show_default=True)
    for param in command.params:
        if isinstance(param, click.Option) and not param.is_flag and not param.required:
            assert "[default:" in param.get_help_record(ctx)[1], param.name


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_help_parse(name: str) -> None:
    examples = loaded(name).examples  # type: ignore[attr-defined]
    assert len(examples) >= 2
    for example in examples:
        inner = re.search(r"\$\((.*)\)", example)
        words = shlex.split(inner.group(1) if inner else example.partition(" > ")[0])
        assert words[:2] == ["landscape", name]
        loaded(name).make_context(name, words[2:])


def test_options_are_spelt_and_explained_alike_everywhere() -> None:
    # What an output or a method is depends on the command: methods of runs, or ways of matching units.
    own = {"output", "outputs", "config_file", "method", "methods"}
    seen: dict[str, set[str]] = {}
    for name in COMMANDS:
        for param in loaded(name).params:
            if isinstance(param, click.Option) and param.name not in own:
                seen.setdefault(param.opts[-1], set()).add(str(param.help))
    # What is trained needs a place to start from as well.
    assert len(seen.pop("--problem")) == 2
    assert all(len(texts) == 1 for texts in seen.values()), seen


def test_unknown_command_names_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["barier", "a.h5", "b.h5"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Did you mean barrier?" in said.err


def test_unknown_option_names_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["barrier", "a.h5", "b.h5", "--point", "3"]) == 2
    assert "Did you mean --points?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [["barrier", "a", "--json"], ["nothing", "--json"], ["barrier", "--json", "--points", "x", "a", "b"]],
)
def test_usage_errors_are_one_json_object_too(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(args) == 2
    envelope = strict_json(capsys.readouterr().out)
    assert set(envelope) == ENVELOPE | {"error"}
    assert envelope["status"] == "error"
    assert set(envelope["error"]) == {"type", "what", "expected", "got", "hint", "exit_code"}
    assert envelope["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("args", "what", "expected"),
    [
        (["--top", "five"], "'five' is not a whole number", "a whole number, at least 0"),
        (["--top", "-1"], "-1 is not in the range x>=0", "a whole number, at least 0"),
        (["--relative-error", "x"], "'x' is not a number", "a number, more than 0"),
        (
            ["--seed", "1.5"],
            "'1.5' is not a whole number",
            "a whole number, at least 0 and at most 4,294,967,295",
        ),
    ],
)
def test_a_number_that_an_option_does_not_take_is_told_which_it_does(
    args: list[str], what: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["curvature", "a.h5", *args]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == f"error: {args[0]}: {what}"
    assert (second, third) == (f"  expected {expected}", "  See landscape curvature --help")


@pytest.mark.parametrize(
    ("args", "near"),
    [
        (["curvature", "a.h5", "--matrix", "gauss-newton"], "gauss_newton"),
        (["curvature", "a.h5", "--which", "bothe"], "both"),
        (["connect", "a.h5", "b.h5", "--curve", "Bezier"], "bezier"),
        (["barrier", "a.h5", "b.h5", "--pairs", "one_init"], "one-init"),
        (["surface", "a.h5", "--directions", "eigenvector"], "eigenvectors"),
        (["flatness", "a.h5", "--measures", "Adaptive-L2"], "adaptive_l2"),
        (["convert", "a.npz", "b.h5", "--transpose", "Torch"], "torch"),
        (["train", "quickstart", "--set", "task=digit"], "digits"),
        (["train", "quickstart", "--set", "evolution.strategy=SNES"], "snes"),
        (["train", "quick-start"], "quickstart"),
    ],
)
def test_a_value_that_is_not_in_its_list_is_answered_with_the_nearest(
    args: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    assert f"id you mean {near}" in capsys.readouterr().err


def test_a_choice_lists_its_values_behind_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["curvature", "a.h5", "--matrix", "gauss-newton"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --matrix: 'gauss-newton' is not one of its values",
        "  expected hessian or gauss_newton or fisher or model_fisher",
        "  Did you mean gauss_newton? See landscape curvature --help",
    ]


@pytest.mark.parametrize(
    ("command", "what", "said"),
    [
        ("curvature", "where: no parameter of b.h5 matches 'x'", "--where: no parameter of b.h5 matches 'x'"),
        ("curvature", "k: not a possible value", "--top: not a possible value"),
        ("curvature", "subset: too many", "--examples: too many"),
        ("barrier", "num_points: not a possible value", "--points: not a possible value"),
        ("barrier", "split 'validation': no such data", "--split 'validation': no such data"),
        ("barrier", "a.h5: damaged", "a.h5: damaged"),
        ("info", "where: is not an option here", "where: is not an option here"),
    ],
)
def test_errors_of_the_library_begin_with_the_option_that_was_typed(
    command: str, what: str, said: str
) -> None:
    assert as_typed(what, loaded(command).params) == said


def test_json_after_a_double_dash_is_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["barrier", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_a_refusal_is_three_lines_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(
        monkeypatch, InputError("a.h5: truncated", expected="90 bytes", got="12 bytes", hint="Copy again.")
    )
    assert run(["info", "a.h5"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: a.h5: truncated\n  expected 90 bytes; got 12 bytes\n  Copy again.\n"


@pytest.mark.faults
def test_row_31_configuration_errors_are_all_listed_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = ("density: -1 is negative", "epocs: unknown; did you mean epochs?")
    failing(monkeypatch, ConfigurationError("run.toml: 2 problems", problems=problems))
    assert run(["info", "a.h5", "--json"]) == 2
    said = capsys.readouterr()
    assert all(problem in said.err for problem in problems)
    assert strict_json(said.out)["error"]["problems"] == list(problems)


def test_a_bug_is_status_1_with_its_place_and_how_to_report_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, KeyError("weights"))
    assert run(["info", "a.h5", "--json"]) == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) == 3
    assert "--debug" in said.err
    assert strict_json(said.out)["error"]["type"] == "KeyError"


def test_debug_shows_the_traceback_before_the_three_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, KeyError("weights"))
    assert run(["info", "a.h5", "--debug"]) == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_a_file_the_system_refuses_is_not_a_bug_of_ours() -> None:
    said = explaining.explain(PermissionError(13, "Permission denied", "/root/a.h5"))
    assert said.exit_code == 3
    assert said.what == "/root/a.h5: Permission denied"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModuleNotFoundError("x", name="kaleido.scopes"), "pip install kaleido"),
        (ModuleNotFoundError("x", name="tensorstore"), "pip install tensorstore"),
        (ModuleNotFoundError("x", name="torch"), "pip install torch"),
        (
            MissingDependencyError("kaleido is missing", hint="pip install kaleido"),
            "pip install",
        ),
    ],
)
def test_row_32_a_missing_package_is_one_line_with_the_pip_command(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    assert run(["info", "a.h5"]) == 3
    text = capsys.readouterr().err
    assert line in text
    assert len(text.splitlines()) == 1


def test_a_missing_module_of_our_own_is_a_bug() -> None:
    assert explaining.explain(ModuleNotFoundError("x", name="landscape.gone")).exit_code == 1


def test_json_result_has_the_documented_keys_and_nothing_else_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome(text="text", data={"x": None}, status="non-finite", outputs=[Path("x.h5")], exit_code=4)
    returning(monkeypatch, outcome)
    assert run(["info", "a.h5", "--json"]) == 4
    said = capsys.readouterr()
    envelope = strict_json(said.out)
    assert set(envelope) == ENVELOPE
    assert envelope["schema"] == "landscape.info/1"
    assert envelope["outputs"] == ["x.h5"]
    assert said.err == "wrote x.h5\n"


def test_quiet_says_nothing_but_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    returning(monkeypatch, Outcome(text="text", outputs=[Path("x.h5")]))
    assert run(["info", "a.h5", "-q"]) == 0
    assert capsys.readouterr() == ("text\n", "")


@pytest.mark.faults
def test_row_33_control_characters_are_shown_escaped() -> None:
    name = "a\x1b[31m\n\r\x07\x9b\u202e\udcff b é"
    shown = printable(name)
    assert shown == r"a\x1b[31m\n\r\x07\x9b\u202e\udcff b é"
    assert printable(shown) == shown


@pytest.mark.faults
def test_row_33_error_messages_escape_names_from_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, InputError("params/\x1b]0;owned\x07\nerror: fake", hint="\x1b[2J"))
    assert run(["info", "a.h5", "--debug"]) == 3
    text = capsys.readouterr().err
    assert "\x1b" not in text
    assert "\\x1b]0;owned\\x07\\nerror: fake" in text


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_calls_us(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", name]) == 0
    assert "_LANDSCAPE_COMPLETE" in capsys.readouterr().out


def test_completion_offers_commands_and_options() -> None:
    def complete(words: str, index: int) -> str:
        env = {"_LANDSCAPE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
        return shell([], env=env).stdout

    assert "plain,barrier" in complete("landscape bar", 1)
    assert "plain,--points" in complete("landscape barrier --po", 2)
    assert "train" in complete("landscape barrier --split t", 3)


def test_main_ends_the_process_with_the_status() -> None:
    code = "import sys; from cli.main import main; sys.argv[1:] = ['nothing']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 2


def test_warnings_are_one_line_and_in_the_json_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import warnings

    @click.pass_obj
    def callback(session: Session, **_: object) -> Outcome:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("written by a newer version", UserWarning, stacklevel=1)
        return Outcome(text="done")

    monkeypatch.setattr(loaded("info"), "callback", callback)
    assert run(["info", "a.h5", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == "warning: written by a newer version\n"
    assert strict_json(said.out)["warnings"] == ["written by a newer version"]


def test_every_command_is_a_module_of_its_own_that_imports_no_other() -> None:
    folder = Path(cli.__file__).parent / "commands"
    modules = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    assert modules.keys() - {"__init__"} == COMMANDS.keys()
    assert not [name for name, text in modules.items() if re.search(r"(from|import) cli\.commands", text)]


def test_analyses_take_the_same_groups_of_options() -> None:
    shared = {"split", "seed", "batch_size", "dtype", "problem", "allow_nonfinite"}
    shared |= {"config_file", "outputs", "plotlyjs", "device", "force"}
    for name in ("barrier", "curvature", "flatness"):
        assert shared <= {param.name for param in loaded(name).params}, name
