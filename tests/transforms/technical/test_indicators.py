"""RSI, EMA, MACD, ATR and Bollinger bands of real bars, against TA-Lib, the reference files and Skender's published vectors."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import talib

from tests.transforms.hand_feed import Row
from tests.transforms.technical.conftest import HandFeed
from transforms.kernel import zeros
from transforms.technical import atr, bollinger, ema, rsi

Column = np.ndarray[tuple[int], np.dtype[np.float64]]

READY = 250


class Bars(NamedTuple):
    """One-minute bars; ``minute`` is a bar's end, counted from the epoch."""

    minute: list[int]
    open: Column
    high: Column
    low: Column
    close: Column


def read_bars(path: Path) -> Bars:
    """Bars of a recording; their ``ts`` is the open time."""
    frame = pl.read_parquet(path)
    minute = (frame["ts"].dt.epoch("us") // 60_000_000 + 1).to_list()
    return Bars(minute, *(frame[name].to_numpy() for name in ("open", "high", "low", "close")))


def rows_of(bars: Bars) -> Iterator[Row]:
    """The row at every bar's end; a bar is fed as four trades, open, high, low, close, the last exactly at its end."""
    feed = HandFeed()
    for minute, *prices in zip(*bars, strict=True):
        for before, price in zip((45, 30, 15, 0), prices, strict=True):
            feed.trade(minute * 60 - before, float(price))
        yield feed.row(minute * 60)


@pytest.fixture(scope="module", params=["btcusd", "ethusd"])
def real(request: pytest.FixtureRequest, recordings: Path) -> tuple[Bars, dict[str, Column], pl.DataFrame]:
    """Bars, what the kernel makes of them (NaN where null), and the reference file."""
    bars = read_bars(recordings / "bars_lean" / f"coinbase_{request.param}_minute_trade.parquet")
    rows = list(rows_of(bars))
    columns = {
        name: np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
        for name in rows[0]
    }
    return bars, columns, pl.read_parquet(recordings / "reference" / f"talib_coinbase_{request.param}_minute.parquet")


def equal_when_ready(ours: Column, theirs: Column) -> None:
    """The same bits from the 250th bar on, null before."""
    assert np.isnan(ours[: READY - 1]).all()
    np.testing.assert_array_equal(ours[READY - 1 :], theirs[READY - 1 :])


def close_when_ready(ours: Column, theirs: Column, scale: Column | None = None) -> None:
    """Within 1e-12 of ``scale`` (of themselves where None) from the 250th bar on, null before."""
    assert np.isnan(ours[: READY - 1]).all()
    error = np.abs(ours - theirs) / np.abs(theirs if scale is None else scale)
    assert error[READY - 1 :].max() < 1e-12


def test_rsi_has_talibs_bits(real: tuple[Bars, dict[str, Column], pl.DataFrame]) -> None:
    bars, ours, reference = real
    equal_when_ready(ours["rsi_14"], talib.RSI(bars.close, 14))
    equal_when_ready(ours["rsi_14"], reference["rsi14"].to_numpy())


def test_ema_has_talibs_bits(real: tuple[Bars, dict[str, Column], pl.DataFrame]) -> None:
    bars, ours, _ = real
    equal_when_ready(ours["ema_12"], talib.EMA(bars.close, 12))
    equal_when_ready(ours["ema_26"], talib.EMA(bars.close, 26))
    close_when_ready(
        ours["ema_dev_bps"], 1e4 * (bars.close / talib.EMA(bars.close, 26) - 1), np.full(len(bars.close), 1e4)
    )


def test_macd_is_talibs(real: tuple[Bars, dict[str, Column], pl.DataFrame]) -> None:
    bars, ours, _ = real
    line, signal, histogram = talib.MACD(bars.close, 12, 26, 9)
    equal_when_ready(ours["macd"], line)
    close_when_ready(ours["macd_signal"], signal)
    close_when_ready(ours["macd_hist"], histogram, np.abs(line) + np.abs(signal))  # a difference of the two


def test_macd_has_talibs_seeds(recordings: Path) -> None:
    close = read_bars(recordings / "bars_lean" / "coinbase_btcusd_minute_trade.parquet").close[:100]
    line, signal, _ = talib.MACD(close, 12, 26, 9)
    state = zeros(ema.SIZE + ema.MACD_SIZE)
    for i, x in enumerate(close):
        ema.step(state, 0, 26, x)
        ema.step_macd(state, ema.SIZE, 0, x)
        if i >= 33:  # TA-Lib's first
            assert ema.macd(state, ema.SIZE, 0) == line[i]
            assert ema.macd_signal(state, ema.SIZE) == pytest.approx(signal[i], rel=1e-12)


def test_atr_is_talibs(real: tuple[Bars, dict[str, Column], pl.DataFrame]) -> None:
    bars, ours, reference = real
    close_when_ready(ours["atr_14"], talib.ATR(bars.high, bars.low, bars.close, 14))
    close_when_ready(ours["atr_14"], reference["atr14"].to_numpy())
    close_when_ready(ours["natr_14"], talib.NATR(bars.high, bars.low, bars.close, 14))


def test_bollinger_bands_are_talibs(real: tuple[Bars, dict[str, Column], pl.DataFrame]) -> None:
    bars, ours, reference = real
    upper, middle, lower = talib.BBANDS(bars.close, 20, 2, 2)
    width = ours["bollinger_width"]
    assert np.isnan(width[:19]).all()
    # ours, put back into bands
    half = width[19:] * middle[19:] / 2
    np.testing.assert_allclose(middle[19:] + half, upper[19:], rtol=1e-12)
    np.testing.assert_allclose(middle[19:] - half, lower[19:], rtol=1e-12)
    deviation = reference["stddev20_pop"].to_numpy()[19:]
    np.testing.assert_allclose(half / 2, deviation, atol=1e-12 * bars.close.max())
    moving = deviation > 1e-3
    expected = (bars.close[19:] - lower[19:])[moving] / (upper - lower)[19:][moving]
    np.testing.assert_allclose(ours["bollinger_pctb"][19:][moving], expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("k", [1, 5, 15])
def test_momentum_of_unbroken_minutes_is_talibs_rate_of_change(
    real: tuple[Bars, dict[str, Column], pl.DataFrame], k: int
) -> None:
    bars, ours, reference = real
    minute = np.array(bars.minute)
    unbroken = np.flatnonzero(minute[k:] - minute[:-k] == k) + k
    expected = np.log1p(reference[f"roc{k}"].to_numpy()[unbroken] / 100)
    np.testing.assert_allclose(ours[f"price_momentum_{k}m"][unbroken], expected, rtol=0, atol=1e-12)
    assert len(unbroken) > 1000


def test_before_it_is_ready_an_indicator_is_already_the_published_one(recordings: Path) -> None:
    folder = recordings / "vectors" / "skender"
    with (folder / "default.csv").open() as file:
        quotes = [{k: float(v) for k, v in row.items() if k != "date"} for row in csv.DictReader(file)]
    published = {name: json.loads((folder / f"{name}.standard.json").read_text()) for name in ("rsi", "atr", "ema")}
    of_rsi, of_atr, of_ema = zeros(rsi.SIZE), zeros(atr.SIZE), zeros(ema.SIZE)
    for i, quote in enumerate(quotes):
        rsi.step(of_rsi, 0, quote["close"])
        atr.step(of_atr, 0, quote["high"], quote["low"], quote["close"])
        ema.step(of_ema, 0, 20, quote["close"])
        if i >= 14:
            assert rsi.value(of_rsi, 0, 15) == pytest.approx(published["rsi"][i]["rsi"], rel=1e-12)
            assert atr.value(of_atr, 0, 15) == pytest.approx(published["atr"][i]["atr"], rel=1e-12)
            assert atr.normalised(of_atr, 0, 15) == pytest.approx(published["atr"][i]["atrp"], rel=1e-12)
        if i >= 19:
            assert of_ema[1] == pytest.approx(published["ema"][i]["ema"], rel=1e-12)
    assert len(quotes) == 502


def test_the_20_bar_deviation_is_the_published_one(recordings: Path) -> None:
    # bukosabino: columns Close, and the bands' middle, high and low over 20 closes
    with (recordings / "vectors" / "bukosabino_ta" / "cs-bbands.csv").open() as file:
        rows = list(csv.DictReader(file))
    state = zeros(bollinger.SIZE)
    for i, row in enumerate(rows):
        bollinger.step(state, 0, float(row["Close"]))
        if i >= 19:
            assert bollinger.middle(state, 0) == pytest.approx(float(row["MiddleBand"]), rel=1e-6)
            high = bollinger.middle(state, 0) + 2 * bollinger.deviation(state, 0)
            assert high == pytest.approx(float(row["HighBand"]), rel=1e-6)
    assert len(rows) > 30


def flat_minutes(bars: int, price: float = 0.1) -> HandFeed:
    """A market that trades once a minute at one price."""
    feed = HandFeed()
    for i in range(bars):
        feed.trade(60 * (1000 + i), price)
    return feed


def test_a_flat_market_has_averages_and_no_strength() -> None:
    row = flat_minutes(300).row(60 * 1299)
    assert row["rsi_14"] is None
    assert row["bollinger_pctb"] is None
    assert row["bollinger_width"] == 0.0
    assert row["atr_14"] == 0.0
    assert row["ema_26"] == pytest.approx(0.1, rel=1e-15)


def test_the_250th_bar_is_the_first_that_is_ready() -> None:
    feed = flat_minutes(250)
    before = feed.row(60 * 1249 - 1)
    after = feed.row(60 * 1249)
    for name in ("ema_12", "ema_26", "ema_dev_bps", "macd", "macd_signal", "macd_hist", "atr_14", "natr_14"):
        assert before[name] is None
        assert after[name] is not None


def test_strength_forgets_where_it_began_within_250_bars() -> None:
    rng = np.random.default_rng(5)
    closes = np.round(100 + np.cumsum(rng.normal(0, 0.1, 900)), 2)
    early, late = HandFeed(), HandFeed()
    for i, close in enumerate(closes):
        early.trade(60 * (1000 + i), float(close))
        if i >= 300:
            late.trade(60 * (1000 + i), float(close))
        a, b = early.row(60 * (1000 + i)), late.row(60 * (1000 + i))
        if b["rsi_14"] is not None:
            assert a["rsi_14"] == pytest.approx(b["rsi_14"], abs=1e-6)
            assert a["macd_hist"] == pytest.approx(b["macd_hist"], abs=1e-8)
    assert late.row(60 * 1899)["rsi_14"] is not None


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1e-3, 1.0, 1e6])
def test_rsi_is_ta_libs_at_prices_of_any_size(scale: float) -> None:
    rng = np.random.default_rng(7)
    closes = scale * np.exp(np.cumsum(rng.normal(0, 1e-3, 400)))
    state = zeros(rsi.SIZE)
    ours = []
    for close in closes:
        rsi.step(state, 0, float(close))
        ours.append(rsi.value(state, 0, 15))
    assert ours[15:] == talib.RSI(closes, 14)[15:].tolist()


def test_a_flat_market_has_no_rsi_whatever_its_price() -> None:
    for price in (5e-324, 1e-300, 1e-12, 1.0, 60_000.0):
        state = zeros(rsi.SIZE)
        for _ in range(300):
            rsi.step(state, 0, price)
        assert isnan(rsi.value(state, 0, 250))
