"""Files that must be refused: each function writes one hostile or damaged sample."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import h5py
import numpy as np
from attacker import Sample, rewritten, sealed, whole
from hostile_data import DATA_SAMPLES


def external_link(path: Path) -> None:
    rewritten(path, lambda f: f.__setitem__("params/evil", h5py.ExternalLink("/etc/passwd", "/")))


def soft_link(path: Path) -> None:
    rewritten(path, lambda f: f.__setitem__("params/evil", h5py.SoftLink("/params/layer/kernel")))


def dangling_link(path: Path) -> None:
    rewritten(path, lambda f: f.__setitem__("params/evil", h5py.SoftLink("/nowhere")))


def alias(path: Path) -> None:
    rewritten(path, lambda f: f.__setitem__("params/evil", f["params/layer/kernel"]))


def cycle(path: Path) -> None:
    rewritten(path, lambda f: f["params/layer"].__setitem__("evil", f["params"]))


def patched(path: Path, signature: bytes, place: int, word: int) -> None:
    """Overwrite a 64-bit word at a place after the last occurrence of a signature."""
    whole(path)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<Q", raw, raw.rindex(signature) + place, word)
    path.write_bytes(raw)


def heap_cycle(path: Path) -> None:
    """Free space whose next free space is itself: the library follows it for ever, and allocates."""
    whole(path)
    raw = bytearray(path.read_bytes())
    heap = raw.rindex(b"HEAP")
    _, free, start = struct.unpack_from("<QQQ", raw, heap + 8)
    struct.pack_into("<Q", raw, start + free, free)
    path.write_bytes(raw)


def heap_that_is_huge(path: Path) -> None:
    patched(path, b"HEAP", 8, 2**40)


def tree_in_itself(path: Path) -> None:
    whole(path)
    raw = bytearray(path.read_bytes())
    node = raw.rindex(b"TREE")
    raw[node + 5] = 1  # one level up, its own child
    struct.pack_into("<Q", raw, node + 32, node)
    path.write_bytes(raw)


def neighbour_of_itself(path: Path) -> None:
    whole(path)
    raw = path.read_bytes()
    patched(path, b"TREE", 16, raw.rindex(b"TREE"))


def name_outside_its_heap(path: Path) -> None:
    patched(path, b"SNOD", 8, 2**33)


def object_outside_the_file(path: Path) -> None:
    patched(path, b"SNOD", 16, 2**33)


def newer_layout(path: Path) -> None:
    """The same content in structures that are not checked before the library sees them."""
    whole(path.with_suffix(".old"))
    with h5py.File(path.with_suffix(".old")) as old, h5py.File(path, "w", libver="latest") as new:
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value


def external_storage(path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["params/layer/bias"]
        file.create_dataset("params/layer/bias", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])

    rewritten(path, change)


def virtual_dataset(path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["params/layer/bias"]
        layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
        file.create_virtual_dataset("params/layer/bias", layout)

    rewritten(path, change)


def object_reference(path: Path) -> None:
    rewritten(path, lambda f: f.create_dataset("params/evil", data=f["params"].ref, dtype=h5py.ref_dtype))


def variable_strings(path: Path) -> None:
    rewritten(path, lambda f: f.create_dataset("params/evil", data=["a", "b"]))


def compound(path: Path) -> None:
    rewritten(
        path, lambda f: f.create_dataset("params/evil", data=np.zeros(3, dtype=[("a", "f4"), ("b", "i4")]))
    )


def unknown_filter(path: Path) -> None:
    rewritten(
        path, lambda f: f.create_dataset("params/evil", data=np.zeros(64), chunks=(8,), compression="lzf")
    )


def committed_type(path: Path) -> None:
    rewritten(path, lambda f: f.__setitem__("params/evil", np.dtype("f8")))


def too_many_axes(path: Path) -> None:
    rewritten(path, lambda f: f.create_dataset("params/evil", data=np.zeros((1,) * 9)))


def deep_groups(path: Path) -> None:
    rewritten(path, lambda f: f.create_group("/".join(["params", *["g"] * 100])))


def many_objects(path: Path) -> None:
    def change(file: h5py.File) -> None:
        group = file.create_group("params/many", track_order=False)
        target = h5py.h5g.create(group.id, b"x")
        for i in range(100_001):
            group.id.links.create_hard(f"{i}".encode(), group.id, b"x")
        del target

    rewritten(path, change)


def oversized_attribute(path: Path) -> None:
    rewritten(path, lambda f: f.attrs.create("kind", np.bytes_(b"x" * 60_000)))


def many_attributes(path: Path) -> None:
    def change(file: h5py.File) -> None:
        for i in range(200):
            file.attrs[f"a{i}"] = np.bytes_(b"x" * 400)

    rewritten(path, change)


def dataset_attribute(path: Path) -> None:
    rewritten(path, lambda f: f["params/layer/kernel"].attrs.__setitem__("x", 1))


def dot_dot_name(path: Path) -> None:
    def change(file: h5py.File) -> None:
        params, layer = file["params"], file["params/layer"]
        params.id.links.create_hard(b"..", layer.id, b"kernel")
        del file["params/layer/kernel"]

    rewritten(path, change)


def user_block(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = 1
    with path.open("r+b") as raw:
        raw.write(b"#!/bin/sh")


def flipped_data(path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["params/layer/kernel"][0, 0] = 99.0

    rewritten(path, change)


def flipped_text(path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["meta/info"]
        file.create_dataset("meta/info", data=np.bytes_(b'{"level": 7}'))

    rewritten(path, change)


def changed_attribute(path: Path) -> None:
    rewritten(path, lambda f: f.attrs.__setitem__("writer", np.bytes_(b"someone")))


def truncated(path: Path) -> None:
    whole(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - 100])


def truncated_header(path: Path) -> None:
    whole(path)
    path.write_bytes(path.read_bytes()[:20])


def bad_superblock(path: Path) -> None:
    whole(path)
    raw = bytearray(path.read_bytes())
    raw[8] = 77
    path.write_bytes(raw)


def family_driver(path: Path) -> None:
    whole(path)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<Q", raw, 48, 512)
    path.write_bytes(raw)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def html_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html>404</html>")


def lfs_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def pickle_file(path: Path) -> None:
    path.write_bytes(b"\x80\x04K\x01.")


def zip_file(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(100))


def folder(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def other_tool(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["model_weights/dense/kernel"] = np.ones(3)


def newer_major(path: Path) -> None:
    rewritten(path, lambda f: (f.attrs.__setitem__("schema", np.bytes_(b"2.0")), sealed(f))[0])


SAMPLES: dict[str, tuple[Sample, str]] = {
    function.__name__: (function, expected)
    for function, expected in (
        (external_link, "link"),
        (soft_link, "link"),
        (dangling_link, "link"),
        (alias, "reached twice"),
        (cycle, "reached twice"),
        (heap_cycle, "round in a circle"),
        (heap_that_is_huge, "beyond the end"),
        (tree_in_itself, "reached twice"),
        (neighbour_of_itself, "round in a circle"),
        (name_outside_its_heap, "outside its heap"),
        (object_outside_the_file, "beyond the end"),
        (newer_layout, "structures"),
        (external_storage, "other files"),
        (virtual_dataset, "other files"),
        (object_reference, "neither numbers"),
        (variable_strings, "neither numbers"),
        (compound, "neither numbers"),
        (unknown_filter, "unknown filter"),
        (committed_type, "neither a group nor a dataset"),
        (too_many_axes, "axes"),
        (deep_groups, "too deep"),
        (many_objects, "too many objects|reached twice"),
        (oversized_attribute, "digest|attributes"),
        (many_attributes, "attributes"),
        (dataset_attribute, "carries attributes"),
        (dot_dot_name, "name"),
        (user_block, "not HDF5"),
        (flipped_data, "digest"),
        (flipped_text, "digest"),
        (changed_attribute, "digest"),
        (truncated, "truncated"),
        (truncated_header, "damaged"),
        (bad_superblock, "damaged"),
        (family_driver, "damaged"),
        (empty, "an empty file"),
        (html_page, "HTML"),
        (lfs_pointer, "git-lfs"),
        (pickle_file, "pickle"),
        (zip_file, "zip"),
        (folder, "is a folder"),
        (fifo, "not a regular file"),
        (other_tool, "not a landscape checkpoint[\\s\\S]*model_weights[\\s\\S]*convert"),
        (newer_major, "newer"),
    )
} | DATA_SAMPLES
