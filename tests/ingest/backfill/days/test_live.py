"""The tape of a live deployment: clocks, holds, gaps, ticks, posts and symbols that leave give the rows that the worker made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from ingest.backfill.days.run import backfill_from_tape
from ingest.messages.decode import encode
from ingest.messages.kinds import Clock, Gap, Hold, Leave, Neighbour, OrderBook, ScoredPost, Tick, WithdrawnPost
from ingest.settings import Settings
from ingest.simulate import history
from ingest.simulate.history import MARKET
from ingest.worker.partition import Partition
from tests.ingest.backfill.days.tapes import DAY, MIDNIGHT, SYMBOLS, put_entries, stored, worker_rows
from transforms.instrument import Instrument

BTC, ETH = SYMBOLS
Entry = tuple[bytes, dict[bytes, bytes]]


def post(at: int, name: str, symbol: str = BTC) -> ScoredPost:
    return ScoredPost(
        at, symbol, name, at + 300, crc32(name.encode()), 0.7, 0.1, 0.2, author="A", likes=3, source="chat"
    )


def entries(day: int) -> list[Entry]:
    """Return what a log gets in eight seconds before a midnight, and a second after it."""
    end = MIDNIGHT + day * DAY
    told: list[tuple[str, Any]] = list(history(end - 8000, end, symbols=SYMBOLS, seed=day, kinds=MARKET))
    told += [("clock", Clock(at, list(SYMBOLS))) for at in range(end - 7700, end, 1000)]
    told += [
        ("post", post(end - 6000, f"first {day}")),
        ("post", post(end - 5000, f"second {day}", ETH)),
        ("withdrawal", WithdrawnPost(end - 3000, f"first {day}", "chat")),
        ("hold", Hold(end - 4100, BTC, end - 2100)),
        ("gap", Gap(end - 2000, BTC, channel="trade", since=end - 2600)),
        ("gap", Gap(end - 1500, ETH)),
        ("tick", Tick(end + 500, ETH, lost=True)),
    ]
    told.sort(key=lambda one: one[1].timestamp)
    return [
        (b"%d-%d" % (message.timestamp + 40, n), {b"kind": kind.encode(), b"data": encode(message)})
        for n, (kind, message) in enumerate(told)
    ]


def leaving(conf: Settings, before: list[Entry], at: int) -> list[Entry]:
    """Return entries with which one symbol leaves the memory after some others, to come back, and another is forgotten."""
    partition = Partition(0, conf)
    for entry in before:
        partition.process(*entry, 0)
    told = [Leave(at, ETH, partition.symbols[ETH].timeline.arrivals), Leave(at, BTC, forget=True)]
    return [(b"%d-%d" % (at, n), {b"kind": b"leave", b"data": encode(one)}) for n, one in enumerate(told)]


@pytest.fixture
def conf(tmp_path: Path) -> Settings:
    return Settings(partitions=1, tape=str(tmp_path / "tape"))


def test_the_rows_are_those_of_the_worker_whose_log_it_was(conf, postgres_url) -> None:
    days = [entries(0), entries(1), entries(2)]
    days[1] += leaving(conf, days[0] + days[1], MIDNIGHT + DAY + 3_600_000)
    for day in days:
        put_entries(conf, day, 0)
        backfill_from_tape(postgres_url, conf)
    rows = stored(postgres_url)
    assert rows == worker_rows(conf, close=False)
    assert all(of_view for view, of_view in rows.items() if view != "context")  # no symbol follows another here


def test_a_day_with_nothing_but_messages_for_all_symbols_lets_time_pass_for_those_that_wait(conf, postgres_url) -> None:
    first = [one for one in entries(0) if int(one[0].partition(b"-")[0]) < MIDNIGHT and one[1][b"kind"] != b"tick"]
    put_entries(conf, first, 0)
    backfill_from_tape(postgres_url, conf)
    before = stored(postgres_url)
    clocks = [
        (b"%d-0" % at, {b"kind": b"clock", b"data": encode(Clock(at, list(SYMBOLS)))})
        for at in range(MIDNIGHT + 300, MIDNIGHT + 3000, 1000)
    ]
    put_entries(conf, clocks, 0)
    found = backfill_from_tape(postgres_url, conf)
    rows = stored(postgres_url)
    assert rows == worker_rows(conf, close=False) != before
    assert (found.computed, found.passed) == (2, 2)


def test_a_row_that_waited_for_a_neighbour_over_midnight_takes_no_other_row_of_its_time_away(
    conf, postgres_url
) -> None:
    conf = replace(conf, instruments={BTC: Instrument(leader=ETH)})

    def book(at: int) -> tuple[int, str, Any]:
        return at, "book", OrderBook(at, BTC, [(99.0, 1.0)], [(101.0, 2.0)])

    def row(at: int, second: int) -> tuple[int, str, Any]:
        return at, "neighbour", Neighbour(second, [BTC], ETH, 5.0, 1.0, 1.0)

    first = [book(at + 400) for at in range(MIDNIGHT - 6000, MIDNIGHT, 1000)]
    first += [row(at + 420, at) for at in range(MIDNIGHT - 6000, MIDNIGHT - 1000, 1000)]
    second = [row(at + 500, at - 1000) for at in range(MIDNIGHT, MIDNIGHT + 4000, 1000)]
    second += [book(at + 520) for at in range(MIDNIGHT, MIDNIGHT + 4000, 1000)]
    at = {}
    for n, day in enumerate((first, second, [book(MIDNIGHT + 4500)])):
        entries = [
            (b"%d-0" % arrived, {b"kind": kind.encode(), b"data": encode(one)}) for arrived, kind, one in sorted(day)
        ]
        put_entries(conf, entries, 0)
        backfill_from_tape(postgres_url, conf)
        rows = stored(postgres_url)
        assert rows == worker_rows(conf, close=False)
        at[n] = {view: {time for _, time, *_ in rows[view]} for view in ("microstructure", "context")}
    [waited] = at[0]["microstructure"] - at[0]["context"]
    assert waited in at[1]["context"]
