"""HDF5 files that are published whole, and read without trust. No jax.

A file holds arrays, a few JSON texts under ``/meta``, and root attributes. The manifest lists every
array with shape, dtype and digest; the root digest covers the manifest, the other texts and the
attributes, so that no byte goes unchecked. Nothing in a file is ever executed or unpickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np

from landscape import _hdf5_read
from landscape._digest import DIGEST_BYTES, array_digest
from landscape._json import dump_json, load_json
from landscape.errors import CheckpointError, OutputExistsError

TEMPORARY_PREFIX = ".landscape-"
TEMPORARY_SUFFIX = ".partial"
WRITER = "ticketscape"

# dtypes that HDF5 does not know are stored as unsigned integers of their width.
_VIEWS = {
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
_COMPRESSED_CHUNK = 1 << 20


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


def write(
    path: Path,
    *,
    schema: str,
    version: tuple[int, int],
    arrays: Mapping[str, Any],
    texts: Mapping[str, str],
    attrs: Mapping[str, str] | None = None,
    force: bool = False,
    compress: Collection[str] = (),
) -> Path:
    """Publish a file atomically: temporary in the same folder, re-read, fsync, rename, fsync.

    Parameters
    ----------
    path : Path
        Where; its folder must exist.
    schema, version : str, (int, int)
        Format and its version.
    arrays : mapping
        Arrays by HDF5 path.
    texts : mapping
        JSON texts by name under ``/meta``.
    attrs : mapping, optional
        Further root attributes.
    force : bool
        Whether an existing file is replaced.
    compress : collection of str
        Paths stored with gzip-1 and shuffle.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputExistsError
        If the file is there and `force` is false.
    CheckpointError
        If the file could not be written or an array cannot be stored; nothing is left behind.
    """
    path = Path(path).expanduser()
    _check_target(path, force=force)
    stored = {name: _storable(name, np.asarray(value)) for name, value in arrays.items()}
    manifest = [
        {"path": name, "shape": list(raw.shape), "dtype": dtype, "digest": array_digest(raw)}
        for name, (raw, dtype) in sorted(stored.items())
    ]
    all_texts = {**texts, "manifest": dump_json(manifest)}
    attributes = {"format": schema, "schema": f"{version[0]}.{version[1]}", "writer": WRITER, **(attrs or {})}
    attributes["digest"] = root_digest(all_texts, attributes)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        raws = {name: raw for name, (raw, _) in stored.items()}
        _fill(temporary, raws, all_texts, attributes, compress=compress)
        again = read(temporary, schema=schema, version=version)
        if again.manifest != manifest:
            raise CheckpointError(f"{path}: what was written does not read back", hint="Check the disk.")
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, CheckpointError) and "read back" in error.what:
            raise
        raise CheckpointError(
            f"{path}: could not be written",
            got=_reason(error),
            hint="Free space or choose another folder; what was there before is untouched.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def _reason(error: BaseException) -> str:
    """Return the first line of an error, with the system's own words where it has them."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else (str(error).splitlines() or [type(error).__name__])[0]


def _check_target(path: Path, *, force: bool) -> None:
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a folder", hint="Name a file.")
        if path.exists() and not force:
            raise OutputExistsError(
                f"{path}: is there already", hint="Give --force (force=True), or another name."
            )
        if not path.parent.is_dir():
            raise CheckpointError(f"{path}: its folder does not exist", hint=f"Create {path.parent} first.")
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise CheckpointError(f"{path}: cannot be written there", got=_reason(error)) from error


