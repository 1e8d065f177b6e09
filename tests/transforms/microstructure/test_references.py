"""Features of recorded books, against references computed independently of this project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from transforms.catalog import MICROSTRUCTURE
from transforms.instrument import Instrument
from transforms.kernel import vector, zeros
from transforms.microstructure import kernel
from transforms.validation import OK, check_book, check_ranges, ranges

NAMES = {
    "mid_price": "mid",
    "spread": "spread",
    "weighted_mid": "weighted_mid",
    "imbalance_l1": "imb_l1",
    "imbalance_l3": "imb_l3",
    "imbalance_l5": "imb_l5",
    "imbalance_l10": "imb_l10",
}
SECOND = 1_000_000


def flat_books(frame: pl.DataFrame, levels: int) -> list[Any]:
    """A flat book without depths for each row of ``frame``."""
    columns = []
    for side in ("bid_px", "bid_qty", "ask_px", "ask_qty"):
        columns += [frame[f"{side}_{i}"].to_list() for i in range(levels)]
        columns += [[0.0] * len(frame)] * (20 - levels)
    columns += [[0.0] * len(frame)] * 7
    return [vector(values) for values in zip(*columns, strict=True)]


def compare(times_ms: list[int], books: list[Any], levels: int, reference: pl.DataFrame) -> dict[str, int]:
    """Hold the row right after each book against the reference's; how often each feature was not null at a whole second."""
    state = kernel.init(Instrument(), SECOND)
    row = zeros(kernel.FEATURES)
    low, high = ranges(MICROSTRUCTURE)
    faults = zeros(kernel.FEATURES)
    expected = {MICROSTRUCTURE.index[ours]: reference[theirs].to_list() for ours, theirs in NAMES.items()}
    present = [0] * kernel.FEATURES
    boundary = 0
    for i, (t_ms, book) in enumerate(zip(times_ms, books, strict=True)):
        t_us = t_ms * 1000
        assert check_book(book, levels, levels) == OK
        if t_us > boundary:
            present = [n + (x == x) for n, x in zip(present, row, strict=True)]
            boundary = -(-t_us // SECOND) * SECOND
        kernel.step_book(state, t_us, book, levels, levels)
        kernel.emit(state, boundary, row)
        for slot, values in expected.items():
            assert abs(row[slot] - values[i]) <= 1e-12 * max(1.0, abs(values[i])), (i, slot)
        assert check_ranges(row, low, high, faults) == 0
    return dict(zip(MICROSTRUCTURE.names, present, strict=True))


@pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt"])
def test_books_of_the_binance_captures_agree_with_the_reference(recordings: Path, symbol: str) -> None:
    frame = pl.read_parquet(recordings / "reference" / f"binance_spot_{symbol}_20240808_book_features.parquet")
    present = compare(frame["event_ms"].to_list(), flat_books(frame, 10), 10, frame)
    # 5 min 46 s, of which the 60 s window needs the first minute
    assert present["imbalance_l10"] >= 344
    assert present["imbalance_l10"] - present["ofi_60s"] in (60, 61)
    assert present["imbalance_l10"] - present["mlofi_l5"] in (10, 11)


def test_books_of_twenty_levels_agree_with_the_reference(recordings: Path) -> None:
    frame = pl.read_parquet(recordings / "l2_okcoin_btccny_2016" / "book20_20160303.parquet")
    reference = pl.read_parquet(recordings / "reference" / "okcoin_btccny_20160303_book_features.parquet")
    assert frame["ts_ms"].to_list() == reference["ts_ms"].to_list()
    present = compare(frame["ts_ms"].to_list(), flat_books(frame, 20), 20, reference)
    assert present["imbalance_ratio"] > 1500
    assert present["depth_bid_10bps"] > 0
