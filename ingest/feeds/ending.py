"""How a feed ends: at the first SIGTERM or Ctrl-C in good order, and within two seconds whatever its peers do; at the second at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from types import FrameType, TracebackType
from typing import IO, Any, TypeVar

from ingest.cli import ExitCode

END_S = 1.4  # the process itself needs some tenths of a second to end, longer on a busy machine
GIVE_UP_S = 0.6  # how long a stopped feed tries to write its last messages, and waits for an answer of Redis
LOOK_S = 0.05
SIGNALS = (signal.SIGTERM, signal.SIGINT)
T = TypeVar("T")


def result_of(work: Callable[[], T], stop: threading.Event) -> T | None:
    """Return the result of ``work``, which runs in a thread; None if it goes on for `GIVE_UP_S` after ``stop`` was set.

    For work that waits in compiled code: no signal is heard in a thread that does, so it must not be the main one.
    """
    found: Future[T] = Future()

    def do() -> None:
        try:
            found.set_result(work())
        except BaseException as error:  # raised again by `result`
            found.set_exception(error)

    threading.Thread(target=do, daemon=True).start()
    while not stop.is_set() and not found.done():
        wait([found], LOOK_S)
    wait([found], GIVE_UP_S)
    return found.result() if found.done() else None


class Ending:
    """Inside this context the signals stop a feed.

    Parameters
    ----------
    give_up : callable, optional
        Called in a thread `GIVE_UP_S` after the first signal: it ends what waits for Redis.
    record : file, optional
        Is closed before the process is ended.
    """

    def __init__(self, give_up: Callable[[], None] | None = None, record: IO[bytes] | None = None) -> None:
        self._give_up = give_up
        self._record = record
        self._stop: Callable[[], object] | None = None
        self._is_asked = False
        self._timers: list[threading.Timer] = []
        self._before: dict[int, Any] = {}

    def on_signal(self, stop: Callable[[], object]) -> None:
        """Call ``stop`` in the main thread at the first signal, or now if that came already; it must not wait."""
        self._stop = stop
        if self._is_asked:
            stop()

    def __enter__(self) -> Ending:
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_asked:
            self._leave("")
            return
        self._is_asked = True
        self._after(END_S, self._leave_late)
        if self._give_up is not None:
            self._after(GIVE_UP_S, self._give_up)
        if self._stop is not None:
            self._stop()

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _leave_late(self) -> None:
        self._leave(
            f"error: the feed did not end within {END_S} s, because a server does not answer: it is ended now\n"
        )

    def _leave(self, words: str) -> None:
        with contextlib.suppress(Exception):  # another thread may be in the middle of a line
            if self._record is not None:
                self._record.close()
        with contextlib.suppress(Exception):
            sys.stderr.write(words)
            sys.stderr.flush()
        os._exit(ExitCode.INTERRUPTED)