def _storable(name: str, array: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the array as HDF5 stores it, and the name of its true dtype."""
    dtype = array.dtype
    if dtype.name in _VIEWS:
        unsigned = np.dtype(f"u{dtype.itemsize}")
        return np.ascontiguousarray(array).reshape(array.shape).view(unsigned), dtype.name
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise CheckpointError(
            f"{name}: cannot be stored",
            expected="bool, integer or floating-point numbers of at most 64 bits",
            got=str(dtype),
            hint="Convert the array first.",
        )
    return array.astype(dtype.newbyteorder("<"), copy=False), dtype.name


def _fill(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    texts: Mapping[str, str],
    attributes: Mapping[str, str],
    *,
    compress: Collection[str],
) -> None:
    with h5py.File(path, "x") as file:
        for name, text in texts.items():
            raw = text.encode()
            file.create_dataset(f"meta/{name}", data=np.bytes_(raw), dtype=f"S{max(1, len(raw))}")
        for name, array in arrays.items():
            options: dict[str, Any] = {}
            if name in compress and array.size and array.ndim:
                options = {
                    "compression": "gzip",
                    "compression_opts": 1,
                    "shuffle": True,
                    "chunks": _chunk(array),
                }
            file.create_dataset(name, data=array, **options)
        for name, text in attributes.items():
            file.attrs.create(name, np.bytes_(text.encode()), dtype=f"S{max(1, len(text.encode()))}")


def _chunk(array: np.ndarray) -> tuple[int, ...]:
    """Return a chunk of whole rows, about a megabyte."""
    row = max(1, int(np.prod(array.shape[1:], dtype=np.int64)) * array.itemsize)
    return (max(1, min(array.shape[0], _COMPRESSED_CHUNK // row)), *array.shape[1:])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    with _hdf5_read.opened(path) as source:
        attributes = source.attributes()
        _check_format(path, source, attributes, welcome)
        warnings = _check_version(path, attributes, version)
        source.walk()
        texts = source.texts()
        manifest = _manifest(path, texts)
        _check_root(path, texts, attributes)
        source.match(manifest)
        arrays = dict(_arrays(path, source, manifest, only))
        size = source.size
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
    )


def _check_format(
    path: Path, source: _hdf5_read.Source, attributes: Mapping[str, str], welcome: tuple[str, ...]
) -> None:
    found = attributes.get("format")
    if found in welcome and "digest" in attributes and "schema" in attributes:
        return
    kinds = {"landscape-checkpoint": "a checkpoint", "landscape-result": "a result"}
    wanted = " or ".join(kinds.get(name, name) for name in welcome)
    if found in kinds:
        raise CheckpointError(f"{path}: is {kinds[found]}", expected=wanted, hint="Give the other file.")
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
            f"{path}: damaged", expected="a schema version such as 1.0", got=repr(text[:40])
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
    try:
        manifest = load_json(texts["manifest"])
        valid = isinstance(manifest, list) and all(_valid_entry(entry) for entry in manifest)
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged manifest", got=_reason(error)) from error
    paths = [entry["path"] for entry in manifest] if valid else []
    if not valid or len(set(paths)) != len(paths):
        raise CheckpointError(f"{path}: damaged manifest", expected="one entry an array, each with a digest")
    return list(manifest)


def _valid_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and set(entry) >= {"path", "shape", "dtype", "digest"}
        and isinstance(entry["path"], str)
        and isinstance(entry["dtype"], str)
        and isinstance(entry["shape"], list)
        and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in entry["shape"])
    )


def _check_root(path: Path, texts: Mapping[str, str], attributes: Mapping[str, str]) -> None:
    if root_digest(texts, attributes) != attributes["digest"]:
        raise CheckpointError(
            f"{path}: damaged: the digest of its metadata does not match",
            hint="Copy the file again from where it came.",
        )


def _arrays(
    path: Path,
    source: _hdf5_read.Source,
    manifest: list[dict[str, Any]],
    only: Callable[[str], bool] | None,
) -> Iterator[tuple[str, np.ndarray]]:
    for entry in manifest:
        name = entry["path"]
        if only is not None and not only(name):
            continue
        raw = source.load(name)
        if array_digest(raw) != entry["digest"]:
            raise CheckpointError(
                f"{path}: damaged: the digest of {name} does not match",
                hint="Copy the file again from where it came.",
            )
        yield name, _typed(path, name, raw, entry["dtype"])


def _typed(path: Path, name: str, raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype in _VIEWS and raw.dtype.kind == "u" and raw.dtype.itemsize == _VIEWS[dtype].itemsize:
        return raw.view(_VIEWS[dtype])
    if raw.dtype.name != dtype:
        raise CheckpointError(f"{path}: damaged: {name}", expected=f"dtype {dtype[:40]}", got=raw.dtype.name)
    return raw.astype(raw.dtype.newbyteorder("="), copy=False)
