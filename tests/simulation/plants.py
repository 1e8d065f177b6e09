"""Deliberate bugs. Each must be found by the simulation; most are as the code was before the fault was mended.

A plant changes the text of a script as the server runs it, or replaces a function of a part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.feeds.kafka import feed as kafka_feed
from ingest.publish.producer import Producer
from ingest.streams import handing, membership, move, outage, raised, read
from ingest.streams.membership import Member
from ingest.worker import divide, opening, quiet, symbols
from ingest.worker import worker as worker_module
from tests.simulation.database import Database
from transforms import kernels, saved


@dataclass(frozen=True)
class Plant:
    """A bug.

    Attributes
    ----------
    about : str
        What it does.
    seed : int
        A schedule that finds it, and that is sound without it.
    texts : sequence of (str, str)
        Replacements in the text of scripts.
    members : sequence of (object, str, value)
        What is put in place of members of modules and classes.
    """

    about: str
    seed: int
    texts: Sequence[tuple[str, str]] = ()
    members: Sequence[tuple[Any, str, Any]] = field(default=())

    def rewrite(self, script: str) -> str:
        """Return the text of a script with the bug."""
        for old, new in self.texts:
            script = script.replace(old, new)
        return script

    @contextlib.contextmanager
    def planted(self) -> Iterator[Callable[[str], str]]:
        """Put the bug into the running code; give the function that changes scripts."""
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in self.members]
        for owner, name, value in self.members:
            setattr(owner, name, value)
        try:
            yield self.rewrite
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


def _unordered(entries: Sequence[read.Entry], *_: Any) -> list[read.Entry]:
    return sorted(entries, key=read.by_id)


def _replayed_with_todays(_: Any, settings: Any) -> Any:
    return settings


def _known_by_own_clock(self: Any) -> tuple[int, int]:
    now_ms = worker_module.time.time_ns() // 1_000_000
    return int(now_ms - self._idle_us // 1000), 0


def _take_free_unless_held(self: Any) -> None:
    """Acquire seats whose lease has ended, as before the lease of a clock that was set back counted as free."""
    if len(self.held) >= self._due:
        return
    for seat in self._seats:
        if seat in self.held or len(self.held) >= self._due:
            continue
        is_free = self._client.pttl(membership.keys.owner(seat)) == membership.NO_KEY
        (code,) = handing.codes(self._client, [seat])
        if is_free and code not in self.others and (token := self._acquire(seat, code)):
            self.held[seat] = token


def _admit_and_open(self: Any, envelope: Any) -> Any:
    symbol = _ADMIT(self, envelope)
    self._add(symbol)
    return symbol


def _by_id_alone(entries: Sequence[read.Entry], *_: Any) -> list[read.Entry]:
    return list(entries)


def _go_on(self: Producer, place: Any, batch: Any, found: Any) -> None:
    move.append(self._client, [self._of(place, batch, self._number, found)], is_new=True)


def _store_every_stamp(self: Database, rows: Any) -> int:
    for key, created, bits in rows:
        self.rows.setdefault(key, {}).setdefault(created, bits)
    return len(rows)


def _all_anew(*args: Any) -> frozenset[str]:
    return frozenset(kernels.KERNEL) if _ANEW(*args) else frozenset()


_ANEW = saved._anew
_ADMIT = symbols.Symbols._admit
_SAVED = "if saved_id ~= after_id then return redis.error_reply('OTHER POSITION') end"
_SAME_SERVER = "if string.match(token, '[^:]*$') ~= server then return redis.error_reply('OTHER SERVER') end"
_FENCE_COMMIT = "if redis.call('GET', owner) ~= token then return redis.error_reply('FENCED') end"
_FENCE_WRITE = "if redis.call('GET', KEYS[rows]) ~= token then return 0 end"
_COMPARE = "newer = not old\n  if old then"
_BEHIND = "if is_behind(before[i], ARGV[at], ARGV[at + 1]) then"
_APPENDED = "if is_behind(marker, ARGV[at + 1], ARGV[at + 2]) then"
_FREE = "if left ~= -2 and left <= tonumber(ARGV[2]) then return false end"
_OTHER_NUMBER = "if number ~= ARGV[2] then return redis.error_reply('PARTITIONS ' .. number) end"
_TOLD = "if ms > had_ms or (ms == had_ms and n > had_n) then"

PLANTS: dict[str, Plant] = {
    "position": Plant("a commit does not look at the position that it began from", 62, [(_SAVED, "")]),
    "both checks of a commit": Plant(
        "a commit looks neither at the lease nor at the position",
        36,
        [(_SAVED, ""), (_SAME_SERVER, ""), (_FENCE_COMMIT, "")],
    ),
    "fence": Plant("a commit does not look at the lease", 49, [(_FENCE_COMMIT, "")]),
    "compare": Plant("an older row replaces the one that is online", 62, [(_COMPARE, "newer = true\n  if false then")]),
    "write fence": Plant("online rows are written without the lease", 90, [(_FENCE_WRITE, "")]),
    "cut": Plant("the router sorts what it read, and does not cut it", 39, members=[(read, "in_order", _unordered)]),
    "behind": Plant("a place that came back older is given the next batch", 3, [(_BEHIND, "if false then")]),
    "marker": Plant("a record is appended also where it is already", 14, [(_APPENDED, "if true then")]),
    "origin": Plant(
        "a post that its feed writes again is another post",
        377,
        members=[(move, "_with_origin", lambda records: records)],
    ),
    "own clock": Plant(
        "ticks go by the clock of the worker", 170, members=[(quiet.Quiet, "_known_ms", _known_by_own_clock)]
    ),
    "at once": Plant("ticks come right after an outage", 1591, members=[(outage, "WRITTEN_S", 0.0)]),
    "replay": Plant(
        "the replay has the settings of today", 41, members=[(opening.basis, "decode", _replayed_with_todays)]
    ),
    "seat": Plant(
        "a lease of a clock that was set back closes its seat",
        126,
        [(_FREE, "if left ~= -2 then return false end")],
        [(Member, "acquire_free", _take_free_unless_held)],
    ),
    "opens": Plant("a refused message opens a symbol", 26, members=[(symbols.Symbols, "_admit", _admit_and_open)]),
    "alone": Plant("a change of a kernel resets all of them", 130, members=[(saved, "_anew", _all_anew)]),
    "facts": Plant("a row that is made again is stored again", 22, members=[(Database, "store", _store_every_stamp)]),
    "kept": Plant(
        "a Kafka reader does not look at its offsets", 32, members=[(kafka_feed, "_are_kept", lambda *_: True)]
    ),
    "again": Plant(
        "a feed goes on where a failover has lost what it wrote",
        3,
        members=[(Producer, "_append_again", _go_on)],
    ),
    "told twice": Plant("a log takes a row of a neighbour again", 55, [(_TOLD, "if true then")]),
    "markers": Plant(
        "a partition is divided without the markers of its sources", 18, members=[(divide, "_names", lambda *_: [])]
    ),
    "open": Plant("a log that is divided takes entries", 88, [(_OTHER_NUMBER, "")]),
    "loud": Plant(
        "ticks come right after the number of partitions was raised",
        7008,
        members=[(raised, "ago_s", lambda _: 1000.0)],
    ),
    "millisecond": Plant("the router orders by id alone", 49, members=[(read, "by_time", _by_id_alone)]),
}
