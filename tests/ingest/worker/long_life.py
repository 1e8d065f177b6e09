"""The log of a symbol, 40 days long: trades, late ones, posts, tables, gaps, ticks and clocks, and at the end many books."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest import settings
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.decode import encode
from ingest.messages.kinds import Clock, Gap, MicropriceTable, OrderBook, ScoredPost, Tick, Trade
from ingest.settings import Settings
from ingest.streams import keys
from ingest.tape.columns import EVENTS, table_of
from ingest.tape.table import Batch, Tape, open_to_append
from ingest.worker.partition import Partition

Entry = tuple[bytes, dict[bytes, bytes]]
Rows = dict[tuple[str, int], bytes]
CONF = settings.load({"TFS_PARTITIONS": "1", "TFS_EMIT_INTERVAL_MS": "60000"})
NAME = "A"
DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000
END = 1_700_006_400_000 + 7 * HOUR + 1234
"""ms; 05:13 UTC"""


def live(days: float = 40, *, sides: bool = True, seed: int = 1, busy_h: int = 30, name: str = NAME) -> list[Entry]:
    """Return the entries of a symbol up to ``END``, in the order of their arrival."""
    rng = np.random.default_rng(seed)
    told: list[tuple[int, str, object]] = []  # arrival, kind, message
    begin = END - round(days * DAY)
    price = 100.0

    def trade(at: int, arrived: int) -> None:
        nonlocal price
        price = round(price + 0.25 * int(rng.integers(-3, 4)), 2)
        price = max(price, 20.0)
        side = ["buy", "sell"][int(rng.integers(2))] if sides else None
        told.append(
            (
                arrived,
                "trade",
                Trade(
                    at,
                    name,
                    price,
                    float(rng.integers(1, 40)) / 8,
                    side,
                    received=arrived,
                    next_funding=at // HOUR * HOUR + HOUR,
                ),
            )
        )

    def book(at: int) -> None:
        mid = price + 0.25 * int(rng.integers(-1, 2))
        bids = [(mid - 0.25 - 0.25 * i, float(rng.integers(1, 9))) for i in range(11)]
        asks = [(mid + 0.25 + 0.25 * i, float(rng.integers(1, 9))) for i in range(11)]
        told.append((at + 20, "book", OrderBook(at, name, bids, asks, received=at + 20)))

    midnights = range(begin // DAY * DAY + DAY, END - busy_h * HOUR, 4 * DAY)
    calm = [midnight + at for midnight in midnights for at in (MINUTE, *rng.integers(6 * HOUR, size=60).tolist())]
    times = sorted(at for at in calm if begin < at < END - busy_h * HOUR)
    times += sorted(at + int(rng.integers(MINUTE)) for at in range(max(begin, END - busy_h * HOUR), END, MINUTE))
    busy = END - (busy_h - 2) * HOUR
    for at in times:
        late = 900 if rng.random() < 0.05 else 30  # later than the next book: it is refused
        trade(at, at + late)
        if at > busy or rng.random() < 0.1:
            book(at - 200)
            book(at + 300 + int(rng.integers(100)))
            book(at + 700)
    told += _contract(max(begin, END - busy_h * HOUR), seed, name)
    for at in [*range(begin + HOUR, END - 2 * HOUR, 4 * DAY), *range(END - 2 * HOUR, END, 70_000)]:
        delay = int(rng.integers(2)) * 1500
        score = ScoredPost(
            at - 5000, name, f"p{at}", at, int(rng.integers(2**63)), 0.5, 0.3, 0.2, "m", f"a{at % 7}", 3, 1, 1, 10
        )
        told.append((at + delay, "post", score))
    for at in (begin + 2 * HOUR, END - 6 * DAY):
        g = [float(x) for x in rng.random(55)]
        told.append((at, "microprice", MicropriceTable(at, name, at, at - 1, at + 60_000, 0.25, g)))
    for at in range(begin + 2 * HOUR, END, 12 * DAY):
        channel = "trade" if at // DAY % 24 < 12 else "book"
        told.append((at + 100, "gap", Gap(at, name, at + 100, channel=channel, since=at - 500)))
    for at in range(begin + 3 * HOUR, END, 4 * DAY):
        told.append((at + 700, "tick", Tick(at, name)))
        told.append((at + 20 * MINUTE, "clock", Clock(at + 20 * MINUTE, [name])))
    told.sort(key=lambda one: one[0])
    entries: list[Entry] = []
    before, n = 0, 0
    for arrived, kind, message in told:
        n = n + 1 if arrived == before else 0
        before = arrived
        entries.append((b"%d-%d" % (arrived, n), {b"kind": kind.encode(), b"data": encode(message)}))
    return entries


def _contract(begin: int, seed: int, name: str) -> list[tuple[int, str, object]]:
    """Return what a venue tells of a contract up to ``END``: marks, open interest a little late, and liquidations now and then."""
    rng = np.random.default_rng([seed, 1])
    told: list[tuple[int, str, object]] = []
    for at in range(begin, END, MINUTE // 2):
        index = 100.0 + float(rng.random())
        settled = at // HOUR * HOUR + HOUR
        mark = Derivatives(
            at, name, index + float(rng.random()), index, float(rng.random()) / 1e4, settled, received=at + 40
        )
        told.append((at + 40, "derivatives", mark))
        interest = Derivatives(at + 9, name, open_interest=1000.0 + float(rng.integers(99)), received=at + 3000)
        told.append((at + 3000, "derivatives", interest))
        if rng.random() < 0.05:
            forced = Liquidation(
                at + 50, name, ["buy", "sell"][int(rng.integers(2))], index, 2.0 + float(rng.random()), at + 800
            )
            told.append((at + 800, "liquidation", forced))
    return told


def tape_of(place: Path, entries: Sequence[Entry], conf: Settings = CONF, source: str = EVENTS) -> Tape:
    """Append entries to a tape in a folder, and return it."""
    tape = open_to_append(replace(conf, tape=str(place)), "")
    if entries:
        tape.append([Batch(keys.events(0), table_of(entries, source, 0), entries[-1][0])])
    return tape


def as_bits(values: NDArray[np.float64]) -> bytes:
    """Return the bytes of a row; all NaN are alike."""
    return np.where(np.isnan(values), np.nan, values).tobytes()


def rows_of(partition: Partition, entries: Sequence[Entry]) -> Rows:
    """Give a partition entries, and return the bytes of the rows that come of them, by view and time."""
    for entry in entries:
        partition.process(*entry, 0)
    found = {}
    for name, batch in partition.take_pending().batches.items():
        if len(batch):
            columns = batch.columns()
            for at, values in zip(columns.event_us.tolist(), columns.values, strict=True):
                found[name, at] = as_bits(values)
    return found
