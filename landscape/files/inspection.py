"""Contents of a file or run folder, differences between two files, and integrity checks. No jax."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError
from landscape.files.formats import KERAS, describe_foreign, foreign_kind
from landscape.files.hdf5 import NotHDF5Error, archive, boundary
from landscape.trees import unescape_key

__all__ = ["compare", "describe", "verify"]

_CHECKPOINT, _RESULT = "landscape-checkpoint", "landscape-result"
_VERSION = (1, 0)
_LEVEL = re.compile(r"level-(\d+)\.h5")


def describe(path: str | Path, *, step: int | None = None) -> dict[str, Any]:
    """Return what a checkpoint, a result, a run folder or another tool's file holds, as plain values.

    Metadata and masks are checked against their digests, other arrays are not read; `verify` reads
    everything.

    Parameters
    ----------
    path : path
        The file or folder.
    step : int, optional
        The step, if it is the folder of an Orbax ``CheckpointManager``.

    Raises
    ------
    CheckpointError
        If the file is damaged, hostile or unknown, or the folder neither a run nor one of Orbax.
    """
    path = Path(path).expanduser()
    if step is not None:
        return describe_foreign(path, step=step)
    kind = foreign_kind(path) if path.is_dir() or path.name.lower().endswith(KERAS) else None
    if kind is not None:
        return describe_foreign(path, kind=kind)
    if path.is_dir():
        return _describe_run(path)
    try:
        return _describe_own(path)
    except NotHDF5Error:
        kind = foreign_kind(path)
        if kind is None:
            raise
    return describe_foreign(path, kind=kind)


def _describe_own(path: Path) -> dict[str, Any]:
    content = _read(path, only=lambda name: name.startswith("mask/"))
    common = {
        "path": str(path),
        "schema": content.schema,
        "bytes": content.size,
        "file_digest": content.digest,
    }
    if content.schema.startswith(_RESULT):
        with boundary(path, "its fields are not those of a result"):
            return {**common, **_describe_result(content)}
    _check_masks(path, content)
    with boundary(path, "its arrays are not those of a checkpoint"):
        return {**common, **_describe_checkpoint(content)}


def _describe_result(content: archive.Content) -> dict[str, Any]:
    stored = content.mapping("provenance")
    fields = dict(stored["fields"])
    return {
        "kind": content.attrs.get("kind"),
        "status": stored.get("status"),
        "warnings": stored.get("warnings"),
        "fields": {k: v for k, v in fields.items() if not isinstance(v, (dict, list))},
        "arrays": [_row(entry, None) for entry in content.manifest],
        "config": content.mapping("config"),
    }


def _read(path: Path, only: Any = None) -> archive.Content:
    return archive.read(path, schema=(_CHECKPOINT, _RESULT), version=_VERSION, only=only)


def _describe_checkpoint(content: archive.Content) -> dict[str, Any]:
    info = content.mapping("info")
    params = [entry for entry in content.manifest if entry["path"].startswith("params/")]
    held = sorted({entry["path"].split("/")[0] for entry in content.manifest} - {"params"})
    total = sum(_count(entry) for entry in params)
    left = [int(mask.sum()) for mask in content.arrays.values()]
    shown = (
        "task",
        "network",
        "method",
        "level",
        "density",
        "density_all",
        "seeds",
        "step",
        "metrics",
        "collapsed",
        "converted_from",
    )
    return {
        **{key: info[key] for key in shown if info.get(key) is not None},
        "parameters": total,
        "remaining": sum(left) if left else total,
        "also holds": held,
        "warnings": list(content.warnings),
        "params": [_row(entry, content.arrays.get(_mask_of(entry))) for entry in params],
    }


def _mask_of(entry: Mapping[str, Any]) -> str:
    return "mask/" + str(entry["path"]).removeprefix("params/")


def _count(entry: Mapping[str, Any]) -> int:
    return int(np.prod(entry["shape"], dtype=np.int64))


def _row(entry: Mapping[str, Any], mask: np.ndarray | None) -> dict[str, Any]:
    name = "/".join(unescape_key(part) for part in str(entry["path"]).split("/")[1:])
    row = {
        "name": name,
        "shape": "×".join(str(n) for n in entry["shape"]) or "scalar",
        "dtype": entry["dtype"],
        "count": _count(entry),
    }
    return row if mask is None else {**row, "remaining": int(mask.sum())}


def _describe_run(path: Path) -> dict[str, Any]:
    config = path / "run.toml"
    if not config.is_file():
        raise CheckpointError(
            f"{path}: is a folder without run.toml",
            expected="a checkpoint, a result, a run folder or a folder of Orbax",
            hint="Name one of its files.",
        )
    try:
        settings = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{config}: cannot be read",
            expected="the configuration of a run, as TOML",
            got=str(error),
            hint="Restore the file; landscape info reads each checkpoint of the folder without it.",
        ) from error
    finished = []
    for folder in sorted(path.glob("*/seed-*")):
        levels = sorted(int(m[1]) for entry in folder.iterdir() if (m := _LEVEL.fullmatch(entry.name)))
        if levels:
            seed = folder.name.removeprefix("seed-")
            finished.append(
                {"method": folder.parent.name, "seed": seed, "levels": len(levels), "last": levels[-1]}
            )
    return {
        "path": str(path),
        "kind": "run",
        "name": settings.get("name"),
        "task": settings.get("task"),
        "network": settings.get("network"),
        "methods": settings.get("methods"),
        "in progress": [entry.parent.name for entry in sorted(path.glob("*/state.h5"))],
        "results": _names(path / "results", ".h5"),
        "pages": _names(path / "results", ".html"),
        "finished": finished,
    }


def _names(folder: Path, ending: str) -> list[str]:
    return sorted(entry.name for entry in folder.glob(f"*{ending}") if not entry.name.startswith("."))


def compare(a: str | Path, b: str | Path) -> dict[str, Any]:
    """Return whether two checkpoints or results match, and every array that does not.

    Returns
    -------
    dict
        ``equal`` (arrays and settings), ``same_parameters``, and under ``differences`` one row an
        array: path, what differs, and the largest absolute difference.

    Raises
    ------
    CheckpointError
        If a file is damaged, hostile or foreign.
    """
    first, second = _read(Path(a).expanduser()), _read(Path(b).expanduser())
    entries = [{entry["path"]: entry for entry in content.manifest} for content in (first, second)]
    rows = []
    for path in sorted({*entries[0], *entries[1]}):
        row = _difference(path, entries[0].get(path), entries[1].get(path))
        if row and row["what"] == "values":
            row.update(_values(first.arrays[path], second.arrays[path]))
        if row:
            rows.append(row)
    texts = [{name: content.mapping(name) for name in content.texts} for content in (first, second)]
    settings = [name for name in sorted({*texts[0], *texts[1]}) if texts[0].get(name) != texts[1].get(name)]
    same_params = not any(row["path"].startswith(("params/", "data/")) for row in rows)
    return {
        "a": str(a),
        "b": str(b),
        "equal": not rows and not settings and first.schema == second.schema,
        "same_parameters": same_params,
        "same_architecture": not any(
            row["what"] != "values" and row["path"].startswith("params/") for row in rows
        ),
        "metadata that differs": settings,
        "differences": rows,
    }


def _difference(path: str, a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if a is None or b is None:
        return {"path": path, "what": "only in b" if a is None else "only in a"}
    if a["shape"] != b["shape"]:
        return {"path": path, "what": f"shape {a['shape']} against {b['shape']}"}
    if a["dtype"] != b["dtype"]:
        return {"path": path, "what": f"dtype {a['dtype']} against {b['dtype']}"}
    return {"path": path, "what": "values"} if a["digest"] != b["digest"] else None


def _values(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.abs(x - y)
    changed = int(np.count_nonzero(~((x == y) | (np.isnan(x) & np.isnan(y)))))
    finite = gap[np.isfinite(gap)]
    return {"entries": changed, "largest difference": float(finite.max()) if finite.size else None}


def verify(path: str | Path) -> dict[str, Any]:
    """Check a file, or every file of a run folder, completely against its digests.

    There is a digest for every byte of data and text that is read. Bytes that hold neither (what HDF5 leaves
    free between them, fill values, times) have none: no number depends on them. Masks are also checked as
    every reader checks them. The texts of a run (configuration, metrics, events) have no digests: they are
    only read.

    Returns
    -------
    dict
        Counts of files, arrays and bytes that were checked.

    Raises
    ------
    CheckpointError
        If anything is damaged; for a folder, naming every file that is.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        content = _checked(path)
        return {"path": str(path), "ok": True, "arrays": len(content.manifest), "bytes": content.size}
    files = sorted(entry for entry in path.rglob("*.h5") if not entry.name.startswith("."))
    if not files:
        raise CheckpointError(
            f"{path}: holds no .h5 file",
            expected="a run folder, or a folder of checkpoints",
            hint="Check the name; a run has its first files when the dense level is trained.",
        )
    texts = _texts(path)
    total, failures = 0, _unreadable(texts)
    for file in files:
        try:
            total += _checked(file).size
        except CheckpointError as error:
            failures.append(error.what)
    if failures:
        raise CheckpointError(
            f"{path}: {len(failures)} of {len(files) + len(texts)} files are not sound",
            got="; ".join(failures[:3]) + ("; …" if len(failures) > 3 else ""),
            hint="Copy them again, or train those levels again with --resume after removing them.",
        )
    return {"path": str(path), "ok": True, "files": len(files), "bytes": total}


