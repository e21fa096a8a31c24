"""SIGINT and SIGTERM: the first stops in an orderly way, the second at once."""

from __future__ import annotations

import contextlib
import os
import select
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
AGAIN = 0.5  # seconds after which a stop that was not heard is raised again


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

    Attributes
    ----------
    received : int or None
        The signal that asked to stop.
    on_abort : callable
        Called with the signal number just before the process ends at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.on_abort: Callable[[int], None] = lambda _: None
        self._notify: Callable[[], None] = lambda: None
        self._polling = False
        self._last: tuple[int, float] | None = None
        self._own = 0
        self._settled = False
        self._ending = False
        self._lock = threading.Lock()
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
        if self._thread is None or self._ending:
            return
        self.settle()
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        sys.unraisablehook = self._previous_hook
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def settle(self) -> None:
        """Note that the request has been heard: from now on only a second signal does anything."""
        with self._lock:
            self._settled = True

    def end(self, code: int) -> None:
        """End the process if it was asked to stop; otherwise the next signal does, at once.

        Called when everything is written, and nothing but the interpreter's own end is left. That takes
        a second with jax loaded, and an exception in it crashes the process: so the handlers stay, and
        after a signal the interpreter's end is left out.
        """
        self._settled = self._ending = True
        if self.received is not None:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(code)

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

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signum
        if self._polling or self._settled:
            return
        if _importing(frame):
            self._leave(signum)
        raise Stopped(signum)

    def _leave(self, signum: int) -> None:
        try:
            self.on_abort(signum)
        finally:
            os._exit(128 + signum)

    def _unraisable(self, event: sys.UnraisableHookArgs) -> None:
        """Say nothing of a stop that was raised in a destructor or a callback of gc; it comes again."""
        if not isinstance(event.exc_value, Stopped):
            self._previous_hook(event)

    def _watch(self) -> None:
        while True:
            ready, _, _ = select.select([self._reader], [], [], AGAIN if self._last else None)
            data = os.read(self._reader, 64) if ready else b""
            if ready and not data:
                return
            for number in data:
                if number in HANDLED and self._own:
                    self._own -= 1  # the interpreter reports what `_raise_again` sent, too
                elif number in HANDLED:
                    self._arrived(number)
            if not ready:
                self._raise_again()

    def _raise_again(self) -> None:
        """Repeat a request that was not heard: some code catches every exception, destructors drop it."""
        main = threading.main_thread().ident
        with self._lock:
            if not (self._polling or self._settled) and self.received is not None and main is not None:
                self._own += 1
                signal.pthread_kill(main, self.received)

    def _arrived(self, signum: int) -> None:
        now = time.monotonic()
        if self._ending:
            self._leave(signum)
        elif self._last is None:
            self._last = signum, now
            self.received = signum if self.received is None else self.received
            if self._polling:
                self._notify()
        elif signum != self._last[0] or now - self._last[1] > SAME_REQUEST:
            self._leave(signum)


def _importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported: an exception would go through half-made extensions.

    They turn it into other errors or crash. There is nothing to clean up yet, so leaving is safe.
    """
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
