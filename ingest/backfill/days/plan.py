"""Which days of a symbol are computed, and which are passed over.

The days of a symbol are a chain. The fingerprint of a day is a hash of that of the day before, of the day's content, and, in the first
one, of all settings and versions that rows depend on. So equal fingerprints mean equal rows and an equal state at the end, and a message
that comes late changes the fingerprint of its day and of all later ones::

    settings, versions --> day 1 --> day 2 --> ... --> day n --> tail
                             |         |                 |
                          content   content           content

The tail are the rows after the last message of a history from files: no tick of it follows that would let time pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import msgspec

from ingest.backfill.days.contents import Content, Contents
from ingest.messages.kinds import MicropriceTable
from ingest.settings import Settings
from ingest.tape.columns import DAY_MS, FOR_ALL
from ingest.tape.read import day_ms
from ingest.worker.symbol import FORMAT as ORDER_FORMAT
from transforms.catalog import VIEWS
from transforms.kernel import DAY_US
from transforms.kernels import versions_of
from transforms.sentiment.state import REMEMBERED_US

FORMAT = 2  # another number makes every day be computed again
QUIET_DAYS = REMEMBERED_US // DAY_US + 2
"""Messages for all symbols count for so many days after the last message of a symbol: a post is not remembered longer."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A day of a symbol, or the tail after its last day.

    Attributes
    ----------
    day : date
        Of the messages' arrival; of a tail the last one.
    before, fingerprint : bytes
        The fingerprints of the day before, empty where there is none, and of this one.
    rows : int
        How many rows of the tape are read.
    is_written : bool
        Whether its rows are written; else only the state at its end is needed.
    """

    day: date
    before: bytes
    fingerprint: bytes
    rows: int = 0
    is_written: bool = True
    is_tail: bool = False


@dataclass(slots=True)
class Record:
    """Rows of a unit that an earlier run wrote: those of some views from ``begin_us`` until ``end_us`` (``records``).

    The times, and the number of ``rows``, are those of all views, whichever were written.
    """

    symbol: str
    fingerprint: bytes
    day: date
    base: bytes
    views: frozenset[str]
    begin_us: int
    end_us: int
    rows: int


@dataclass(slots=True)
class Plan:
    """What is to be done for a symbol.

    Attributes
    ----------
    units : list of Unit
        To be computed, in order.
    chain : sequence of Unit
        All days.
    stale : list of Record
        Rows that are no longer right; each is deleted as the new rows reach its time.
    tables : sequence of MicropriceTable
        Fitted tables, for history from files.
    passed : list of Record
        Days that are done and unchanged.
    again : list of date
        Days to compute that had been done.
    """

    symbol: str
    partition: int
    base: bytes
    units: list[Unit] = field(default_factory=list)
    chain: Sequence[Unit] = ()
    stale: list[Record] = field(default_factory=list)
    tables: Sequence[MicropriceTable] = ()
    neighbours: Mapping[str, date] = field(default_factory=dict)
    passed: list[Record] = field(default_factory=list)
    again: list[date] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows of the tape are read."""
        return sum(unit.rows for unit in self.units)

    def states(self, day: date, base: bytes | None = None) -> str:
        """Return the folder of the symbol's state at the end of a day, with these settings or those of another ``base``."""
        return f"states/{day}/{_hash(base or self.base, self.symbol).hex()}"

    def state(self, unit: Unit) -> str:
        """Return the name of the state at the end of a day."""
        return f"{self.states(unit.day)}/{unit.fingerprint.hex()}"

    @property
    def other_bases(self) -> set[bytes]:
        """The bases of stale rows that were made with other settings, or by other kernels."""
        return {record.base for record in self.stale} - {self.base}

    @property
    def has_other_settings(self) -> bool:
        """Whether stale rows were made with other settings, or by other kernels."""
        return bool(self.other_bases)


def base_of(settings: Settings, symbol: str, delay_us: int) -> bytes:
    """Return a hash of everything beside its messages that a symbol's rows depend on."""
    times = (settings.emit_interval_ms, settings.allowed_lateness_ms, settings.max_future_ms, settings.max_age_ms)
    catalog = [
        (v.name, v.feed, v.ttl_s, [(f.name, repr(f.low), repr(f.high), f.dtype) for f in v.features]) for v in VIEWS
    ]
    instrument = [repr(settings.instrument(symbol)), repr(settings.neighbours(symbol))]
    kernels = [sorted(versions_of(view).items()) for view in VIEWS]
    about = [FORMAT, kernels, ORDER_FORMAT, times, settings.recover_s, delay_us, instrument, catalog]
    return _hash(b"", about)


