"""Trades that are missing by their ids: what is held back, what is filled, and what is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest.messages.kinds import Gap, since_us, time_us
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Output, Rejected
from ingest.recordings.venue_clock import Pace
from ingest.recordings.whole_trades import AWAY_MAX_MS, MERGE_MS, OVERDUE_MS

T0 = 1_723_161_255_000
"""Milliseconds; the n-th trade of a test happens 10 n ms later."""
HOLD_MS = 20_000


class Told(list[str]):
    """What a parser gives, in words: a trade by its id, with a + where it was recovered."""

    def __init__(self, parser: Binance | None = None) -> None:
        self.parser = parser or Binance(5000)
        self.outputs: list[Output] = []
        self._number = 0

    def hear(self, at: int, payload: Any, source: str = "live") -> Told:
        """A line that comes ``at`` milliseconds after `T0`."""
        self._number += 1
        ns = (T0 + at) * 1_000_000
        for output in self.parser.parse(
            Line(source, self._number, ns, b"%d " % ns + json.dumps(payload).encode(), True)
        ):
            self.tell(output)
        return self

    def tell(self, output: Output) -> None:
        self.outputs.append(output)
        if isinstance(output, Rejected):
            self.append(str(output.reason))
            return
        message: Any = output.message
        if output.kind == "trade":
            self.append(f"{message.trade_id}" + "+" * message.recovered)
        elif output.kind == "hold":
            self.append(f"hold {message.until - message.timestamp}")
        elif output.kind == "gap" and message.channel == "trade":
            self.append(f"gap {message.missing} to {message.timestamp - T0}")
        else:
            self.append(output.kind)

    def trade(self, *numbers: int, at: int | None = None, symbol: str = "BTCUSDT") -> Told:
        for number in numbers:
            self.hear(10 * number if at is None else at, stream_trade(number, symbol=symbol))
        return self

    def book(self, at: int) -> Told:
        """A book at that time: a diff, and before the first one a snapshot."""
        last = 1000 + at
        if not any(word == "book" for word in self):
            self.hear(at, {"symbol": "BTCUSDT", "lastUpdateId": last, "bids": [["99", "1"]], "asks": [["101", "1"]]})
        data = {
            "e": "depthUpdate",
            "E": T0 + at,
            "s": "BTCUSDT",
            "U": last,
            "u": last + 1,
            "b": [],
            "a": [["101", "2"]],
        }
        return self.hear(at, data)

    def start(self, at: int = 0, **last: Any) -> Told:
        note = {"e": "feed", "s": ["BTCUSDT"], "hold_ms": HOLD_MS, "lateness_ms": 250}
        return self.hear(at, {**note, "last": {"BTCUSDT": last} if last else {}})

    def note(self, event: str, at: int, **more: Any) -> Told:
        return self.hear(at, {"e": event, "s": ["BTCUSDT"], **more})

    def answer(self, at: int, *numbers: int, first: int | None = None, is_end: bool = False, **more: Any) -> Told:
        first = numbers[0] if first is None else first
        trades = [{**rest_trade(number), **more} for number in numbers]
        note = {"e": "recovered", "s": "BTCUSDT", "form": "trade", "first": first, "is_end": is_end}
        return self.hear(at, {**note, "trades": trades})

    def gaps(self) -> list[Gap]:
        found = (output.message for output in self.outputs if not isinstance(output, Rejected))
        return [message for message in found if isinstance(message, Gap) and message.channel == "trade"]


def stream_trade(number: int, symbol: str = "BTCUSDT", **more: Any) -> dict[str, Any]:
    time = T0 + 10 * number
    data = {
        "e": "trade",
        "E": time,
        "s": symbol,
        "t": number,
        "p": "100.5",
        "q": "0.25",
        "T": time,
        "m": True,
        "M": True,
    }
    return {**data, **more}


def rest_trade(number: int) -> dict[str, Any]:
    """``/historicalTrades``, as the venue's documentation shows it."""
    return {
        "id": number, "price": "100.50000000", "qty": "0.25000000", "quoteQty": "25.12500000",
        "time": T0 + 10 * number, "isBuyerMaker": True, "isBestMatch": True,
    }  # fmt: skip


def test_a_hole_in_a_recording_is_told_at_once_from_the_trade_before_it_on() -> None:
    told = Told().trade(1, 2, 6, 7)
    assert told == ["1", "2", "gap 3 to 60", "6", "7"]
    [gap] = told.gaps()
    assert (since_us(gap), time_us(gap)) == ((T0 + 20) * 1000, (T0 + 60) * 1000)


