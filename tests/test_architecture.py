"""The rooms, who may import whom, and what an import may load."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "landscape": {"trainers", "cli", "click", "rich"},
    "trainers": {"cli", "click", "rich"},
    "cli": set(),
}
TORCH = importlib.util.find_spec("torch") is not None
EXCEPTIONS = {Path("landscape/__main__.py")}
# The bar of analyses that are called from Python: rich is imported when a bar is first drawn, and only here.
BARS = Path("landscape/compute/bars.py")

# A room is a folder; it imports only from floors below its own. Rooms of one line stand side by side.
FLOORS = {
    "landscape": (
        {"errors", "lazy"},
        {"trees", "compute"},
        {"files"},
        {"problem", "results"},
        {"network", "rollouts", "torch_bridge"},
        {"connectivity"},
        {"alignment"},
        {"curvature"},
        {"flatness", "surfaces"},
        {"plots"},
    ),
    "trainers": (
        {"config", "pruning"},
        {"strategies", "tasks"},
        {"training", "rollouts"},
        {"runs"},
        {"tickets"},
        {"reports"},
    ),
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imported_modules(path: Path) -> Iterator[str]:
    """What `imported` says, and every name that an import takes from a package: it may be a module."""
    yield from imported(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_bars(path: Path) -> bool:
    return path.relative_to(ROOT) == BARS


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_import_only_downwards(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / room).rglob("*.py")
        if path.relative_to(ROOT) not in EXCEPTIONS
        for name in imported(path)
        if name.split(".")[0] in FORBIDDEN[room] and not (name.split(".")[0] == "rich" and is_bars(path))
    ]
    assert not wrong


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def crossings(package: str) -> Iterator[tuple[Path, str, str]]:
    """Every import from one room of a package into another: file, own room, what is imported."""
    for path in (ROOT / package).rglob("*.py"):
        parts = module_of(path).split(".")
        if len(parts) > 1 and path not in {ROOT / exception for exception in EXCEPTIONS}:
            for name in imported(path):
                if name.startswith(f"{package}.") and name.split(".")[1] != parts[1]:
                    yield path, parts[1], name


@pytest.mark.parametrize("package", FLOORS)
def test_every_folder_is_a_room_on_a_floor(package: str) -> None:
    rooms = {path.stem for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()}
    loose = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__", "__main__"}
    assert set().union(*FLOORS[package]) == rooms | loose
    assert loose <= {"errors", "lazy"}


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_from_floors_below(package: str) -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS[package]) for room in rooms}
    wrong = [
        f"{path.relative_to(ROOT)} ({room}, floor {floor[room]}) imports {name}"
        for path, room, name in crossings(package)
        if floor[name.split(".")[1]] >= floor[room]
    ]
    assert not wrong


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_take_from_one_another_what_their_init_hands_out(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} reaches into {name}"
        for path, _, name in crossings(package)
        if name.count(".") > 1 and name != "landscape.files.hdf5"
    ]
    assert not wrong


def test_modules_import_one_another_in_no_circle() -> None:
    paths = {module_of(path): path for room in FORBIDDEN for path in (ROOT / room).rglob("*.py")}
    arrows = {
        module: {name for name in imported_modules(path) if name in paths and name != module}
        for module, path in paths.items()
        if path.name != "__init__.py"
    }
    while leaves := {module for module, targets in arrows.items() if not targets & set(arrows)}:
        arrows = {module: targets for module, targets in arrows.items() if module not in leaves}
    assert not arrows


def test_nobody_but_the_main_module_imports_the_command_line() -> None:
    importers = {
        path.relative_to(ROOT)
        for room in ("landscape", "trainers")
        for path in (ROOT / room).rglob("*.py")
        if any(name.split(".")[0] == "cli" for name in imported(path))
    }
    assert importers == EXCEPTIONS


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["landscape", "trainers", "cli"])
def test_importing_a_package_loads_no_heavy_library(package: str) -> None:
    assert not loaded_after(f"import {package}") & {"jax", "plotly", "h5py", "evosax", "flax", "optax"}


@pytest.mark.parametrize(
    "module",
    [
        "landscape.files.checkpoint",
        "landscape.results.result",
        "landscape.files.inspection",
        "trainers.config.run_config",
        "trainers.runs.folder",
    ],
)
def test_reading_files_needs_no_jax(module: str) -> None:
    assert not loaded_after(f"import {module}") & {"jax", "plotly"}


def submodules(package: str) -> list[str]:
    found = importlib.import_module(package)
    return [info.name for info in pkgutil.walk_packages(found.__path__, f"{package}.")]


@pytest.mark.parametrize("package", ["landscape", "trainers"])
def test_public_names_survive_the_import_of_every_submodule(package: str) -> None:
    module = importlib.import_module(package)
    for name in submodules(package):
        if not name.endswith("__main__") and (TORCH or not name.startswith("landscape.torch_bridge.")):
            importlib.import_module(name)
    for name in module.__all__:
        value = getattr(module, name)
        assert name == "errors" or not isinstance(value, type(sys)), f"{package}.{name} is a module"


def test_no_public_function_shares_its_name_with_a_submodule() -> None:
    for package in ("landscape", "trainers"):
        names = set(importlib.import_module(package).__all__) - {"errors"}
        assert not names & {name.rsplit(".", 1)[1] for name in submodules(package)}


def test_files_stay_within_the_limit() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for room in FORBIDDEN
        for path in (ROOT / room).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
