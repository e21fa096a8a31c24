"""Reading HDF5 that may be hostile: bounded memory, no other file opened, no code from the file.

The HDF5 library is used for as little as possible. Objects are walked iteratively over hard links
only; everything is measured before it is opened or allocated; compressed chunks are inflated here,
with a bound, because the library's own filter grows its buffer as far as the stream asks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import CheckpointError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 64
MAX_OBJECTS = 100_000
MAX_RANK = 8
MAX_TEXT = 16 * 2**20
MAX_ATTRIBUTES = 64 * 1024
FREE_BYTES = 2**20  # below this, how well data compresses does not matter
MAX_RATIO = 1_100  # deflate cannot do better than 1,032 to 1
_ROOT_ATTRIBUTES = {"format", "schema", "writer", "digest", "kind"}
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
_LIBRARY_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    zlib.error,
)
_LOOKS = (
    (b"PK\x03\x04", "a zip archive (npz, or a PyTorch file)"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\xfd7zXZ", "xz-compressed data"),
    (b"\x80", "a Python pickle"),
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"version https://git-lfs", "a git-lfs pointer: the file itself was not downloaded"),
)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a file that passes the checks of its first bytes; library errors become ours."""
    size = _check_file(path)
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(path.open("rb", buffering=0))
            file = stack.enter_context(h5py.File(path, "r", locking=False))
            yield Source(path, file, raw.fileno(), size)
    except CheckpointError:
        raise
    except _LIBRARY_ERRORS as error:
        first = (str(error).splitlines() or [""])[0]
        raise CheckpointError(
            f"{path}: damaged: it cannot be read as HDF5",
            got=first[:200] or type(error).__name__,
            hint="Copy the file again from where it came.",
        ) from error