def test_a_feed_holds_back_trades_and_books_until_the_missing_ones_came_and_gives_them_in_order() -> None:
    told = Told().start().trade(1, 2).trade(6).book(65).trade(7)
    assert told == ["1", "2", f"hold {HOLD_MS}"]
    [wanted] = told.parser.wanted()
    assert wanted == ("BTCUSDT", 3, 5, T0 + 60 + HOLD_MS)
    told.answer(90, 2, 3, 4, 5)
    assert told[2:] == [f"hold {HOLD_MS}", "3+", "4+", "5+", "6", "book", "7", "hold 0"]
    assert [message.received - T0 for message in trades_of(told)] == [10, 20, 90, 90, 90, 60, 70]
    assert told.parser.wanted() == []
    told.trade(8)
    assert told[-1] == "8"


def trades_of(told: Told) -> list[Any]:
    return [output.message for output in told.outputs if not isinstance(output, Rejected) and output.kind == "trade"]


def test_recovered_trades_have_their_own_time_price_size_and_side() -> None:
    told = Told().start().trade(1, 3).answer(50, 1, 2)
    found = trades_of(told)[1]
    assert (found.timestamp, found.price, found.size, found.side) == (T0 + 20, 100.5, 0.25, "sell")


def test_what_a_short_answer_lacks_is_asked_for_again_and_then_told() -> None:
    told = Told().start().trade(1, 2, 9).answer(95, 2, 3, 4)
    assert [(w.first, w.last) for w in told.parser.wanted()] == [(5, 8)]
    told.answer(96, 4, 5).note("unrecovered", 97)
    assert told[3:] == ["3+", "4+", "5+", "gap 3 to 90", "9", "hold 0"]
    assert since_us(told.gaps()[0]) == (T0 + 50) * 1000


def test_an_answer_may_have_more_than_was_asked_for_and_nothing_counts_twice() -> None:
    told = Told().start().trade(1, 4, 5).answer(55, 1, 2, 3, 4, 5, 6, 7).trade(6, 7, 7, 2)
    assert told == ["1", f"hold {HOLD_MS}", "2+", "3+", "4", "5", "hold 0", "6", "7"]
    assert told.parser.passed_over["repeated trade"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": 2, "numbers": (3, 4)},  # not from the trade on that was asked for
        {"numbers": (2, 4, 3)},
        {"numbers": (2, 3, 3, 4)},
        {"numbers": (2, 3, 4), "price": "-1"},
        {"numbers": (2, 3, 4), "price": "99"},  # another trade 2 than was heard: another symbol
        {"numbers": (2, 3, 4), "time": T0 + 90_000},
        {"first": 2, "numbers": ()},
    ],
)
def test_a_wrong_answer_is_no_answer(wrong: dict[str, Any]) -> None:
    told = Told().start().trade(1, 2, 5)
    told.answer(60, *wrong.pop("numbers"), **wrong)
    assert told[3:] == [told[-1]] and isinstance(told.outputs[-1], Rejected)
    assert [(w.first, w.last) for w in told.parser.wanted()] == [(3, 4)]
    told.answer(70, 2, 3, 4)
    assert told[4:] == ["3+", "4+", "5", "hold 0"]


def test_a_trade_whose_time_is_not_between_its_neighbours_fills_nothing() -> None:
    told = Told().start().trade(1, 2, 5)
    note = {"e": "recovered", "s": "BTCUSDT", "form": "trade", "first": 2, "is_end": False}
    odd = {**rest_trade(3), "time": T0 + 55}
    told.hear(60, {**note, "trades": [rest_trade(2), odd]})
    assert told[3:] == []


def test_a_lost_connection_holds_time_until_the_first_trade_shows_that_nothing_is_missing() -> None:
    told = Told().start().trade(1, 2).note("disconnect", 30).note("disconnect", 5030)
    assert told[2:] == [f"hold {HOLD_MS}"] * 2 and told.parser.wanted() == []
    told.note("connections", 6000, n=1).book(6010)
    assert told[2:] == [f"hold {HOLD_MS}"] * 3
    assert told.parser.wanted() == [("BTCUSDT", 3, None, T0 + 6000 + HOLD_MS)]
    told.trade(3, at=6020)
    assert told[5:] == ["book", "3", "hold 0"]


def test_a_lost_connection_holds_books_until_the_missing_trades_came_which_go_first() -> None:
    told = Told().start().trade(1, 2).note("disconnect", 25).note("connections", 45, n=1).book(55).trade(6)
    assert told[2:] == [f"hold {HOLD_MS}"] * 2
    told.answer(65, 2, 3, 4, 5)
    assert told[4:] == ["3+", "4+", "5+", "book", "6", "hold 0"]


