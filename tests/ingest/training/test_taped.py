"""Trades of the tape as prices of labels and as sampling bars, against loops over the messages."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.training.bars import Bars, moments
from feature_repo.training.definitions import MISSING, Barriers, ForwardReturn
from feature_repo.training.labels import label, sign
from feature_repo.training.sources import known_at, prices_of
from ingest.messages.decode import encode
from ingest.messages.kinds import Gap, Tick, Trade, time_us
from ingest.settings import Settings
from ingest.tape.table import open_tape
from ingest.training import taped as taped_module
from ingest.training.taped import TapedTrades
from tests.ingest.backfill.days.tapes import put_entries
from transforms.instrument import Instrument

T0_MS = 1_700_006_400_000
T0 = T0_MS * 1000
SECOND = 1_000_000


@pytest.fixture
def conf(tmp_path: Path) -> Settings:
    return Settings(partitions=1, tape=str(tmp_path / "tape"))


def entry(message: Any, arrived_ms: int, n: int, recorded: bytes = b"") -> tuple[bytes, dict[bytes, bytes]]:
    kind = type(message).__name__.lower().encode()
    mark = {b"recorded": recorded} if recorded else {}
    return b"%d-%d" % (arrived_ms, n), {b"kind": kind, b"data": encode(message), **mark}


def trade(second: float, price: float, trade_id: int | str | None, symbol: str = "A") -> Trade:
    return Trade(T0_MS + round(second * 1000), symbol, price, 0.5, "buy", trade_id)


def load(conf: Settings, begin_s: float, end_s: float, *symbols: str) -> TapedTrades:
    taped = TapedTrades(conf)
    taped.load(open_tape(conf), symbols or ("A",), T0 + round(begin_s * SECOND), T0 + round(end_s * SECOND))
    return taped


def test_trades_are_given_in_order_each_once_whenever_they_arrived(conf: Settings, monkeypatch: Any) -> None:
    monkeypatch.setattr(taped_module, "PART_ROWS", 3)
    told = [
        (trade(0, 1, 1), 0),
        (trade(2, 3, 7), 40),
        (trade(2, 2, 6), 41),
        (trade(1, 9, "x"), 50),
        (trade(1, 9, "x"), 55),
        (trade(1, 8, "y"), 60),
        (trade(3, 5, None), 70),
        (trade(3, 5, None), 71),
        (trade(2, 3, 7), 72),
        (trade(5, 99, 8, "B"), 73),
        (trade(4, -1, 9), 74),
        (trade(7300, 6, 10), 80),
        (trade(-20, 7, 11), 90),
    ]
    heard = [entry(one, time_us(one) // 1000 + n, n) for one, n in told]
    late = entry(trade(1.5, 4, 12), T0_MS + 86_400_000 * 3, 0, b"1")  # a recording that was replayed three days later
    put_entries(conf, sorted([*heard, late]), 0)
    with load(conf, -10, 7300) as taped:
        assert taped.refused.total() == 1
        found = taped.read("A", T0, T0 + 7300 * SECOND)
        assert ((found.t_us - T0) / SECOND).tolist() == [0, 1, 1, 1.5, 2, 2, 3, 3, 7300]
        assert found.price.tolist() == [1, 9, 8, 4, 2, 3, 5, 5, 6]
        assert taped.read("A", T0 + SECOND, T0 + 2 * SECOND).price.tolist() == [9, 8, 4, 2, 3]
        pieces = list(taped.pieces("A", T0, T0 + 7300 * SECOND))
        assert [len(piece.t_us) for piece in pieces] == [8, 1]
        assert taped.newest_us("A") == T0 + 7300 * SECOND
        assert taped.newest_us("nobody") == -1
        assert not len(taped.read("nobody", T0, T0 + SECOND).t_us)


def test_sizes_of_bars_are_in_base_units(conf: Settings) -> None:
    put_entries(conf, [entry(trade(0, 2.0, 1), T0_MS, 0)], 0)
    contracts = Settings(partitions=1, tape=conf.tape, instruments={"A": Instrument(contract_size=100.0, inverse=True)})
    with load(contracts, 0, 1) as taped:
        (piece,) = taped.pieces("A", T0, T0 + SECOND)
    assert piece.size.tolist() == [0.5 * 100 / 2]


def test_labels_over_a_hole_and_beyond_the_end_are_null_and_say_so(conf: Settings) -> None:
    """A price a second; the feed tells of a hole from 20 to 22, its worker of one from 40 on."""
    told: list[tuple[Any, float]] = [(trade(s, 100 + s, s + 1), s) for s in range(60) if s != 21]
    told.append((Gap(T0_MS + 22_000, "A", channel="trade", since=T0_MS + 20_000), 22))
    told.append((Tick(T0_MS + 41_000, "A", lost=True), 40.5))
    entries = [entry(one, T0_MS + round(1000 * at) + n % 2, n) for n, (one, at) in enumerate(told)]
    put_entries(conf, sorted(entries, key=lambda one: tuple(map(int, one[0].split(b"-")))), 0)
    with load(conf, -60, 70) as taped:
        t_us = T0 + np.arange(60) * SECOND
        rows = taped.read("A", T0 - 60 * SECOND, T0 + 130 * SECOND)
        definition = ForwardReturn(timedelta(seconds=3), "trade")
        found = label(definition, prices_of(rows, definition), known_at(rows, definition, t_us), taped.newest_us("A"))
    why = {s: MISSING[m] for s, m in enumerate(found.missing) if m >= 0}
    # a window (s, s + 3] with something of (20, 22], or of (40, 41]; 57 + 3 is behind the last trade, 56 + 3 is that trade
    holes = [*range(18, 22), *range(38, 41)]
    assert why == {**dict.fromkeys(holes, "hole"), **dict.fromkeys((57, 58, 59), "end")}
    for s in range(60):
        if s not in why:
            start = 120 if s == 21 else 100 + s  # nothing was traded in second 21
            assert found.returns[s] == pytest.approx(log((103 + s) / start), abs=1e-14)


@pytest.fixture(scope="module")
def captured(recordings: Path) -> list[Trade]:
    """The first trades of a capture."""
    found: list[Trade] = []
    with gzip.open(recordings / "ws_binance_hftbacktest" / "spot_ethusdt_20240808.jsonl.gz") as lines:
        for line in lines:
            said = json.loads(line.partition(b" ")[2]).get("data", {}) if b"@trade" in line else {}
            if said:
                side = "sell" if said["m"] else "buy"
                found.append(Trade(said["T"], "ETHUSDT", float(said["p"]), float(said["q"]), side, said["t"]))
            if len(found) == 2500:
                break
    return found


def test_labels_of_a_capture_equal_a_loop_over_its_trades(conf: Settings, captured: list[Trade]) -> None:
    symbol = captured[0].symbol
    put_entries(conf, [entry(one, time_us(one) // 1000, n, b"1") for n, one in enumerate(captured)], 0)
    first, last = time_us(captured[0]), max(map(time_us, captured))
    t_us = np.linspace(first, last, 120).astype(np.int64)
    rng = np.random.default_rng(0)
    volatility = rng.choice([2e-5, 1e-4, 4e-4], len(t_us))
    with TapedTrades(conf) as taped:
        taped.load(open_tape(conf), [symbol], first, last)
        rows, newest_us = taped.read(symbol, first, last), taped.newest_us(symbol)
    ordered = sorted(captured, key=lambda one: (time_us(one), one.trade_id))
    times = [time_us(one) for one in ordered]
    for definition in (
        ForwardReturn(timedelta(seconds=1), "trade"),
        ForwardReturn(timedelta(seconds=20), "trade", timedelta(seconds=2)),
        Barriers(timedelta(seconds=30), "trade", profit=1.0, loss=2.0),
    ):
        found = label(definition, prices_of(rows, definition), known_at(rows, definition, t_us), newest_us, volatility)
        value = sign(definition, found) if isinstance(definition, Barriers) else found.returns
        pause_us, given = definition.longest_pause // timedelta(microseconds=1), 0
        for i, t in enumerate(t_us.tolist()):
            end = t + definition.horizon // timedelta(microseconds=1)
            before = [n for n, at in enumerate(times) if at <= t]
            base = ordered[before[-1]].price
            wanted, came, previous, is_whole = None, None, times[before[-1]], True
            for n in range(before[-1] + 1, len(ordered)):
                is_whole = is_whole and times[n] - previous <= pause_us
                if times[n] > end or not is_whole:
                    break
                came, previous = log(ordered[n].price / base), times[n]
                if isinstance(definition, Barriers) and (came > volatility[i] or came < -2 * volatility[i]):
                    wanted = 1.0 if came > 0 else -1.0
                    break
            if wanted is None and is_whole and end <= last and came is not None:
                wanted = float(np.sign(came)) if isinstance(definition, Barriers) else came
            given += wanted is not None
            assert (found.missing[i] < 0) == (wanted is not None)
            if wanted is not None:
                assert value[i] == pytest.approx(wanted, abs=1e-14)
        assert given > 30


@pytest.mark.parametrize("bars", [Bars("volume", 25.0), Bars("dollar_imbalance", 40)])
def test_no_bar_and_no_price_before_a_time_depends_on_trades_behind_it(
    conf: Settings, captured: list[Trade], bars: Bars
) -> None:
    symbol, middle = captured[0].symbol, time_us(captured[1500])
    first, last = time_us(captured[0]), max(map(time_us, captured))
    found = []
    for folder, factor in (("one", 1.0), ("other", 3.0)):
        changed = [
            Trade(
                one.timestamp,
                symbol,
                one.price * (factor if time_us(one) > middle else 1.0),
                one.size,
                one.side,
                one.trade_id,
            )
            for one in captured
        ]
        of = Settings(partitions=1, tape=f"{conf.tape}-{folder}")
        put_entries(of, [entry(one, time_us(one) // 1000, n, b"1") for n, one in enumerate(changed)], 0)
        with TapedTrades(of) as taped:
            taped.load(open_tape(of), [symbol], first, last)
            found.append(np.concatenate(list(moments(bars, taped.pieces(symbol, first, last)))))
    one, other = (ends[ends <= middle] for ends in found)
    assert len(one) > 5
    assert one.tolist() == other.tolist()
