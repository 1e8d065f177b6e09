"""The last step of docs/adding-a-feature.md at the size of a deployment: a month of twenty symbols gets a new feature's past.

The days were served and backfilled before by the kernels of this checkout, and one of them was then backfilled alone, so its rows are those
of kernels that had not heard the days before it. A copy of the project with the page's edits computes the feature from the tape. Compared
is by the bytes of every value, on a plain PostgreSQL, and on TimescaleDB with every chunk compressed where ``TFS_TIMESCALE_URL`` names a
server::

    python -m tests.acceptance.touch_ratio --days 30 --symbols 20

It takes minutes, prints a JSON object for each database, and ends with an error at the first difference.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from math import log
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from feature_repo.stores.endpoints import POSTGRES_VARIABLE
from feature_repo.stores.offline.tables import hypertable
from ingest.backfill.days.run import backfill_from_tape
from ingest.backfill.run import backfill
from ingest.servers import embedded
from ingest.settings import Settings
from tests.conftest import new_database
from tests.examples.test_adding_a_feature import PAGE, edited_copy, run
from tests.feature_repo.stores.offline.tables.minutes import compress
from tests.ingest.backfill.days import tapes
from transforms.times import datetime_of_ms

VIEW = "microstructure"
GRID_MS = 1000
BOOK_MS = 10_000
"""A book counts for so long."""
_PLACES = "SELECT md5(string_agg(ctid::text || xmin::text, ',' ORDER BY ctid)) FROM {}"
_PACKED = "SELECT count(*) FILTER (WHERE is_compressed), count(*) FROM timescaledb_information.chunks"


def main(argv: Sequence[str] | None = None) -> int:
    """Build the tape once, and go through the page's last step on each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--symbols", type=int, default=20)
    args = parser.parse_args(argv)
    symbols = [f"SIM-{n:02}" for n in range(args.symbols)]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o711)  # the servers run as another user
        conf = tapes.settings(str(folder / "tape"), emit_interval_ms=GRID_MS)
        messages = 0
        for day in range(args.days):
            told = tapes.market(day, symbols)
            assert {(one.symbol, kind) for kind, one in told} == set(product(symbols, ("book", "trade")))
            messages += tapes.put(conf, told)
        copy = edited_copy(folder / "copy")
        plain = stack.enter_context(embedded.running(folder / "servers", durable=False)).postgres_url
        for server in filter(None, (plain, os.environ.get("TFS_TIMESCALE_URL"))):
            with new_database(server) as url:
                found = fill(url, conf, copy, args.days, symbols, folder)
            print(json.dumps({"days": args.days, "symbols": args.symbols, "messages": messages, **found}), flush=True)
    return 0


def fill(url: str, conf: Settings, copy: Path, days: int, symbols: Sequence[str], folder: Path) -> dict[str, Any]:
    """Serve and backfill without the feature, fill in its past, and hold every value against what was there before."""
    took: dict[str, float] = {}
    with clock(took, "served and backfilled before"):
        tapes.serve(conf, url)
        backfill_from_tape(url, conf)
    recomputed, served = tapes.stored(url, "recomputed"), tapes.stored(url, "NOT recomputed")
    days_of = Counter((row[0], row[1].date()) for row in recomputed[VIEW])
    assert len(days_of) >= days * len(symbols)

    alone_at = days // 2
    path = folder / "alone.jsonl"
    write(path, tapes.market(alone_at, symbols))
    assert backfill([path], url, conf).new > 0
    alone = tapes.stored(url, "recomputed")
    cold = sum(a != b for view in recomputed for a, b in zip(recomputed[view], alone[view], strict=False))
    assert cold > len(symbols)
    with psycopg.connect(url, autocommit=True) as connection:
        scaled = hypertable.installed(connection)
        chunks = compress(connection) if scaled else 0
        if scaled:
            assert connection.execute(_PACKED).fetchone() == (chunks, chunks)

    servers = {POSTGRES_VARIABLE: url, "TFS_TAPE": conf.tape, "TFS_PARTITIONS": str(conf.partitions)}
    servers["TFS_EMIT_INTERVAL_MS"] = str(GRID_MS)
    (page,) = re.findall(r"^python -m (ingest backfill .*)$", PAGE.read_text(), re.M)
    command = (sys.executable, "-m", *page.split(), "--json")
    run(copy, str(Path(sys.executable).with_name("feast")), "-c", "feature_repo", "apply", timeout_s=3600, **servers)
    with clock(took, "the feature's past"):
        told = json.loads(run(copy, *command, timeout_s=3600, **servers))
    assert told["days"]["computed"] == days * len(symbols), told["days"]
    check(url, recomputed, served, [VIEW])
    known = values(url, days, symbols)
    before = places(url)
    with clock(took, "again"):
        told = json.loads(run(copy, *command, timeout_s=3600, **servers))
    assert (told["days"]["computed"], told["rows_new"]) == (0, 0)
    assert places(url) == before, "a row was written again"
    with clock(took, "all views"):
        whole = [part for part in command if part not in ("--features", "touch_ratio")]
        told = json.loads(run(copy, *whole, timeout_s=3600, **servers))
    check(url, recomputed, served, list(recomputed))
    assert values(url, days, symbols) == known
    return {
        "timescaledb": bool(scaled),
        "compressed_chunks": chunks,
        "recomputed_rows": {view: len(rows) for view, rows in recomputed.items() if rows},
        "served_rows": sum(map(len, served.values())),
        "rows_of_the_day_backfilled_alone_that_were_others": cold,
        "touch_ratio_known": known,
        "seconds": took,
    }