def _checked(path: Path) -> archive.Content:
    """Read a file as `load` would: a text with the right digest may still be unreadable."""
    content = _read(path)
    for name in content.texts:
        content.mapping(name)
    if content.schema.startswith(_CHECKPOINT):
        _check_masks(path, content)
    return content


def _check_masks(path: Path, content: archive.Content) -> None:
    """Refuse masks that `load` refuses: only 0 and 1, in the shape of a parameter.

    Raises
    ------
    CheckpointError
        Naming the array.
    """
    shapes = {str(entry["path"]): tuple(entry["shape"]) for entry in content.manifest}
    for name, mask in content.arrays.items():
        if not name.startswith("mask/"):
            continue
        wanted = shapes.get("params/" + name.removeprefix("mask/"))
        if wanted != mask.shape:
            expected = "the path of a parameter" if wanted is None else f"shape {wanted}"
            raise CheckpointError(
                f"{path}: {name} fits no mask", expected=expected, got=f"shape {mask.shape}"
            )
        if not np.isin(mask, (0, 1)).all():
            raise CheckpointError(
                f"{path}: {name} is not a mask", expected="only 0 and 1", hint="Make the file again."
            )


def _texts(folder: Path) -> list[Path]:
    """Return the texts of a run folder that are there."""
    named = (folder / "run.toml", *sorted(folder.glob("*.jsonl")), folder / "identity.json")
    return [path for path in named if path.exists()]


def _unreadable(texts: list[Path]) -> list[str]:
    """Return what is wrong with the texts of a run."""
    failures = []
    for path in texts:
        try:
            _parse_text(path, path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            failures.append(f"{path}: not readable ({error})")
    return failures


def _parse_text(path: Path, data: bytes) -> None:
    if path.suffix == ".toml":
        tomllib.loads(data.decode())
        return
    for line in data.splitlines() if path.suffix == ".jsonl" else (data,):
        json.loads(line)
