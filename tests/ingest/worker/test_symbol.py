"""One symbol: what it refuses, what it holds, and the rows that come of it."""

from __future__ import annotations

import json
import random

import msgspec
import pytest

from ingest.messages.envelope import Envelope
from ingest.messages.kinds import ScoredPost, Tick, Trade, WithdrawnPost
from ingest.messages.refusal import Reason, Refused
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from transforms.instrument import Instrument
from transforms.saved import VersionError

from .log import ASKS, BIDS, T0, Log, book, tick, trade


def test_what_comes_behind_the_watermark_is_late_and_changes_no_row():
    log = Log().append(book(500), book(1600), book(900, bids=[(1.0, 9.0)]), tick(3000))
    assert log.reasons() == ["late"]
    assert [row["mid_price"] for _, _, row in log.rows("microstructure")] == [100.5] * 3


def test_microseconds_order_messages_and_tell_what_a_row_knows() -> None:
    """Of two trades 300 us apart the earlier one comes second; a row takes what is at or before its time, to the microsecond."""
    at_us = (T0 + 1000) * 1000

    def print_of(us: int, number: int, size: float, side: str) -> tuple[str, Trade]:
        return "trade", Trade(0, "A", 100.0, size, side, number, timestamp_us=at_us + us)

    log = Log().append(print_of(-1_600_000, 5, 16.0, "buy"), print_of(-500_000, 1, 1.0, "buy"))
    log.append(print_of(1, 4, 8.0, "buy"), print_of(0, 3, 4.0, "buy"), print_of(-300, 2, 2.0, "sell"), tick(3000))
    assert log.reasons() == []
    assert [row["delta_volume_1s"] for _, _, row in log.rows("order_flow")][1:3] == [1.0 - 2.0 + 4.0, 8.0]


def test_what_is_a_microsecond_behind_the_watermark_is_late() -> None:
    ahead = Trade(0, "A", 100.0, 1.0, timestamp_us=(T0 + 5000) * 1000 + 1)
    lateness_us = Settings().allowed_lateness_ms * 1000
    edge = ahead.timestamp_us - lateness_us  # type: ignore[operator]
    log = Log().append(("trade", ahead), ("trade", Trade(0, "A", 100.0, 1.0, timestamp_us=edge)))
    log.append(("trade", Trade(0, "A", 100.0, 1.0, timestamp_us=edge - 1)))
    assert log.reasons() == ["late"]


def test_a_books_depth_reaches_the_row_and_an_impossible_one_is_refused():
    given, bad = book(500)[1], book(600)[1]
    given.depth, bad.depth = ((1.0, 2.0, None), (3.0, 4.0, 5.0)), ((1.0, -2.0, None), (3.0, 4.0, 5.0))
    log = Log().append(("book", given), ("book", bad), tick(1000))
    assert log.reasons() == ["out_of_range"]
    ((_, _, row),) = log.rows("microstructure")
    assert (row["depth_bid_25bps"], row["depth_ask_50bps"], row["mid_price"]) == (2.0, 5.0, 100.5)


def test_contracts_of_a_known_name_reach_the_rows_in_coins():
    """600 contracts of 100 USD at 60,000 are one BTC, for books and trades alike."""
    messages = [
        book(500, bids=[(60_000.0, 600.0)], asks=[(60_006.0, 1200.0)]),
        trade(600, 1, price=60_000.0),
        trade(1600, 2, price=60_000.0),
        tick(2000),
    ]
    for _, message in messages:
        message.symbol = "BTCUSD_PERP"
    messages[2][1].size = 300.0
    log = Log().append(*messages)
    _, _, row = log.rows("microstructure")[-1]
    assert (row["bid_volume"], row["ask_volume"]) == (1.0, 120_000 / 60_006)
    _, _, row = log.rows("order_flow")[-1]
    assert row["delta_volume_1s"] == 0.5


def test_a_negative_price_is_refused_and_the_reason_says_that_it_is_not_supported():
    log = Log().append(trade(500, 1, price=-37.63), book(600, bids=[(-37.63, 1.0)], asks=[(-37.6, 1.0)]), tick(1000))
    assert log.reasons() == ["not_positive", "not_positive"]
    assert all("negative prices are not supported" in refused.detail for _, refused in log.partition.pending.dead)