def check(url: str, recomputed: tapes.Stored, served: tapes.Stored, views: Sequence[str]) -> None:
    """Hold all columns from before against what they were, by their bytes: the recomputed rows of some views, and all served ones."""
    now = tapes.stored(url, "recomputed")
    for view in views:
        differing = [pair for pair in zip(recomputed[view], now[view], strict=True) if pair[0] != pair[1]]
        assert not differing, f"{len(differing)} rows of {view} differ, such as {differing[0]}"
    assert tapes.stored(url, "NOT recomputed") == served
    with psycopg.connect(url) as connection:
        query = "SELECT count(touch_ratio) FROM microstructure WHERE NOT recomputed"
        assert connection.execute(query).fetchone() == (0,)


def values(url: str, days: int, symbols: Sequence[str]) -> int:
    """Hold the feature of each row against the last book before it; return in how many rows it is known."""
    with psycopg.connect(url) as connection:
        query = "SELECT symbol, event_timestamp, touch_ratio, book_valid FROM microstructure WHERE recomputed"
        rows = {(symbol, at): values for symbol, at, *values in connection.execute(query)}
    known = 0
    for day in range(days):
        books: dict[str, list[Any]] = {symbol: [] for symbol in symbols}
        for kind, one in tapes.market(day, symbols):
            if kind == "book":
                books[one.symbol].append(one)
        for symbol, every in books.items():
            told = every[
                day > 0 :
            ]  # the number of a day's first book does not follow the last one: it is refused, and the book unknown
            assert told
            first = -(-told[0].timestamp // GRID_MS) * GRID_MS
            for ms in range(first, told[-1].timestamp + BOOK_MS, GRID_MS):
                row = rows.pop((symbol, datetime_of_ms(ms)), None)
                if row is None:  # the view gives no more rows of a book that is old
                    assert ms > told[-1].timestamp
                    continue
                last = [book for book in told if book.timestamp <= ms][-1]
                assert row == [log(last.bids[0][1] / last.asks[0][1]), 1], (symbol, ms, last.bids[0], last.asks[0], row)
                known += 1
    assert not [row for row in rows.values() if row != [None, 0]], "of an unknown book"
    return known


def places(url: str) -> list[Any]:
    """Return where each row lies and which transaction wrote it; of TimescaleDB which chunks are packed and wholly so."""
    with psycopg.connect(url) as connection:
        if hypertable.installed(connection):
            query = "SELECT id, status FROM _timescaledb_catalog.chunk ORDER BY 1"
            return connection.execute(query).fetchall()
        return [connection.execute(_PLACES.format(view)).fetchone() for view in tapes.stored(url)]


def write(path: Path, messages: Sequence[tuple[str, Any]]) -> None:
    """Write messages as JSON lines."""
    with path.open("wb") as file:
        for _, one in messages:
            file.write(msgspec.json.encode(one) + b"\n")


@contextmanager
def clock(took: dict[str, float], what: str) -> Iterator[None]:
    """Note how long a block takes."""
    began = time.monotonic()
    yield
    took[what] = round(time.monotonic() - began, 1)


if __name__ == "__main__":
    sys.exit(main())
