"""HDF5 files that are published whole, and read without trust. No jax.

A file holds arrays, a few JSON texts under ``/meta``, and root attributes. The manifest lists every
array with shape, dtype and digest; the root digest covers the manifest, the other texts and the
attributes, so that no byte goes unchecked. Nothing in a file is ever executed or unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from landscape.errors import CheckpointError
from landscape.files.hdf5 import reading
from landscape.files.hdf5.opening import HINT, boundary
from landscape.files.strict_json import check_size, load_json
from landscape.trees import DIGEST_BYTES, array_digest, escape_key, is_canonical, unescape_key

ROOT = "%root"  # a tree that is a single array; no key escapes to this

# dtypes that HDF5 does not know are stored as unsigned integers of their width.
VIEWS = {
    np.dtype(getattr(ml_dtypes, name)).name: np.dtype(getattr(ml_dtypes, name))
    for name in (
        "bfloat16",
        "float8_e3m4",
        "float8_e4m3",
        "float8_e4m3b11fnuz",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    )
    if hasattr(ml_dtypes, name)
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """What a file held.

    Attributes
    ----------
    arrays : dict of str to array
        By path; only those that were asked for.
    texts : dict of str to str
        JSON texts by name, without the manifest.
    attrs : dict of str to str
        Root attributes beyond format, schema, writer and digest.
    manifest : list of dict
        ``{"path", "shape", "dtype", "digest"}`` of every array.
    digest, writer, schema : str
        Root attributes.
    size : int
        Bytes of the file.
    warnings : tuple of str
        What a reader should know.
    path : Path
        The file.
    """

    arrays: dict[str, np.ndarray]
    texts: dict[str, str]
    attrs: dict[str, str]
    manifest: list[dict[str, Any]]
    digest: str
    writer: str
    schema: str
    size: int
    warnings: tuple[str, ...]
    path: Path

    def mapping(self, name: str) -> dict[str, Any]:
        """Return one of the texts, parsed.

        Raises
        ------
        CheckpointError
            If it is missing, no strict JSON, or no object.
        """
        with boundary(self.path, f"meta/{name} is not strict JSON"):
            found = load_json(self.texts[name])
            if not isinstance(found, dict):
                raise TypeError(f"meta/{name} is not a JSON object")
            return found


def reason(error: BaseException) -> str:
    """Return the first line of an error, with the system's own words where it has them."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else (str(error).splitlines() or [type(error).__name__])[0]


