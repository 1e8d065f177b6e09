"""Reading the tape: entries in the order of their log, in bounded memory.

The files of a day are not in the order of the log once the day is compacted, so a day is read in windows of time: one pass over the column
``id_ms`` counts the rows of each second, and seconds are put together until a window has about ``WINDOW_ROWS`` rows. A window is then read
and sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ingest.tape.columns import DAY_MS, EVENTS, FOR_ALL, entries_of
from ingest.tape.table import Tape, storage

WINDOW_ROWS = 200_000
_ORDER = [("id_ms", "ascending"), ("id_n", "ascending")]
_ORDER_OF_SOURCES = [*_ORDER, ("source", "ascending")]
FOREVER_MS = 2**62


def rows(
    tape: Tape,
    partition: int,
    *,
    source: str | Sequence[str] = EVENTS,
    since_ms: int = 0,
    before_ms: int = FOREVER_MS,
    symbols: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
    window_rows: int | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of a log, or of another stream, in its order, a window at a time.

    Parameters
    ----------
    tape : Tape
        At the version that is read, whatever is appended meanwhile.
    partition : int
        Of the log; ``columns.NO_PARTITION`` for other streams.
    source : str or sequence of str
        ``events``, or the name of another stream; several are merged, and the column of sources must be among ``columns``.
    since_ms, before_ms : int
        Entries that arrived at or after the one and before the other, in ms.
    symbols : sequence of str, optional
        Only rows of these. ``columns.FOR_ALL`` among them stands for rows that name none, such as clocks and withdrawn posts.
    columns : sequence of str, optional
        Only these columns; the two of the entry id must be among them.
    where : pyarrow.compute.Expression, optional
        Only rows for which this holds.
    window_rows : int, optional
        About how many rows a window has; ``WINDOW_ROWS`` by default.
    """
    with storage(tape.place):
        for p, day in tape.days():
            if p != partition or day_ms(day) + DAY_MS <= since_ms or day_ms(day) >= before_ms:
                continue
            dataset = tape.of_day(partition, day)
            begin = max(since_ms, day_ms(day))
            end = min(before_ms, day_ms(day) + DAY_MS)
            of_day = (pc.field("day") == pa.scalar(day)) & (pc.field("partition") == partition)
            of_day &= pc.field("source").isin([source] if isinstance(source, str) else list(source))
            if symbols is not None:
                of_symbols = pc.field("symbol").isin(list(symbols))
                of_day &= of_symbols | pc.field("symbol").is_null() if FOR_ALL in symbols else of_symbols
            if where is not None:
                of_day &= where
            for first, last in windows(dataset, of_day, begin, end, window_rows):
                window = (pc.field("id_ms") >= first) & (pc.field("id_ms") < last)
                found = dataset.to_table(columns=list(columns) if columns else None, filter=of_day & window)
                if found.num_rows:
                    yield found.sort_by(_ORDER if isinstance(source, str) else _ORDER_OF_SOURCES)


def entries(tape: Tape, partition: int, **which: Any) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Yield the entries of a log as they were, in its order; ``which`` is as for ``rows``."""
    columns = ("id_ms", "id_n", "kind", "recorded", "data", "fields")
    for window in rows(tape, partition, columns=columns, **which):
        yield from entries_of(window)


def windows(
    dataset: ds.Dataset, which: pc.Expression, begin_ms: int, end_ms: int, most: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield parts of the time from ``begin_ms`` to ``end_ms``: one second each, or more with ``most`` (``WINDOW_ROWS``) rows at most."""
    most = most or WINDOW_ROWS
    first_s, last_s = begin_ms // 1000, -(-end_ms // 1000)
    counts = np.zeros(last_s - first_s, dtype=np.int64)
    span = (pc.field("id_ms") >= begin_ms) & (pc.field("id_ms") < end_ms)
    for batch in dataset.to_batches(columns=["id_ms"], filter=which & span):
        counts += np.bincount(batch.column(0).to_numpy() // 1000 - first_s, minlength=len(counts))
    at, n = begin_ms, 0
    for second in np.flatnonzero(counts).tolist():
        if n and n + counts[second] > most:
            yield at, (first_s + second) * 1000
            at, n = (first_s + second) * 1000, 0
        n += counts[second]
    if n:
        yield at, end_ms


def day_ms(day: date) -> int:
    """Return the begin of a day in ms."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
