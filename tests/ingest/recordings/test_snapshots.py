"""Which symbol a snapshot that names none belongs to."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from .captures import diff, raw, read, snapshot, written

# USD-M: update ids are one series over all symbols, so both snapshots fit both diffs
USDC_DIFF = diff(0, "BTCUSDC", 1010, 1910, bid="60990", pu=995)
USDT_DIFF = diff(1, "BTCUSDT", 1000, 1900, bid="60999", pu=990)
USDT_SNAPSHOT = snapshot(50, 1500, "61000", "61001")
USDC_SNAPSHOT = snapshot(60, 1600, "60991", "61011")
BEST_BID = {"BTCUSDT": 61000.0, "BTCUSDC": 60991.0}


@pytest.mark.parametrize("first", [0, 1])
def test_each_files_snapshot_goes_to_the_files_own_symbol_in_any_order_and_any_subset(
    tmp_path: Path, first: int
) -> None:
    texts = {"usdc": [USDC_DIFF, USDC_SNAPSHOT], "usdt": [USDT_DIFF, USDT_SNAPSHOT]}
    paths = written(tmp_path, **{name: "".join(lines[first:] + lines[:first]) for name, lines in texts.items()})
    for some in [*permutations(paths, 1), *permutations(paths, 2)]:
        books, refused, _ = read(list(some))
        assert {b.symbol: b.bids[0][0] for b in books} == {
            s: bid for s, bid in BEST_BID.items() if tmp_path / f"{s[3:].lower()}.jsonl" in some
        }
        assert refused == []


def test_a_snapshot_that_fits_two_symbols_of_its_file_is_refused_as_ambiguous(tmp_path: Path) -> None:
    for lines in permutations([USDC_DIFF, USDT_DIFF, USDT_SNAPSHOT, USDC_SNAPSHOT]):
        books, refused, _ = read(written(tmp_path, both="".join(lines)))
        assert books == []
        assert sorted(refused) == ["ambiguous", "ambiguous", "sequence_gap", "sequence_gap"]


def test_in_a_file_of_two_symbols_the_update_ids_of_spot_tell_whose_a_snapshot_is(tmp_path: Path) -> None:
    lines = [
        snapshot(0, 109, "2600", "2601"),
        diff(1, "BTCUSDT", 505, 512, bid="60000"),
        snapshot(2, 509, "60000", "60001"),
    ]
    books, refused, _ = read(written(tmp_path, both="".join([*lines, diff(3, "ETHUSDT", 105, 112, bid="2600")])))
    assert [(b.symbol, b.asks[0][0]) for b in books] == [("BTCUSDT", 60001.0), ("ETHUSDT", 2601.0)]
    assert refused == []


def test_a_later_symbol_of_the_file_that_also_fits_makes_a_snapshot_ambiguous(tmp_path: Path) -> None:
    lines = [
        snapshot(0, 1500, "61000", "61001"),
        diff(1, "BTCUSDT", 1400, 1600),
        diff(9000, "BTCUSDC", 1700, 1800, pu=1300),
    ]
    assert read(written(tmp_path, both="".join(lines)))[1] == ["ambiguous", "sequence_gap", "sequence_gap"]


def test_a_file_continues_the_book_of_the_file_before_it(tmp_path: Path) -> None:
    paths = written(
        tmp_path, one=snapshot(0, 9, "98", "101") + diff(1, "A", 10, 12), two=diff(2, "A", 13, 14, bid="99.5")
    )
    books, refused, _ = read(paths[::-1])
    assert [b.bids[0][0] for b in books] == [99.0, 99.5]
    assert refused == []


def test_snapshots_in_a_file_of_their_own_belong_to_the_symbol_whose_diff_fits(tmp_path: Path) -> None:
    diffs = diff(1, "A", 10, 12) + diff(2, "B", 110, 112)
    paths = written(tmp_path, books=snapshot(0, 9, "98", "101") + snapshot(0, 109, "8", "100"), diffs=diffs)
    books, refused, _ = read(paths)
    assert [(b.symbol, b.bids[-1][0]) for b in books] == [("A", 98.0), ("B", 8.0)]
    assert refused == []


def test_a_snapshot_that_names_its_symbol_is_taken_under_the_files_prefix(tmp_path: Path) -> None:
    header = raw(0, {"e": "recording", "venue": "binance-futures", "prefix": "BINANCE-FUTURES:"})
    named = raw(50, {"symbol": "BTCUSDT", "lastUpdateId": 1500, "bids": [["61000", "1"]], "asks": [["61001", "1"]]})
    lost = raw(70, {"e": "disconnect", "s": ["BTCUSDT"]})
    messages, refused, _ = read(written(tmp_path, both=header + USDC_DIFF + USDT_DIFF + named + lost))
    assert [(type(m).__name__, m.symbol) for m in messages] == [
        ("OrderBook", "BINANCE-FUTURES:BTCUSDT"),
        ("Gap", "BINANCE-FUTURES:BTCUSDT"),
    ]
    assert refused == ["sequence_gap"]
