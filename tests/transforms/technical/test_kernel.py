"""The view against itself: restarted, in the other mode, with other rows asked for, cut short, and started later."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from math import isnan
from pathlib import Path

import pytest

from tests.transforms.technical import mixed_session
from tests.transforms.technical.conftest import HandFeed
from transforms.catalog import TECHNICAL
from transforms.instrument import Instrument
from transforms.kernel import COMPILED, MINUTE_US, from_bytes, to_bytes, zeros
from transforms.technical import kernel


def named(row: bytes) -> dict[str, float]:
    """A row by name; NaN where null."""
    return dict(zip(TECHNICAL.names, (float(x) for x in from_bytes(row)), strict=True))


def test_a_restart_from_bytes_at_any_point_changes_no_bit() -> None:
    trades = mixed_session.trades(6000)
    whole = mixed_session.Run()
    expected = list(whole.feed(trades))
    for size in (1, 7, 64, 1000):
        run = mixed_session.Run()
        rows: list[mixed_session.Row] = []
        rng = random.Random(size)
        i = 0
        while i < len(trades):
            n = size if size < 1000 else rng.randrange(1, 2000)
            rows += run.feed(trades[i : i + n])
            i += n
            run.state = from_bytes(to_bytes(run.state))
            run.history = from_bytes(to_bytes(run.history))
        assert rows == expected
        assert to_bytes(run.state) == to_bytes(whole.state)
        assert to_bytes(run.history) == to_bytes(whole.history)


def test_compiled_and_plain_give_the_same_bytes() -> None:
    pytest.importorskip("numba", reason="without numba there is one mode only")
    n = 6000
    ours = mixed_session.digest(n)
    other = subprocess.run(
        [sys.executable, str(Path(mixed_session.__file__)), str(n)],
        env={**os.environ, "TFS_NUMBA": "0" if COMPILED else "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert other.stdout.split() == ["plain" if COMPILED else "compiled", ours]


def test_which_rows_are_asked_for_changes_no_later_row() -> None:
    trades = mixed_session.trades(6000)
    expected = dict(mixed_session.Run().feed(trades))
    for every in (7, 60, 1000):
        rows = dict(mixed_session.Run().feed(trades, every))
        assert rows == {t: row for t, row in expected.items() if t in rows}
        assert len(rows) > 15


def test_a_row_of_data_cut_at_its_time_is_the_row_of_all_data() -> None:
    trades = mixed_session.trades(3000)
    rows = list(mixed_session.Run().feed(trades))
    for t_us, row in random.Random(3).sample(rows, 8):
        cut = mixed_session.Run()
        list(cut.feed([trade for trade in trades if trade[0] <= t_us]))
        assert cut.row(t_us) == (t_us, row)


def test_a_later_start_gives_the_same_values_once_it_is_warm() -> None:
    trades = mixed_session.trades(12_000)
    later = [trade for trade in trades if trade[0] > mixed_session.START + 100 * MINUTE_US]
    expected = dict(mixed_session.Run().feed(trades))
    exact = {
        "price_momentum_1m": 2, "price_momentum_5m": 6, "price_momentum_15m": 17, "volatility_1m": 2, "volatility_5m": 6,
        "volatility_15m": 16, "parkinson_15m": 17, "garman_klass_15m": 17, "rogers_satchell_15m": 17, "yang_zhang_15m": 18,
        "bollinger_pctb": 30, "bollinger_width": 30,
    }  # fmt: skip
    session = ("poc", "value_area_low", "value_area_high", "poc_dev_bps", "volume_profile")
    recursive = {"rsi_14": 1e-6, "ema_12": 1e-6, "ema_26": 1e-4, "macd": 1e-4, "macd_signal": 1e-4, "atr_14": 1e-6}
    midnight = 86_400 * 19_001 * 1_000_000
    compared = dict.fromkeys((*exact, *session, *recursive), 0)
    for t_us, row in mixed_session.Run().feed(later):
        ours, theirs = named(row), named(expected[t_us])
        for name, minutes in exact.items():
            if t_us >= later[0][0] + minutes * MINUTE_US:
                assert ours[name] == theirs[name] or (isnan(ours[name]) and isnan(theirs[name])), (name, t_us)
                compared[name] += not isnan(ours[name])
        for name in session:
            if t_us >= midnight:
                assert ours[name] == theirs[name] or (isnan(ours[name]) and isnan(theirs[name])), (name, t_us)
                compared[name] += not isnan(ours[name])
        for name, tolerance in recursive.items():
            if not isnan(ours[name]):
                assert ours[name] == pytest.approx(theirs[name], abs=tolerance), (name, t_us)
                compared[name] += 1
    assert min(compared.values()) > 1000, compared


def test_a_symbol_that_traded_for_hours_has_every_feature_but_the_monthly_one() -> None:
    trades = mixed_session.trades(9000)
    run = mixed_session.Run()
    list(run.feed(trades))
    row = named(run.row(-(-trades[-1][0] // MINUTE_US) * MINUTE_US)[1])
    assert [name for name, value in row.items() if isnan(value)] in (
        ["minutes_to_funding"],  # this instrument has no funding
        ["relative_volume", "minutes_to_funding"],
    )


def test_every_value_is_within_the_catalogues_range() -> None:
    for _, row in mixed_session.Run().feed(mixed_session.trades(6000)):
        for feature, value in zip(TECHNICAL.features, from_bytes(row), strict=True):
            assert isnan(value) or feature.low <= value <= feature.high, feature.name


@pytest.mark.parametrize("bucket_us", [0, -1, 300_000, 2_000_000])
def test_a_grid_that_does_not_divide_a_second_is_refused(bucket_us: int) -> None:
    with pytest.raises(ValueError, match="must divide a second"):
        kernel.init(Instrument(), bucket_us)


def test_a_row_height_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="finite height above 0"):
        kernel.init(Instrument(profile_row=0.0), 1_000_000)


def test_the_state_begins_with_the_time_of_the_newest_trade() -> None:
    feed = HandFeed()
    assert feed.state[kernel.NEWEST] == 0.0
    feed.trade(86_400 * 19_000 + 0.25, 100.0)
    assert feed.state[kernel.NEWEST] == (86_400 * 19_000 + 0.25) * 1e6


def test_the_state_stays_within_80_kilobytes_on_a_grid_of_one_second() -> None:
    assert len(to_bytes(kernel.init(Instrument(), 1_000_000))) < 80_000


def test_trades_of_impossible_size_and_price_do_not_stop_the_kernel() -> None:
    feed = HandFeed()
    rng = random.Random(1)
    out = zeros(len(TECHNICAL.features))
    for i in range(2000):
        feed.trade(86_400 * 19_000 + 30 * i, 10.0 ** rng.uniform(-307, 308), 10.0 ** rng.uniform(-307, 308))
        kernel.emit(feed.state, (86_400 * 19_000 + 30 * i) * 1_000_000, out)
    assert feed.state[kernel.NEWEST] == (86_400 * 19_000 + 30 * 1999) * 1e6
