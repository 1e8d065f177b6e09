"""Raw Binance captures: the sequence rule, and what each kind of damage does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from ingest.messages.kinds import Gap, OrderBook, Trade, time_us
from ingest.messages.refusal import Reason
from ingest.recordings.binance import Binance
from ingest.recordings.binance_books import HELD_MAX
from ingest.recordings.lines import Line, Output, Parsed, Rejected

T0 = 1_723_161_255_000
"""Milliseconds; the n-th update of a test happens n ms later, and is received half a millisecond after that."""


def line(payload: Any, at: int = 0, number: int = 1) -> Line:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    ns = (T0 + at) * 1_000_000 + 500_000
    return Line("capture.jsonl", number, ns, b"%d " % ns + body, True)


def diff(first: int, last: int, *, bids: Any = (), asks: Any = (), symbol: str = "BTCUSDT", **more: Any) -> Line:
    data = {"e": "depthUpdate", "E": T0 + last, "s": symbol, "U": first, "u": last, "b": bids, "a": asks, **more}
    return line({"stream": f"{symbol.lower()}@depth@100ms", "data": data}, at=last, number=last)


def snapshot(last: int, bid: str = "99.00", ask: str = "101.00", at: int | None = None) -> Line:
    further_bid, further_ask = str(float(bid) - 1), str(float(ask) + 1)
    answer = {
        "lastUpdateId": last,
        "bids": [[bid, "1.0"], [further_bid, "2"]],
        "asks": [[ask, "3.0"], [further_ask, "4"]],
    }
    return line(answer, at=last if at is None else at, number=last)


def trade(trade_id: int = 7, symbol: str = "BTCUSDT", **more: Any) -> dict[str, Any]:
    data = {"e": "trade", "E": T0 + 2, "s": symbol, "t": trade_id, "p": "100.5", "q": "0.25", "T": T0 + 1, "m": True}
    return {"stream": f"{symbol.lower()}@trade", "data": {**data, **more}}


def run(lines: Iterable[Line], feed: Binance | None = None) -> list[Output]:
    feed = feed or Binance(5000)
    outputs = [output for each in lines for output in feed.parse(each)]
    return outputs + list(feed.finish())


def told(outputs: list[Output]) -> list[str]:
    """Each output in a word: a book by its event time, a refusal by its line."""
    words = []
    for output in outputs:
        if isinstance(output, Rejected):
            words.append(f"{output.reason} {output.line.number}")
        else:
            words.append(f"{output.kind} {output.message.timestamp - T0}")
    return words


def books(outputs: list[Output]) -> list[OrderBook]:
    return [o.message for o in outputs if isinstance(o, Parsed) and isinstance(o.message, OrderBook)]


def only_refusal(outputs: list[Output]) -> Rejected:
    (refusal,) = (o for o in outputs if isinstance(o, Rejected))
    return refusal


def test_diffs_before_the_snapshot_wait_and_the_first_applied_one_spans_it() -> None:
    feed = Binance(5000)
    outputs = run([diff(1, 5), diff(6, 9), diff(10, 12, bids=[["99.50", "4"]]), snapshot(9, at=13), diff(13, 15)], feed)

    assert told(outputs) == ["book 12", "book 15"]
    first, second = books(outputs)
    assert first.bids == [(99.5, 4.0), (99.0, 1.0), (98.0, 2.0)]
    assert first.asks == [(101.0, 3.0), (102.0, 4.0)]
    assert first.received == T0 + 14, "known from the snapshot on, rounded up to whole milliseconds"
    assert second.received == T0 + 16
    assert (first.sequence, second.sequence) == (T0 + 12, T0 + 13)
    assert feed.ignored == 3, "two diffs that the snapshot covers, and the snapshot"


@pytest.mark.parametrize("first", [5, 10])
def test_the_first_diff_may_begin_before_the_snapshot_or_right_after_it(first: int) -> None:
    assert told(run([snapshot(9), diff(first, 12), diff(13, 14)])) == ["book 12", "book 14"]


def test_a_diff_that_begins_past_the_snapshot_never_makes_a_book() -> None:
    assert told(run([snapshot(9), diff(11, 12), diff(13, 14)])) == ["sequence_gap 12", "sequence_gap 14"]


def test_without_a_snapshot_every_diff_is_refused_when_the_recording_ends() -> None:
    outputs = run([diff(1, 2), diff(3, 4)])
    assert told(outputs) == ["sequence_gap 2", "sequence_gap 4"]
    assert outputs[0].line.data == diff(1, 2).data  # type: ignore[union-attr]


def test_a_gap_is_told_once_and_lasts_until_a_snapshot_that_a_diff_spans() -> None:
    lines = [snapshot(9), diff(10, 12), diff(14, 15), diff(16, 17), snapshot(16, bid="99.25", at=18), diff(18, 20)]
    outputs = run(lines)

    assert told(outputs) == ["book 12", "gap 15", "sequence_gap 15", "book 17", "book 20"]
    gap = outputs[1].message  # type: ignore[union-attr]
    assert gap == Gap(T0 + 15, "BTCUSDT", T0 + 16)
    assert books(outputs)[1].bids[0] == (99.25, 1.0), "nothing of the old book is left"
    assert [b.sequence for b in books(outputs)] == [T0 + 12, T0 + 13, T0 + 14], "the numbers go on over the gap"


def test_a_snapshot_that_was_taken_before_the_gap_was_seen_still_mends_it() -> None:
    lines = [snapshot(9), diff(10, 12), snapshot(20, at=13), diff(19, 22), diff(23, 24)]
    assert told(run(lines)) == ["book 12", "gap 22", "book 22", "book 24"]


def test_a_snapshot_while_the_book_is_whole_changes_nothing() -> None:
    lines = [snapshot(9), diff(10, 12, bids=[["99.50", "4"]]), snapshot(12, bid="97.00", at=12), diff(13, 14)]
    assert books(run(lines))[-1].bids[0] == (99.5, 4.0)


def test_a_diff_that_came_too_early_is_applied_after_the_one_it_waited_for() -> None:
    lines = [snapshot(9), diff(10, 12), diff(15, 16, asks=[["100.00", "1"]]), diff(13, 14, bids=[["99.50", "4"]])]
    outputs = run(lines)
    assert told(outputs) == ["book 12", "gap 16", "book 14", "book 16"]
    assert books(outputs)[-1].bids[0] == (99.5, 4.0)
    assert books(outputs)[-1].asks[0] == (100.0, 1.0)


def test_a_diff_from_nowhere_costs_itself_and_a_gap_but_not_the_book() -> None:
    lines = [snapshot(9), diff(10, 12), diff(1013, 1014), diff(13, 15), diff(16, 17)]
    assert told(run(lines)) == ["book 12", "gap 1014", "book 15", "book 17", "sequence_gap 1014"]


def test_a_repeated_diff_is_a_duplicate() -> None:
    outputs = run([snapshot(9), diff(10, 12), diff(10, 12), diff(13, 15)])
    assert told(outputs) == ["book 12", "duplicate 12", "book 15"]


def test_a_diff_that_would_cross_the_book_is_refused_and_the_true_one_still_fits() -> None:
    swapped = diff(10, 12, bids=[["101.00", "3"]], asks=[["98.50", "1"]])
    outputs = run([snapshot(9), swapped, diff(10, 12), diff(13, 15)])
    assert told(outputs) == ["crossed_book 12", "book 12", "book 15"]
    assert books(outputs)[0].bids[0] == (99.0, 1.0)


def test_a_damaged_diff_leaves_a_gap_for_the_next_one() -> None:
    outputs = run([snapshot(9), diff(10, 12), diff(13, 15, bids=[["NaN", "1"]]), diff(16, 17)])
    assert told(outputs) == ["book 12", "not_finite 15", "gap 17", "sequence_gap 17"]


def test_futures_follow_by_the_update_before() -> None:
    lines = [diff(5, 7, pu=4), snapshot(9, at=9), diff(8, 11, pu=7), diff(20, 24, pu=11), diff(31, 33, pu=30)]
    assert told(run(lines)) == ["book 11", "book 24", "gap 33", "sequence_gap 33"]


def test_snapshots_of_several_symbols_find_their_own_by_their_numbers() -> None:
    btc, eth = {"symbol": "BTCUSDT"}, {"symbol": "ETHUSDT"}
    lines = [
        snapshot(509, bid="60000.00", ask="60001.00", at=1),
        snapshot(109, bid="2600.00", ask="2600.01", at=2),
        diff(105, 112, **eth),
        diff(505, 512, **btc),
    ]
    eth_book, btc_book = books(run(lines))
    assert (eth_book.symbol, eth_book.bids[0][0]) == ("ETHUSDT", 2600.0)
    assert (btc_book.symbol, btc_book.bids[0][0]) == ("BTCUSDT", 60000.0)


def test_diffs_that_wait_are_bounded_in_number_and_none_is_lost() -> None:
    lines = [diff(n, n) for n in range(1, HELD_MAX + 3)]
    feed = Binance(5000)
    during = [output for each in lines for output in feed.parse(each)]
    assert told(during) == ["sequence_gap 1", "sequence_gap 2"]
    assert len(list(feed.finish())) == HELD_MAX


@pytest.mark.parametrize(("maker_bought", "side"), [(True, "sell"), (False, "buy")])
def test_a_trade_has_its_trade_time_and_the_aggressors_side(maker_bought: bool, side: str) -> None:
    (output,) = run([line(trade(m=maker_bought), at=3)])
    assert output == Parsed("trade", Trade(T0 + 1, "BTCUSDT", 100.5, 0.25, side, 7, T0 + 4))


def test_a_message_of_a_single_stream_is_read_by_its_event_type() -> None:
    assert told(run([line(trade()["data"])])) == ["trade 1"]


def test_where_trades_and_aggregates_are_both_recorded_each_trade_counts_once() -> None:
    aggregate = {"e": "aggTrade", "s": "BTCUSDT", "a": 1, "p": "100.5", "q": "0.25", "T": T0, "m": True}
    feed = Binance(5000)
    lines = [
        line(trade()),
        line({"stream": "btcusdt@aggTrade", "data": aggregate}),
        line({**aggregate, "s": "ETHUSDT"}),
    ]
    assert told(run(lines, feed)) == ["trade 1", "trade 0"]
    assert feed.ignored == 1


@pytest.mark.parametrize(
    "payload",
    [
        {"stream": "btcusdt@bookTicker", "data": {"u": 1, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}},
        {"u": 1, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"},
        {"result": None, "id": 1},
        {"stream": "btcusdt@kline_1m", "data": {"e": "kline"}},
        {"stream": "btcusdt@depth20@100ms", "data": {"lastUpdateId": 5, "bids": [], "asks": []}},
    ],
)
def test_other_streams_are_ignored_and_counted(payload: dict[str, Any]) -> None:
    feed = Binance(5000)
    assert run([line(payload)], feed) == []
    assert feed.ignored == 1


DAMAGE: list[tuple[str, Any, Reason]] = [
    ("cut off", json.dumps(trade()).encode()[:60], Reason.UNDECODABLE),
    ("empty", b"", Reason.UNDECODABLE),
    ("not UTF-8", json.dumps(trade()).encode().replace(b"BTCUSDT", b"BTC\xffSDT"), Reason.UNDECODABLE),
    ("not UTF-8 where nobody looks", b'{"stream":"x@y","data":{"z":"\xff"}}', Reason.UNDECODABLE),
    ("nested without end", b'{"data":' * 100_000, Reason.UNDECODABLE),
    ("a list", b"[1, 2]", Reason.WRONG_TYPE),
    ("nothing in it", {}, Reason.MISSING_FIELD),
    ("no data", {"stream": "btcusdt@trade"}, Reason.MISSING_FIELD),
    ("no price", {"stream": "s@trade", "data": {"s": "A", "t": 1, "q": "1", "T": T0, "m": True}}, Reason.MISSING_FIELD),
    ("a price in words", trade(p="much"), Reason.WRONG_TYPE),
    ("a truth for a price", trade(p=True), Reason.WRONG_TYPE),
    ("NaN", trade(p="NaN"), Reason.NOT_FINITE),
    ("a bare NaN", trade(p=float("nan")), Reason.NOT_FINITE),
    ("infinite", trade(q="inf"), Reason.NOT_FINITE),
    ("a negative size", trade(q="-1"), Reason.NOT_POSITIVE),
    ("no size", trade(q="0"), Reason.NOT_POSITIVE),
    ("a huge price", trade(p="1e16"), Reason.OUT_OF_RANGE),
    ("past a double", trade(p="1e400"), Reason.OUT_OF_RANGE),
    ("a huge id", trade(t=10**30), Reason.OUT_OF_RANGE),
    ("a time to come", trade(T=T0 + 60_000), Reason.FUTURE_TIME),
    ("no time", trade(T=0), Reason.OUT_OF_RANGE),
    ("a symbol with a space", trade(symbol="BTC USDT"), Reason.BAD_SYMBOL),
    ("a snapshot without asks", {"lastUpdateId": 5, "bids": []}, Reason.MISSING_FIELD),
    ("a snapshot without levels", {"lastUpdateId": 5, "bids": [], "asks": []}, Reason.EMPTY_BOOK),
    ("a crossed snapshot", {"lastUpdateId": 5, "bids": [["2", "1"]], "asks": [["1", "1"]]}, Reason.CROSSED_BOOK),
    ("an empty level", {"lastUpdateId": 5, "bids": [["2", "0"]], "asks": []}, Reason.NOT_POSITIVE),
]


@pytest.mark.parametrize(("payload", "reason"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
def test_a_damaged_line_is_refused_with_its_reason_and_kept(payload: Any, reason: Reason) -> None:
    damaged = line(payload)
    refusal = only_refusal(run([damaged]))
    assert refusal.reason == reason
    assert refusal.line == damaged
    assert len(refusal.detail) <= 200


DIFFS: list[tuple[str, dict[str, Any], Reason]] = [
    ("NaN", {"asks": [["101", "NaN"]]}, Reason.NOT_FINITE),
    ("a negative size", {"bids": [["99", "-1"]]}, Reason.NOT_POSITIVE),
    ("a negative price", {"bids": [["-99", "1"]]}, Reason.NOT_POSITIVE),
    ("a huge size", {"bids": [["99", "1e300"]]}, Reason.OUT_OF_RANGE),
    ("half a level", {"bids": [["99"]]}, Reason.WRONG_TYPE),
    ("a time to come", {"E": T0 + 60_000}, Reason.FUTURE_TIME),
    ("updates that run backwards", {"U": 99}, Reason.OUT_OF_RANGE),
    ("updates without end", {"u": 2**62}, Reason.OUT_OF_RANGE),
    ("a null", {"asks": None, "a": None}, Reason.WRONG_TYPE),
]


@pytest.mark.parametrize(("change", "reason"), [d[1:] for d in DIFFS], ids=[d[0] for d in DIFFS])
def test_a_damaged_diff_changes_nothing(change: dict[str, Any], reason: Reason) -> None:
    outputs = run([snapshot(9), diff(10, 12, **change), diff(10, 12)])
    assert only_refusal(outputs).reason == reason
    assert books(outputs)[0].bids == [(99.0, 1.0), (98.0, 2.0)]


def test_a_gap_at_the_time_of_the_newest_book_comes_after_that_book() -> None:
    at_once = diff(20, 22, E=T0 + 12)  # the book of this time would else stand for whole
    assert told(run([snapshot(9), diff(10, 12), at_once])) == ["book 12", "gap 13", "sequence_gap 22"]


def disconnect(at: int, *symbols: str) -> Line:
    return line({"e": "disconnect", "s": list(symbols)}, at=at, number=at)


def test_a_lost_connection_makes_the_book_unknown_right_after_its_newest_event() -> None:
    outputs = run([snapshot(9), diff(10, 12), line(trade(T=T0 + 14), at=14), disconnect(20, "BTCUSDT")])
    assert told(outputs) == ["book 12", "trade 14", "gap 15"]
    assert outputs[-1].message == Gap(T0 + 15, "BTCUSDT", T0 + 21)  # type: ignore[union-attr]


def test_a_stream_in_microseconds_keeps_them() -> None:
    us = (T0 + 12) * 1000
    lines = [snapshot(9), diff(10, 12, E=us + 250), line(trade(T=us + 333), at=13), disconnect(14, "BTCUSDT")]
    outputs = run([*lines, line(trade(8, T=us + 1000), at=15)])
    assert [time_us(out.message) - us for out in outputs] == [250, 333, 334, 1000]  # type: ignore[union-attr]
    assert [out.message.timestamp for out in outputs] == [0, 0, 0, T0 + 13]  # type: ignore[union-attr]
    assert (
        books(outputs)[0].sequence == T0 + 12
    )  # in milliseconds, so that a capture in either unit starts above an earlier one


def test_a_time_in_another_unit_than_the_two_of_the_venue_is_refused() -> None:
    for time, reason in ((T0 // 1000, Reason.TOO_OLD), (T0 * 10**6, Reason.FUTURE_TIME)):
        assert only_refusal(run([line(trade(T=time), at=13)])).reason == reason


def test_after_a_lost_connection_a_snapshot_brings_the_book_back() -> None:
    lines = [snapshot(9), diff(10, 12), disconnect(13, "BTCUSDT"), diff(20, 22), snapshot(21, bid="99.25", at=23)]
    outputs = run([*lines, diff(23, 24)])
    assert told(outputs) == ["book 12", "gap 13", "book 22", "book 24"]
    assert books(outputs)[1].bids[0] == (99.25, 1.0)


def test_a_diff_that_follows_shows_that_the_lost_connection_missed_nothing() -> None:
    outputs = run([snapshot(9), diff(10, 12), disconnect(13, "BTCUSDT"), diff(13, 15), diff(16, 17)])
    assert told(outputs) == ["book 12", "gap 13", "book 15", "book 17"]


def test_a_lost_connection_is_told_once_and_only_of_books_that_were_known() -> None:
    eth = diff(1, 2, symbol="ETHUSDT")
    lines = [snapshot(9), diff(10, 12), eth, disconnect(13, "BTCUSDT", "ETHUSDT", "NEVER"), disconnect(14, "BTCUSDT")]
    assert told(run(lines)) == ["book 12", "gap 13", "sequence_gap 2"]


def test_a_lost_connection_without_symbols_is_refused() -> None:
    assert only_refusal(run([line({"e": "disconnect"})])).reason == Reason.MISSING_FIELD


def test_a_snapshot_that_names_its_symbol_is_taken_by_no_other() -> None:
    lines = [diff(5, 12, symbol="ETHUSDT"), diff(5, 12)]
    named = line({"symbol": "BTCUSDT", "lastUpdateId": 9, "bids": [["99", "1"]], "asks": [["101", "1"]]}, at=13)
    (book,) = books(run([*lines, named]))
    assert book.symbol == "BTCUSDT"


def test_the_symbols_that_wait_for_a_snapshot_are_named() -> None:
    feed = Binance(5000)

    def missing_after(one: Line) -> list[str]:
        list(feed.parse(one))
        return feed.missing()

    steps = [diff(10, 12), snapshot(9, at=12), diff(13, 14), disconnect(15, "BTCUSDT"), diff(20, 21)]
    assert [missing_after(one) for one in steps] == [["BTCUSDT"], [], [], [], ["BTCUSDT"]]
