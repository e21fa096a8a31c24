"""Orbax folders, as Flax users write them: metadata in JSON, arrays in zarr, often inside OCDBT.

What is read: ``_METADATA`` (the tree: keys with their kind, and what each leaf is) and the arrays. What a
checkpoint says about classes and handlers is never looked at. No link in the folder is followed. The
arrays are decoded by tensorstore, which flax brings, in a process of its own (`zarr`).

Layouts: an item (``StandardCheckpointer``, ``PyTreeCheckpointer``), a step with one or several items, and the
folder of a ``CheckpointManager`` with its steps.
"""

from __future__ import annotations

import importlib.util
import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError, MissingDependencyError
from landscape.files.formats.entries import (
    MAX_DEPTH,
    MAX_TEXT,
    Entry,
    add_leaf,
    check_count,
    check_declared,
    component,
    dtype_of,
    opened,
    parsed_json,
)
from landscape.files.formats.zarr import described
from landscape.files.hdf5 import refused
from landscape.files.isolation import read_apart

TITLE = "an Orbax checkpoint"
SUFFIXES: tuple[str, ...] = ()
_METADATA = "_METADATA"
_STEP = re.compile(r"(?:.*[_-])?(\d{1,18})")
_UNFINISHED = ".orbax-checkpoint-tmp"
_SEQUENCE = 1  # Orbax' kind of a key that is a position
_ARRAYS = {"jax.Array", "np.ndarray", "scalar"}
_MAX_FILES = 1_000_000
_Leaf = tuple[str, str]  # item, name of the array


def recognises(path: Path, head: bytes) -> bool:
    """Return whether a folder holds Orbax' metadata, in itself or a few levels below."""
    if head or not path.is_dir() or (path / "run.toml").exists():
        return False
    return bool(_items(path) or _steps(path)) or (path / "_CHECKPOINT_METADATA").is_file()


def step_folder(path: Path, step: int) -> Path:
    """Return the folder of a step of a ``CheckpointManager``.

    Raises
    ------
    CheckpointError
        If there is no such step, naming those that are there.
    """
    steps = _steps(path)
    if step not in steps:
        raise CheckpointError(
            f"{path}: holds no step {step}",
            expected=f"one of {_list(steps)}" if steps else "the folder of a CheckpointManager",
            hint="Choose a step that is there." if steps else "Name the checkpoint itself.",
        )
    return steps[step]


def entries(path: Path) -> dict[str, Entry]:
    """Return the arrays by path, and leaves that are none by what they are; no array is read."""
    items, size = _sound(path)
    tree = _tree(path, items)
    wanted = {where: leaf for where, (leaf, kind) in tree.items() if kind in _ARRAYS}
    texts, _ = _ask(path, items, wanted, size=size, load=False)
    found, declared = {}, 0
    for where, (_, kind) in tree.items():
        if where not in wanted:
            found[where] = Entry((), "text" if kind == "string" else kind)
            continue
        found[where] = entry = described(path, where, texts[where])
        dtype = dtype_of(entry.dtype)
        declared += 0 if dtype is None else entry.size * dtype.itemsize
    check_declared(path, declared, size)
    return found


def arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the arrays of these paths."""
    items, size = _sound(path)
    tree = _tree(path, items)
    types, raw = _ask(path, items, {where: tree[where][0] for where in names}, size=size, load=True)
    found = {}
    for where in names:
        dtype = dtype_of(types[where])
        if dtype is None:
            raise refused(path, f"{where} is of the type {types[where]}")
        found[where] = raw[where].view(dtype).reshape(raw[where].shape[:-1])
    return found


def _items(path: Path) -> dict[str, Path]:
    """Return the folders of arrays of one checkpoint by name: itself, or those of its items."""
    if (path / _METADATA).is_file():
        return {"": path}
    found = {}
    for child in _folders(path):
        if (child / _METADATA).is_file() and not _STEP.fullmatch(child.name):
            found[child.name] = child
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def _steps(path: Path) -> dict[int, Path]:
    """Return the steps in the folder of a manager."""
    matches = [(child, _STEP.fullmatch(child.name)) for child in _folders(path)]
    return {int(match[1]): child for child, match in matches if match and _items(child)}


def _folders(path: Path) -> list[Path]:
    """Return the folders in a folder; links and what is unfinished are none."""
    with os.scandir(path) as found:
        inside = [Path(entry) for entry in found if entry.is_dir(follow_symlinks=False)]
    return sorted(child for child in inside if _UNFINISHED not in child.name)


def _sound(path: Path) -> tuple[dict[str, Path], int]:
    """Return the items of a checkpoint and the bytes of all files, after a look at every one."""
    if _UNFINISHED in path.name:
        raise CheckpointError(
            f"{path}: an unfinished checkpoint", expected=TITLE, hint="Name a finished one."
        )
    items = _items(path)
    if not items:
        items = _only_step(path)
    return items, sum(_bytes(path, item) for item in items.values())


def _only_step(path: Path) -> dict[str, Path]:
    steps = _steps(path)
    if len(steps) == 1:
        return _items(next(iter(steps.values())))
    if steps:
        example = next(iter(steps.values()))
        raise CheckpointError(
            f"{path}: holds {len(steps)} steps",
            expected="one checkpoint",
            got=_list(steps),
            hint=f"Name the folder of one, such as {example}, or give --step.",
        )
    raise CheckpointError(
        f"{path}: holds no {_METADATA}",
        expected=TITLE,
        hint="Orbax before 0.4 wrote none: restore it there and save it with a newer one.",
    )


def _list(steps: Mapping[int, Path]) -> str:
    shown = [str(step) for step in sorted(steps)]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:7], f"… {shown[-1]}"])


def _bytes(path: Path, item: Path) -> int:
    """Return the bytes below a folder; links, pipes and devices in it are refused."""
    total = count = 0
    for folder, below, files in os.walk(item, followlinks=False):
        for name in (*below, *files):
            status = os.lstat(os.path.join(folder, name))  # noqa: PTH118  a path object each is slow
            count += 1
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) or count > _MAX_FILES:
                where = os.path.relpath(os.path.join(folder, name), path)  # noqa: PTH118
                raise refused(
                    path, f"{where} is a link, a pipe or a device", expected="files and folders only"
                )
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def _tree(path: Path, items: Mapping[str, Path]) -> dict[str, tuple[_Leaf, str]]:
    """Return for each path of the tree the array that holds it, and its kind."""
    found: dict[str, tuple[_Leaf, str]] = {}
    for item, folder in items.items():
        leaves = _metadata(folder).get("tree_metadata")
        if not isinstance(leaves, Mapping):
            raise refused(path, f"{_METADATA} holds no tree")
        check_count(path, len(leaves))
        for leaf in leaves.values():
            keys, kind = _leaf(path, leaf)
            if kind is not None:
                parts = [component(item)] if item else []
                parts += [component(key, position=position) for key, position in keys]
                add_leaf(path, found, "/".join(parts), ((item, _array_name(path, keys)), kind))
    return found


def _metadata(folder: Path) -> Mapping[str, Any]:
    with opened(folder / _METADATA) as stream:
        return parsed_json(folder, stream.read(MAX_TEXT), _METADATA)


def _leaf(path: Path, leaf: Any) -> tuple[list[tuple[str, bool]], str | None]:
    """Return the keys of a leaf (key, whether it is a position), and its kind; None for an empty subtree."""
    keys = [(str(key["key"]), key["key_type"] == _SEQUENCE) for key in leaf["key_metadata"]]
    value = leaf["value_metadata"]
    if len(keys) > MAX_DEPTH or not all(key.isdigit() for key, position in keys if position):
        raise refused(path, f"{_METADATA} holds keys that make no path")
    return keys, None if value.get("skip_deserialize") else str(value["value_type"])[:80]


def _array_name(path: Path, keys: list[tuple[str, bool]]) -> str:
    """Return the name under which Orbax stores an array: no step out of the folder."""
    name = ".".join(key for key, _ in keys)
    if name.startswith("/") or "\0" in name or {"", ".", ".."} & set(name.split("/")):
        raise refused(path, f"an array with the name {name[:100]!r}")
    return name


def _ask(
    path: Path, items: Mapping[str, Path], wanted: Mapping[str, _Leaf], *, size: int, load: bool
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Ask the child for the zarr metadata of arrays, or for their types and bytes."""
    if importlib.util.find_spec("tensorstore") is None:
        raise MissingDependencyError("tensorstore is not installed", hint="pip install tensorstore")
    asked: list[dict[str, Any]] = []
    for item, folder in items.items():
        said = _metadata(folder)
        ocdbt = (folder / "manifest.ocdbt").is_file()
        names = {where: name for where, (held, name) in wanted.items() if held == item}
        complete = bool(said.get("store_array_data_equal_to_fill_value"))
        asked.append(
            {
                "folder": str(folder.absolute()),
                "ocdbt": ocdbt,
                "zarr3": bool(said.get("use_zarr3")),
                "complete": complete,
                "names": names,
            }
        )
    request = {"path": str(path), "load": load, "items": asked}
    return read_apart("landscape.files.formats.zarr", path, request, size=size, library="tensorstore")
