"""Checks of the tape: against what was counted when it was appended, and against what the logs still hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import redis

from ingest.messages.header import symbol_of
from ingest.messages.refusal import Refused
from ingest.streams import keys, read
from ingest.tape.columns import CHECK_BITS, check_of
from ingest.tape.read import entries
from ingest.tape.table import Tape, storage

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a partition: its rows and the sum of their checks, as they are and as they were appended."""

    partition: int
    day: date
    rows: int
    check: int
    appended_rows: int
    appended_check: int

    @property
    def is_right(self) -> bool:
        """Whether nothing is lost, doubled or changed."""
        return (self.rows, self.check) == (self.appended_rows, self.appended_check)


def days(tape: Tape) -> Iterator[Day]:
    """Read each day of each partition whole, and yield what was found."""
    for partition, day in tape.days():
        yield day_of(tape, partition, day)


def day_of(tape: Tape, partition: int, day: date) -> Day:
    """Read a day of a partition whole, and return what was found."""
    return Day(partition, day, *_found(tape, partition, day), *tape.figures(partition, day))


def lost_days(tape: Tape, partitions: int) -> int:
    """Return how many days that had rows have none."""
    held = list(tape.days())
    return sum((tape.number(f"days/{p}") or 0) - sum(p == q for q, _ in held) for p in range(-1, partitions))


def _found(tape: Tape, partition: int, day: date) -> tuple[int, int]:
    rows = check = 0
    with storage(tape.place):
        dataset = tape.table.to_pyarrow_dataset()
        which = (pc.field("day") == pa.scalar(day)) & (pc.field("partition") == partition)
        for batch in dataset.to_batches(filter=which):
            rows += batch.num_rows
            check += check_of(pa.Table.from_batches([batch]))
    return rows, check % CHECK_BITS


@dataclass(frozen=True, slots=True)
class Log:
    """How much of a log was compared with the tape, and the first entry that differs; empty where none does."""

    partition: int
    compared: int
    differs_at: str = ""


def log(client: redis.Redis, tape: Tape, partition: int, partitions: int, of: int) -> Log:
    """Compare what a log still holds, up to the last entry on the tape, with the tape.

    Where there are more ``partitions`` than those ``of`` the tape, only entries that name a symbol: the tape says of no other one in which
    log it stands.
    """
    stream = keys.events(partition)
    last = tape.position(stream)
    first: Any = client.xrange(stream, count=1)
    if last is None or not first:
        return Log(partition, 0)
    first_id = first[0][0]
    taped = (
        entry
        for entry in entries(tape, partition % of, since_ms=read.id_numbers(first_id)[0])
        if not read.is_newer(first_id, entry[0])
    )
    there = _held(client, stream, last)
    if partitions != of:
        taped, there = ((entry for entry in some if _is_of(entry[1], partition, partitions)) for some in (taped, there))
    compared = 0
    for held, kept in zip_longest(there, taped):
        if held != kept:
            ids = [entry[0] for entry in (held, kept) if entry is not None]
            return Log(partition, compared, min(ids, key=read.id_numbers).decode())
        compared += 1
    return Log(partition, compared)


def _is_of(fields: Mapping[bytes, bytes], partition: int, partitions: int) -> bool:
    try:
        return keys.partition_of(symbol_of(fields), partitions) == partition
    except Refused:
        return False


def _held(client: redis.Redis, stream: str, last: bytes) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    after = read.START
    while page := read.entries_between(client, stream, after, last, PAGE):
        yield from page
        after = page[-1][0]
