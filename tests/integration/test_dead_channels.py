"""A channel that dies while the other goes on: its features are null soon after, and those of the other channel are not."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from ingest.feeds.channels import Channels
from ingest.publish.placed import entries_of
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Parsed
from ingest.settings import Settings, load
from ingest.worker.partition import Partition
from transforms.catalog import MICROSTRUCTURE, ORDER_FLOW, View

T0 = 1_700_000_000_000
MUTED_S, BACK_S, END_S = 90, 150, 160
FOUND_S = 30
SYMBOL, BOOK, TRADE = "BTCUSDT", "btcusdt@depth@100ms", "btcusdt@trade"
SETTINGS: Settings = load({"TFS_PARTITIONS": "1", "TFS_MAX_AGE_MS": str(3650 * 86_400_000)})


class Venue:
    """A market of a seed: a book every 100 ms, and trades at random times, four a second."""

    def __init__(self, seed: int, muted: str) -> None:
        draw = random.Random(seed)
        self.lines: list[tuple[int, str, dict[str, Any]]] = []
        update, number, at, muted_name = 100, 0, 0, {"book": BOOK, "trade": TRADE}[muted]
        self.snapshot = {"symbol": SYMBOL, "bids": [["99", "5"]], "asks": [["101", "5"]]}
        for at in range(50, END_S * 1000, 100):
            size = str(draw.randint(1, 9))
            data = {
                "e": "depthUpdate",
                "E": T0 + at,
                "s": SYMBOL,
                "U": update + 1,
                "u": update + 2,
                "b": [["99.5", size]],
                "a": [],
            }
            update += 2
            self.lines.append((at, BOOK, data))
        at = 0
        while (at := at + int(draw.expovariate(4 / 1000)) + 1) < END_S * 1000:
            number += 1
            data = {
                "e": "trade",
                "s": SYMBOL,
                "t": number,
                "p": "100",
                "q": "1",
                "T": T0 + at,
                "m": draw.random() < 0.5,
            }
            self.lines.append((at, TRADE, data))
        self.lines.sort(key=lambda line: line[0])
        self.lines = [
            line for line in self.lines if not (line[1] == muted_name and MUTED_S * 1000 <= line[0] < BACK_S * 1000)
        ]


def rows(seed: int, muted: str) -> dict[tuple[str, int], np.ndarray]:
    """The rows that a feed of the venue gives, by view and second."""
    now_ms = 0
    channels = Channels({BOOK: (SYMBOL, "book"), TRADE: (SYMBOL, "trade")}, lambda: now_ms / 1000)
    channels.opened([BOOK, TRADE])
    parser, partition = Binance(5000), Partition(0, SETTINGS)
    number = 0

    def put(payload: dict[str, Any]) -> None:
        nonlocal number
        number += 1
        ns = (T0 + now_ms) * 1_000_000
        for output in parser.parse(Line("live", number, ns, b"%d " % ns + json.dumps(payload).encode(), True)):
            assert isinstance(output, Parsed), output
            ((_, fields),) = entries_of(output.kind, output.message, 1)
            partition.process(b"%d-%d" % (T0 + now_ms, number), fields, now_us=0)

    venue = Venue(seed, muted)
    due_ms = 500
    for at, name, data in venue.lines:
        while due_ms <= at:  # as the feed looks
            now_ms, due_ms = due_ms, due_ms + 500
            for channel in channels.look():
                put({"e": "silence", "s": [channel.symbol], "channel": channel.kind})
        now_ms = at
        channels.hear(name.encode())
        put({"stream": name, "data": data})
        if parser.missing():
            put({**venue.snapshot, "lastUpdateId": data["U"] - 1})
    found = {}
    for batch in partition.take_pending().batches.values():
        if len(batch):
            columns = batch.columns()
            for i, t_us in enumerate(columns.event_us.tolist()):
                found[columns.view.name, t_us // 1_000_000 - T0 // 1000] = columns.values[i]
    return found


def values(found: dict[tuple[str, int], np.ndarray], view: View, feature: str, seconds: range) -> list[float]:
    """The values of those seconds that have a row: a feed without a word for as long as the ttl of its view gives none."""
    rows_there = [found[view.name, second] for second in seconds if (view.name, second) in found]
    return [float(row[view.index[feature]]) for row in rows_there]


@pytest.mark.parametrize("seed", range(2))
def test_a_dead_book_is_unknown_and_trades_go_on(seed: int) -> None:
    found = rows(seed, "book")
    dead = range(MUTED_S + FOUND_S, BACK_S)
    assert set(values(found, MICROSTRUCTURE, "book_valid", dead)) <= {0.0}
    assert values(found, MICROSTRUCTURE, "book_valid", range(MUTED_S + 12, MUTED_S + FOUND_S))[0] == 0.0
    assert set(values(found, MICROSTRUCTURE, "book_valid", range(BACK_S + 1, END_S - 1))) == {1.0}
    assert all(np.isnan(values(found, MICROSTRUCTURE, "mid_price", dead)))
    counts = values(found, ORDER_FLOW, "trade_count_1m", dead)
    assert len(counts) == len(dead) and min(counts) > 100
    assert set(values(found, ORDER_FLOW, "trade_valid", dead)) == {1.0}
    assert set(values(found, MICROSTRUCTURE, "book_valid", range(2, MUTED_S))) == {1.0}


@pytest.mark.parametrize("seed", range(2))
def test_dead_trades_make_their_windows_null_and_the_book_goes_on(seed: int) -> None:
    found = rows(seed, "trade")
    dead = range(MUTED_S + FOUND_S, BACK_S)
    for feature in ("delta_volume_1s", "buy_volume_1m", "trade_count_1m", "vwap_1m"):
        assert all(np.isnan(values(found, ORDER_FLOW, feature, dead))), feature
    assert set(values(found, ORDER_FLOW, "trade_valid", range(MUTED_S + FOUND_S, END_S - 1))) == {0.0}
    assert set(values(found, MICROSTRUCTURE, "book_valid", range(2, END_S - 1))) == {1.0}
    assert set(values(found, ORDER_FLOW, "trade_valid", range(10, MUTED_S))) == {1.0}
