"""One process a run folder: a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any

from landscape.errors import RunError


class RunLock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    The operating system gives the lock back when its holder dies, however it dies; what the file
    says about a former holder is only ever used in messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self.stale: dict[str, Any] | None = None

    def acquire(self) -> None:
        """Take the lock, and say in the file who has it.

        Raises
        ------
        RunError
            If another process holds it, naming host and pid.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(descriptor)
            os.close(descriptor)
            raise RunError(
                f"{self.path.parent}: another process is using this run",
                got=f"pid {holder.get('pid', '?')} on {holder.get('host', 'an unknown host')}",
                hint="Wait for it, stop it, or choose another folder with -o.",
            ) from error
        former = _read(descriptor)
        self.stale = former or None
        os.ftruncate(descriptor, 0)
        me = {"host": socket.gethostname(), "pid": os.getpid()}
        os.pwrite(descriptor, json.dumps(me).encode(), 0)
        os.fsync(descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back and empty the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
