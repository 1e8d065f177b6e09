"""Checks of symbols, times and numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf, nan

import pytest

from ingest.messages.check import check_depth, check_header, check_microprice, check_number, check_score, is_symbol
from ingest.messages.kinds import MAX_TIME_MS, MicropriceTable, ScoredPost
from ingest.messages.refusal import Refused
from transforms.limits import MAX_NUMBER
from transforms.microstructure.layout import G_SIZE

T0 = 1_700_000_000_000


def test_a_time_ahead_of_its_receive_time_is_refused_past_the_limit():
    check_header("A", (T0 + 6000) * 1000, received_ms=T0 + 1000, max_future_ms=5000)
    with pytest.raises(Refused, match="future_time"):
        check_header("A", (T0 + 6001) * 1000, received_ms=T0 + 1000, max_future_ms=5000)


@pytest.mark.parametrize(
    ("written", "timestamp"),
    [
        ("seconds since midnight", 43_200),
        ("milliseconds since midnight", 43_200_000),
        ("seconds since 1970", 1_700_000_000),
        ("the last moment of 2008", int(datetime(2009, 1, 1, tzinfo=UTC).timestamp() * 1000) - 1),
    ],
)
def test_a_time_in_another_unit_is_refused_in_history_too(written: str, timestamp: int) -> None:
    with pytest.raises(Refused, match="too_old"):
        check_header("A", timestamp * 1000, received_ms=T0, max_future_ms=0)
    with pytest.raises(Refused, match="too_old"):  # also where the receive time has the same wrong unit
        check_header("A", timestamp * 1000, received_ms=timestamp, max_future_ms=0, max_age_ms=86_400_000)


@pytest.mark.parametrize(
    ("written", "t_us"),
    [("us in the ms field", T0 * 10**6), ("ns in the us field", T0 * 10**6), ("ms in the us field", T0)],
)
def test_a_time_in_another_unit_is_refused_with_the_units_that_are_meant(written: str, t_us: int) -> None:
    with pytest.raises(Refused, match="`timestamp` is in milliseconds since 1970, `timestamp_us` in microseconds"):
        check_header("A", t_us, received_ms=T0, max_future_ms=5000)


def test_history_may_be_as_old_as_2009_and_a_live_message_as_its_limit() -> None:
    check_header("A", int(datetime(2009, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000, received_ms=T0, max_future_ms=0)
    check_header("A", (T0 - 1000) * 1000, received_ms=T0, max_future_ms=0, max_age_ms=1000)
    with pytest.raises(Refused, match="too_old"):
        check_header("A", (T0 - 1001) * 1000, received_ms=T0, max_future_ms=0, max_age_ms=1000)


@pytest.mark.parametrize("timestamp", [0, -5, MAX_TIME_MS + 1])
def test_times_outside_what_a_double_holds_in_microseconds_are_refused(timestamp):
    with pytest.raises(Refused, match="out_of_range"):
        check_header("A", timestamp * 1000, received_ms=2 * MAX_TIME_MS, max_future_ms=0)


@pytest.mark.parametrize("symbol", ["", "A" * 65, "A B", "A;DROP TABLE x", "../x\x00", "BTCUSDT\n", "ＢＴＣ"])
def test_a_symbol_of_other_characters_is_refused(symbol):
    assert not is_symbol(symbol)
    with pytest.raises(Refused, match="bad_symbol"):
        check_header(symbol, 1000, received_ms=1, max_future_ms=0)


def test_venue_qualified_symbols_are_taken():
    assert is_symbol("BINANCE:BTC-USDT") and is_symbol("A" * 64)


@pytest.mark.parametrize("symbol", ["币安人生USDT", "btcusdt", "ÉTÉ-EUR", "БТЦ/РУБ", "日経225"])
def test_letters_of_any_script_and_either_case_are_taken(symbol: str) -> None:
    assert is_symbol(symbol)
    check_header(symbol, T0 * 1000, received_ms=T0, max_future_ms=0)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (nan, "not_finite"),
        (-inf, "not_finite"),
        (0.0, "not_positive"),
        (-1.0, "not_positive"),
        (1.001e15, "out_of_range"),
    ],
)
def test_a_number_that_no_market_has_is_refused(value: float, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        check_number("price", value)


def test_the_largest_number_is_taken() -> None:
    check_number("price", MAX_NUMBER)


def test_a_score_is_whole_or_absent() -> None:
    check_score(ScoredPost(1, "A", "p", 1, 2**64 - 1))
    check_score(ScoredPost(1, "A", "p", 1, 0, 0.0, 1.0, 0.0))
    with pytest.raises(Refused, match="missing_field"):
        check_score(ScoredPost(1, "A", "p", 1, 0, 0.5, 0.5))


def test_a_table_is_not_used_before_the_end_of_its_data() -> None:
    check_microprice(MicropriceTable(10, "A", 1, 5, 5, 0.5, [None] * G_SIZE))
    with pytest.raises(Refused, match="out_of_range"):
        check_microprice(MicropriceTable(10, "A", 1, 6, 5, 0.5, [None] * G_SIZE))


KNOWN = (0.0, 2.5, 2.5)


@pytest.mark.parametrize("side", [KNOWN, (None, 1.0, None), (1.0, None, 2.0), (None, None, None), (0.0, 0.0, 0.0)])
def test_depths_that_do_not_shrink_with_the_distance_are_taken(side):
    check_depth((side, KNOWN))
    check_depth((KNOWN, side))


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        ((nan, 1.0, 2.0), "not_finite"),
        ((1.0, 2.0, inf), "not_finite"),
        ((-1.0, 1.0, 2.0), "out_of_range: bid depth -1"),
        ((2.0, 1.0, 3.0), "out_of_range: bid depth 1.0 below 2.0"),
        ((2.0, None, 1.0), "out_of_range: bid depth 1.0 below 2.0"),
    ],
)
def test_a_depth_that_cannot_be_is_refused_with_its_reason(side, reason):
    with pytest.raises(Refused, match=reason):
        check_depth((side, KNOWN))
    with pytest.raises(Refused, match=reason.replace("bid", "ask")):
        check_depth((KNOWN, side))