def root_digest(texts: Mapping[str, str], attributes: Mapping[str, str]) -> str:
    """Return the digest over all texts and attributes but itself."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for group in (texts, {name: value for name, value in attributes.items() if name != "digest"}):
        for name, text in sorted(group.items()):
            raw = text.encode()
            digest.update(f"{name}\0{len(raw)}\0".encode())
            digest.update(raw)
    return digest.hexdigest()


def read(
    path: Path,
    *,
    schema: str | tuple[str, ...],
    version: tuple[int, int],
    only: Callable[[str], bool] | None = None,
) -> Content:
    """Read a file, trusting nothing in it.

    Parameters
    ----------
    path : Path
        The file.
    schema : str or tuple of str
        Formats that are welcome.
    version : (int, int)
        The newest version this reader knows: a newer minor one is read with a warning.
    only : callable, optional
        Which arrays to load and check, by path; all of them by default.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, damaged, hostile, foreign, or of a newer major version.
    """
    path = Path(path).expanduser()
    welcome = (schema,) if isinstance(schema, str) else schema
    with reading.opened(path) as source:
        attributes = source.attributes()
        _check_format(path, source, attributes, welcome)
        warnings = _check_version(path, attributes, version)
        source.walk()
        texts = source.texts()
        manifest = _manifest(path, texts)
        _check_root(path, texts, attributes)
        source.match(manifest)
        arrays = dict(_arrays(path, source, manifest, only))
        size = source.raw.size
    known = {"format", "schema", "writer", "digest"}
    return Content(
        arrays=arrays,
        texts={name: text for name, text in texts.items() if name != "manifest"},
        attrs={name: value for name, value in attributes.items() if name not in known},
        manifest=manifest,
        digest=attributes["digest"],
        writer=attributes.get("writer", ""),
        schema=f"{attributes['format']}/{attributes['schema']}",
        size=size,
        warnings=warnings,
        path=path,
    )


def _check_format(
    path: Path, source: reading.Source, attributes: Mapping[str, str], welcome: tuple[str, ...]
) -> None:
    found = attributes.get("format")
    if found in welcome and "digest" in attributes and "schema" in attributes:
        return
    kinds = {"landscape-checkpoint": "a checkpoint", "landscape-result": "a result"}
    wanted = " or ".join(kinds.get(name, name) for name in welcome)
    if found in kinds:
        hint = "Checkpoints are the level-….h5 of a run; results are what -o writes as .h5."
        raise CheckpointError(f"{path}: is {kinds[found]}", expected=wanted, hint=hint)
    held = ", ".join(source.top_level()) or "nothing"
    raise CheckpointError(
        f"{path}: not a landscape checkpoint",
        expected=wanted,
        got=f"HDF5 of another tool, holding {held}",
        hint="Make a checkpoint of it: landscape convert IN OUT.h5, or landscape.save in Python.",
    )


def _check_version(path: Path, attributes: Mapping[str, str], version: tuple[int, int]) -> tuple[str, ...]:
    text = attributes["schema"]
    parts = text.split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise CheckpointError(
            f"{path}: damaged", expected="a schema version such as 1.0", got=repr(text[:40]), hint=HINT
        )
    major, minor = int(parts[0]), int(parts[1])
    if major > version[0] or major < 1:
        raise CheckpointError(
            f"{path}: schema {text} is newer than this landscape reads",
            expected=f"{version[0]}.x",
            got=text,
            hint=f"Update the package to one that reads schema {major}.",
        )
    if (major, minor) > version:
        return (
            f"{path}: schema {text} is newer than {version[0]}.{version[1]}; what is new in it is not read",
        )
    return ()


def _manifest(path: Path, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    with boundary(path, "damaged manifest"):
        for text in texts.values():
            check_size(text)
        manifest = load_json(texts["manifest"])
        valid = isinstance(manifest, list) and all(map(_valid_entry, manifest))
        paths = [entry["path"] for entry in manifest] if valid else []
        if not valid or len(set(paths)) != len(paths):
            raise CheckpointError(
                f"{path}: damaged manifest", expected="one entry per array, each with a digest", hint=HINT
            )
        for name in paths:
            if not all(part == ROOT or is_canonical(part) for part in name.split("/")):
                raise CheckpointError(
                    f"{path}: damaged: {name!r} is another spelling of a path",
                    expected="/".join(escape_key(unescape_key(part)) for part in name.split("/")),
                    hint=HINT,
                )
    return list(manifest)


def _valid_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and set(entry) >= {"path", "shape", "dtype", "digest"}
        and isinstance(entry["path"], str)
        and isinstance(entry["dtype"], str)
        and isinstance(entry["digest"], str)
        and isinstance(entry["shape"], list)
        and len(entry["shape"]) <= reading.MAX_RANK
        and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in entry["shape"])
    )


def _check_root(path: Path, texts: Mapping[str, str], attributes: Mapping[str, str]) -> None:
    if root_digest(texts, attributes) != attributes["digest"]:
        raise CheckpointError(
            f"{path}: damaged: the digest of its metadata does not match",
            hint=HINT,
        )


def _arrays(
    path: Path,
    source: reading.Source,
    manifest: list[dict[str, Any]],
    only: Callable[[str], bool] | None,
) -> Iterator[tuple[str, np.ndarray]]:
    chosen = [entry for entry in manifest if only is None or only(entry["path"])]
    if source.swells():
        for entry in chosen:
            _check_digest(path, entry, source.digest(entry["path"]) or entry["digest"])
    for entry in chosen:
        raw = source.load(entry["path"])
        _check_digest(path, entry, array_digest(raw))
        yield entry["path"], _typed(path, entry["path"], raw, entry["dtype"])


def _check_digest(path: Path, entry: Mapping[str, Any], found: str) -> None:
    if found != entry["digest"]:
        raise CheckpointError(
            f"{path}: damaged: the digest of {entry['path']} does not match",
            hint=HINT,
        )


def _typed(path: Path, name: str, raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype in VIEWS and raw.dtype.kind == "u" and raw.dtype.itemsize == VIEWS[dtype].itemsize:
        return raw.view(VIEWS[dtype])
    if raw.dtype.name != dtype:
        raise CheckpointError(
            f"{path}: damaged: {name}", expected=f"dtype {dtype[:40]}", got=raw.dtype.name, hint=HINT
        )
    return raw.astype(raw.dtype.newbyteorder("="), copy=False)