def test_an_answer_without_later_trades_ends_the_hold_of_a_quiet_symbol() -> None:
    told = Told().start().trade(1, 2).note("disconnect", 25).note("connections", 30, n=1).book(55)
    told.answer(60, 2)
    assert told[4:] == [], "it was asked for too early to tell"
    told.answer(1200, 2, 3, is_end=True)
    assert [(w.first, w.last) for w in told.parser.wanted()] == [(4, None)]
    told.answer(1300, 3, is_end=True).answer(2200, 3, is_end=True)
    assert told[4:] == [], "a venue may be behind"
    told.answer(2301, 3, is_end=True)
    assert told[4:] == ["3+", "book", "hold 0"]


def test_where_the_venue_said_once_that_it_has_no_later_trade_the_end_of_the_time_is_no_hole() -> None:
    told = Told().start().trade(1, 2).note("disconnect", 25).note("connections", 30, n=1)
    told.answer(1300, 2, is_end=True).note("unrecovered", 20_030)
    assert told[4:] == ["hold 0"]


def test_trades_of_a_second_loss_during_a_recovery_are_filled_too() -> None:
    told = Told().start().trade(1, 2, 5, 6).note("disconnect", 65).note("connections", 85, n=1).trade(9, 10)
    assert [(w.first, w.last) for w in told.parser.wanted()] == [(3, 4)]
    told.answer(101, 2, 3, 4)
    assert [(w.first, w.last) for w in told.parser.wanted()] == [(7, 8)]
    told.answer(102, 6, 7, 8)
    assert [word for word in told if "hold" not in word] == ["1", "2", "3+", "4+", "5", "6", "7+", "8+", "9", "10"]


def test_trades_that_would_come_too_late_are_told() -> None:
    told = Told().start().trade(1, 2).book(1000).trade(120).answer(1300, 2, *range(3, 120))
    # the book of 1000 ms was given, so what is before 750 ms would be late
    assert told[4] == "gap 72 to 740"
    assert told[5:7] == ["75+", "76+"] and told[-2:] == ["120", "hold 0"]


def test_a_symbol_that_was_away_for_too_long_is_not_waited_for_and_its_next_message_ends_the_hole() -> None:
    told = Told().start().trade(1, 2).note("disconnect", 30).note("disconnect", 40 + AWAY_MAX_MS)
    assert told[3:] == ["gap None to 20", "hold 0"]
    told.note("connections", AWAY_MAX_MS + 100, n=1).book(AWAY_MAX_MS + 200)
    assert told[5:] == [f"gap None to {AWAY_MAX_MS + 200}", "book"]
    told.trade(9, at=AWAY_MAX_MS + 300)
    assert told[7:] == ["gap 6 to 90", "9"]


def test_where_nobody_asks_a_lost_connection_is_a_hole_up_to_the_next_message() -> None:
    told = Told().trade(1, 2).note("disconnect", 30).book(55)
    assert told == ["1", "2", "gap None to 55", "book"]
    told.trade(6)
    assert told[4:] == ["gap 3 to 60", "6"]


def test_perpetuals_trades_one_by_one_leave_out_ids_and_only_a_lost_connection_is_a_hole() -> None:
    told = Told()
    for number in (1, 2, 5):
        told.hear(10 * number, stream_trade(number, X="MARKET"))
    told.note("disconnect", 60).hear(90, stream_trade(9, X="MARKET")).hear(100, stream_trade(11, X="MARKET"))
    assert told == ["1", "2", "5", "gap None to 90", "9", "11"]


def test_aggregates_are_followed_by_their_own_ids() -> None:
    told = Told()
    for number in (1, 2, 5):
        told.hear(10 * number, stream_trade(number, e="aggTrade", a=number, f=10 * number, l=10 * number + 3, nq="1"))
    assert told == ["1", "2", "gap 2 to 50", "5"]


def test_two_files_of_a_market_fill_each_others_holes() -> None:
    told = Told(Binance(5000, shared=["BTCUSDT"])).trade(1, 2)
    told.trade(5, at=50).trade(1, 2, 3, 4, at=60).trade(6)
    assert told == ["1", "2", "3", "4", "5", "6"]
    told.trade(9).trade(10).trade(11, at=MERGE_MS + 100)
    assert told[6:] == ["gap 2 to 90", "9", "10", "11"]