def test_a_repeated_trade_is_a_duplicate():
    log = Log().append(trade(500, 1), trade(500, 1), trade(600, "x"), trade(600, "x"), tick(1000))
    assert log.reasons() == ["duplicate", "duplicate"]
    assert log.partition.symbols.accepted["trade"] == 2


@pytest.mark.parametrize("n", [513, 3000])
@pytest.mark.parametrize("apart_ms", [0, 20, 200])
def test_two_recorders_of_one_market_give_the_trades_of_one(n: int, apart_ms: int) -> None:
    """The second copy of each trade comes so much later, in any order among the others; each trade counts once."""
    shuffle = random.Random(n + apart_ms)
    arrivals = [(trade_id % 8, trade_id) for trade_id in range(1, n + 1)]  # a burst of 8 ms
    arrivals += [(ms + apart_ms, trade_id) for ms, trade_id in arrivals]
    arrivals.sort(key=lambda arrival: (arrival[0], shuffle.random()))
    log = Log().append(*[trade(trade_id % 8, trade_id) for _, trade_id in arrivals])
    assert log.reasons() == ["duplicate"] * n
    assert log.partition.symbols.accepted["trade"] == n
    log.append(tick(60_000), trade(7, 1))
    assert log.reasons()[n:] == ["late"]


def test_a_trade_repeated_around_a_restart_counts_once() -> None:
    burst = [trade(0, trade_id) for trade_id in range(1, 1001)]
    before = Log().append(*burst, trade(100, "x7"), trade(100, "8000000"))
    after = Log()
    after.partition.restore(before.partition.save())
    after.append(*burst, trade(100, "x7"), trade(100, 8_000_000))
    assert after.reasons() == ["duplicate"] * 1002
    before.append(*burst, trade(100, "x7"), trade(100, 8_000_000))
    assert after.partition.symbols["A"].save() == before.partition.symbols["A"].save()


@pytest.mark.parametrize("trade_id", [None, 0, "0", ""])
def test_trades_whose_producer_gives_no_id_all_count(trade_id: int | str | None) -> None:
    log = Log().append(*[trade(500, trade_id)] * 3, tick(1000))
    assert log.reasons() == []
    assert log.partition.symbols.accepted["trade"] == 3


def test_a_missing_sequence_makes_the_book_unknown_until_the_next_one():
    log = Log().append(book(500, 1), book(1500, 2), tick(2000), book(2500, 4), tick(3000), book(3500, 5), tick(4000))
    assert log.reasons() == ["sequence_gap"]
    rows = log.rows("microstructure")
    assert [row["book_valid"] for _, _, row in rows] == [1, 1, 0, 1]
    assert rows[2][2]["mid_price"] != rows[2][2]["mid_price"]
    assert log.partition.symbols.accepted["book"] == 3


def test_a_repeated_sequence_is_a_duplicate():
    log = Log().append(book(500, 1), book(500, 1), book(700, 2), tick(1000))
    assert log.reasons() == ["duplicate"]


@pytest.mark.parametrize(
    ("sides", "reason"),
    [
        ({"bids": []}, "empty_book"),
        ({"bids": [(102.0, 1.0)]}, "crossed_book"),
        ({"bids": [(99.0, 1.0), (100.0, 1.0)]}, "unsorted_side"),
        ({"bids": ASKS, "asks": BIDS}, "unsorted_side"),
        ({"asks": [(float("nan"), 1.0)]}, "not_finite"),
        ({"asks": [(101.0, -1.0)]}, "not_positive"),
        ({"asks": [(1e300, 1.0)]}, "out_of_range"),
    ],
)
def test_a_book_that_cannot_be_is_refused_and_the_book_is_unknown_until_the_next(sides, reason):
    log = Log().append(book(500), book(1500, **sides), tick(2000), book(2500), tick(3000))
    assert log.reasons() == [reason]
    assert [row["book_valid"] for _, _, row in log.rows("microstructure")] == [1, 0, 1]


