"""Texts, shapes, storage and names that lie: each function writes one hostile sample."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
from attacker import Sample, manifest_of, rewritten, sealed, whole

from landscape.trees import array_digest

ZEROS_DIGEST = array_digest(np.zeros(4, np.float32))


def spelling_of_a_name(path: Path) -> None:
    """Two names that stand for one key: the second would hide the first."""

    def change(file: h5py.File) -> None:
        file["params/%6Cayer/bias"] = np.zeros(4, np.float32)
        entry = {"path": "params/%6Cayer/bias", "shape": [4], "dtype": "float32", "digest": ZEROS_DIGEST}
        sealed(file, [*manifest_of(file), entry])

    rewritten(path, change)


def shape_bomb(path: Path) -> None:
    def change(file: h5py.File) -> None:
        file.create_dataset("params/evil", shape=(2**20, 2**22), dtype="f8", chunks=(1024, 1024))
        sealed(
            file,
            [
                *manifest_of(file),
                {"path": "params/evil", "shape": [2**20, 2**22], "dtype": "float64", "digest": ""},
            ],
        )

    rewritten(path, change)


def overflowing_shape(path: Path) -> None:
    rewritten(
        path,
        lambda f: f.create_dataset(
            "params/evil", shape=(2**40, 2**40, 0), dtype="f8", maxshape=(None,) * 3, chunks=(1, 1, 1)
        ),
    )


def many_small_bombs(path: Path) -> None:
    def change(file: h5py.File) -> None:
        for i in range(200):
            file.create_dataset(
                f"params/evil{i}", shape=(250_000,), dtype="f4", chunks=(125_000,), compression="gzip"
            )

    rewritten(path, change)


def chunk_bomb(path: Path) -> None:
    """A chunk whose deflate stream inflates to a hundred times what the chunk declares."""

    def change(file: h5py.File) -> None:
        dataset = file.create_dataset(
            "params/evil", shape=(4096,), dtype="u1", chunks=(4096,), compression="gzip"
        )
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(400 * 2**20), 9))
        entry = {"path": "params/evil", "shape": [4096], "dtype": "uint8", "digest": ""}
        sealed(file, [*manifest_of(file), entry])

    rewritten(path, change)


def huge_chunk(path: Path) -> None:
    rewritten(
        path,
        lambda f: f.create_dataset(
            "params/evil", shape=(1,), maxshape=(None,), dtype="f8", chunks=(2**28,), compression="gzip"
        ),
    )


def duplicate_manifest_entry(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, [*manifest_of(f), manifest_of(f)[0]]))


def missing_manifest_entry(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, manifest_of(f)[1:]))


def foreign_manifest_entry(path: Path) -> None:
    extra = {"path": "params/ghost", "shape": [1], "dtype": "float32", "digest": "0" * 32}
    rewritten(path, lambda f: sealed(f, [*manifest_of(f), extra]))


def wrong_shape_in_manifest(path: Path) -> None:
    def change(file: h5py.File) -> None:
        entries = manifest_of(file)
        entries[0]["shape"] = [2, 2]
        sealed(file, entries)

    rewritten(path, change)


def text_like(path: Path, **options: object) -> None:
    """Replace a text by a dataset of another make."""

    def change(file: h5py.File) -> None:
        del file["meta/info"]
        file.create_dataset("meta/info", **options)

    rewritten(path, change)


def text_array(path: Path) -> None:
    """Many strings where the reader has room for one: read at once, they overwrite the heap."""
    text_like(path, data=np.full(100_000, b"x" * 50))


def text_of_one_row(path: Path) -> None:
    text_like(path, data=np.full((1,), b'{"level": 0}'))


def padded_text(path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["meta/info"]
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(12)
        kind.set_strpad(h5py.h5t.STR_SPACEPAD)
        h5py.h5d.create(file["meta"].id, b"info", kind, h5py.h5s.create(h5py.h5s.SCALAR))

    rewritten(path, change)


def text_of_variable_length(path: Path) -> None:
    text_like(path, data='{"level": 0}', dtype=h5py.string_dtype())


def unwritten_text(path: Path) -> None:
    text_like(path, shape=(), dtype="S1000000")


def text_that_is_no_utf8(path: Path) -> None:
    text_like(path, data=np.bytes_(b'{"level": "\xff"}'))


def listed_bomb(path: Path, shape: tuple[int, ...], **options: object) -> None:
    """Add a dataset that is never written but listed: the attacker's digests are right."""

    def change(file: h5py.File) -> None:
        file.create_dataset("params/evil", shape=shape, dtype="f4", **options)
        entry = {"path": "params/evil", "shape": list(shape), "dtype": "float32", "digest": ""}
        sealed(file, [*manifest_of(file), entry])

    rewritten(path, change)


def unwritten_array(path: Path) -> None:
    listed_bomb(path, (200_000,))


def unwritten_chunks(path: Path) -> None:
    listed_bomb(path, (2**18,), chunks=(2**16,))


def inflating(path: Path, shape: tuple[int, int], chunks: tuple[int, int]) -> None:
    """Add an array of which every chunk is there, a thousandth of its size, with a wrong digest."""

    def change(file: h5py.File) -> None:
        evil = file.create_dataset("params/evil", shape=shape, dtype="u1", chunks=chunks, compression=9)
        chunk = zlib.compress(bytes(chunks[0] * chunks[1]), 9)
        for row in range(0, shape[0], chunks[0]):
            for column in range(0, shape[1], chunks[1]):
                evil.id.write_direct_chunk((row, column), chunk)
        entry = {"path": "params/evil", "shape": list(shape), "dtype": "uint8", "digest": ""}
        sealed(file, [*manifest_of(file), entry])

    rewritten(path, change)


