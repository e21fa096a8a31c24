"""The skeleton of an HDF5 file, checked before the HDF5 library sees it.

The library follows some chains for as long as they last: the free list of a heap that points to
itself makes it allocate for ever. Here every address of the classic layout (superblocks 0 and 1: object
headers, groups with their B-trees, heaps and symbol nodes, chunk indices) is followed first, each
once and inside the file.

References
----------
The HDF Group, HDF5 File Format Specification Version 3.0, sections II to IV.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

from landscape.errors import CheckpointError
from landscape.files.hdf5.opening import RawFile, refused

UNDEFINED = 2**64 - 1
MAX_ENTRIES = 500_000  # of all nodes, and the nodes themselves
_WINDOW = 1 << 16
_NIL, _LAYOUT, _EXTERNAL, _CONTINUATION, _SYMBOL_TABLE = 0x00, 0x08, 0x07, 0x10, 0x11
# Dataspace, datatype, fill values, filters, attribute, times: what the classic writer also makes.
_CLASSIC = {_NIL, _LAYOUT, _CONTINUATION, _SYMBOL_TABLE, 0x01, 0x03, 0x04, 0x05, 0x0B, 0x0C, 0x0E, 0x12}
_SHARED = 0x02
_END_OF_FREE_LIST = 1
_CHUNKED, _VIRTUAL = 2, 3
_SOFT_LINK = b"\x02\0\0\0"


def is_sound(file: RawFile) -> bool:
    """Return whether all of a file's skeleton is of the classic layout, and sound.

    Raises
    ------
    CheckpointError
        If a part of it that is of the classic layout points outside the file or round in a circle.
    """
    version = file.read(8, 1)[0]
    if version > 1:
        return False
    skeleton = _Skeleton(file=file, shift=4 * version)
    skeleton.walk()
    return skeleton.classic


@dataclasses.dataclass(kw_only=True)
class _Skeleton:
    """What was seen so far; `shift` is what superblock 1 has more than 0."""

    file: RawFile
    shift: int
    classic: bool = True
    seen: set[int] = dataclasses.field(default_factory=set)
    num_entries: int = 0
    spent: int = 0  # bytes looked at
    window: tuple[int, bytes] = (0, b"")

    def refuse(self, what: str) -> CheckpointError:
        return refused(self.file.path, f"its structure is damaged: {what}")

    def bytes_at(self, address: int, length: int, what: str) -> bytes:
        """Return bytes of the file through a window; no byte beyond the end, none used for two things."""
        self.spent += length
        if address + length > self.file.size:
            raise self.refuse(f"{what} lies beyond the end of the file")
        if self.spent > self.file.size:
            raise self.refuse(f"{what} overlaps another part")
        start, held = self.window
        if not start <= address <= address + length <= start + len(held):
            start, size = address, max(length, min(_WINDOW, self.file.size - address))
            held = self.file.read(start, size)
            self.window = (start, held)
        return held[address - start : address - start + length]

    def once(self, address: int, what: str) -> None:
        """Note an address; no two parts of the skeleton are in one place."""
        if address in self.seen:
            raise self.refuse(f"{what} is reached twice")
        self.seen.add(address)
        self.count(1)

    def count(self, entries: int) -> None:
        """Note nodes and entries of nodes; there is a bound to how many there are."""
        self.num_entries += entries
        if self.num_entries > MAX_ENTRIES:
            raise self.refuse("too many objects")

    def walk(self) -> None:
        """Follow every object from the root group on."""
        entry = self.bytes_at(56 + self.shift, 40, "the root group")
        stack = [entry]
        opened: set[int] = set()
        while stack:
            entry = stack.pop()
            _, address, cached = struct.unpack_from("<QQI", entry)
            table = self.header(address, opened) if address not in opened else None
            if cached == 1:
                shortcut = struct.unpack_from("<QQ", entry, 24)
                if table is not None and shortcut != table:
                    raise self.refuse("a group has two contents")
            if table is not None:
                stack.extend(self.group(*table))

    def header(self, address: int, opened: set[int]) -> tuple[int, int] | None:
        """Check an object header of version 1; return the B-tree and heap of a group."""
        opened.add(address)
        version, _, total, _, length = struct.unpack("<BBHII", self.bytes_at(address, 12, "an object header"))
        if version != 1:  # the newer one begins with its signature
            self.classic = False
            return None
        self.once(address, "an object header")
        table: tuple[int, int] | None = None
        blocks, count = [(address + 16, length)], 0
        while blocks:
            for kind, flags, data in self.messages(*blocks.pop()):
                count += 1
                self.classic &= kind in _CLASSIC and not flags & _SHARED
                if kind == _CONTINUATION:
                    where, size = _unpack(self, "<QQ", data)
                    self.once(where, "a continued header")
                    blocks.append((where, size))
                elif kind == _SYMBOL_TABLE:
                    if table is not None:
                        raise self.refuse("a group has two contents")
                    tree, heap = _unpack(self, "<QQ", data)
                    table = tree, heap
                elif kind == _LAYOUT:
                    self.layout(data)
                elif kind == _EXTERNAL:
                    raise refused(self.file.path, "a dataset takes its data from other files")
        self.classic &= count <= total
        return table

    def messages(self, start: int, length: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield the kind, flags and data of every message of one block."""
        block, place = self.bytes_at(start, length, "an object header"), 0
        while place + 8 <= length:
            kind, size, flags = struct.unpack_from("<HHB", block, place)
            if place + 8 + size > length:
                raise self.refuse("a header message is longer than its header")
            yield kind, flags, block[place + 8 : place + 8 + size]
            place += 8 + size

    def layout(self, data: bytes) -> None:
        """Check the chunk index of a dataset."""
        version, kind = _unpack(self, "<BB", data)
        if version >= 4 and kind == _VIRTUAL:
            raise refused(self.file.path, "a dataset takes its data from other files")
        if version != 3:
            self.classic = False
        elif kind == _CHUNKED:
            axes, address = struct.unpack_from("<BQ", data.ljust(11, b"\0"), 2)
            if address != UNDEFINED:
                for _ in self.tree(address, 1, 8 + 8 * axes):  # neither levels nor nodes repeat
                    pass

    def group(self, tree: int, heap: int) -> list[bytes]:
        """Return the symbol table entries of a group, names checked."""
        names = self.heap(heap)
        entries: list[bytes] = []
        for is_leaf, keys, address in self.tree(tree, 0, 8):
            for key in keys:
                self.name(names, key)
            if is_leaf:
                entries += self.symbols(address)
        for entry in entries:
            self.name(names, entry[:8])
        return [entry for entry in entries if entry[16:20] != _SOFT_LINK]

    def symbols(self, address: int) -> list[bytes]:
        """Return the entries of a symbol node."""
        self.once(address, "a symbol node")
        signature, version, _, count = struct.unpack("<4sBBH", self.bytes_at(address, 8, "a symbol node"))
        if signature != b"SNOD" or version != 1:
            raise self.refuse("a symbol node is none")
        self.count(count)
        block = self.bytes_at(address + 8, 40 * count, "a symbol node")
        return [block[i : i + 40] for i in range(0, len(block), 40)]

    def name(self, names: bytes, field: bytes) -> None:
        offset = int.from_bytes(field, "little")
        if offset >= len(names) or names.find(b"\0", offset) < 0:
            raise self.refuse("a name lies outside its heap")

    def heap(self, address: int) -> bytes:
        """Return the names of a group, after following the free list of their heap to its end."""
        self.once(address, "a heap")
        signature, version, size, free, start = struct.unpack(
            "<4sB3xQQQ", self.bytes_at(address, 32, "a heap")
        )
        if signature != b"HEAP" or version != 0:
            raise self.refuse("a heap is none")
        names, room = self.bytes_at(start, size, "a heap"), size
        while free != _END_OF_FREE_LIST:
            if free + 16 > size:
                raise self.refuse("free space lies outside its heap")
            free, length = struct.unpack_from("<QQ", names, free)
            room -= max(16, length)
            if room < 0:
                raise self.refuse("the free space of a heap goes round in a circle")
        return names

    def tree(self, root: int, kind: int, key_size: int) -> Iterator[tuple[bool, tuple[bytes, bytes], int]]:
        """Yield (is a leaf, keys around it, address) of all below a B-tree of version 1.

        Levels must fall by one, and neighbours must agree who they are.
        """
        row, level = [root], -1
        while row:
            below: list[tuple[bool, tuple[bytes, bytes], int]] = []
            for left, address, right in zip([UNDEFINED, *row], row, [*row[1:], UNDEFINED], strict=False):
                found, beside, children = self.tree_node(address, kind, key_size)
                level = found if level < 0 else level
                if found != level or beside != (left, right):
                    raise self.refuse("a B-tree goes round in a circle")
                below += [(not level, keys, child) for keys, child in children]
            yield from below
            row, level = [child for _, _, child in below] if level else [], level - 1

    def tree_node(
        self, address: int, kind: int, key_size: int
    ) -> tuple[int, tuple[int, int], list[tuple[tuple[bytes, bytes], int]]]:
        """Return level, neighbours, and the (keys, address) of each child of a B-tree node."""
        self.once(address, "a B-tree node")
        signature, found, level, count, *beside = struct.unpack(
            "<4sBBHQQ", self.bytes_at(address, 24, "a B-tree node")
        )
        if signature != b"TREE" or found != kind:
            raise self.refuse("a B-tree node is none")
        self.count(count)
        step = key_size + 8
        block = self.bytes_at(address + 24, count * step + key_size, "a B-tree node")
        children = []
        for i in range(0, count * step, step):
            keys = block[i : i + key_size], block[i + step : i + step + key_size]
            children.append((keys, int.from_bytes(block[i + key_size : i + step], "little")))
        return level, (beside[0], beside[1]), children


def _unpack(skeleton: _Skeleton, form: str, data: bytes) -> tuple[int, ...]:
    if len(data) < struct.calcsize(form):
        raise skeleton.refuse("a header message is too short")
    return struct.unpack_from(form, data)
