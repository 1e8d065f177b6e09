"""Depth within 10, 25 and 50 bps of real captures against a plain dictionary of the whole book, in decimal arithmetic."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from ingest.messages.kinds import OrderBook
from ingest.recordings.recording import messages

EACH = 40
"""Every so many books are compared, because decimals are slow."""
Side = dict[Decimal, Decimal]


def full_books(path: Path) -> Iterator[tuple[int, Side, Side, Decimal, Decimal]]:
    """Each book of a Binance spot capture: event time, both sides whole, and the farthest level of the snapshot of each side."""
    sides: tuple[Side, Side] | None = None
    ends = Decimal(0), Decimal(0)
    waiting: list[dict] = []
    last = 0
    with gzip.open(path, "rt") as file:
        for text in file:
            payload = json.loads(text.split(" ", 1)[1])
            if "lastUpdateId" in payload:
                sides = tuple({Decimal(p): Decimal(q) for p, q in payload[side]} for side in ("bids", "asks"))  # type: ignore[assignment]
                assert sides is not None and len(sides[0]) == len(sides[1]) == 1000
                ends, last = (min(sides[0]), max(sides[1])), payload["lastUpdateId"]
            elif "@depth" in payload.get("stream", ""):
                waiting.append(payload["data"])
            if sides is None:
                continue
            for change in waiting:
                if change["u"] <= last:
                    continue
                assert change["U"] <= last + 1
                last = change["u"]
                for side, changed in zip(sides, (change["b"], change["a"]), strict=True):
                    side.update((Decimal(p), Decimal(q)) for p, q in changed)
                    for p, q in changed:
                        if not Decimal(q):
                            side.pop(Decimal(p), None)
                yield change["E"], *sides, *ends
            waiting.clear()


def expected(bids: Side, asks: Side, lowest: Decimal, highest: Decimal) -> list[float | None]:
    mid = (max(bids) + min(asks)) / 2
    depths: list[Decimal | None] = []
    for bps in (10, 25, 50):
        edge = mid * (1 - Decimal(bps) / 10_000)
        depths.append(sum((p * q for p, q in bids.items() if p >= edge), Decimal(0)) if lowest < edge else None)
    for bps in (10, 25, 50):
        edge = mid * (1 + Decimal(bps) / 10_000)
        depths.append(sum((p * q for p, q in asks.items() if p <= edge), Decimal(0)) if highest > edge else None)
    return [None if depth is None else float(depth) for depth in depths]


@pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt"])
def test_depth_of_a_capture_is_that_of_its_whole_book_and_null_only_past_its_snapshot(
    recordings: Path, symbol: str
) -> None:
    path = recordings / "ws_binance_hftbacktest" / f"spot_{symbol}_20240808.jsonl.gz"
    ours = [m for kind, m in messages([path]) if kind == "book" and isinstance(m, OrderBook)]
    by_time = {book.timestamp: book for book in ours}
    compared = 0
    for n, (event_ms, *full) in enumerate(full_books(path)):
        if max(full[0]) < full[2] or min(full[1]) > full[3]:
            assert event_ms not in by_time, "the price has left what is known"
            continue
        book = by_time.pop(event_ms)
        if n % EACH:
            continue
        compared += 1
        known = [p for p in full[0] if p >= full[2]], [p for p in full[1] if p <= full[3]]
        depths = [x for side in book.depth or () for x in side]
        right = expected(*full)
        assert [x is None for x in depths] == [x is None for x in right], event_ms
        assert [x for x in depths if x is not None] == pytest.approx([x for x in right if x is not None], rel=1e-9)
        assert [p for p, _ in book.bids] == [float(p) for p in sorted(known[0], reverse=True)[:20]]
        assert [p for p, _ in book.asks] == [float(p) for p in sorted(known[1])[:20]]
    assert compared > 80 and not by_time
