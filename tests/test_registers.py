"""The registers list what there is, no more and no less, and the tests that hold for all of it read them.

What to touch in order to add something stands in ``CONTRIBUTING.md``; this is what keeps that table true.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from cli.main import COMMANDS
from landscape.files import FORMATS, formats
from landscape.flatness import MEASURES
from landscape.plots.figures import FIGURES
from landscape.results import Result, result
from trainers.config import CONTROL as CONTROL_TASKS, FACTS, methods, task_table
from trainers.pruning import CONTROLS, SCORES, controls, scores
from trainers.strategies import STRATEGIES, Strategy
from trainers.tasks import datasets

ROOT = Path(__file__).parent.parent
TORCH = importlib.util.find_spec("torch") is not None
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


# The tests that hold for every entry of a register.
CONFORMANCE = {
    "COMMANDS": "test_cli_frame.py",
    "CONTROLS": "test_pruning_rules.py",
    "FORMATS": "test_conformance_files.py",
    "MEASURES": "test_flatness_table.py",
    "SCORES": "test_pruning_rules.py",
    "STRATEGIES": "test_engine.py",
}


def modules(package: str) -> Iterator[ModuleType]:
    """Every module below a package, but for those that need PyTorch where it is not installed."""
    found = importlib.import_module(package)
    for info in pkgutil.walk_packages(found.__path__, f"{package}."):
        if not info.name.endswith("__main__") and (
            TORCH or not info.name.startswith("landscape.torch_bridge.")
        ):
            yield importlib.import_module(info.name)


def own_functions(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public functions that a module defines."""
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and not name.startswith("_"):
            yield name, function


def taking(module: ModuleType, argument: str) -> set[Any]:
    """The public functions of a module with one parameter, which is annotated so."""
    found = set()
    for _, function in own_functions(module):
        parameters = list(inspect.signature(function).parameters.values())
        if [str(parameter.annotation) for parameter in parameters] == [argument]:
            found.add(function)
    return found


def kinds(base: type[Result] = Result) -> Iterator[type[Result]]:
    """The classes of results that have a kind."""
    for cls in base.__subclasses__():
        if "kind" in cls.__dict__ and cls.__module__.split(".")[0] in ("landscape", "trainers"):
            yield cls
        yield from kinds(cls)


@pytest.fixture(scope="module")
def everything() -> None:
    """Every module is imported, so that its classes are known."""
    for package in ("landscape", "trainers"):
        list(modules(package))


def test_every_measure_of_flatness_is_in_the_register() -> None:
    computing = {
        f"{module.__name__.removeprefix('landscape.flatness.')}:{name}"
        for module in modules("landscape.flatness")
        for name, function in own_functions(module)
        if name.endswith("_of") and str(inspect.signature(function).return_annotation) == "FlatnessMeasure"
    }
    assert {entry.function for entry in MEASURES.values()} == computing


def test_every_strategy_is_in_both_registers(everything: None) -> None:
    """The settings are read without jax, so what they need of a strategy stands apart from its class."""

    def below(cls: type[Strategy]) -> set[type[Strategy]]:
        return {cls}.union(*map(below, cls.__subclasses__()))

    ours = {cls for cls in below(Strategy) if cls.__module__.startswith("trainers.")}
    finished = {cls for cls in ours if not inspect.isabstract(cls) and not cls.__name__.startswith("_")}
    assert set(STRATEGIES.values()) == finished
    assert list(STRATEGIES) == list(FACTS)


def test_every_score_and_control_is_in_both_registers() -> None:
    assert set(SCORES.values()) == taking(scores, "ScoreInputs")
    assert set(CONTROLS.values()) == taking(controls, "ControlInputs")
    assert set(methods.SCORES) == set(SCORES)
    assert set(methods.CONTROLS) == set(CONTROLS)


def test_every_task_is_an_entry_point() -> None:
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group="landscape.tasks")}
    assert set(datasets.NAMES) == set(task_table.IMAGES)
    assert set(entries) == {*task_table.IMAGES, *CONTROL_TASKS} == set(task_table.NAMES)
    for name, entry in entries.items():
        assert entry.load().__name__ == name


def test_every_format_is_a_module_that_reads_it() -> None:
    readers = {module.__name__.rpartition(".")[2] for module in modules(formats.__name__) if readable(module)}
    assert readers == set(FORMATS.values())


def readable(module: ModuleType) -> bool:
    return all(hasattr(module, name) for name in ("TITLE", "SUFFIXES", "recognises", "entries", "arrays"))


def test_every_kind_of_result_is_in_the_register_with_its_module(everything: None) -> None:
    found = {cls.kind: cls.__module__ for cls in kinds()}
    assert len(found) == len(list(kinds()))
    assert found == result._MODULES


def test_every_result_is_frozen_with_keywords_only(everything: None) -> None:
    for cls in kinds():
        assert cls.__dataclass_params__.frozen, cls  # type: ignore[attr-defined]
        assert all(field.kw_only for field in cls.__dataclass_fields__.values()), cls
        assert cls.__doc__, cls


def test_every_kind_of_result_has_a_figure(everything: None) -> None:
    assert {cls.kind for cls in kinds()} == set(FIGURES)
    assert set(FIGURES) <= set(result._MODULES)
    for place in FIGURES.values():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), place


def test_every_command_is_in_the_table() -> None:
    found = {
        module.__name__: module.command.name
        for module in modules("cli.commands")
        if isinstance(getattr(module, "command", None), click.Command)
    }
    assert found == {f"cli.commands.{name}": name for name in COMMANDS}


@pytest.mark.parametrize("register", CONFORMANCE)
def test_the_conformance_tests_read_the_register(register: str) -> None:
    path = ROOT / "tests" / CONFORMANCE[register]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.Name) and node.id == register for node in ast.walk(tree))
    assert f"tests/{path.name}" in GUIDE


def test_the_guide_names_only_what_there_is() -> None:
    """Every path in `CONTRIBUTING.md` exists, every test that it runs is there, and every target of make."""
    words = re.findall(r"`([^`\n]+)`", GUIDE)
    paths = {word for word in words if re.fullmatch(r"[\w./-]*/[\w./-]*|[\w-]+\.(md|toml|py|txt)", word)}
    assert len(paths) > 20
    assert not {path for path in paths if not (ROOT / path).exists()}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", GUIDE)) <= targets
    for file, name in re.findall(r"(tests/\w+\.py)::(\w+)", GUIDE):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name