def _check_file(path: Path) -> int:
    """Return the size of a regular file with a complete HDF5 header at offset 0."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file", hint="Check the name.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be opened", got=str(error)) from error
    if stat.S_ISDIR(status.st_mode):
        hint = "Name one of its level-…h5 files." if (path / "run.toml").exists() else "Name a file."
        raise CheckpointError(f"{path}: is a folder", expected="an HDF5 file", hint=hint)
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path}: not a regular file", got="a pipe, socket or device")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            head = os.read(descriptor, 512)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be opened", got=os.strerror(error.errno or 0)) from error
    if not head.startswith(SIGNATURE):
        raise CheckpointError(f"{path}: not HDF5", expected="a landscape checkpoint", got=_looks_like(head))
    expected = _end_of_file(path, head)
    if status.st_size < expected:
        raise CheckpointError(
            f"{path}: truncated",
            expected=f"{expected:,} bytes",
            got=f"{status.st_size:,} bytes",
            hint="Copy the file again from where it came.",
        )
    return status.st_size


def _looks_like(head: bytes) -> str:
    if not head:
        return "an empty file"
    for magic, name in _LOOKS:
        if head.startswith(magic):
            return name
    text = head.lstrip()[:64].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML or XML page, perhaps a download error"
    if SIGNATURE in head:
        return "HDF5 behind a user block, which is not read"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    return (
        "text" if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head) else "bytes of no known format"
    )


def _end_of_file(path: Path, head: bytes) -> int:
    """Return the end-of-file address in the superblock (HDF5 file format, versions 0 to 3)."""
    damaged = CheckpointError(f"{path}: damaged HDF5 header", hint="Copy the file again from where it came.")
    try:
        version = head[8]
        if version in (0, 1):
            offsets, start = head[13], 24 if version == 0 else 28
            base, _, end, driver = struct.unpack_from("<4Q", head, start)
        elif version in (2, 3):
            offsets = head[9]
            base, _, end, _ = struct.unpack_from("<4Q", head, 12)
            driver = 2**64 - 1
        else:
            raise damaged
    except (IndexError, struct.error) as error:
        raise damaged from error
    if offsets != 8 or base != 0 or driver != 2**64 - 1:
        raise damaged
    return int(end)


@dataclasses.dataclass
class Source:
    """An open file: first `walk`, then `texts`, `match` and `load`."""

    path: Path
    file: h5py.File
    descriptor: int
    size: int
    datasets: dict[str, Any] = dataclasses.field(default_factory=dict)
    seen: set[int] = dataclasses.field(default_factory=set)
    declared: int = 0
    num_links: int = 0
    foreign: bool = False  # of another tool: attributes and data that are no numbers are passed over

    def refuse(self, what: str, **details: str) -> CheckpointError:
        """Return the error for a file that is refused as unsafe or damaged."""
        return CheckpointError(
            f"{self.path}: refused: {what}", hint="Do not trust this file; ask where it came from.", **details
        )

    def attributes(self) -> dict[str, str]:
        """Return the root attributes: few, short, fixed-length strings."""
        root = self.file.id
        count = h5py.h5a.get_num_attrs(root)
        if count > 32:
            raise self.refuse(f"{count} attributes", expected=f"only {sorted(_ROOT_ATTRIBUTES)}")
        found, total = {}, 0
        for index in range(count):
            attribute = h5py.h5a.open(root, index=index)
            total += attribute.get_storage_size()
            if total > MAX_ATTRIBUTES:
                raise self.refuse("oversized attributes", expected=f"at most {MAX_ATTRIBUTES:,} bytes")
            kind = attribute.get_type()
            if kind.get_class() != h5py.h5t.STRING or kind.is_variable_str() or attribute.shape != ():
                continue
            raw = np.zeros((), f"S{max(1, kind.get_size())}")
            attribute.read(raw, mtype=kind)
            found[attribute.name.decode("utf-8", "replace")] = bytes(raw[()]).decode("utf-8", "replace")
        if found.get("format", "").startswith("landscape-") and (
            len(found) != count or set(found) - _ROOT_ATTRIBUTES
        ):
            raise self.refuse("attributes that no writer of ours makes")
        return found

    def top_level(self) -> list[str]:
        """Return the first few names in the root group, whatever they are."""
        names = []
        for name in self.file.id:
            names.append(name.decode("utf-8", "replace"))
            if len(names) == 6:
                return [*names[:5], "…"]
        return names

    def walk(self) -> None:
        """Visit every object once, over hard links, and measure it before anything is read."""
        stack: list[tuple[Any, str, int]] = [(h5py.h5g.open(self.file.id, b"/"), "", 0)]
        self._see(stack[0][0], "/")
        while stack:
            group, prefix, depth = stack.pop()
            self.num_links += group.get_num_objs()
            if self.num_links > MAX_OBJECTS:
                raise self.refuse("too many objects", expected=f"at most {MAX_OBJECTS:,}")
            for name in group:
                child = self._open(group, name, prefix)
                path = f"{prefix}{name.decode()}"
                if isinstance(child, h5py.h5d.DatasetID):
                    if self.foreign and not _plain_type(child.get_type(), text=False):
                        continue
                    self._measure(child, path)
                    self.datasets[path] = child
                elif depth + 1 > MAX_DEPTH:
                    raise self.refuse("groups nested too deep", expected=f"at most {MAX_DEPTH} levels")
                else:
                    stack.append((child, f"{path}/", depth + 1))

    def _open(self, group: Any, name: bytes, prefix: str) -> Any:
        """Open the target of a hard link, refusing all other links and objects."""
        where = f"{prefix}{name.decode('utf-8', 'replace')}"
        if name in (b".", b"..", b"") or b"/" in name or b"\x00" in name or not _is_text(name):
            raise self.refuse(f"the name {where!r}")
        if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise self.refuse(f"{where} is a link to another place or file")
        kind = h5py.h5o.get_info(group, name).type
        if kind not in (h5py.h5o.TYPE_GROUP, h5py.h5o.TYPE_DATASET):
            raise self.refuse(f"{where} is neither a group nor a dataset")
        child = h5py.h5o.open(group, name)
        self._see(child, where)
        if not self.foreign and h5py.h5a.get_num_attrs(child):
            raise self.refuse(f"{where} carries attributes")
        return child

    def _see(self, child: Any, where: str) -> None:
        address = h5py.h5o.get_info(child).addr
        if address in self.seen:
            raise self.refuse(f"{where} is reached twice (a cycle or an alias)")
        self.seen.add(address)

    def _measure(self, dataset: Any, path: str) -> None:
        """Refuse a dataset whose kind, shape, storage or filters are not those of our files."""
        settings, space, kind = dataset.get_create_plist(), dataset.get_space(), dataset.get_type()
        self._check_storage(settings, path)
        if space.get_simple_extent_type() not in (h5py.h5s.SCALAR, h5py.h5s.SIMPLE):
            raise self.refuse(f"{path} has no data")
        shape = space.get_simple_extent_dims()
        if len(shape) > MAX_RANK:
            raise self.refuse(f"{path} has {len(shape)} axes", expected=f"at most {MAX_RANK}")
        if not _plain_type(kind, text=not self.foreign and path.startswith("meta/")):
            raise self.refuse(f"{path} holds neither numbers nor one of the texts")
        declared = kind.get_size()
        for length in shape:
            declared *= int(length)
        self._bound(dataset, path, declared)
        if settings.get_layout() == h5py.h5d.CHUNKED:
            chunk = kind.get_size()
            for length in settings.get_chunk():
                chunk *= int(length)
            if chunk > max(declared, FREE_BYTES):
                raise self.refuse(f"{path} has chunks larger than itself")

    def _check_storage(self, settings: Any, path: str) -> None:
        layout = settings.get_layout()
        if layout == h5py.h5d.VIRTUAL or settings.get_external_count():
            raise self.refuse(f"{path} takes its data from other files")
        if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
            raise self.refuse(f"{path} has an unknown storage layout")
        filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
        if set(filters) - _FILTERS or len(filters) != len(set(filters)):
            raise self.refuse(f"{path} needs an unknown filter", got=f"filters {filters}")

    def _bound(self, dataset: Any, path: str, declared: int) -> None:
        if path.startswith("meta/") and declared > MAX_TEXT:
            raise self.refuse(f"{path} is {declared:,} bytes of text", expected=f"at most {MAX_TEXT:,}")
        stored = dataset.get_storage_size()
        self.declared += declared
        too_dense = declared > FREE_BYTES and declared > MAX_RATIO * min(stored, self.size)
        if too_dense or (self.declared > FREE_BYTES and self.declared > MAX_RATIO * self.size):
            raise self.refuse(
                f"{path} declares more data than the file can hold",
                expected=f"at most {MAX_RATIO:,} times what is stored",
                got=f"{declared:,} bytes declared, {stored:,} stored",
            )

    def texts(self) -> dict[str, str]:
        """Return the JSON texts under ``/meta`` by name."""
        found = {}
        for path, dataset in self.datasets.items():
            if not path.startswith("meta/"):
                continue
            raw = np.zeros((), f"S{dataset.get_type().get_size()}")
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=dataset.get_type())
            try:
                found[path.removeprefix("meta/")] = bytes(raw[()]).decode()
            except UnicodeDecodeError as error:
                raise self.refuse(f"{path} is not UTF-8") from error
        return found

    def match(self, manifest: Sequence[Mapping[str, Any]]) -> None:
        """Refuse a file whose datasets are not exactly those of its manifest."""
        listed = {entry["path"]: tuple(entry["shape"]) for entry in manifest}
        held = {
            path: tuple(int(n) for n in dataset.shape)
            for path, dataset in self.datasets.items()
            if not path.startswith("meta/")
        }
        for path in sorted({*listed, *held}):
            if listed.get(path) != held.get(path):
                raise CheckpointError(
                    f"{self.path}: damaged: {path} is not what the manifest says",
                    expected=f"shape {listed[path]}" if path in listed else "no such array",
                    got=f"shape {held[path]}" if path in held else "nothing",
                )

    def load(self, path: str) -> np.ndarray:
        """Return one array as stored, inflating its chunks with a bound."""
        dataset = self.datasets[path]
        settings = dataset.get_create_plist()
        array = np.zeros(dataset.shape, dataset.dtype)
        if not array.size:
            return array
        if settings.get_layout() != h5py.h5d.CHUNKED or not settings.get_nfilters():
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
            return array
        filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
        chunk_shape = tuple(int(n) for n in settings.get_chunk())
        for index in range(dataset.get_num_chunks()):
            info = dataset.get_chunk_info(index)
            if info.byte_offset is None or info.size > self.size or info.filter_mask:
                raise self.refuse(f"{path} has a damaged chunk")
            raw = os.pread(self.descriptor, info.size, info.byte_offset)
            self._place(
                array, _unfilter(self, path, raw, filters, chunk_shape, array.dtype), info.chunk_offset
            )
        return array

    def _place(self, array: np.ndarray, chunk: np.ndarray, offset: tuple[int, ...]) -> None:
        target = tuple(
            slice(int(o), min(int(o) + n, length))
            for o, n, length in zip(offset, chunk.shape, array.shape, strict=True)
        )
        array[target] = chunk[tuple(slice(0, part.stop - part.start) for part in target)]


def _unfilter(  # noqa: PLR0917  a private step of `Source.load`
    source: Source, path: str, raw: bytes, filters: list[int], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    """Undo the filters of one chunk, last one first; never inflate past the chunk's size."""
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = raw
    for number in reversed(filters):
        if number == h5py.h5z.FILTER_DEFLATE:
            stream = zlib.decompressobj()
            data = stream.decompress(data, expected)
            if len(data) != expected or stream.decompress(stream.unconsumed_tail, 1):
                raise source.refuse(f"{path} inflates to another size than it declares")
        else:
            planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
            data = planes.T.tobytes()
    if len(data) != expected:
        raise source.refuse(f"{path} has a chunk of the wrong size")
    return np.frombuffer(data, dtype).reshape(shape)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _plain_type(kind: Any, *, text: bool) -> bool:
    """Return whether a type is a fixed-length string (texts) or a bool, integer or float (arrays)."""
    number = kind.get_class()
    if text:
        return bool(number == h5py.h5t.STRING and not kind.is_variable_str())
    if number == h5py.h5t.ENUM:
        return bool(kind.get_size() == 1 and kind.get_nmembers() == 2 and kind.dtype == np.dtype(bool))
    return bool(number in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) and kind.get_size() <= 8)
