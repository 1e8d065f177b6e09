"""A later start: once warm, a value has forgotten where its history began, and one that has not is found."""

import json
import math
import random
import struct
from dataclasses import replace

from ingest.check import result, runs, warmup
from ingest.cli import main
from ingest.messages.kinds import OrderBook, Trade
from ingest.settings import load
from ingest.worker.symbol import Symbol
from transforms.catalog import ORDER_FLOW, TECHNICAL
from transforms.instrument import Instrument
from transforms.warmup import WarmUp, table

from .conftest import CONF, MIDNIGHT


class Leaking(Symbol):
    """Its one-minute volume keeps a millionth of a lot of every row since the start."""

    __slots__ = ("rows",)

    def _emit_rows(self, t_us):
        self.rows = getattr(self, "rows", 0) + 1
        for view, values in self.engine.emit(t_us):
            if view is ORDER_FLOW:
                values[ORDER_FLOW.index["buy_volume_1m"]] += self.rows * 1e-9
            self._emit(self, view, t_us, values)


def test_no_value_depends_on_the_start_once_it_is_warm(messages):
    found = warmup.warmup(messages, CONF, starts=(0.1, 0.5))
    assert [r for r in found if r.differing] == []
    values = {r.feature: r.values for r in found}
    # 900 s from 90 s and from 450 s on: the second start leaves 150 s past 300, and midnight lies at 600 s
    assert values["mid_price"] > 2 * 1200
    assert 2 * (509 + 149) - 10 < values["delta_volume_5m"] <= 2 * (510 + 150)
    assert 2 * 2 * 290 < values["cvd"] <= 2 * 2 * 300
    assert values["rsi_14"] == 0


def test_a_volume_that_never_forgets_is_found_and_nothing_else_is_blamed(messages):
    found = warmup.warmup(messages, CONF, starts=(0.3,), make=Leaking)
    assert [r.feature for r in found if r.differing] == ["buy_volume_1m"]
    assert result.failed(found)


def test_a_warm_up_that_is_stated_too_short_is_found(messages):
    short = {**table(), ("order_flow", "vwap_5m"): WarmUp(30)}
    found = warmup.warmup(messages, CONF, starts=(0.3,), stated=short)
    assert [r.feature for r in found if r.differing] == ["vwap_5m"]


def test_a_market_with_a_book_in_ten_seconds_is_compared_from_its_second_book_on():
    # 9.7 s apart: the first book after the start has no change yet, where a longer history has one
    feed = []
    for i in range(60):
        at, mid = MIDNIGHT + 9700 * i, 10 + i % 2
        feed.append(("book", OrderBook(at, "SLOW", [(mid - 0.01, 1.0)], [(mid + 0.01, 1.0)])))
        feed.append(("trade", Trade(at + 1, "SLOW", mid, 1.0, "buy", i)))
    found = warmup.warmup(feed, CONF)
    assert [r for r in found if r.differing] == []
    values = {r.feature: r.values for r in found}
    assert values["ofi_1s"] > 900 and values["roll_spread_5m"] > 0
    once = {**table(), ("microstructure", "ofi_1s"): WarmUp(2), ("order_flow", "roll_spread_5m"): WarmUp(301)}
    found = warmup.warmup(feed, CONF, stated=once)
    assert [r.feature for r in found if r.differing] == ["ofi_1s", "roll_spread_5m"]


def test_trades_without_a_side_are_compared_from_the_first_change_of_the_price_on():
    # the price rises once, long before the starts, and once after the last: until then a later history cannot know the direction
    feed = [("trade", Trade(MIDNIGHT + 500 * i, "FLAT", 10.0 + (i > 3) + (i > 700), 1.0, None, i)) for i in range(1000)]
    found = {r.feature: r for r in warmup.warmup(feed, CONF)}
    assert [r for r in found.values() if r.differing] == []
    # the price changes at 350.5 s, the last trade is at 499.5 s: with 61 s of window the rows of 412 s to 500 s, for each of three starts
    assert found["buy_volume_1m"].values == 3 * 89
    assert found["mid_price"].compared == 0 < found["market_hour"].values


