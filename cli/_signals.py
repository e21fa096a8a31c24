"""SIGINT and SIGTERM: the first stops in an orderly way, the second at once."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

HANDLED = (signal.SIGINT, signal.SIGTERM)
# Wrappers such as `timeout` deliver one request twice, to the process and to its group.
SAME_REQUEST = 0.2
RAISE_AGAIN = b"\0"  # to the listening thread; no signal has this number


class Stopped(BaseException):
    """The user asked to stop while nothing polled for it."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")


class Signals:
    """Handles both signals while it is entered.

    Code that polls `poll` between chunks (see `polled`) is asked to stop; all other code is stopped by
    the exception `Stopped`. Python runs its handlers between bytecodes only, and a compilation may
    take long; so a thread listens too (the interpreter writes each signal to a pipe at once), which
    ends the process at the second signal whatever the main thread is doing.

    Parameters
    ----------
    on_abort : callable
        Called with the signal number just before the process ends at the second signal.
    """

    def __init__(self, on_abort: Callable[[int], None] = lambda _: None) -> None:
        self.received: int | None = None
        self._on_abort = on_abort
        self._notify: Callable[[], None] = lambda: None
        self._polling = False
        self._last: tuple[int, float] | None = None
        self._own = 0
        self._previous: dict[int, Any] = {}
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may set handlers; an embedding program keeps its own
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for signum in HANDLED:
            if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup and background jobs ignore on purpose
                self._previous[signum] = signal.signal(signum, self._handle)
        self._previous_hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        sys.unraisablehook = self._previous_hook
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def poll(self) -> int | None:
        """Return the signal that asked to stop, or None."""
        self._polling = True
        return self.received

    @contextlib.contextmanager
    def polled(self, notify: Callable[[], None] = lambda: None) -> Iterator[Callable[[], int | None]]:
        """Yield `poll` for code that calls it about once a second.

        Until its first call a signal still raises `Stopped`: imports and compilation come before it,
        and nothing is under way yet. `notify` is called, from the listening thread, when the request
        was taken down.
        """
        self._notify = notify
        try:
            yield self.poll
        finally:
            self._polling = False

    def _handle(self, signum: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received = signum
        if not self._polling:
            raise Stopped(signum)

    def _unraisable(self, event: sys.UnraisableHookArgs) -> None:
        """Notice that the exception was raised where nothing can be: in a destructor or a callback of gc."""
        if isinstance(event.exc_value, Stopped):
            os.write(self._writer, RAISE_AGAIN)
        else:
            self._previous_hook(event)

    def _watch(self) -> None:
        while data := os.read(self._reader, 64):
            for number in data:
                if number == RAISE_AGAIN[0]:
                    time.sleep(0.02)  # by then the destructor has returned
                    self._own += 1
                    _thread.interrupt_main(self.received or signal.SIGINT)
                elif number in HANDLED and self._own:
                    self._own -= 1  # the interpreter reports what the line above did, too
                elif number in HANDLED:
                    self._arrived(number)

    def _arrived(self, signum: int) -> None:
        now = time.monotonic()
        if self._last is None:
            self._last = signum, now
            self.received = signum if self.received is None else self.received
            if self._polling:
                self._notify()
        elif signum != self._last[0] or now - self._last[1] > SAME_REQUEST:
            self._on_abort(signum)
            os._exit(128 + signum)