def test_a_post_counts_from_when_its_score_was_available():
    post = ScoredPost(T0 + 100, "A", "id", available=T0 + 1500, simhash=1, positive=0.7, negative=0.1, neutral=0.2)
    log = Log().append(("post", post), book(500), tick(3000))
    rows = log.rows("sentiment")
    assert [event for event, _, _ in rows] == [2000, 3000]
    assert rows[0][2]["sentiment_compound"] == pytest.approx(0.6, abs=1e-15)


def test_two_channels_that_use_one_id_are_two_posts() -> None:
    told = {"positive": 0.7, "negative": 0.1, "neutral": 0.2, "simhash": 1}
    posts = [ScoredPost(T0 + 100, "A", "12345", T0 + 500, source=channel, **told) for channel in ("a", "b", "a")]
    log = Log().append(*[("post", post) for post in posts], book(600), tick(1000))
    assert [row["social_volume_5m"] for _, _, row in log.rows("social")][-1] == 2.0


def scored(ms: int, name: str, symbol: str = "A", positive: float = 0.7, **other) -> tuple[str, ScoredPost]:
    told = {"simhash": 1 << 8 * int(name), "positive": positive, "negative": 0.1, "neutral": 0.9 - positive, **other}
    return "post", ScoredPost(T0 + ms - 50, symbol, name, available=T0 + ms, source="x", **told)


def withdrawal(ms: int, name: str) -> tuple[str, WithdrawnPost]:
    return "withdrawal", WithdrawnPost(T0 + ms, name, "x")


def test_a_withdrawn_post_leaves_every_window_of_every_symbol_that_has_it_and_what_is_written_stays() -> None:
    posts = [scored(500, "1"), scored(600, "2", positive=0.2), scored(500, "1", "B")]
    others = [book(700), ("trade", Trade(T0 + 700, "B", 1.0, 1.0))]
    end = [tick(3000), ("tick", Tick(T0 + 3000, "B"))]
    log = Log().append(*others, *posts, tick(1000), ("tick", Tick(T0 + 1000, "B")))
    again = Log()
    again.partition.restore(log.partition.save())
    for one in (log, again):
        one.append(withdrawal(1500, "1"), withdrawal(1500, "2nobody"), scored(1600, "1"), *end)
        assert one.partition.symbols.accepted["withdrawal"] == 2
    rows = [(event, row["tweet_count"], row["sentiment_compound"]) for event, _, row in log.rows("sentiment")]
    of_a = [row for row in rows if row[1] == 2 or row[2] == pytest.approx(0.1)]
    assert [(event, count) for event, count, _ in of_a] == [(1000, 2), (2000, 1), (3000, 1)]
    of_b = [row for row in rows if row not in of_a]
    assert [(event, count) for event, count, _ in of_b] == [(1000, 1), (2000, 0), (3000, 0)]
    assert len(again.rows("sentiment")) == 4
    assert [again.partition.symbols[name].save() for name in "AB"] == [
        log.partition.symbols[name].save() for name in "AB"
    ]


def test_a_post_withdrawn_while_it_still_waits_is_never_counted() -> None:
    log = Log().append(scored(90_500, "1"), withdrawal(90_600, "1"), book(500), tick(91_000))
    assert [row["social_volume_5m"] for _, _, row in log.rows("social")] == [0.0]


def test_a_post_written_weeks_before_it_was_read_is_no_news() -> None:
    old = scored(500, "1")[1]
    old.timestamp -= 29 * 86_400_000
    log = Log().append(("post", old), book(500), tick(1000))
    assert log.reasons() == ["too_old"] and log.rows("social") == []


def test_a_post_that_was_scored_late_changes_no_row_that_is_written():
    post = ScoredPost(T0 + 100, "A", "id", available=T0 + 600, simhash=1, positive=0.7, negative=0.1, neutral=0.2)
    log = Log().append(book(500), tick(2000), ("post", post), tick(4000))
    assert log.reasons() == []
    assert [event for event, _, _ in log.rows("sentiment")] == [3000, 4000]


