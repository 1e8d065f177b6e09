"""Books rebuilt from real captures, against a reference that was computed independently."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ingest.messages.kinds import Gap, OrderBook, Trade
from ingest.messages.refusal import Reason
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Rejected, merged, read_lines

TRADES = {"btcusdt": 9_757, "ethusdt": 6_106}
"""Counts of the recordings' own description."""


def capture(recordings: Path, symbol: str) -> Path:
    return recordings / "ws_binance_hftbacktest" / f"spot_{symbol}_20240808.jsonl.gz"


def parse(*paths: Path) -> list[OrderBook | Trade]:
    feed = Binance(5000)
    messages = [output.message for line in merged(map(read_lines, paths)) for output in feed.parse(line)]  # type: ignore[union-attr]
    assert list(feed.finish()) == []
    return messages  # type: ignore[return-value]


def ends_of_the_snapshot(path: Path) -> tuple[float, float]:
    """The lowest bid and the highest ask of the one snapshot in a capture."""
    payloads = (json.loads(line.data.partition(b" ")[2]) for line in read_lines(path) if b"lastUpdateId" in line.data)
    (snapshot,) = payloads
    return float(snapshot["bids"][-1][0]), float(snapshot["asks"][-1][0])


@pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt"])
def test_every_book_equals_the_reference_in_ten_levels_of_both_sides(recordings: Path, symbol: str) -> None:
    messages = parse(capture(recordings, symbol))
    books = [m for m in messages if isinstance(m, OrderBook)]
    name = f"binance_spot_{symbol}_20240808_book_features.parquet"
    reference = pq.read_table(recordings / "reference" / name).to_pylist()
    lowest, highest = ends_of_the_snapshot(capture(recordings, symbol))
    # the reference goes on where the price has left the levels of the one snapshot; there our book is unknown
    known = [row for row in reference if row["bid_px_0"] >= lowest and row["ask_px_0"] <= highest]

    assert len(books) == len(known) > 0.99 * len(reference)
    for book, row in zip(books, known, strict=True):
        assert book.timestamp == row["event_ms"]
        bids, asks = ([(row[f"{side}_px_{k}"], row[f"{side}_qty_{k}"]) for k in range(10)] for side in ("bid", "ask"))
        assert book.bids[:10] == [(price, size) for price, size in bids if price >= lowest]
        assert book.asks[:10] == [(price, size) for price, size in asks if price <= highest]
    first = books[0].sequence
    assert first is not None
    assert [b.sequence for b in books] == list(range(first, first + len(books)))
    assert sum(isinstance(m, Trade) for m in messages) == TRADES[symbol]


def test_both_captures_together_give_what_each_gives_alone(recordings: Path) -> None:
    paths = [capture(recordings, symbol) for symbol in ("btcusdt", "ethusdt")]
    together = parse(*paths)
    for path, symbol in zip(paths, ("BTCUSDT", "ETHUSDT"), strict=True):
        assert [m for m in together if m.symbol == symbol] == parse(path)


def add_level(diff: Any, side: str, level: list[str]) -> None:
    diff[side] = [*diff[side], level]


DAMAGE: list[tuple[Reason, Callable[[dict[str, Any]], Any]]] = [
    (Reason.MISSING_FIELD, lambda d: d.pop("u")),
    (Reason.NOT_FINITE, lambda d: add_level(d, "b", ["NaN", "1"])),
    (Reason.NOT_POSITIVE, lambda d: add_level(d, "a", ["62000", "-1"])),
    (Reason.OUT_OF_RANGE, lambda d: add_level(d, "b", ["61000", "1e300"])),
    (Reason.WRONG_TYPE, lambda d: d.update(a={"61000": "1"})),
    (Reason.FUTURE_TIME, lambda d: d.update(E=d["E"] + 86_400_000)),
    (Reason.SEQUENCE_GAP, lambda d: d.update(U=d["U"] + 10**6, u=d["u"] + 10**6)),
    # sides swapped, and a bid above every ask: what a book would be crossed by
    (Reason.CROSSED_BOOK, lambda d: d.update(a=[["50000.00", "1"]], b=[["70000.00", "1"]])),
    (Reason.CROSSED_BOOK, lambda d: add_level(d, "b", ["70000.00", "1"])),
]


def damaged(line: Line, generator: random.Random) -> tuple[Reason, bytes]:
    """A copy of a diff's line with one thing wrong, and the reason it should be refused for."""
    kind = generator.randrange(len(DAMAGE) + 3)
    if kind >= len(DAMAGE):
        cut, encoding, repeat = range(len(DAMAGE), len(DAMAGE) + 3)
        return {
            cut: (Reason.UNDECODABLE, line.data[: len(line.data) * 2 // 3]),
            encoding: (Reason.UNDECODABLE, line.data.replace(b"USDT", b"US\xffT")),
            repeat: (Reason.DUPLICATE, line.data),
        }[kind]
    stamp, _, body = line.data.partition(b" ")
    message = json.loads(body)
    reason, damage = DAMAGE[kind]
    damage(message["data"])
    return reason, stamp + b" " + json.dumps(message).encode()


def test_a_thousand_damaged_lines_cost_nothing_but_themselves(recordings: Path) -> None:
    path = capture(recordings, "btcusdt")
    lines = list(read_lines(path))
    generator = random.Random(20240808)
    diffs = [n for n, line in enumerate(lines) if b"@depth" in line.data[:60] and n > 100]
    spoilt = set(generator.sample(diffs, 1000))
    feed, outputs, sent = Binance(5000), [], Counter[tuple[Reason, bytes]]()
    for n, line in enumerate(lines):
        extra = None
        if n in spoilt:
            reason, data = damaged(line, generator)
            sent[reason, data] += 1
            extra = line._replace(data=data)
        # a repeat comes after what it repeats; other damage comes before the sound line, which must still fit
        both = [extra, line] if extra is None or extra.data != line.data else [line, extra]
        outputs += [output for each in both if each is not None for output in feed.parse(each)]
    outputs += feed.finish()

    assert Counter((o.reason, o.line.data) for o in outputs if isinstance(o, Rejected)) == sent
    assert sent.total() == 1000
    assert len({reason for reason, _ in sent}) == 10
    messages = [o.message for o in outputs if not isinstance(o, Rejected) and not isinstance(o.message, Gap)]
    assert messages == [m for m in parse(path) if not isinstance(m, Gap)]
