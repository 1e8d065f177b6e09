"""Rows of neighbours that the tape does not have: those of imported history, and of days from before they were configured.

Where a log has rows of a neighbour on a day, heard live or written with a recording, only these count. Else the neighbour is computed from
its own messages, in the order in which they arrived, and each of its rows counts from the message that finished it. A day begins with what
the neighbour was in the minutes before: an older book gives no rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from heapq import merge
from typing import Any, NamedTuple

import pyarrow.compute as pc

from ingest.backfill.days.contents import Contents
from ingest.messages.envelope import from_entry
from ingest.messages.kinds import Neighbour
from ingest.messages.refusal import Refused
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.read import id_numbers
from ingest.tape.columns import DAY_MS, EVENTS, FOR_ALL, IMPORT, entries_of
from ingest.tape.read import FOREVER_MS, day_ms, entries, rows
from ingest.tape.table import Tape
from ingest.worker.partition import Partition

BEFORE_MS = 900_000
_COLUMNS = ("id_ms", "id_n", "kind", "recorded", "data", "fields")
Days = Mapping[int, Sequence[tuple[date, Contents]]]
"""What each partition has on each of its days, in order."""


class Told(NamedTuple):
    """A row of a neighbour, and the numbers of the entry that finished it."""

    at: tuple[int, int]
    row: Neighbour


def of_symbol(settings: Settings, symbol: str, days: Days) -> list[tuple[str, dict[date, Contents]]]:
    """Return the neighbours of a symbol, each with what its partition has on each day."""
    found = settings.neighbours(symbol)
    names = found.names if found else ()
    return [(name, dict(days.get(keys.partition_of(name, settings.partitions), ()))) for name in names]


def last_days(neighbours: Iterable[tuple[str, Mapping[date, Contents]]]) -> dict[str, date]:
    """Return the last day of each neighbour that has a message."""
    return {
        name: max(day for day, of_day in days.items() if name in of_day)
        for name, days in neighbours
        if any(name in of_day for of_day in days.values())
    }


def told(tape: Tape, settings: Settings, partition: int, day: date, lasts: Mapping[str, date]) -> Iterator[Told]:
    """Yield the rows of neighbours on a day of which the log of ``partition`` has none, in the order in which they were finished.

    ``lasts`` has the neighbours, with the last day of each: at its end time passes to the next boundary of the grid for recorded ones.
    """
    unheard = set(lasts)
    is_row = pc.field("kind") == "neighbour"
    window = {"since_ms": day_ms(day), "before_ms": day_ms(day) + DAY_MS, "where": is_row}
    for entry_id, fields in entries(tape, partition, **window) if unheard else ():
        try:
            unheard.discard(from_entry(entry_id, fields).message.neighbour)
        except Refused:
            continue
        if not unheard:
            break
    by_partition: defaultdict[int, dict[str, bool]] = defaultdict(dict)
    for name in sorted(unheard):
        if lasts[name] >= day:
            by_partition[keys.partition_of(name, settings.partitions)][name] = lasts[name] == day
    yield from merge(
        *(_computed(tape, settings, p, day, names) for p, names in sorted(by_partition.items())), key=lambda one: one.at
    )


def _computed(tape: Tape, settings: Settings, p: int, day: date, ends: Mapping[str, bool]) -> Iterator[Told]:
    """Yield the rows of symbols of one partition; ``ends`` says of each whether this is its last day."""
    begin_ms = day_ms(day)
    partition = Partition(p, settings, tells_recorded=True)

    def take() -> Iterator[Told]:
        if partition.pending.told:
            for entry_id, row in partition.take_pending().told:
                at = id_numbers(entry_id)
                if at[0] >= begin_ms:
                    yield Told(at, row)

    span: dict[str, Any] = {"since_ms": begin_ms - BEFORE_MS, "before_ms": begin_ms + DAY_MS}
    for part in rows(tape, p, source=(EVENTS, IMPORT), symbols=[*ends, FOR_ALL], columns=(*_COLUMNS, "source"), **span):
        for entry_id, fields in entries_of(part):
            partition.process(entry_id, fields, 0)
            yield from take()
    for name, is_last in ends.items():
        symbol = partition.symbols.get(name)
        if is_last and symbol is not None and symbol.recorded:
            partition.position = b"%d-0" % FOREVER_MS
            grid_us = settings.emit_us
            symbol.pass_time(-(-symbol.timeline.last_us() // grid_us) * grid_us)
            yield from take()