def test_a_silent_feed_gives_no_row_past_its_ttl():
    log = Log().append(book(500), trade(600), tick(90_000))
    assert log.rows("microstructure")[-1][0] == 10_000
    assert log.rows("order_flow")[-1][0] == 60_000
    assert log.rows("technical")[-1][0] == 90_000


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("out_of_range", {"simhash": 2**64}),
        ("out_of_range", {"simhash": -1}),
        ("out_of_range", {"positive": 1.5}),
        ("out_of_range", {"neutral": -0.1}),
        ("not_finite", {"negative": "NaN"}),
        ("missing_field", {"neutral": None}),
    ],
)
def test_a_score_that_no_model_gives_is_refused_and_the_state_can_be_saved(reason, changes):
    score = {"simhash": 1, "positive": 0.6, "negative": 0.1, "neutral": 0.3, **changes}
    post = {"timestamp": T0 + 400, "symbol": "A", "id": "p", "available": T0 + 450, **score}
    log = Log().append(("post", json.dumps(post).encode()), book(500), book(1600))
    assert log.partition.symbols.refused[reason] == 1
    assert len(log.rows("microstructure")) == 1
    assert log.rows("sentiment") == []
    assert log.partition.save()


def symbol(instrument: Instrument) -> Symbol:
    return Symbol("A", Settings(instruments={"A": instrument}), lambda *_: None, lambda *_: None)


@pytest.mark.parametrize(("digits", "size"), [(8, 1e-9), (8, 4.9e-9), (2, 0.001), (0, 0.4)])
def test_a_trade_too_small_for_a_lot_is_refused_and_does_not_count_as_nothing(digits: int, size: float) -> None:
    taker = symbol(Instrument(size_digits=digits))
    before = taker.save()
    with pytest.raises(Refused, match="size_digits") as refused:
        taker.accept(Envelope("trade", Trade(1_700_000_000_000, "A", 100.0, size, "buy", 1)))
    assert refused.value.reason == Reason.OUT_OF_RANGE
    assert taker.save() == before


@pytest.mark.parametrize(("digits", "size"), [(8, 1e-8), (9, 1e-9), (2, 0.01), (0, 1.0)])
def test_a_trade_of_one_lot_is_taken(digits: int, size: float) -> None:
    taker = symbol(Instrument(size_digits=digits))
    taker.accept(Envelope("trade", Trade(1_700_000_000_000, "A", 100.0, size, "buy", 1)))
    assert taker.timeline.watermark > 0


def test_an_error_of_our_own_is_handed_on_with_the_message_whose_turn_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[tuple[Envelope, Exception]] = []
    taker = Symbol("A", Settings(), lambda *_: None, lambda *told: refused.append(told))
    error = ZeroDivisionError("a fault of ours")

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(taker.engine), "trade", fails)
    held = Envelope("trade", Trade(T0, "A", 1.0, 1.0))
    taker.accept(held)
    assert refused == []
    taker.accept(Envelope("tick", Tick(T0 + 1, "A")))
    assert refused == [(held, error)]


def test_time_is_waited_for_only_where_rows_or_messages_are_to_come() -> None:
    taker = Symbol("A", Settings(), lambda *_: None, lambda *_: None)
    assert not taker.waits_for_time()
    taker.accept(Envelope("trade", Trade(T0, "A", 1.0, 1.0), recorded=False))
    assert taker.waits_for_time()
    taker.accept(Envelope("tick", Tick(T0 + 86_400_000, "A"), recorded=False))
    assert not taker.waits_for_time()
    taker.accept(Envelope("trade", Trade(T0 + 86_400_001, "A", 1.0, 1.0), recorded=True))
    assert not taker.waits_for_time()  # a recording's time passes with its messages alone


def test_an_upgrade_keeps_what_an_older_format_held_and_its_watermark() -> None:
    before = Log().append(trade(500, 1), trade(1500, 2), trade(1400, 3))
    saved = before.partition.symbols["A"].save()
    number, order, memory = msgspec.msgpack.decode(saved["order"])
    older = {**saved, "order": msgspec.msgpack.encode([2, order, memory[:-1]])}
    after = Log()
    with pytest.raises(VersionError):
        after.partition.symbols.open("A", older)
    after.partition.restart({"A": older})
    after.append(trade(1000, 4), trade(1500, 2), tick(2000))
    assert number == 3
    assert after.reasons() == ["late", "duplicate"]
