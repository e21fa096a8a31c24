"""Files of other tools that must be refused: each function writes one hostile or damaged sample.

Every sample that could run code would create the file `MARKER` beside itself.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import orbax.checkpoint as ocp
import torch_files as t

MARKER = "ran"
Sample = Callable[[Path], Path]


class Attack:
    """Pickled, this asks for a function of the system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.folder / MARKER}",))


def system_call(folder: Path) -> bytes:
    return t.call(t.named("posix", "system"), t.text(f"touch {folder / MARKER}"))


# PyTorch


def torch_system(folder: Path) -> Path:
    return t.archive(folder / "a.pt", t.ordered({"weight": system_call(folder)}), {})


def torch_eval_by_stack(folder: Path) -> Path:
    raw = b"\x8c\x08builtins\x8c\x04eval\x93" + t.sequence(t.text("1")) + b"R"
    return t.archive(folder / "a.pt", raw, {})


def torch_getattr(folder: Path) -> Path:
    return t.archive(folder / "a.pt", t.named("builtins", "getattr"), {})


def torch_dotted_name(folder: Path) -> Path:
    """A name through an allowed module to another one: torch.storage has os somewhere below."""
    return t.archive(folder / "a.pt", t.named("torch.storage", "os.system"), {})


def torch_module(folder: Path) -> Path:
    raw = t.named("torch.nn.modules.linear", "Linear") + t.EMPTY_TUPLE + b"\x81"
    return t.archive(folder / "a.pt", raw, {})


def torch_build(folder: Path) -> Path:
    return t.archive(folder / "a.pt", t.numbers([1]) + b"}" + b"b", {})


def torch_called_tensor(folder: Path) -> Path:
    made = t.tensor(t.storage("0", "float32", 1), [1])
    return t.archive(folder / "a.pt", t.call(made, t.text("x")), {"0": bytes(4)})


def torch_extension_code(folder: Path) -> Path:
    return t.archive(folder / "a.pt", b"\x82\x01", {})


def torch_other_persistent_id(folder: Path) -> Path:
    return t.archive(folder / "a.pt", t.text("file:///etc/passwd") + b"Q", {})


def torch_storage_outside(folder: Path) -> Path:
    made = t.tensor(t.storage("../../../etc/passwd", "float32", 1), [1])
    return t.archive(folder / "a.pt", t.ordered({"w": made}), {})


def torch_view_beyond(folder: Path) -> Path:
    made = t.tensor(t.storage("0", "float32", 4), [4], offset=1)
    return t.archive(folder / "a.pt", t.ordered({"w": made}), {"0": bytes(16)})


def torch_storage_too_short(folder: Path) -> Path:
    made = t.tensor(t.storage("0", "float32", 400), [400])
    return t.archive(folder / "a.pt", t.ordered({"w": made}), {"0": bytes(16)})


def torch_expanded_bomb(folder: Path) -> Path:
    """A stride of 0: 32 GB out of four bytes."""
    made = t.tensor(t.storage("0", "float32", 1), [2**30, 8], [0, 0])
    return t.archive(folder / "a.pt", t.ordered({"w": made}), {"0": bytes(4)})


def torch_deep(folder: Path) -> Path:
    return t.archive(folder / "a.pt", b"]" * 100_000 + b"a" * 99_999, {})


def torch_aliases(folder: Path) -> Path:
    """Each list holds the one before ten times: 10^30 leaves."""
    raw = b"]" + t.number(1) + b"a"
    for i in range(30):
        raw += b"q" + bytes([i]) + b"0](" + (b"h" + bytes([i])) * 10 + b"e"
    return t.archive(folder / "a.pt", raw, {})


def torch_long(folder: Path) -> Path:
    return t.archive(folder / "a.pt", b"]" * 1_000_001, {})


def torch_copies(folder: Path) -> Path:
    """A dictionary of many items, copied again and again by short instructions."""
    items = b"(" + b"".join(t.number(i) + t.NONE for i in range(50_000)) + b"u"
    copy = t.named("collections", "OrderedDict") + b"h\x00\x85R0"
    return t.archive(folder / "a.pt", b"}" + items + b"q\x00" + copy * 20_000, {})


def torch_keys_that_collide(folder: Path) -> Path:
    keys = (b"\x8a\x0a" + int(i * (2**61 - 1)).to_bytes(10, "little") + t.NONE for i in range(1000))
    return t.archive(folder / "a.pt", b"}(" + b"".join(keys) + b"u", {})


def torch_key_nested(folder: Path) -> Path:
    return t.archive(folder / "a.pt", b"})" + b"\x85" * 100_000 + b"Ns", {})


def torch_zip_bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10 * 2**20))
        for i in range(40):
            archive.writestr(f"archive/data/{i}", bytes(2 * 2**20))
    patched = bytearray((folder / "a.pt").read_bytes())
    place = patched.rindex(b"PK\x01\x02")
    struct.pack_into("<I", patched, place + 24, 2**32 - 2)  # the last member declares 4 GB
    (folder / "a.pt").write_bytes(patched)
    return folder / "a.pt"


