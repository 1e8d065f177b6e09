"""Rewriting of closed days: many small files, as they were appended, become few, sorted by symbol and entry id.

A day is rewritten by one commit, which replaces its files and notes how many rows it had (``compacted/<partition>/<day>``). A process that
dies before the commit has changed nothing. The rows are checked before: a day whose rows are not those that were appended is left as it is.
The files that were replaced are deleted after ``KEPT_H`` hours, so that a reader of an older version has them meanwhile.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from datetime import date, datetime
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import ColumnProperties, CommitProperties, Transaction, WriterProperties

from ingest.tape.columns import DAY_MS, SCHEMA
from ingest.tape.read import day_ms, windows
from ingest.tape.table import Tape, TapeError, storage
from ingest.tape.verify import day_of

_LOG = logging.getLogger(__name__)
KEPT_H = 168
FILE_BYTES = 512 << 20
_GROWING = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=9,
    max_row_group_size=65_536,
    data_page_size_limit=4 << 20,  # a page is packed as a whole, and a book is like those before it
    column_properties={
        "data": ColumnProperties(dictionary_enabled=False),
        "id_ms": _GROWING,
        "arrival": _GROWING,
    },
)
_ORDER = [("symbol", "ascending"), ("id_ms", "ascending"), ("id_n", "ascending")]


def open_days(tape: Tape, now: datetime) -> list[tuple[int, date]]:
    """Return the days before today that have rows which were not there when the day was rewritten, or were never rewritten."""
    return [
        (partition, day)
        for partition, day in tape.days()
        if day < now.date() and tape.number(f"compacted/{partition}/{day}") != tape.figures(partition, day)[0]
    ]


def compact(tape: Tape, partition: int, day: date) -> None:
    """Rewrite a day of a partition. Raise `TapeError` if it is not as it was appended, `ConflictError` if another one rewrote it."""
    found = day_of(tape, partition, day)
    if not found.is_right:
        raise TapeError(
            f"{day} of partition {partition} has {found.rows:,} rows and is not what was appended ({found.appended_rows:,} rows): "
            "it is left as it is; run `python -m ingest tape verify`"
        )
    done = Transaction(f"compacted/{partition}/{day}", found.rows)
    with storage(tape.place), closing(_read_apart(_sorted(tape, partition, day))) as batches:
        deltalake.write_deltalake(
            tape.table,
            pa.RecordBatchReader.from_batches(SCHEMA, batches),
            mode="overwrite",
            predicate=f"day = '{day.isoformat()}' AND partition = {partition}",
            target_file_size=FILE_BYTES,
            writer_properties=WRITER,
            commit_properties=CommitProperties(app_transactions=[done]),
        )
    _LOG.info("%s of partition %d is rewritten: %d rows", day, partition, found.rows)


def delete_replaced(tape: Tape, kept_h: int = KEPT_H) -> int:
    """Delete the files that no version of the last ``kept_h`` hours has; return how many."""
    with storage(tape.place):
        found: Any = tape.table.vacuum(retention_hours=kept_h, dry_run=False)
    return len(found)


def _read_apart(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
    """Yield batches that a thread of its own reads: deltalake asks for them in a thread in which its own reading would fail."""
    ready: queue.Queue[pa.RecordBatch | Exception | None] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(one: pa.RecordBatch | Exception | None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                ready.put(one, timeout=0.1)
                return

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stop.is_set():
                    return
            put(None)
        except Exception as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (one := ready.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one
    finally:
        stop.set()


def _sorted(tape: Tape, partition: int, day: date) -> Iterator[pa.RecordBatch]:
    dataset = tape.table.to_pyarrow_dataset()
    which = (pc.field("day") == pa.scalar(day)) & (pc.field("partition") == partition)
    begin = day_ms(day)
    for first, last in windows(dataset, which, begin, begin + DAY_MS):
        window = (pc.field("id_ms") >= first) & (pc.field("id_ms") < last)
        rows = dataset.to_table(columns=SCHEMA.names, filter=which & window).sort_by(_ORDER)
        yield from rows.cast(SCHEMA).to_batches()
