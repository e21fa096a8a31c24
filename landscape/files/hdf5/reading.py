"""Reading HDF5 that may be hostile: bounded memory, no other file opened, no code from the file.

The HDF5 library is used for as little as possible. Objects are walked iteratively over hard links
only; everything is measured before it is opened or allocated; data are read without the library.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import CheckpointError, LandscapeError
from landscape.files.hdf5.data import Chunk, Stored, load_array, stream_digest
from landscape.files.hdf5.guard import is_sound
from landscape.files.hdf5.opening import (
    HINT,
    PARSE_ERRORS,
    RawFile,
    boundary,
    opened_hdf5,
    opened_raw,
    refused,
    unreadable,
)

MAX_DEPTH = 64
MAX_OBJECTS = 100_000
MAX_RANK = 8
MAX_TEXT = 16 * 2**20
MAX_ATTRIBUTES = 64 * 1024
MAX_WORD = 256
MAX_CHUNKS = 100_000  # of all datasets together
FEW_CHUNKS = 256  # of one dataset; this number may be small
MIN_CHUNK = 64 * 1024  # bytes; our writer makes chunks of about a megabyte
MIN_FOREIGN_CHUNK = 1024  # other tools choose from 8 KB on
FREE_BYTES = 2**20  # below this, how well data compresses does not matter
MAX_RATIO = 1_100  # deflate cannot do better than 1,032 to 1
SMALL_BYTES, SMALL_RATIO = 64 * 2**20, 16  # below either, arrays are held before their digests are known
_ROOT_ATTRIBUTES = {"format", "schema", "writer", "digest", "kind"}
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
_NUMBERS = "?bBhHiIqQefd"  # NumPy's characters of the kinds that are stored
_OWN_TYPES = [
    (h5py.h5t.py_create(dtype, logical=True), dtype)
    for dtype in (np.dtype(character).newbyteorder("<") for character in _NUMBERS)
]


@contextlib.contextmanager
def opened(path: Path, *, newer: bool = False) -> Iterator[Source]:
    """Open a file of a sound skeleton; library errors become ours.

    The skeleton of the newer layouts is not checked: `newer` is for processes that may crash.
    """
    place = [""]
    with opened_raw(path) as raw:
        try:
            if not is_sound(raw) and not newer:
                raise CheckpointError(
                    f"{path}: not a landscape checkpoint",
                    got="HDF5 structures that no writer of landscape makes",
                    hint="If another tool wrote it: landscape convert IN OUT.h5.",
                )
            with opened_hdf5(raw) as file:
                yield Source(raw, file, place)
        except LandscapeError:
            raise
        except PARSE_ERRORS as error:
            where = f" at {place[0]}" if place[0] else ""
            raise unreadable(path, f"it cannot be read as HDF5{where}", error) from error


def is_classic(path: Path) -> bool:
    """Return whether a file is of the layout that is checked before the HDF5 library sees it."""
    with opened_raw(path) as raw, boundary(path, "it cannot be read as HDF5"):
        return is_sound(raw)


@dataclasses.dataclass
class Source:
    """An open file: first `walk`, then `texts`, `match` and `load`."""

    raw: RawFile
    file: h5py.File
    place: list[str]  # one item: what is being read, for messages
    datasets: dict[str, Stored] = dataclasses.field(default_factory=dict)
    seen: set[int] = dataclasses.field(default_factory=set)
    declared: int = 0
    stored: int = 0
    num_links: int = 0
    num_chunks: int = 0
    foreign: bool = False  # of another tool: attributes and data that are not numbers are passed over

    def refuse(self, what: str, **details: str) -> CheckpointError:
        """Return the error for a file that is refused as unsafe or damaged."""
        return refused(self.raw.path, what, **details)

    def attributes(self) -> dict[str, str]:
        """Return the root attributes: few, short, fixed-length strings."""
        self.place[0] = "its attributes"
        root = self.file.id
        count = h5py.h5a.get_num_attrs(root)
        if count > 32:
            raise self.refuse(f"{count} attributes", expected=f"only {sorted(_ROOT_ATTRIBUTES)}")
        found: dict[str, str] = {}
        total = 0
        for index in range(count):
            attribute = h5py.h5a.open(root, index=index)
            kind = attribute.get_type()
            total += max(attribute.get_storage_size(), kind.get_size())
            if total > MAX_ATTRIBUTES:
                raise self.refuse("oversized attributes", expected=f"at most {MAX_ATTRIBUTES:,} bytes")
            if not (_is_scalar(attribute.get_space()) and _is_fixed_text(kind)):
                continue
            value = np.zeros((), f"S{kind.get_size()}")
            attribute.read(value, mtype=kind)
            found[attribute.name.decode("utf-8", "replace")] = bytes(value[()]).decode("utf-8", "replace")
        if found.get("format", "").startswith("landscape-") and (
            len(found) != count or set(found) - _ROOT_ATTRIBUTES
        ):
            raise self.refuse("attributes that no writer of landscape makes")
        return found

    def root_text(self, name: str) -> str:
        """Return one root attribute if it is a short text, whatever else another tool put there."""
        self.place[0] = "its attributes"
        raw = name.encode()
        if not h5py.h5a.exists(self.file.id, raw):
            return ""
        attribute = h5py.h5a.open(self.file.id, raw)
        kind = attribute.get_type()
        if not (_is_scalar(attribute.get_space()) and _is_fixed_text(kind) and kind.get_size() <= MAX_WORD):
            return ""
        value = np.zeros((), f"S{kind.get_size()}")
        attribute.read(value, mtype=kind)
        return bytes(value[()]).decode("utf-8", "replace")

    def top_level(self) -> list[str]:
        """Return the first few names in the root group, whatever they are."""
        names = [name.decode("utf-8", "replace") for name, _ in self._links(self.file.id, limit=6)]
        return [*names[:5], "…"] if len(names) > 5 else names

    def walk(self) -> None:
        """Visit every object once, over hard links, and measure it before anything is read."""
        root = h5py.h5g.open(self.file.id, b"/")
        self._see(h5py.h5o.get_info(root).addr, "/")
        stack: list[tuple[Any, str, int]] = [(root, "", 0)]
        while stack:
            group, prefix, depth = stack.pop()
            self.num_links += group.get_num_objs()
            if self.num_links > MAX_OBJECTS:
                raise self.refuse("too many objects", expected=f"at most {MAX_OBJECTS:,}")
            for name, link in self._links(group, limit=MAX_OBJECTS):
                child = self._open(group, name, link, prefix)
                path = f"{prefix}{name.decode()}"
                if isinstance(child, h5py.h5d.DatasetID):
                    self._add(child, path)
                elif depth + 1 > MAX_DEPTH:
                    raise self.refuse("groups nested too deep", expected=f"at most {MAX_DEPTH} levels")
                else:
                    stack.append((child, f"{path}/", depth + 1))

    def _links(self, group: Any, *, limit: int) -> list[tuple[bytes, int]]:
        """Return the name and kind of every link of a group, without following any."""
        found: list[tuple[bytes, int]] = []

        def add(name: bytes, info: Any) -> bool | None:
            found.append((name, info.type))
            return True if len(found) >= limit else None

        group.links.iterate(add, info=True)
        return found

    def _open(self, group: Any, name: bytes, link: int, prefix: str) -> Any:
        """Open the target of a hard link, refusing all other links and objects."""
        where = self.place[0] = f"{prefix}{name.decode('utf-8', 'replace')}"
        if name in (b".", b"..", b"") or b"/" in name or b"\x00" in name or not _is_utf8(name):
            raise self.refuse(f"the name {where!r}")
        if link != h5py.h5l.TYPE_HARD:
            raise self.refuse(f"{where} is a link to another place or file")
        info = h5py.h5o.get_info(group, name)
        if info.type not in (h5py.h5o.TYPE_GROUP, h5py.h5o.TYPE_DATASET):
            raise self.refuse(f"{where} is neither a group nor a dataset")
        self._see(info.addr, where)
        child = h5py.h5o.open(group, name)
        if not self.foreign and h5py.h5a.get_num_attrs(child):
            raise self.refuse(f"{where} carries attributes")
        return child

    def _see(self, address: int, where: str) -> None:
        if address in self.seen:
            raise self.refuse(f"{where} is reached twice (a cycle or an alias)")
        self.seen.add(address)

    def _add(self, dataset: Any, path: str) -> None:
        """Measure a dataset: refuse kinds, shapes, storage or filters that are not those of our files."""
        settings, space, kind = dataset.get_create_plist(), dataset.get_space(), dataset.get_type()
        if self.foreign and not _is_number(kind):
            return
        if path.startswith("meta/") and not self.foreign:
            dtype = self._text_type(path, space, kind)
        else:
            dtype = self._number_type(path, kind)
        self._check_storage(settings, path)
        if space.get_simple_extent_type() not in (h5py.h5s.SCALAR, h5py.h5s.SIMPLE):
            raise self.refuse(f"{path} has no data")
        shape = tuple(int(n) for n in space.get_simple_extent_dims())
        if len(shape) > MAX_RANK:
            raise self.refuse(f"{path} has {len(shape)} axes", expected=f"at most {MAX_RANK}")
        layout, declared = settings.get_layout(), kind.get_size() * math.prod(shape)
        where: dict[str, Any] = {}
        if layout == h5py.h5d.CHUNKED:
            where = self._chunked(dataset, settings, path, (shape, dtype))
        else:
            self._bound(path, declared, dataset.get_storage_size())
        if layout == h5py.h5d.CONTIGUOUS and declared:
            where = {"offset": self._contiguous(dataset, path, declared)}
        elif layout == h5py.h5d.COMPACT:
            where = {"compact": dataset}
        self.datasets[path] = Stored(path=path, shape=shape, dtype=dtype, **where)

    def _text_type(self, path: str, space: Any, kind: Any) -> np.dtype[Any]:
        """Return the type of a JSON text: one string of fixed length, padded with NUL bytes."""
        if not (_is_scalar(space) and _is_fixed_text(kind) and kind.get_strpad() == h5py.h5t.STR_NULLPAD):
            raise self.refuse(
                f"{path} holds neither numbers nor one of the texts", expected="one text of fixed length"
            )
        if kind.get_size() > MAX_TEXT:
            raise self.refuse(
                f"{path} is {kind.get_size():,} bytes of text", expected=f"at most {MAX_TEXT:,}"
            )
        return np.dtype(f"S{kind.get_size()}")

    def _number_type(self, path: str, kind: Any) -> np.dtype[Any]:
        """Return the NumPy type whose bytes are those of the file."""
        if not self.foreign:
            dtype = next((ours for known, ours in _OWN_TYPES if kind.equal(known)), None)
        else:
            dtype = kind.dtype if kind.equal(h5py.h5t.py_create(kind.dtype, logical=True)) else None
        if dtype is None:
            raise self.refuse(f"{path} holds neither numbers nor one of the texts, as our writer stores them")
        return np.dtype(dtype)

    def _check_storage(self, settings: Any, path: str) -> None:
        layout = settings.get_layout()
        if layout == h5py.h5d.VIRTUAL or settings.get_external_count():
            raise self.refuse(f"{path} takes its data from other files")
        known = (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, *([h5py.h5d.COMPACT] if self.foreign else []))
        if layout not in known:
            raise self.refuse(f"{path} has an unknown storage layout")
        filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
        if set(filters) - _FILTERS or len(filters) != len(set(filters)):
            raise self.refuse(f"{path} needs an unknown filter", got=f"filters {filters}")

    def _bound(self, path: str, declared: int, stored: int) -> None:
        """Refuse more data than the file can hold: no byte is stored twice, nor missing."""
        self.declared += declared
        self.stored += stored
        too_dense = declared > FREE_BYTES and declared > MAX_RATIO * min(stored, self.raw.size)
        in_all = self.declared > FREE_BYTES and self.declared > MAX_RATIO * self.raw.size
        if too_dense or in_all or self.stored > self.raw.size:
            raise self.refuse(
                f"{path} declares more data than the file can hold",
                expected=f"at most {MAX_RATIO:,} times what is stored, and no byte used twice",
                got=f"{declared:,} bytes declared, {stored:,} stored",
            )

    def _contiguous(self, dataset: Any, path: str, declared: int) -> int:
        offset, stored = dataset.get_offset(), dataset.get_storage_size()
        if offset is None or stored != declared or offset + declared > self.raw.size:
            raise self.refuse(
                f"{path} is not stored completely", expected=f"{declared:,} bytes", got=f"{stored:,}"
            )
        return int(offset)

    def _chunked(
        self, dataset: Any, settings: Any, path: str, array: tuple[tuple[int, ...], np.dtype[Any]]
    ) -> dict[str, Any]:
        """Return where the chunks of an array are: all of them, each once."""
        shape, dtype = array
        lengths = tuple(int(n) for n in settings.get_chunk())
        declared, chunk = (dtype.itemsize * math.prod(x) for x in (shape, lengths))
        if chunk > max(declared, FREE_BYTES):
            raise self.refuse(f"{path} has chunks larger than itself")
        count = math.prod(-(-n // length) for n, length in zip(shape, lengths, strict=True))
        stored = dataset.get_storage_size()
        self._bound(path, count * chunk, stored)
        self.num_chunks += count
        least = min(declared, MIN_FOREIGN_CHUNK if self.foreign else MIN_CHUNK)
        if self.num_chunks > MAX_CHUNKS or (chunk < least and count > FEW_CHUNKS):
            raise self.refuse(
                f"{path} is cut into {count:,} chunks",
                expected=f"chunks of at least {least:,} bytes, {MAX_CHUNKS:,} in the file",
                got=f"{chunk:,} bytes each",
            )
        return {
            "chunks": self._chunks(dataset, path, (shape, lengths, count)) if count else None,
            "chunk_shape": lengths,
            "filters": tuple(settings.get_filter(i)[0] for i in range(settings.get_nfilters())),
        }

    def _chunks(
        self, dataset: Any, path: str, grid: tuple[tuple[int, ...], tuple[int, ...], int]
    ) -> tuple[Chunk, ...]:
        shape, lengths, count = grid
        found: dict[tuple[int, ...], Chunk] = {}
        wrong: list[Any] = []

        def add(info: Any) -> bool | None:
            at = tuple(int(n) for n in info.chunk_offset)
            inside = all(n < m and n % step == 0 for n, m, step in zip(at, shape, lengths, strict=True))
            end = -1 if info.byte_offset is None else info.byte_offset + info.size
            if at in found or not inside or info.filter_mask or not 0 < end <= self.raw.size:
                wrong.append(at)
                return True
            found[at] = Chunk(position=at, offset=int(info.byte_offset), size=int(info.size))
            return None

        dataset.chunk_iter(add)
        if wrong or len(found) != count:
            raise self.refuse(
                f"{path} is not stored completely", expected=f"{count:,} chunks", got=f"{len(found):,} sound"
            )
        return tuple(found.values())

    def texts(self) -> dict[str, str]:
        """Return the JSON texts under ``/meta`` by name."""
        found = {}
        for path in [path for path in self.datasets if path.startswith("meta/")]:
            stored = self.datasets[path]
            self.place[0] = path
            text = self.raw.read(stored.offset or 0, stored.dtype.itemsize).decode()
            if "\x00" in text and text != "\x00":
                raise self.refuse(f"{path} is not a text")
            found[path.removeprefix("meta/")] = "" if text == "\x00" else text
        return found

    def match(self, manifest: Sequence[Mapping[str, Any]]) -> None:
        """Refuse a file whose datasets are not exactly those of its manifest."""
        listed = {entry["path"]: tuple(entry["shape"]) for entry in manifest}
        held = {path: stored.shape for path, stored in self.datasets.items() if not path.startswith("meta/")}
        for path in sorted({*listed, *held}):
            if listed.get(path) != held.get(path):
                raise CheckpointError(
                    f"{self.raw.path}: damaged: {path} is not what the manifest says",
                    expected=f"shape {listed[path]}" if path in listed else "no such array",
                    got=f"shape {held[path]}" if path in held else "nothing",
                    hint=HINT,
                )

    def swells(self) -> bool:
        """Return whether the arrays are much larger than the file, so that refusing them must come first."""
        return self.declared > max(SMALL_BYTES, SMALL_RATIO * self.raw.size)

    def digest(self, path: str) -> str | None:
        """Return the digest of a chunked array without holding it in memory."""
        self.place[0] = path
        return stream_digest(self.raw, self.datasets[path])

    def load(self, path: str) -> np.ndarray:
        """Return one array as stored."""
        self.place[0] = path
        return load_array(self.raw, self.datasets[path])


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_scalar(space: Any) -> bool:
    return bool(space.get_simple_extent_type() == h5py.h5s.SCALAR)


def _is_fixed_text(kind: Any) -> bool:
    """Return whether a type is a fixed-length string in a known character set."""
    return bool(
        kind.get_class() == h5py.h5t.STRING
        and not kind.is_variable_str()
        and kind.get_size() > 0
        and kind.get_cset() in (h5py.h5t.CSET_ASCII, h5py.h5t.CSET_UTF8)
    )


def _is_number(kind: Any) -> bool:
    """Return whether a type is a bool, integer or floating-point number of at most 64 bits."""
    number = kind.get_class()
    if number == h5py.h5t.ENUM:
        return bool(kind.get_size() == 1 and kind.get_nmembers() == 2 and kind.dtype == np.dtype(bool))
    return bool(number in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) and kind.get_size() <= 8)
