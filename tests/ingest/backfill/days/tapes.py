"""Tapes of a few small days, and the rows that a worker makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import psycopg
import pyarrow as pa

from feature_repo.stores.offline.append import append_rows
from ingest.backfill import table
from ingest.imports.rows import Row
from ingest.imports.writing import table_of
from ingest.messages.decode import encode
from ingest.messages.kinds import Tick, time_us
from ingest.settings import Settings
from ingest.simulate import history
from ingest.simulate.history import MARKET
from ingest.tape import columns
from ingest.tape.read import rows
from ingest.tape.table import open_tape, open_to_append
from ingest.worker.partition import Partition
from ingest.worker.rows import Columns
from transforms.catalog import VIEWS
from transforms.times import datetime_of_us

MIDNIGHT = 1_700_006_400_000
DAY = 86_400_000
FIRST = date(2023, 11, 15)
SYMBOLS = ("SIM-BTC", "SIM-ETH")
DELAY = timedelta(seconds=1)

Stored = dict[str, list[tuple[Any, ...]]]


def settings(place: str, **changed: Any) -> Settings:
    return Settings(**{"partitions": 2, "tape": place, "emit_interval_ms": 4000, **changed})


def nth(day: int) -> date:
    """Return the date of a day."""
    return FIRST + timedelta(days=day)


def market(day: int, symbols: Sequence[str] = SYMBOLS, seconds: tuple[int, int] = (0, 12)) -> list[tuple[str, Any]]:
    """Return books and trades of the last seconds before the midnight that ends a day; times begin at that ``seconds`` of them."""
    begin = MIDNIGHT + (day + 1) * DAY - 12_000
    span = (begin + 1000 * seconds[0], begin + 1000 * seconds[1])
    return [(kind, one) for kind, one in history(*span, symbols=symbols, seed=day, kinds=MARKET)]


def put(conf: Settings, messages: Sequence[tuple[str, Any]], tag: int = 0) -> int:
    """Append messages to the tape as an import does; return how many."""
    rows = [
        Row(n, time_us(one) // 1000, n << 16 | tag, kind, one.symbol, encode(one))
        for n, (kind, one) in enumerate(messages)
    ]
    open_to_append(conf, "").commit([table_of(rows, conf.partitions)], {})
    return len(rows)


def put_entries(conf: Settings, entries: Sequence[tuple[bytes, dict[bytes, bytes]]], partition: int) -> None:
    """Append entries of a log to the tape."""
    found: pa.Table = columns.table_of(entries, columns.EVENTS, partition)
    open_to_append(conf, "").commit([found], {})


def stored(url: str, which: str = "true") -> Stored:
    """Return the rows of the tables, in order, with the bytes of their doubles; ``which`` is a condition."""
    found: Stored = {}
    with psycopg.connect(url) as connection:
        for view in VIEWS:
            names = ", ".join(f"encode(float8send({name}), 'hex')" for name in view.names)
            head = "symbol, event_timestamp, created_timestamp, feed_silence_ms"
            query = f"SELECT {head}, {names} FROM {view.name} WHERE {which} ORDER BY 1, 2, 3"  # noqa: S608 - the catalogue's
            found[view.name] = connection.execute(query).fetchall()
    return found


def worked(conf: Settings, *, close: bool = True) -> Iterator[Columns]:
    """Yield what a worker makes that processes all entries of the tape, from its first to its last, and then a tick a symbol."""
    tape = open_tape(conf)
    for p in range(conf.partitions):
        partition = Partition(p, conf)
        which = {"source": (columns.EVENTS, columns.IMPORT)}
        names = ("id_ms", "id_n", "kind", "symbol", "source", "recorded", "data", "fields")
        last: dict[str, int] = {}
        for window in rows(tape, p, columns=names, **which):
            symbols = window["symbol"].to_pylist()
            for (entry_id, fields), symbol in zip(columns.entries_of(window), symbols, strict=True):
                partition.process(entry_id, fields, 0)
                last[symbol] = int(entry_id.partition(b"-")[0])
        for n, (symbol, ms) in enumerate(sorted(last.items()) if close else ()):
            tick = {b"kind": b"tick", b"data": encode(Tick(-(-ms // 1000) * 1000, symbol)), b"recorded": b"1"}
            partition.process(b"%d-%d" % (ms + 60_000, n), tick, 0)
        yield from (batch.columns() for batch in partition.pending.batches.values() if len(batch))


def serve(conf: Settings, url: str, *, close: bool = True) -> None:
    """Write what a worker makes of the tape as served rows, each created when its message was received."""
    with psycopg.connect(url, autocommit=True) as connection:
        table.prepare(connection)
        for part in worked(conf, close=close):
            append_rows(connection, *part)


def worker_rows(conf: Settings, *, close: bool = True) -> Stored:
    """Return the rows of `worked` as `stored` returns those of a backfill."""
    made: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {view.name: {} for view in VIEWS}
    for part in worked(conf, close=close):
        for i, symbol in enumerate(part.symbols):
            at = datetime_of_us(int(part.event_us[i]))
            values = [None if v != v else v.tobytes()[::-1].hex() for v in part.values[i]]
            made[part.view.name][symbol, at] = (symbol, at, at + DELAY, int(part.silent_us[i]) // 1000, *values)
    return {name: [of_view[key] for key in sorted(of_view)] for name, of_view in made.items()}
