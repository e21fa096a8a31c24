"""One writer per run folder: a lock that the system releases when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
import weakref
from datetime import UTC, datetime
from pathlib import Path

from landscape.errors import RunError
from trainers.runs.files import explained

_ATTEMPTS = 10
_PAUSE_SECONDS = 0.02
_RECORD_BYTES = 4096


class RunLock:
    """The lock of a run folder, held from `acquire` to `release`.

    The lock is ``flock`` on the file ``lock``; the file also says who holds it. It is emptied on a
    clean release and never removed, so a record in a file that is not locked is that of a process
    which was killed. A child made by fork lets go of the lock at once: it belongs to the process
    that took it, and ends with that process even if its children live on.

    Attributes
    ----------
    note : str or None
        Explains a stale lock that was taken over.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._signed = False
        previous = _record(descriptor)
        self.note = (
            None if previous is None else f"took over a stale lock: {previous} ended without releasing it"
        )
        _forget_in_children(self)

    @classmethod
    def acquire(cls, folder: Path) -> RunLock:
        """Return the lock of `folder`, not signed yet.

        Raises
        ------
        RunError
            If another process holds it, named by host and number, or the folder cannot be locked.
        """
        path = folder / "lock"
        for _ in range(_ATTEMPTS):
            with explained(folder, "cannot be locked for writing"):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                if not _lock(descriptor):
                    raise _in_use(folder, descriptor)
                if _is_at(descriptor, path):
                    return cls(path, descriptor)
                os.close(descriptor)  # the file was replaced while we waited
        raise RunError(f"{folder}: cannot be locked", got="a lock file that others keep replacing")

    @property
    def held(self) -> bool:
        """Whether this process holds the lock."""
        return self._descriptor is not None

    def sign(self) -> None:
        """Write into the file who holds it, for those who are refused."""
        if self._descriptor is None:
            return
        started = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
        with explained(self.path, "could not be written"):
            self._signed = True
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(record).encode() + b"\n", 0)
            os.fsync(self._descriptor)

    def release(self) -> None:
        """Let go; doing it again does no harm."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with contextlib.suppress(OSError):
            if self._signed:
                os.ftruncate(descriptor, 0)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def _forget(self) -> None:
        """Close the copy that a forked child got, without unlocking."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Return whether a process writes to the run in `folder`.

    An unsigned lock is not tried, so that a process which is about to take it is not in its way.
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if _record(descriptor) is None:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(descriptor: int) -> bool:
    """Lock unless another holds it; return whether that worked. Closes the file where it cannot be locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        os.close(descriptor)
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _in_use(folder: Path, descriptor: int) -> RunError:
    """Return the refusal that names the holder, and close the file."""
    holder = None
    for _ in range(_ATTEMPTS):  # whoever has just taken it signs it a moment later
        holder = _record(descriptor)
        if holder is not None:
            break
        time.sleep(_PAUSE_SECONDS)
    os.close(descriptor)
    return RunError(
        f"{folder}: another process writes to this run",
        expected="a run folder that no other process writes to",
        got=holder or "a process that has not said its name",
        hint="Wait for it or stop it, or choose another folder. The lock ends with the process.",
    )


def _record(descriptor: int) -> str | None:
    """Return who signed the file, in words; None if it is empty."""
    data = os.pread(descriptor, _RECORD_BYTES, 0)
    if not data.strip():
        return None
    try:
        found = json.loads(data)
        return f"process {int(found['pid'])} on host {found['host']}, started {found['started']}"
    except (ValueError, KeyError, TypeError):
        return "a process that left no readable name"


_locks: weakref.WeakSet[RunLock] = weakref.WeakSet()
_registered = False


def _forget_in_children(lock: RunLock) -> None:
    global _registered
    _locks.add(lock)
    if not _registered:
        os.register_at_fork(after_in_child=_forget_all)
        _registered = True


def _forget_all() -> None:
    for lock in list(_locks):
        lock._forget()