def bomb_of_zeros(path: Path) -> None:
    inflating(path, (2**8, 2**20), (1, 2**20))


def bomb_of_columns(path: Path) -> None:
    inflating(path, (2**20, 2**8), (2**20, 1))


def partly_written_chunks(path: Path) -> None:
    """One chunk of a thousand is there: the rest would be filled in, a gigabyte of it."""

    def change(file: h5py.File) -> None:
        evil = file.create_dataset("params/evil", shape=(2**18, 1000), dtype="f4", chunks=(2**18, 1))
        evil[:, 0] = 1
        entry = {"path": "params/evil", "shape": [2**18, 1000], "dtype": "float32", "digest": ""}
        sealed(file, [*manifest_of(file), entry])

    rewritten(path, change)


def tiny_chunks(path: Path) -> None:
    """One value a chunk: finding all of them takes minutes."""

    def change(file: h5py.File) -> None:
        file.create_dataset("params/evil", data=np.zeros(30_000, np.float32), chunks=(1,), compression="gzip")
        entry = {"path": "params/evil", "shape": [30_000], "dtype": "float32", "digest": ""}
        sealed(file, [*manifest_of(file), entry])

    rewritten(path, change)


def big_endian(path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["params/layer/bias"]
        file["params/layer/bias"] = np.ones(4, ">f4")

    rewritten(path, change)


def truth_of_two(path: Path) -> None:
    """A mask with bytes other than 0 and 1, for which NumPy's arithmetic has no meaning."""
    mask = {"layer": {"kernel": np.ones((3, 4), bool), "bias": np.ones(4, bool)}}
    whole(path, mask=mask)
    with h5py.File(path, "r+") as file:
        values = np.full(4, 2, np.uint8)
        del file["mask/layer/bias"]
        dataset = file.create_dataset("mask/layer/bias", shape=(4,), dtype=bool)
        dataset[:] = True
        offset = dataset.id.get_offset()
        entries = manifest_of(file)
        for entry in entries:
            if entry["path"] == "mask/layer/bias":
                entry["digest"] = array_digest(values)
        sealed(file, entries)
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(values.tobytes())


def many_values(path: Path) -> None:
    """Sixteen megabytes of text that would be half a gigabyte of objects."""
    rewritten(path, lambda f: sealed(f, info='{"x": [' + "{}," * (5 * 2**20) + "{}]}"))


def long_quotes(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, info='{"x": "' + '\\"' * (7 * 2**20)))


def info_that_is_a_list(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, info="[1]"))


def float_that_is_none(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, info='{"loss": {"$float": []}}'))


def manifest_that_is_a_number(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, manifest="7"))


def shape_of_a_huge_number(path: Path) -> None:
    def change(file: h5py.File) -> None:
        entries = manifest_of(file)
        entries[0]["shape"] = [10**300]
        sealed(file, entries)

    rewritten(path, change)


def deep_json(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, info="[" * 100_000 + "]" * 100_000))


def huge_json(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, info='"' + "x" * (17 * 2**20) + '"'))


def repeated_json_key(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, info='{"level": 0, "level": 1}'))


def huge_number(path: Path) -> None:
    rewritten(path, lambda f: sealed(f, info='{"level": ' + "9" * 100_000 + "}"))


DATA_SAMPLES: dict[str, tuple[Sample, str]] = {
    function.__name__: (function, expected)
    for function, expected in (
        (shape_bomb, "more data than"),
        (overflowing_shape, "manifest|more data"),
        (many_small_bombs, "more data than|not stored completely"),
        (chunk_bomb, "inflates"),
        (huge_chunk, "chunks larger"),
        (duplicate_manifest_entry, "damaged manifest"),
        (missing_manifest_entry, "manifest"),
        (foreign_manifest_entry, "manifest"),
        (wrong_shape_in_manifest, "manifest"),
        (deep_json, "JSON"),
        (spelling_of_a_name, "another spelling"),
        (text_array, "texts"),
        (text_of_one_row, "texts"),
        (padded_text, "texts"),
        (text_of_variable_length, "texts"),
        (unwritten_text, "meta/info is not stored completely"),
        (text_that_is_no_utf8, "meta/info"),
        (unwritten_array, "params/evil is not stored completely"),
        (unwritten_chunks, "params/evil is not stored completely"),
        (bomb_of_zeros, "digest of params/evil"),
        (bomb_of_columns, "whole rows"),
        (partly_written_chunks, "params/evil is not stored completely"),
        (tiny_chunks, "30,000 chunks"),
        (big_endian, "as our writer stores them"),
        (truth_of_two, "mask/layer/bias holds truth values"),
        (many_values, "JSON"),
        (long_quotes, "JSON"),
        (info_that_is_a_list, "meta/info"),
        (float_that_is_none, "meta/info"),
        (manifest_that_is_a_number, "manifest"),
        (shape_of_a_huge_number, "manifest"),
        (huge_json, "text"),
        (repeated_json_key, "JSON"),
        (huge_number, "JSON"),
    )
}
