"""Books rebuilt from real captures, against a reference that was computed independently."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingest.feeds.binance import Binance
from ingest.feeds.lines import merged
from ingest.messages import OrderBook, Trade

TRADES = {"btcusdt": 9_757, "ethusdt": 6_106}
"""Counts of the recordings' own description."""


def capture(recordings: Path, symbol: str) -> Path:
    return recordings / "ws_binance_hftbacktest" / f"spot_{symbol}_20240808.jsonl.gz"


def parse(*paths: Path) -> list[OrderBook | Trade]:
    feed = Binance(5000)
    messages = [output.message for line in merged(paths) for output in feed.take(line)]  # type: ignore[union-attr]
    assert list(feed.finish()) == []
    return messages  # type: ignore[return-value]


@pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt"])
def test_every_book_equals_the_reference_in_ten_levels_of_both_sides(recordings: Path, symbol: str) -> None:
    messages = parse(capture(recordings, symbol))
    books = [m for m in messages if isinstance(m, OrderBook)]
    name = f"binance_spot_{symbol}_20240808_book_features.parquet"
    reference = pq.read_table(recordings / "reference" / name).to_pylist()

    assert len(books) == len(reference)
    for book, row in zip(books, reference, strict=True):
        assert book.timestamp == row["event_ms"]
        assert book.bids[:10] == [(row[f"bid_px_{k}"], row[f"bid_qty_{k}"]) for k in range(10)]
        assert book.asks[:10] == [(row[f"ask_px_{k}"], row[f"ask_qty_{k}"]) for k in range(10)]
    first = books[0].sequence
    assert first is not None
    assert [b.sequence for b in books] == list(range(first, first + len(books)))
    assert sum(isinstance(m, Trade) for m in messages) == TRADES[symbol]


def test_both_captures_together_give_what_each_gives_alone(recordings: Path) -> None:
    paths = [capture(recordings, symbol) for symbol in ("btcusdt", "ethusdt")]
    together = parse(*paths)
    for path, symbol in zip(paths, ("BTCUSDT", "ETHUSDT"), strict=True):
        assert [m for m in together if m.symbol == symbol] == parse(path)
