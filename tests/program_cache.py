"""A folder of compiled programs that one run of the tests leaves to the next.

It is ``.cache/programs/KEY`` at the root of the repository, which git ignores and ``make clean`` removes. jax
finds a program by a digest of what is compiled and how, so changed code never meets an old program. A machine
without the folder compiles everything once.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import time
import zlib
from importlib.metadata import version
from pathlib import Path

_KEPT_SECONDS = 14 * 24 * 3600.0
_ZLIB = b"\x78"  # first byte of what zlib compressed, as jax does where zstandard is not installed


def key() -> str:
    """Return the name of the folder: programs are made for one jaxlib and the instructions of one CPU."""
    return f"jax-{version('jax')}-jaxlib-{version('jaxlib')}-{_instructions()}"


def _instructions() -> str:
    """Return a digest of the instructions that the CPU knows, or its architecture where nobody says."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return hashlib.sha256(line.encode()).hexdigest()[:12]
    return platform.machine()


def prepare(root: Path) -> Path:
    """Return the folder under `root`, without entries that are older than two weeks or damaged."""
    folder = root / ".cache" / "programs" / key()
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run removed it
            if time.time() - entry.stat().st_mtime > _KEPT_SECONDS or not is_whole(entry):
                entry.unlink()
    return folder


def is_whole(entry: Path) -> bool:
    """Return whether an entry was written to its end: a killed process leaves a part, and jax keeps it."""
    data = entry.read_bytes()
    if not data.startswith(_ZLIB):
        return bool(data)
    try:
        zlib.decompress(data)  # its checksum comes last
    except zlib.error:
        return False
    return True
