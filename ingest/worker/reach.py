"""From when on a rebuild reads the tape: what each kernel needs (``history``), as arrivals of a symbol's messages on the tape.

Only the columns of the ids are read for that, day by day back from the end, and of each minute of a symbol it is kept how many messages of
each kind it has. A live message arrives within seconds of its time. Where it does not, as in a recording that was replayed, the rebuild
finds afterwards that it began too late, and reads the whole tape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.messages.envelope import Envelope
from ingest.tape.columns import EVENTS, IMPORT
from ingest.tape.read import FOREVER_MS, day_ms
from ingest.tape.table import Tape, storage
from transforms.history import Need, needs
from transforms.instrument import Instrument
from transforms.kernel import DAY_US, MINUTE_US
from transforms.kernels import with_users

MARKET = ("book", "trade")
FEEDS = (*MARKET, "post", "derivatives", "liquidation", "microprice")
"""The kinds of messages that kernels are made of; gaps and withdrawals go with theirs."""
SLACK_MS = 120_000
"""Read so much further back than the arrivals tell: a message arrives later than its time, and minutes are counted as a whole."""
AGAIN = 8
"""A recursive indicator is read back for so many of its warm-ups: then 1e-48 of its start is left, and the doubles are the same."""
MOST_BEFORE = 2
"""The most messages before its time that a need asks for."""
TABLES = 3
"""Fitted tables that are read: the newest may have been published long before their use."""
MINUTE_MS = 60_000
_SLACK = SLACK_MS // MINUTE_MS
_OF_BUCKETS = ("vpin", "vpin_n")
"""Where the volume of a bucket is configured, the edges of buckets count from the first trade of all."""
_COLUMNS = ["id_ms", "id_n", "kind", "symbol"]

Found = dict[str, list[tuple[Any, Any]]]
"""Of each kind, newest day first: the minutes that have messages, and how many each has."""


@dataclass(slots=True)
class Reach:
    """What a rebuild reads of one symbol.

    Attributes
    ----------
    since_ms : dict of str to int
        Messages of each kind that arrived from then on are given to the kernels. Earlier ones only say how far the feed was.
    kinds : frozenset of str
        Those of which the tape has any message.
    first_ms : int
        When its first message arrived, as far as was looked.
    times_us : dict of str to list of int
        The times of the first messages of each kind that were given to kernels.
    bars : int
        How many minutes had a trade that was given to kernels.
    without_sides : bool
        Whether a trade without a side was given to kernels at a time whose books were not.
    """

    since_ms: dict[str, int]
    kinds: frozenset[str] = frozenset()
    first_ms: int = 0
    times_us: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    bars: int = 0
    without_sides: bool = False
    _minute: int = -1

    def note(self, envelope: Envelope, t_us: int) -> None:
        """Note a message that is given to the kernels."""
        kind = envelope.kind
        if len(self.times_us[kind]) < MOST_BEFORE:
            self.times_us[kind].append(t_us)
        if kind == "trade":
            if envelope.message.side is None and envelope.arrived_ms < self.since_ms.get("book", FOREVER_MS):
                self.without_sides = True
            if t_us // MINUTE_US != self._minute:
                self._minute = t_us // MINUTE_US
                self.bars += 1

    def has(self, kind: str, need: Need) -> bool:
        """Return whether everything that is needed of a kind was given to the kernels, or nothing of the kind is on the tape."""
        if need.since_us <= 0:
            return self.since_ms[kind] <= self.first_ms
        times_us = self.times_us[kind]
        is_early = len(times_us) >= need.before and times_us[need.before - 1] <= need.since_us
        return (is_early and self.bars >= need.bars) or kind not in self.kinds


@lru_cache(maxsize=4096)
def needed(names: frozenset[str], at_us: int, instrument: Instrument, *, has_sides: bool) -> dict[str, Need]:
    """Return what is read of each kind so that these kernels, and all that are made of them, are as if they had heard everything."""
    found: dict[str, Need] = {}
    for name in with_users(names):
        for kind, need in needed_alone(name, at_us, instrument, has_sides=has_sides).items():
            found[kind] = found[kind] | need if kind in found else need
    return found


def needed_alone(name: str, at_us: int, instrument: Instrument, *, has_sides: bool) -> dict[str, Need]:
    """Return what is read of each kind so that one kernel is as if it had heard everything."""
    found: dict[str, Need] = {}
    for kind, need in needs(name, at_us, instrument, has_sides=has_sides).items():
        back_us = at_us - need.since_us
        if kind == "trade" and name in _OF_BUCKETS and instrument.vpin_bucket is not None:
            found[kind] = replace(need, since_us=0)
        elif need.is_exact or back_us > 7 * DAY_US:  # 32 days are more than the 70 buckets that VPIN looks at
            found[kind] = need
        else:
            found[kind] = replace(need, since_us=at_us - AGAIN * back_us, bars=AGAIN * need.bars)
    return found


def survey(
    tape: Tape,
    p: int,
    needs_of: Mapping[str, Callable[[int], dict[str, Need]]],
    upto: tuple[int, int],
    between: Callable[[], None] = lambda: None,
) -> dict[str, Reach]:
    """Return what is read of each symbol up to the entry ``upto``; ``needs_of`` tells what it needs at a time in microseconds."""
    found: dict[str, Found] = {name: defaultdict(list) for name in needs_of}
    reaches: dict[str, Reach] = {}
    days = [day for partition, day in tape.days() if partition == p and day_ms(day) <= upto[0]]
    for day in sorted(days, reverse=True):
        wanted = sorted(needs_of.keys() - reaches.keys())
        if not wanted:
            break
        for (name, kind), ids in _ids_of_day(tape, p, day, wanted, upto).items():
            minutes, counts = np.unique(ids // MINUTE_MS, return_counts=True)
            found[name][kind].append((minutes[::-1], counts[::-1]))
        for name in wanted:
            between()
            since_ms = _since(found[name], needs_of[name])
            if since_ms and day_ms(day) <= min(since_ms.values()):
                reaches[name] = _reach(since_ms, found[name])
    for name in needs_of.keys() - reaches.keys():  # the tape does not reach so far back as something needs
        since_ms = _since(found[name], needs_of[name], is_all=True)
        reaches[name] = _reach(since_ms, found[name])
    return reaches


def _reach(since_ms: dict[str, int], found: Found) -> Reach:
    first = min((int(of_kind[-1][0][-1]) for of_kind in found.values()), default=0)
    return Reach(since_ms, frozenset(found), first * MINUTE_MS)


def _ids_of_day(tape: Tape, p: int, day: date, names: list[str], upto: tuple[int, int]) -> dict[tuple[str, str], Any]:
    """Return the arrivals of a day, in ms, by symbol and kind."""
    which = (pc.field("day") == day) & (pc.field("partition") == p) & pc.field("source").isin([EVENTS, IMPORT])
    which &= pc.field("symbol").isin(names) & pc.field("kind").isin(FEEDS) & (pc.field("id_ms") <= upto[0])
    with storage(tape.place):
        found = tape.of_day(p, day).to_table(columns=_COLUMNS, filter=which)
    id_ms = found["id_ms"].to_numpy()
    known = (id_ms < upto[0]) | (found["id_n"].to_numpy() <= upto[1])
    codes = _places(found["symbol"], names) * len(FEEDS) + _places(found["kind"], FEEDS)
    return {
        (names[code // len(FEEDS)], FEEDS[code % len(FEEDS)]): id_ms[known & (codes == code)]
        for code in np.unique(codes[known]).tolist()
    }


def _places(column: Any, names: Iterable[str]) -> Any:
    return pc.index_in(column, pa.array(names, pa.string())).to_numpy()


def _since(found: Found, needs: Callable[[int], dict[str, Need]], *, is_all: bool = False) -> dict[str, int]:
    """Return from when on each kind is read; nothing where more of the tape must be looked at for that, unless this is all of it."""
    newest = max((found[kind][0][0][0] for kind in MARKET if kind in found), default=None)
    if newest is None:
        if not is_all:
            return {}
        newest = max((of_kind[0][0][0] for of_kind in found.values()), default=0)
    at_us = (int(newest) + 1) * MINUTE_MS * 1000
    before_it = needs(at_us - SLACK_MS * 1000)  # of another session, perhaps
    since_ms = {}
    for kind, need in needs(at_us).items():
        before = TABLES if kind == "microprice" else need.before
        since = _of_kind(found.get(kind, []), replace(need | before_it[kind], before=before), is_all=is_all)
        if since is None:
            return {}
        since_ms[kind] = since * MINUTE_MS
    return since_ms


def _of_kind(found: list[tuple[Any, Any]], need: Need, *, is_all: bool) -> int | None:
    """Return the minute from which on a kind is read, None where there are too few messages."""
    limit = need.since_us // (MINUTE_MS * 1000) - _SLACK
    if not found:
        return limit if is_all else None
    minutes = np.concatenate([of_day for of_day, _ in found])
    older = minutes <= limit
    reached = np.flatnonzero(np.cumsum(np.concatenate([counts for _, counts in found])[older]) >= need.before)
    bars = need.bars * 9 // 8 + _SLACK  # some minutes may have trades only that are refused
    if not len(reached) or (need.bars and len(minutes) < bars):
        return int(min(limit, minutes[-1])) if is_all else None
    of_bars = minutes[bars - 1] if need.bars else limit
    return int(min(limit, minutes[older][reached[0]], of_bars))
