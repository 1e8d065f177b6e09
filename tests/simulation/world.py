"""The world of a simulation: virtual time, and processes that run one at a time, each in a greenlet.

A process runs the real code of a part. It stops wherever it waits: for the server, the database, or time. Then the world goes to the next
event, and so any other process may run in between, as on real machines. Nothing here is a thread, and no clock is read.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from greenlet import getcurrent, greenlet

Action = Callable[..., object]
SHORT_US = 100_000  # a pause up to this is one of an idle process


class Crash(BaseException):
    """The process is killed here."""


class World:
    """Virtual time, in microseconds since the epoch, and what happens when."""

    def __init__(self, start_us: int, rng: random.Random) -> None:
        self.now = start_us
        self.start_us = start_us
        self.rng = rng
        self.lines: list[tuple[int, str, str]] = []  # what happened: time, who, what
        self.keeps_lines = False
        self.lazy_us = 0  # how long an idle process lets pass between two turns, about
        self._events: list[tuple[int, int, Action, tuple[Any, ...]]] = []
        self._n = 0
        self.hub = getcurrent()  # the greenlet that a process switches to when it waits

    def at(self, us: int, action: Action, *args: Any) -> None:
        """Call ``action`` with ``args`` at a time, or now where that has passed."""
        self._n += 1
        heapq.heappush(self._events, (us if us > self.now else self.now, self._n, action, args))

    def after(self, us: int, action: Action, *args: Any) -> None:
        """Call ``action`` with ``args`` after a time."""
        self._n += 1
        heapq.heappush(self._events, (self.now + us, self._n, action, args))

    def run(self, end_us: int, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass until ``until`` holds after an event, and return True; return False where ``end_us`` comes first."""
        self.hub = getcurrent()
        events, pop = self._events, heapq.heappop
        while events and events[0][0] <= end_us:
            self.now, _, action, args = pop(events)
            action(*args)
            if until is not None and until():
                return True
        return until is not None and until()

    def idle_us(self) -> int:
        """Return how long an idle process waits until its next turn."""
        return int(self.lazy_us * (0.5 + self.rng.random()))

    def note(self, who: str, what: str) -> None:
        """Keep a line of the schedule."""
        if self.keeps_lines:
            self.lines.append((self.now, who, what))


class Process:
    """One process of a part: a greenlet, its clocks, and what may happen to it.

    Attributes
    ----------
    wall_us : int
        How far the clock of its machine is ahead.
    frozen_until : int
        It does nothing before.
    """

    current: ClassVar[Any] = None  # the process that runs

    def __init__(self, world: World, name: str, body: Callable[[Process], None]) -> None:
        self.world = world
        self.name = name
        self.wall_us = 0
        self.frozen_until = 0
        self.is_dead = False
        self.has_ended = False
        self.error: BaseException | None = None
        self.before: Callable[[], None] | None = None  # called whenever it goes on
        self._body = body
        self._greenlet = greenlet(self._run)
        self._waits = 0  # tells a resumption that came too late from the one that is waited for

    def _run(self, _: None = None) -> None:
        try:
            self._body(self)
        except Crash:
            pass
        except BaseException as error:
            self.error = error
        self.has_ended = True

    def start(self) -> None:
        """Begin to run."""
        self._enter(self._greenlet.switch, None)

    def kill(self) -> None:
        """End the process where it waits."""
        if self.has_ended or self.is_dead:
            return
        self.is_dead = True
        if self._greenlet:
            self._enter(self._greenlet.throw, Crash)
        self.has_ended = True

    def begin_wait(self) -> int:
        """Return the number of the wait that begins now: whoever ends it names it."""
        if self.is_dead:
            raise Crash
        self._waits += 1
        return self._waits

    def wait(self) -> Any:
        """Stop until the wait is ended; return what it is ended with, raise it if it is an exception."""
        value = self.world.hub.switch()
        if isinstance(value, Exception):
            raise value
        return value

    def resume(self, number: int, value: Any = None) -> None:
        """End a wait, unless the process has gone on already; a frozen process goes on later."""
        if number != self._waits or self.is_dead or self.has_ended:
            return
        if self.world.now < self.frozen_until:
            self.world.at(self.frozen_until, self.resume, number, value)
        else:
            self._waits += 1
            self._enter(self._greenlet.switch, value)

    def sleep(self, us: int) -> None:
        """Let time pass."""
        self.world.after(us, self.resume, self.begin_wait())
        self.wait()

    def pause(self, seconds: float) -> None:
        """Let time pass as the part asks; a short pause of an idle process is longer here, so that a schedule has fewer turns."""
        us = round(seconds * 1_000_000)
        self.sleep(max(us, self.world.idle_us()) if us <= SHORT_US else us)

    def _enter(self, act: Action, value: Any) -> None:
        if self.before is not None:
            self.before()
        outer, Process.current = Process.current, self
        try:
            act(value)
        finally:
            Process.current = outer


def running() -> Process:
    """Return the process that runs."""
    process: Process = Process.current
    return process


class Stop(threading.Event):
    """The event that ends a part; its waits are virtual."""

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            running().pause(timeout or 0.0)
        return self._set


class Time:
    """What stands in for the module ``time``: the clocks of the process that runs."""

    @staticmethod
    def monotonic() -> float:
        world = Process.current.world
        return (world.now - world.start_us) / 1_000_000 + 1000.0

    perf_counter = monotonic

    @staticmethod
    def monotonic_ns() -> int:
        world = Process.current.world
        return (world.now - world.start_us) * 1000 + 10**12

    @staticmethod
    def time_ns() -> int:
        process = Process.current
        return (process.world.now + process.wall_us) * 1000

    @staticmethod
    def time() -> float:
        process = Process.current
        return (process.world.now + process.wall_us) / 1_000_000

    @staticmethod
    def sleep(seconds: float) -> None:
        running().pause(seconds)
