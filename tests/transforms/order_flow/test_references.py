"""VPIN at every trade of recorded days, against references computed independently of this project."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from math import isnan
from pathlib import Path

import pandas as pd
import pytest

from transforms.catalog import ORDER_FLOW
from transforms.instrument import Instrument
from transforms.kernel import zeros
from transforms.order_flow import kernel, vpin

VPIN = ORDER_FLOW.index["vpin"]
TOLERANCE = 1e-9

Trade = tuple[int, float, float, int]


def binance(path: Path) -> Iterator[Trade]:
    """Trades of a raw capture: time in ms, price, size, aggressor's side."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if '@trade"' in line:
                data = json.loads(line.split(" ", 1)[1])["data"]
                yield data["T"], float(data["p"]), float(data["q"]), -1 if data["m"] else 1


def okcoin(path: Path) -> Iterator[Trade | None]:
    """Trades of the dirty file as the reference took them: separator rows hold no trade, repeats stand, the flag is believed."""
    for ts_ms, price, qty, is_bid in pd.read_parquet(path)[["ts_ms", "price", "qty", "is_bid"]].itertuples(index=False):
        yield None if is_bid == 2 else (ts_ms, price, qty, 1 if is_bid == 1 else -1)


def agrees_with_the_reference(trades: Iterator[Trade | None], bucket: float, reference: pd.DataFrame) -> int:
    """Assert that the row after every trade has vpin of the last bucket closed by then; how many were not null."""
    state = kernel.init(Instrument(vpin_bucket=bucket), 1_000_000)
    row = zeros(kernel.FEATURES)
    closing, expected = reference.closing_trade_index.tolist(), reference.vpin.tolist()
    closed = values = 0
    for i, trade in enumerate(trades):
        if trade is None:
            continue
        t_ms, price, size, side = trade
        kernel.step_trade(state, t_ms * 1000, price, size, side)
        while closed < len(closing) and closing[closed] <= i:
            closed += 1
        vpin.emit(state, kernel.VPIN, row)
        if closed < 50:
            assert row[VPIN] == 0.0  # not written
            assert closed == 0 or isnan(expected[closed - 1])
        else:
            assert abs(row[VPIN] - expected[closed - 1]) <= TOLERANCE
            values += 1
    assert int(state[kernel.VPIN + vpin.CLOSED]) == len(closing)
    return values


@pytest.mark.parametrize(("symbol", "bucket"), [("btcusdt", 1), ("ethusdt", 20)])
def test_vpin_of_a_capture_at_every_trade(recordings: Path, symbol: str, bucket: int) -> None:
    trades = binance(recordings / "ws_binance_hftbacktest" / f"spot_{symbol}_20240808.jsonl.gz")
    name = f"vpin_binance_spot_{symbol}_20240808_V{bucket}_n50.parquet"
    assert agrees_with_the_reference(trades, bucket, pd.read_parquet(recordings / "reference" / name)) > 2000


def test_vpin_of_dirty_trades_at_every_trade(recordings: Path) -> None:
    trades = okcoin(recordings / "l2_okcoin_btccny_2016" / "trades_20160303.parquet")
    reference = pd.read_parquet(recordings / "reference" / "vpin_okcoin_btccny_20160303_V250_n50.parquet")
    assert agrees_with_the_reference(trades, 250, reference) > 60_000


def test_vpin_in_the_rows_of_a_capture_is_that_of_the_last_trade_before_them(recordings: Path) -> None:
    trades = list(binance(recordings / "ws_binance_hftbacktest" / "spot_btcusdt_20240808.jsonl.gz"))
    reference = pd.read_parquet(recordings / "reference" / "vpin_binance_spot_btcusdt_20240808_V1_n50.parquet")
    state = kernel.init(Instrument(vpin_bucket=1.0), 1_000_000)
    row = zeros(kernel.FEATURES)
    boundary_ms = trades[0][0] // 1000 * 1000 + 1000
    compared = 0
    for t_ms, price, size, side in trades:
        while t_ms > boundary_ms:
            kernel.emit(state, boundary_ms * 1000, row)
            known = reference.vpin[reference.closing_ts <= boundary_ms]
            if known.empty or isnan(known.iloc[-1]):
                assert isnan(row[VPIN])
            else:
                assert abs(row[VPIN] - known.iloc[-1]) <= TOLERANCE
                compared += 1
            boundary_ms += 1000
        kernel.step_trade(state, t_ms * 1000, price, size, side)
    assert compared > 100
