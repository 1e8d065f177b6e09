"""A day more in a backfill from the tape: the processor time of the second run over that of the day alone.

A tape gets 30 days of history, which a first run computes; then one day more, which a second run computes. Beside it a tape that has only
that day is computed from nothing. A day is half an hour of a simulated market of two symbols before a midnight. The figure has to be near
1, whatever number of days there are; 1.5 is the most that the project allows. The processor time of the database server is part of both.

    python -m bench.backfill_day
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from bench.backfill import database, server_seconds
from ingest.backfill.days.run import backfill_from_tape
from ingest.imports.rows import Row
from ingest.imports.writing import table_of
from ingest.messages.decode import encode
from ingest.settings import Settings
from ingest.simulate import history
from ingest.tape.table import open_to_append
from tests.conftest import new_database

DAYS, DAY_MS, SPAN_MS = 30, 86_400_000, 1_800_000
BEGIN_MS = 1_700_006_400_000
SYMBOLS = ("SIM-BTC", "SIM-ETH")


def settings_of(place: Path) -> Settings:
    return Settings(partitions=2, tape=str(place))


def append(place: Path, day: int) -> int:
    """Put a day on a tape; return its messages."""
    end = BEGIN_MS + (day + 1) * DAY_MS
    told = history(end - SPAN_MS, end, symbols=SYMBOLS, seed=day, kinds=("book", "trade"))
    rows = [Row(n, one.timestamp, n << 16, kind, one.symbol, encode(one)) for n, (kind, one) in enumerate(told)]  # type: ignore[union-attr]
    open_to_append(settings_of(place), "").commit([table_of(rows, 2)], {})
    return len(rows)


def measured(url: str, call: Callable[[], object]) -> float:
    """Return the processor seconds of a call, those of the database server included."""
    server, core = server_seconds(url), time.process_time()
    call()
    return time.process_time() - core + max(0.0, server_seconds(url) - server)


def main() -> None:
    """Measure and print."""
    with database() as (folder, server), new_database(server) as url, new_database(server) as other:
        for day in range(DAYS):
            append(folder / "many", day)
        backfill_from_tape(url, settings_of(folder / "many"))
        size = append(folder / "many", DAYS)
        append(folder / "alone", DAYS)
        alone = measured(other, lambda: backfill_from_tape(other, settings_of(folder / "alone")))
        more = measured(url, lambda: backfill_from_tape(url, settings_of(folder / "many")))
    record = {
        "bench": "backfill_day",
        "size": size,
        "ours": round(more / alone, 2),
        "peer_name": None,
        "peer": None,
        "ratio": None,
        "unit": "processor time over that of the day alone",
    }
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # a plain PostgreSQL says each time that it is no TimescaleDB
    main()
