"""Random damage to small files: what reading them does is counted in a process of its own.

Run by hand for thousands of cases: ``python tests/fuzzing.py FOLDER FIRST COUNT``.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape import Checkpoint, load, save
from landscape.errors import CheckpointError
from landscape.files import compare, describe, read_foreign
from landscape.trees import by_path

SLOW = 5.0  # seconds after which a case counts as a hang
_WORDS = (0, 1, 2, 8, 0xFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


def samples(folder: Path) -> dict[str, Path]:
    """Write a dense and a masked checkpoint, and a file of another tool."""
    kernel = np.arange(12, dtype=np.float32).reshape(3, 4)
    mask = kernel > 5
    paths = {name: folder / f"{name}.h5" for name in ("dense", "masked", "foreign")}
    tree = {"layer": {"kernel": kernel, "bias": np.ones(4, np.float32)}, "scale": np.float32(2)}
    save(
        paths["dense"],
        Checkpoint(params=tree, history={"loss": np.arange(3.0)}, info={"level": 0}),
        force=True,
    )
    save(
        paths["masked"],
        Checkpoint(params={"w": kernel * mask}, mask={"w": mask}, config={"seed": 1}),
        force=True,
    )
    with h5py.File(paths["foreign"], "w") as file:
        file.create_dataset("a/kernel", data=np.arange(64.0).reshape(8, 8), chunks=(4, 4), compression="gzip")
        file.create_dataset("a/bias", data=np.ones(4, ">f4")).attrs["note"] = "x"
        file.create_dataset("names", data=["a", "b"])
    return paths


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes with one to three random changes."""
    out = bytearray(raw)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(out)))
        kind = int(rng.integers(6))
        if kind == 0:
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[place] = int(rng.integers(256))
        elif kind == 2:
            width = int(rng.choice([2, 4, 8]))
            word = int(rng.choice(np.array(_WORDS, np.uint64))) % 256**width
            out[place : place + width] = word.to_bytes(width, "little")
        elif kind == 3:
            place -= place % 8  # most addresses and lengths are aligned
            out[place : place + 8] = int(rng.integers(2 * len(raw))).to_bytes(8, "little")
        elif kind == 4:
            source, length = int(rng.integers(len(out))), int(rng.integers(1, 64))
            out[place : place + length] = out[source : source + length]
        else:
            out[place : place + int(rng.integers(1, 64))] = rng.bytes(int(rng.integers(1, 64)))
    return bytes(out)


def _values(checkpoint: Checkpoint) -> Any:
    trees = ("params", "mask", "history", "state", "std", "init", "best", "batch_stats")
    arrays = {
        f"{n}/{p}": leaf.tobytes() for n in trees for p, leaf in by_path(getattr(checkpoint, n)).items()
    }
    return arrays, checkpoint.info, checkpoint.config


def outcome(path: Path, sound: Any, readers: tuple[Callable[[Path], Any], ...]) -> str:
    """Return ``refused``, ``equal``, or what must not happen."""
    word = "refused"
    for read in readers:
        try:
            found = read(path)
        except CheckpointError as error:
            if path.name not in str(error):
                return f"no name: {error}"[:200]
            continue
        except BaseException as error:
            return f"leak {type(error).__name__}: {error}"[:200]
        word = "equal"
        if isinstance(found, Checkpoint) and sound is not None and _values(found) != sound:
            return "wrong data"
    return word


def run(folder: Path, first: int, count: int) -> Counter[str]:
    """Read `count` damaged files; the seed of each is printed before, so that a crash names it."""
    readers: dict[str, tuple[Callable[[Path], Any], ...]] = {
        "dense": (load,),
        "masked": (describe, lambda path: compare(path, path), load),
        "foreign": (read_foreign, load),
    }
    paths = samples(folder)
    raws = {name: path.read_bytes() for name, path in paths.items()}
    sound = {name: None if name == "foreign" else _values(load(path)) for name, path in paths.items()}
    target, seen = folder / "case.h5", Counter[str]()
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        name = ("dense", "masked", "foreign")[seed % 3]
        target.write_bytes(damaged(raws[name], rng))
        (folder / "seed").write_text(str(seed))
        faulthandler.dump_traceback_later(60, exit=True)
        start = time.perf_counter()
        word = outcome(target, sound[name], readers[name])
        if time.perf_counter() - start > SLOW:
            word = f"slow {time.perf_counter() - start:.1f} s"
        seen[word if word in ("equal", "refused") else f"seed {seed}: {word}"] += 1
    faulthandler.cancel_dump_traceback_later()
    return seen


if __name__ == "__main__":
    faulthandler.enable()
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))) + "\n")
