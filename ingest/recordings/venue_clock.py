"""The clock that all symbols of a connection share: the venue's event times, whichever symbol they are of.

A row of a symbol is due when no event of its time can come any more. Without a shared clock only the symbol's own next message tells that,
and a quiet symbol has none for seconds. A venue sends the events of all symbols on a connection in about their order, so each event tells
it for all of them::

    row t is due for a symbol   its newest event > t + allowed lateness
    or                          two events of the connection > t + allowed lateness, and nothing of the symbol is held back

A clock also names each symbol at least every ``NAMED_EVERY_US``. For a busy one it changes nothing but this: the worker knows that a feed
makes time pass for it, and where that dies, it waits for the next run, which asks for the trades that were missed.

Two events, because a single one may have a wrong time, up to seconds ahead, and must not make the messages of other symbols late. Where
channels come by connections of their own (futures: books by one, trades by another), each of them must have got so far.

On a connection that gives nothing at all time passes as well, as long as the venue answers our pings: the answer comes behind all that was
sent before it. This clock runs ``TFS_IDLE_AFTER_MS`` behind, because a venue that is ill may be silent too. The feed notes the answer::

    {"e":"alive","at":1723161255000}    the venue has answered a ping that was sent at this time

A clock passes a boundary of the grid and no more: later events of the symbol stay in time. An event that comes behind it is refused as
late, here, so that a live feed and the replay of its recording, which needs no clock, give the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ingest.messages.kinds import Clock, Gap, since_us, time_fields, time_us
from ingest.messages.refusal import Reason
from ingest.recordings.lines import Line, Output, Rejected
from ingest.settings import Settings

NAMED_EVERY_US = 5_000_000  # a quarter of the default of TFS_RECOVER_S, for which the worker waits behind a clock
LAG_NS = 300_000_000_000  # for at least so long it is remembered how far events lay behind their receipt


class Pace(NamedTuple):
    """When rows are due, in microseconds.

    Attributes
    ----------
    grid_us, lateness_us : int
        The grid interval and the allowed lateness.
    idle_us : int
        How far time lies behind on a connection that gives nothing but answers to pings.
    """

    grid_us: int
    lateness_us: int
    idle_us: int

    @classmethod
    def of(cls, settings: Settings) -> Pace:
        """Return the pace of a deployment."""
        return cls(settings.emit_us, settings.allowed_lateness_ms * 1000, settings.idle_after_ms * 1000)


class VenueClock:
    """The clock of one live feed, or of one file of a recording.

    Parameters
    ----------
    pace : Pace
    is_whole : callable
        Returns whether no message of a symbol is held back, and none may be missing, so that none of an earlier time is to come.
    """

    def __init__(self, pace: Pace, is_whole: Callable[[str], bool]) -> None:
        self._pace = pace
        self._is_whole = is_whole
        self.begin()

    def begin(self) -> None:
        """Begin anew, as a feed does that is started again."""
        self._newest: dict[str, tuple[int, int]] = {}  # by channel the newest time, and the newest but one
        self._due_us = 1  # the time at which rows of another boundary are due
        self._last: dict[str, int] = {}  # by symbol the newest time of its messages
        self._passed: dict[str, int] = {}  # by symbol the last boundary that was told
        self._named: dict[str, int] = {}  # by symbol the time of the last clock that named it, or of its first event
        self._lag_us = self._lag_before_us = 0  # the largest delay since ``_lag_since_ns``, and before
        self._lag_since_ns = 0

    def go_on(self, name: str, given_us: int) -> None:
        """Note the newest time that the run before gave of a symbol: what lies behind that is passed."""
        self._passed[name] = given_us - self._pace.lateness_us - 1

    def passed_us(self, name: str) -> int:
        """Return the last boundary that was told for a symbol: an event of this time or before is late."""
        return self._passed.get(name, 0)

    def check(self, output: Output, line: Line) -> Output:
        """Return an output as it may be given: a book or trade that the clock has passed is refused, and a gap begins behind the clock."""
        if isinstance(output, Rejected) or output.kind not in ("book", "trade", "gap", "hold"):
            return output
        message: Any = output.message
        if output.kind == "hold":  # the feed follows the symbol, also where this run of it has not heard it yet
            self._last.setdefault(message.symbol, 0)
            return output
        name, t_us = message.symbol, time_us(message)
        passed_us = self._passed.get(name, 0)
        if isinstance(message, Gap):
            _begin_behind(message, passed_us)
            return output
        if t_us <= passed_us:
            return Rejected(line, Reason.LATE, f"{(passed_us - t_us) / 1000} ms behind the clock of its connection")
        if t_us > self._last.get(name, 0):
            if name not in self._named:
                self._named[name] = t_us
            self._last[name] = t_us
        return output

    def hear(self, channel: str, t_us: int, line: Line) -> Clock | None:
        """Note an event of a channel; return a clock for the symbols that have rows due and no event that tells it, if there are some."""
        lag_us = line.received_ns // 1000 - t_us
        if line.received_ns - self._lag_since_ns > LAG_NS:
            self._lag_before_us, self._lag_us, self._lag_since_ns = self._lag_us, lag_us, line.received_ns
        elif lag_us > self._lag_us:
            self._lag_us = lag_us
        newest_us, second_us = self._newest.get(channel, (0, 0))
        if t_us > second_us:
            self._newest[channel] = (t_us, newest_us) if t_us > newest_us else (newest_us, t_us)
        elif second_us:
            return None
        return self._tell(line)

    def answer(self, channels: Sequence[str], sent_us: int, line: Line) -> Clock | None:
        """Note that a connection with these channels (none: with all) has answered a ping; return a clock as ``hear`` does."""
        seen_us = sent_us - max(self._lag_us, self._lag_before_us) - self._pace.idle_us + self._pace.lateness_us
        for channel in channels or [""]:
            newest_us, second_us = self._newest.get(channel, (0, 0))
            if 0 < second_us < seen_us:
                self._newest[channel] = max(newest_us, seen_us), seen_us
        return self._tell(line)

    def _tell(self, line: Line) -> Clock | None:
        now_us = min((second_us for _, second_us in self._newest.values()), default=0)
        if now_us < self._due_us:
            return None
        grid_us, lateness_us, _ = self._pace
        boundary_us = (now_us - lateness_us - 1) // grid_us * grid_us
        passed_us = boundary_us + lateness_us + 1  # right behind the newest event that leaves the boundary's row open
        self._due_us = passed_us + grid_us
        unnamed_us = passed_us - NAMED_EVERY_US
        names = [
            name
            for name, last_us in self._last.items()
            if (last_us < passed_us or self._named.get(name, passed_us) <= unnamed_us) and self._is_whole(name)
        ]
        if not names:
            return None
        self._passed.update(dict.fromkeys(names, boundary_us))
        self._named.update(dict.fromkeys(names, passed_us))
        ms, us = time_fields(passed_us)
        return Clock(ms, names, received=line.received_ms, timestamp_us=us)


def _begin_behind(gap: Gap, passed_us: int) -> None:
    """Let a gap begin behind a time: what came before it was whole, and its rows are written."""
    if time_us(gap) <= passed_us:
        gap.timestamp, gap.timestamp_us = time_fields(passed_us + 1)
    if 0 < since_us(gap) <= passed_us:
        gap.since, gap.since_us = time_fields(passed_us + 1)