def test_a_configured_bucket_of_vpin_is_left_out_with_the_reason(messages):
    conf = replace(load({}), instruments={"ODD": Instrument(vpin_bucket=1.0)})
    found = {
        r.feature: r for r in warmup.warmup([one for one in messages if one[1].symbol == "ODD"], conf, starts=(0.5,))
    }
    assert found["vpin"].compared == 0 and "configured" in found["vpin"].note


def test_both_captures_pass(recordings, capsys):
    folder = recordings / "ws_binance_hftbacktest"
    paths = sorted(str(p) for p in folder.glob("*.jsonl.gz"))
    assert main(["check", "warmup", *paths, "--starts", "0.1", "--json"]) == 0
    values = {f["feature"]: f["values"] for f in json.loads(capsys.readouterr().out)["features"]}
    assert values["ofi_60s"] > 400 and values["vwap_5m"] > 10


def test_the_venues_own_funding_time_reaches_the_row_and_is_compared_from_when_it_was_told():
    told = MIDNIGHT + 3_600_000
    feed = [
        (
            "trade",
            Trade(MIDNIGHT + 1000 * i, "PERP", 10.0 + i % 2, 1.0, "buy", i, next_funding=told if i % 20 == 5 else None),
        )
        for i in range(100)
    ]
    conf = replace(CONF, instruments={"PERP": Instrument(funding_hours=8)})
    rows = {}
    runs.run_whole(feed, conf, runs.Symbol, lambda _, run: rows.update(run.take_rows()))
    at = TECHNICAL.index["minutes_to_funding"]
    minutes = [struct.unpack_from("d", rows[(MIDNIGHT + 1000 * t) * 1000]["technical"], 8 * at)[0] for t in (4, 5, 65)]
    # midnight is a usual one: 8 h less 4 s; told is an hour after it
    assert minutes == [480 - 4 / 60, 60 - 5 / 60, 60 - 65 / 60]
    found = {r.feature: r for r in warmup.warmup(feed, conf)}
    assert [r for r in found.values() if r.differing] == []
    assert found["minutes_to_funding"].values < found["market_hour"].values


def test_a_day_with_three_wild_hours_passes():
    # 28 hours of a trade in 30 s, the first three of tenfold volatility; a start amid them must not be seen after the warm-up
    rng = random.Random(3)
    feed, price = [], 100.0
    for i in range(28 * 120):
        price *= math.exp(rng.gauss(0, 1e-3 if i < 360 else 1e-4))
        feed.append(("trade", Trade(MIDNIGHT + 30_000 * i, "WILD", price, 1.0, "buy", i)))
    found = {r.feature: r for r in warmup.warmup(feed, replace(CONF, emit_interval_ms=30_000), starts=(0.05,))}
    assert [r for r in found.values() if r.differing] == []
    # from 1.4 h + 25 h and some minutes on
    for name in (
        "volatility_1m_z",
        "volatility_5m_z",
        "price_momentum_1m_z",
        "price_momentum_5m_z",
        "price_momentum_15m_z",
    ):
        assert found[name].values > 100


def test_a_share_is_compared_in_the_sessions_of_its_own_opening():
    # the session begins five minutes after midnight; the history ten minutes before
    conf = replace(load({}), instruments={"S": Instrument(session_open="00:05", session_timezone="UTC")})
    feed = [("trade", Trade(MIDNIGHT - 600_000 + 1000 * i, "S", 10.0 + i % 3, 1.0, "buy", i)) for i in range(1200)]
    found = {r.feature: r for r in warmup.warmup(feed, conf, starts=(0.1,))}
    assert [r for r in found.values() if r.differing] == []
    assert 290 <= found["cvd"].values <= 300