def chain(
    symbol: str,
    days: Sequence[tuple[date, Contents]],
    base: bytes,
    tables: Sequence[MicropriceTable] = (),
    neighbours: Sequence[tuple[str, Mapping[date, Contents]]] = (),
) -> Iterator[Unit]:
    """Yield the days of a symbol, from what its partition has on each day, in order, and from what its neighbours have in theirs."""
    before, last = b"", None
    for day, of_day in days:
        own, shared = of_day.get(symbol, Content()), of_day.get(FOR_ALL, Content())
        if own.rows:
            last = day
        elif not shared.rows or last is None or (day - last).days > QUIET_DAYS:
            continue
        used = [t for t in tables if t.usable_from < day_ms(day) + DAY_MS] if own.imported else []
        known = [symbol, str(day), own, shared, used]
        if neighbours:
            known.append(list(_of_neighbours(neighbours, day)))
        fingerprint = _hash(before or base, known)
        yield Unit(day, before, fingerprint, own.rows + shared.rows)
        before = fingerprint


def _of_neighbours(neighbours: Sequence[tuple[str, Mapping[date, Contents]]], day: date) -> Iterator[list[Any]]:
    """Yield what rows of neighbours on a day are made of: their messages of the day and, for the book at its begin, of the day before."""
    for name, days in neighbours:
        for one in (day - timedelta(days=1), day):
            of_day = days.get(one, {})
            yield [name, of_day.get(name, Content()), of_day.get(FOR_ALL, Content())]


def plan(
    made: Plan,
    records: Mapping[bytes, Record],
    has_state: Callable[[str], bool],
    since: date,
    before: date,
    views: Collection[str],
) -> Plan:
    """Fill a plan: choose the days to compute.

    A day is computed of which not all ``views`` are written and that lies from ``since`` until ``before``, or whose rows of one of these
    are no longer right, wherever it lies. Where the state at the end of the day before is not kept, that day is computed again for its
    state.
    """
    days = made.chain
    chained = {unit.fingerprint for unit in days}
    last = days[-1] if days else None
    tail = None if last is None else Unit(last.day, last.fingerprint, _hash(last.fingerprint, "tail"), is_tail=True)
    if tail is not None:
        chained.add(tail.fingerprint)
    done = {name: record for name, record in records.items() if name in chained and record.views.issuperset(views)}
    stale = (r for name, r in records.items() if name not in chained and not r.views.isdisjoint(views))
    made.stale = sorted(stale, key=lambda record: record.begin_us)
    wrong = {record.day for record in made.stale}
    wanted = [unit.fingerprint not in done and (since <= unit.day < before or unit.day in wrong) for unit in days]
    made.passed = [done[unit.fingerprint] for unit in days if unit.fingerprint in done]
    made.again = [unit.day for unit, is_wanted in zip(days, wanted, strict=True) if is_wanted and unit.day in wrong]
    is_needed = list(wanted)
    writes_tail = tail is not None and tail.fingerprint not in done and (wanted[-1] or days[-1].fingerprint in done)
    if writes_tail and not wanted[-1] and not has_state(made.state(days[-1])):
        is_needed[-1] = True
    choose(made, wanted, is_needed, has_state)
    if tail is not None and writes_tail:
        made.units.append(tail)
    return made


def choose(made: Plan, wanted: Sequence[bool], needed: Sequence[bool], has_state: Callable[[str], bool]) -> None:
    """Fill a plan with the days that are ``wanted`` or ``needed``, and those before whose states are needed and not kept."""
    days, is_needed = made.chain, list(needed)
    for i in range(len(days) - 1, 0, -1):
        if is_needed[i] and not is_needed[i - 1]:
            is_needed[i - 1] = not has_state(made.state(days[i - 1]))
    made.units = [
        Unit(unit.day, unit.before, unit.fingerprint, unit.rows, is_wanted)
        for unit, is_wanted, is_computed in zip(days, wanted, is_needed, strict=True)
        if is_computed
    ]


def share_out(plans: Sequence[Plan], jobs: int) -> list[list[Plan]]:
    """Share out symbols among tasks: the one with the most rows first, each to the task that has the fewest."""
    tasks: list[list[Plan]] = [[] for _ in range(max(1, min(jobs, len(plans))))]
    loads = [0] * len(tasks)
    for one in sorted(plans, key=lambda one: (-one.rows, one.symbol)):
        least = loads.index(min(loads))
        tasks[least].append(one)
        loads[least] += one.rows + 1
    return tasks


def _hash(before: bytes, what: Any) -> bytes:
    return hashlib.blake2b(before + msgspec.msgpack.encode(what), digest_size=16).digest()