def bare_pickle(folder: Path) -> Path:
    (folder / "a.pt").write_bytes(pickle.dumps(Attack(folder)))
    return folder / "a.pt"


# NumPy


def npz_objects(folder: Path) -> Path:
    np.savez(folder / "a.npz", w=np.array([Attack(folder)], dtype=object))
    return folder / "a.npz"


def npz_shape_bomb(folder: Path) -> Path:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("w.npy", buffer.getvalue())
    return folder / "a.npz"


def npz_compression_bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("w.npy", bytes(2**26))
    return folder / "a.npz"


def npy_shape_bomb(folder: Path) -> Path:
    with (folder / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
        )
    return folder / "a.npy"


# safetensors


def tensors(folder: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return folder / "a.safetensors"


def entry(dtype: str, shape: list[int], first: int, last: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def safetensors_shape_bomb(folder: Path) -> Path:
    return tensors(folder, {"w": entry("F32", [2**30, 2**10], 0, 4)}, bytes(4))


def safetensors_overlap(folder: Path) -> Path:
    return tensors(folder, {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, bytes(12))


def safetensors_hole(folder: Path) -> Path:
    return tensors(folder, {"a": entry("F32", [1], 4, 8)}, bytes(8))


def safetensors_more(folder: Path) -> Path:
    return tensors(folder, {"a": entry("F32", [1], 0, 4)}, bytes(40))


def safetensors_twice(folder: Path) -> Path:
    one = json.dumps(entry("F32", [1], 0, 4))
    return tensors(folder, f'{{"a": {one}, "a": {one}}}'.encode(), bytes(4))


def safetensors_huge_header(folder: Path) -> Path:
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", 2**62) + b'{"a"')
    return folder / "a.safetensors"


def safetensors_deep_header(folder: Path) -> Path:
    return tensors(folder, b'{"a":' * 100_000 + b"1" + b"}" * 100_000)


def safetensors_negative(folder: Path) -> Path:
    return tensors(folder, {"a": entry("F32", [-1], 4, 0)}, b"")


def index(folder: Path, file: str) -> Path:
    path = folder / "a.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"w": file}}))
    return path


def index_elsewhere(folder: Path) -> Path:
    return index(folder, "../../etc/passwd")


def index_link(folder: Path) -> Path:
    (folder / "part.safetensors").symlink_to("/etc/passwd")
    return index(folder, "part.safetensors")


# msgpack


def packed(folder: Path, raw: bytes) -> Path:
    (folder / "a.msgpack").write_bytes(raw)
    return folder / "a.msgpack"


def msgpack_deep(folder: Path) -> Path:
    return packed(folder, b"\x81\xa1a" * 100_000 + b"\xc0")


def msgpack_huge_list(folder: Path) -> Path:
    return packed(folder, b"\x81\xa1a\xdd\xff\xff\xff\xff" + bytes(2_000_000))


def msgpack_shape_bomb(folder: Path) -> Path:
    inner = b"\x93\x91\xcf" + struct.pack(">Q", 2**40) + b"\xa7float32\xc4\x04" + bytes(4)
    return packed(folder, b"\x81\xa1w\xc7" + bytes([len(inner)]) + b"\x01" + inner)


def msgpack_key_twice(folder: Path) -> Path:
    return packed(folder, b"\x82\xa1a\x01\xa1a\x02")


def msgpack_ends_early(folder: Path) -> Path:
    return packed(folder, b"\x81\xa1a\xc6\xff\xff\xff\xff")


# Keras


def keras_zip_of_links(folder: Path) -> Path:
    with h5py.File(folder / "inner.h5", "w") as file:
        file["layers/evil"] = h5py.ExternalLink("/etc/passwd", "/")
    with zipfile.ZipFile(folder / "a.keras", "w") as archive:
        archive.write(folder / "inner.h5", "model.weights.h5")
    return folder / "a.keras"


# Orbax


def orbax(folder: Path, *, ocdbt: bool = True) -> Path:
    path = folder.absolute() / "ckpt"
    tree = {"params": {"w": np.arange(4, dtype=np.float32)}}
    ocp.PyTreeCheckpointer(use_ocdbt=ocdbt).save(path, tree)
    return path


def changed(path: Path, file: str, old: str, new: str) -> Path:
    text = (path / file).read_text()
    assert old in text
    (path / file).write_text(text.replace(old, new))
    return path


def orbax_link_out(folder: Path) -> Path:
    path = orbax(folder)
    data = next((path / "ocdbt.process_0" / "d").iterdir())
    shutil.move(data, folder / "elsewhere")
    data.symlink_to(folder / "elsewhere")
    return path


def orbax_linked_folder(folder: Path) -> Path:
    path = orbax(folder, ocdbt=False)
    shutil.move(path / "params.w", folder / "elsewhere")
    (path / "params.w").symlink_to(folder / "elsewhere")
    return path


def orbax_pipe(folder: Path) -> Path:
    path = orbax(folder)
    os.mkfifo(path / "d" / "pipe")
    return path


def orbax_name_outside(folder: Path) -> Path:
    return changed(orbax(folder, ocdbt=False), "_METADATA", '"key": "w"', '"key": "../../../etc"')


def orbax_shape_bomb(folder: Path) -> Path:
    path = orbax(folder, ocdbt=False)
    changed(path, "params.w/.zarray", '"shape":[4]', '"shape":[1099511627776]')
    return changed(path, "params.w/.zarray", '"chunks":[4]', '"chunks":[1099511627776]')


def orbax_many_pieces(folder: Path) -> Path:
    path = orbax(folder, ocdbt=False)
    changed(path, "params.w/.zarray", '"shape":[4]', '"shape":[4000000]')
    return changed(path, "params.w/.zarray", '"chunks":[4]', '"chunks":[1]')


def orbax_codec(folder: Path) -> Path:
    return changed(orbax(folder, ocdbt=False), "params.w/.zarray", '"id":"zstd"', '"id":"evil"')


def orbax_piece_missing(folder: Path) -> Path:
    path = orbax(folder, ocdbt=False)
    (path / "params.w" / "0").unlink()
    return path


def orbax_array_missing(folder: Path) -> Path:
    path = orbax(folder, ocdbt=False)
    shutil.rmtree(path / "params.w")
    return path


def orbax_data_damaged(folder: Path) -> Path:
    path = orbax(folder)
    for file in path.rglob("d/*"):
        file.write_bytes(file.read_bytes()[:-7])
    return path


def orbax_deep_metadata(folder: Path) -> Path:
    path = orbax(folder)
    (path / "_METADATA").write_text('{"tree_metadata":' + "[" * 100_000 + "]" * 100_000 + "}")
    return path


def orbax_unfinished(folder: Path) -> Path:
    path = orbax(folder)
    return path.rename(path.with_name("ckpt.orbax-checkpoint-tmp"))


SAMPLES: dict[str, tuple[Sample, str]] = {
    function.__name__: (function, expected)
    for function, expected in (
        (torch_system, "asks for posix.system"),
        (torch_eval_by_stack, "asks for builtins.eval"),
        (torch_getattr, "asks for builtins.getattr"),
        (torch_dotted_name, r"asks for torch\.storage\.os\.system"),
        (torch_module, r"asks for torch\.nn\.modules\.linear\.Linear"),
        (torch_build, "expects a dict"),
        (torch_called_tensor, "calls what cannot be called"),
        (torch_extension_code, "instruction EXT1"),
        (torch_other_persistent_id, "not a storage"),
        (torch_storage_outside, "beyond its storage"),
        (torch_view_beyond, "beyond its storage"),
        (torch_storage_too_short, "beyond its storage"),
        (torch_expanded_bomb, "declares"),
        (torch_deep, "nested too deep"),
        (torch_aliases, "too many names"),
        (torch_long, "too long"),
        (torch_copies, "again and again"),
        (torch_keys_that_collide, "neither text nor number"),
        (torch_key_nested, "neither text nor number"),
        (torch_zip_bomb, "declares|zip archive"),
        (bare_pickle, "posix.system[\\s\\S]*unpickling"),
        (npz_objects, "Python objects"),
        (npz_shape_bomb, "declares"),
        (npz_compression_bomb, "else than deflate|declares"),
        (npy_shape_bomb, "declares"),
        (safetensors_shape_bomb, "bytes for the shape"),
        (safetensors_overlap, "overlap"),
        (safetensors_hole, "holes"),
        (safetensors_more, "more than its arrays"),
        (safetensors_twice, "twice"),
        (safetensors_huge_header, "header|signature|unknown"),
        (safetensors_deep_header, "damaged"),
        (safetensors_negative, "shape of a is invalid"),
        (index_elsewhere, "elsewhere"),
        (index_link, "is a link"),
        (msgpack_deep, "too deep"),
        (msgpack_huge_list, "too many names"),
        (msgpack_shape_bomb, "bytes for the shape"),
        (msgpack_key_twice, "twice"),
        (msgpack_ends_early, "ends in the middle"),
        (keras_zip_of_links, "link"),
        (orbax_link_out, "is a link"),
        (orbax_linked_folder, "is a link"),
        (orbax_pipe, "a pipe"),
        (orbax_name_outside, "an array with the name"),
        (orbax_shape_bomb, "declares|larger ones"),
        (orbax_many_pieces, "too many pieces"),
        (orbax_codec, "unknown codec"),
        (orbax_piece_missing, "cannot be read"),
        (orbax_array_missing, "holds no array"),
        (orbax_data_damaged, "damaged"),
        (orbax_deep_metadata, "damaged"),
        (orbax_unfinished, "unfinished"),
    )
}
