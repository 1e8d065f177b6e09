"""Served equals recomputed: rows that the live worker stored are what its messages on the tape give, bit for bit.

Some days of symbols are computed from the tape, as a backfill computes them, and each row is held against the served row of its symbol and
event time (``served_rows``). Imported history is left out, because no worker has heard it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import psycopg

from ingest.backfill.days import contents, neighbours
from ingest.backfill.days.contents import files_of
from ingest.backfill.days.follow import Followed
from ingest.backfill.days.plan import Plan, base_of, chain, choose
from ingest.backfill.days.work import at_begin, follow
from ingest.backfill.table import ROWS
from ingest.check.served_rows import Served, ServedRows
from ingest.settings import Settings
from ingest.streams import keys
from ingest.tape import verify
from ingest.tape.columns import EVENTS, FOR_ALL
from ingest.tape.store import Store
from ingest.tape.table import Tape, TapeError, of_tape
from transforms.compiling import warm_up

DELAY_US = 1_000_000
"""The states that a backfill keeps are told apart by its ``--available-after``; those of the default are used."""
Choose = Callable[[list[tuple[str, date]]], list[tuple[str, date]]]
"""Chooses among the symbol-days that are there."""


def sample(most: int, seed: int | None = None) -> Choose:
    """Return what chooses ``most`` symbol-days at random, other ones each time unless a ``seed`` is given."""
    chance = random.Random(seed)  # noqa: S311 - not for security
    return lambda days: sorted(chance.sample(days, min(most, len(days))))


def compare_served(
    tape: Tape,
    connection: psycopg.Connection[Any],
    settings: Settings,
    choose_days: Choose,
    *,
    symbols: Sequence[str] = (),
    since: date = date.min,
    before: date = date.max,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Served:
    """Compare the served rows of some symbol-days with those that the tape gives.

    A day begins at the state that a backfill from the tape kept of the day before; where there is none, all days before are computed too.

    Raise `TapeError` if the tape has another number of partitions or is not as it was appended, `StorageError` if it cannot be read.

    Parameters
    ----------
    tape : Tape
    connection : psycopg.Connection
        In autocommit mode; nothing is written.
    settings : Settings
    choose_days : callable
        Is given the symbol-days that have messages of a log, and returns those to compare; ``sample`` makes one.
    symbols : sequence of str
        Only these; all if there are none.
    since, before : date
        Only days of arrival from the one until the other, which is not included.
    progress : callable
        Is called now and then with how many entries were read, and of how many.
    """
    logs, settings = settings.partitions, of_tape(tape, settings)
    if lost := verify.lost_days(tape, settings.partitions):
        raise TapeError(f"{lost} days of partitions have no rows any more; run `python -m ingest tape verify`")
    store, found = Store(settings.tape), Served()
    days = {p: contents.contents(tape, store, p, files) for p, files in files_of(tape).items()}
    taken = set(symbols) or settings.symbols
    there = {
        (name, day): partition
        for partition, of_partition in days.items()
        for day, of_day in of_partition
        for name, content in of_day.items()
        if name != FOR_ALL
        and content.rows > content.imported
        and since <= day < before
        and (not taken or name in taken)
    }
    found.days = choose_days(sorted(there))
    wanted: defaultdict[tuple[int, str], set[date]] = defaultdict(set)
    for name, day in found.days:
        wanted[there[name, day], name].add(day)
    plans = [_plan(p, name, of_symbol, days, settings, store) for (p, name), of_symbol in sorted(wanted.items())]
    taken_logs = {log for plan in plans for log in range(plan.partition, logs, settings.partitions)}
    found.holes = sum(tape.number(f"holes/{keys.events(p)}") or 0 for p in taken_logs)
    warm_up()
    served = ServedRows(connection, found)
    done, of = 0, sum(plan.rows for plan in plans)
    for partition in sorted({plan.partition for plan in plans}):
        for n in _compute(tape, settings, store, served, [plan for plan in plans if plan.partition == partition]):
            done += n
            progress(done, of)
    return found


def _plan(
    partition: int,
    symbol: str,
    wanted: set[date],
    days: neighbours.Days,
    settings: Settings,
    store: Store,
) -> Plan:
    """Return which days of a symbol are computed: states that contain imported history are not used."""
    made = Plan(symbol, partition, base_of(settings, symbol, DELAY_US))
    near = neighbours.of_symbol(settings, symbol, days)
    last = max(wanted)
    made.chain = [unit for unit in chain(symbol, days[partition], made.base, neighbours=near) if unit.day <= last]
    is_wanted = [unit.day in wanted for unit in made.chain]
    has_imported = any(day <= last and symbol in of_day and of_day[symbol].imported for day, of_day in days[partition])
    choose(made, is_wanted, is_wanted, (lambda _: False) if has_imported else store.has)
    return made


def _compute(tape: Tape, settings: Settings, store: Store, served: ServedRows, plans: Sequence[Plan]) -> Iterator[int]:
    """Compute the days of symbols of one partition, and compare their rows; yield how many entries were read since."""
    at: dict[str, Followed] = {}
    for day in sorted({unit.day for plan in plans for unit in plan.units}):
        at = {
            plan.symbol: at_begin(plan, unit, at.get(plan.symbol), settings, store)
            for plan in plans
            for unit in plan.units
            if unit.day == day
        }
        for n in follow(tape, plans[0].partition, day, at, [EVENTS]):
            if sum(one.has_rows() for one in at.values()) >= ROWS:
                served.compare(at.values())
            yield n
        served.compare(at.values())
        served.end_day()