def test_a_hold_that_its_feed_did_not_end_is_given_up() -> None:
    told = Told().start().trade(1, 4).trade(5, at=HOLD_MS + 39 + OVERDUE_MS)
    assert told[2:] == []
    told.trade(6, at=HOLD_MS + 41 + OVERDUE_MS)
    assert told[2:] == ["gap 2 to 40", "4", "5", "hold 0", "6"]


def test_a_venue_that_counts_from_a_lower_id_again_is_followed_from_there() -> None:
    told = Told().start().trade(1000)
    told.hear(20_000, stream_trade(1, T=T0 + 20_000)).hear(20_010, stream_trade(2, T=T0 + 20_010))
    assert told == ["1000", "gap None to 20000", "1", "2"]


def test_a_damaged_id_does_not_silence_the_trades_after_it() -> None:
    told = Told().trade(1, 2).hear(30, stream_trade(10**15, T=T0 + 30)).trade(4, 5)
    assert told == ["1", "2", f"gap {10**15 - 3} to 30", str(10**15), "gap None to 40", "4", "5"]


LAST = {"id": 2, "time_us": (T0 + 20) * 1000, "price": 100.5, "size": 0.25, "given_us": (T0 + 28) * 1000}


def test_a_feed_that_starts_again_asks_for_what_it_missed() -> None:
    told = Told().start(5000, **LAST, written_ms=T0 + 30)
    assert told == ["gap", f"hold {HOLD_MS}"], "its books are unknown from the newest message on that it wrote"
    told.note("connections", 5001, n=1).trade(5, at=5002).answer(5003, 2, 3, 4)
    assert told[3:] == ["3+", "4+", "5", "hold 0"]


def test_a_feed_that_starts_again_knows_no_snapshot_of_the_one_before() -> None:
    snapshot = {"symbol": "BTCUSDT", "lastUpdateId": 1060, "bids": [["99", "1"]], "asks": [["101", "1"]]}
    diff = {"e": "depthUpdate", "E": T0 + 60, "s": "BTCUSDT", "U": 1060, "u": 1061, "b": [], "a": [["101", "2"]]}
    assert Told().start().hear(50, snapshot).hear(60, diff) == ["book"]
    assert Told().start().hear(50, snapshot).start(55).hear(60, diff) == []


def test_a_feed_that_starts_again_knows_no_book_of_a_symbol_without_trades() -> None:
    last = {"id": None, "time_us": 0, "price": 0.0, "size": 0.0, "given_us": (T0 + 28) * 1000, "written_ms": T0 + 30}
    told = Told().start(5000, **last)
    assert told == ["gap"]
    assert time_us(told.outputs[0].message) == (T0 + 28) * 1000 + 1  # type: ignore[union-attr]
    assert told.trade(501) == ["gap", "501"]


def test_a_feed_that_was_away_for_longer_than_time_was_held_tells_the_hole() -> None:
    told = Told().start(HOLD_MS + 31, **LAST, written_ms=T0 + 30).trade(5, at=HOLD_MS + 40)
    assert told == ["gap", "gap 2 to 50", "5"], "the book too: a recording has no worker that notes it"


def test_a_feed_that_was_away_for_days_tells_no_gap_that_would_be_refused_as_too_old() -> None:
    away_ms = 3 * 86_400_000
    told = Told().start(away_ms, **LAST, written_ms=T0 + 30)
    assert told.hear(away_ms + 10, stream_trade(5, T=T0 + away_ms)) == [f"gap 2 to {away_ms}", "5"]


def test_a_hole_begins_behind_the_time_that_the_feed_before_let_pass_as_a_replay_has_no_clock_that_did() -> None:
    told = Told(Binance(5000, pace=Pace(1_000_000, 250_000, 2_000_000)))
    told.start(40_000, **{**LAST, "given_us": (T0 + 3000) * 1000}, written_ms=T0 + 3000)
    told.hear(41_000, stream_trade(5, T=T0 + 41_000))
    assert told == ["gap", "gap 2 to 41000", "5"]
    assert since_us(told.gaps()[0]) == (T0 + 2750) * 1000, "less the allowed lateness"


def test_what_a_feed_held_back_when_it_ended_is_asked_for_by_the_next_one() -> None:
    told = Told().start().trade(1, 2, 5).book(60).note("stopped", 70)
    assert told[3:] == ["gap"], "of the book"
    assert list(told.parser.finish()) == []
    told.start(100, **LAST, written_ms=T0 + 70).note("connections", 101, n=1).trade(7)
    told.answer(110, 2, 3, 4, 5, 6)
    assert [word for word in told[4:] if "hold" not in word] == ["gap", "3+", "4+", "5+", "6+", "7"]
