"""The clock of a connection: for which symbols it makes time pass, when, and what comes too late after it."""

from __future__ import annotations

import json
from typing import Any

from ingest.messages.kinds import time_us
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Output, Parsed, Rejected
from ingest.recordings.venue_clock import Pace

T0 = 1_700_000_000_000
"""A whole second, ms."""
LATENESS = 250
IDLE = 2000
PACE = Pace(1_000_000, LATENESS * 1000, IDLE * 1000)


def line(data: dict[str, Any], at: int) -> Line:
    ns = (T0 + at) * 1_000_000
    return Line("live", 1, ns, b"%d " % ns + json.dumps(data).encode(), True)


def trade(at: int, symbol: str = "A", t: int | None = None, **more: Any) -> Line:
    time = T0 + (at if t is None else t)
    data = {"e": "trade", "E": T0 + at, "s": symbol, "t": at, "p": "100", "q": "1", "T": time, "m": True, "M": True}
    return line({**data, **more}, at)


def futures(kind: str, at: int, symbol: str, **more: Any) -> Line:
    data = {
        "e": kind,
        "E": T0 + at,
        "s": symbol,
        "T": T0 + at,
        "a": at,
        "p": "9",
        "q": "1",
        "f": at,
        "l": at,
        "m": True,
    }
    return line({**data, "nq": "1", **more}, at)


def depth(at: int, symbol: str, first: int, **more: Any) -> Line:
    data = {"e": "depthUpdate", "E": T0 + at, "s": symbol, "U": first, "u": first, "b": [], "a": []}
    return line({**data, **more}, at)


def run(*lines: Line) -> list[Output]:
    parser = Binance(5000, pace=PACE)
    return [output for one in lines for output in parser.parse(one)]


def clocks(*lines: Line) -> list[tuple[float, list[str]]]:
    """The clocks of some lines: ms after `T0`, and the symbols."""
    outputs = [output for output in run(*lines) if isinstance(output, Parsed) and output.kind == "clock"]
    return [((time_us(output.message) - T0 * 1000) / 1000, output.message.symbols) for output in outputs]


def test_a_clock_passes_the_boundary_for_a_symbol_that_others_have_left_behind() -> None:
    assert clocks(trade(500, "QUIET"), trade(1250), trade(1251), trade(1252)) == [(1250.001, ["QUIET"])]


def test_a_symbol_whose_own_event_is_past_the_boundary_is_not_named() -> None:
    assert clocks(trade(500, "QUIET"), trade(600, "C"), trade(1300, "C"), trade(1301)) == [(1250.001, ["QUIET"])]


def test_a_symbol_that_is_always_busy_is_named_every_five_seconds_so_that_the_worker_knows_of_its_feed() -> None:
    busy = [trade(at) for at in range(300, 12_000, 100)]
    assert clocks(*busy) == [(6250.001, ["A"]), (11250.001, ["A"])]


def test_there_is_one_clock_a_boundary_and_one_for_many_that_are_passed_at_once() -> None:
    many = [trade(at) for at in range(1300, 5300, 100)]
    assert [at for at, _ in clocks(trade(500, "QUIET"), *many)] == [1250.001, 2250.001, 3250.001, 4250.001]
    assert [at for at, _ in clocks(trade(500, "QUIET"), trade(4400), trade(4401))] == [4250.001]


def test_one_event_with_a_wrong_time_makes_time_pass_for_nobody() -> None:
    assert clocks(trade(500, "QUIET"), trade(600), trade(601, t=4900), trade(700), trade(800)) == []


def test_a_symbol_that_never_spoke_on_this_connection_is_not_named() -> None:
    assert clocks(trade(1300), trade(1301), trade(2500), trade(2501)) == []


def test_a_symbol_with_a_diff_that_waits_for_its_snapshot_is_not_passed() -> None:
    assert clocks(trade(500, "QUIET"), depth(900, "QUIET", 5), trade(1300), trade(1301)) == []


def test_an_event_behind_the_clock_is_late_and_one_right_behind_its_boundary_is_not() -> None:
    before = trade(500, "QUIET"), trade(1300), trade(1301)
    *_, late = run(*before, trade(1310, "QUIET", t=1000))
    *_, taken = run(*before, trade(1310, "QUIET", t=1001))
    assert isinstance(late, Rejected) and str(late.reason) == "late"
    assert isinstance(taken, Parsed) and taken.kind == "trade"


def test_the_gap_of_a_lost_connection_begins_behind_the_clock() -> None:
    parser = Binance(5000, pace=PACE)
    book = line({"lastUpdateId": 4, "bids": [["99", "1"]], "asks": [["101", "1"]], "symbol": "QUIET"}, 510)
    lines = depth(500, "QUIET", 5), book, trade(3300), trade(3301), line({"e": "disconnect", "s": ["QUIET"]}, 3400)
    *_, gap = [output for one in lines for output in parser.parse(one)]
    assert isinstance(gap, Parsed) and gap.kind == "gap"
    assert time_us(gap.message) == (T0 + 3000) * 1000 + 1


def test_futures_wait_for_both_connections() -> None:
    quiet = futures("aggTrade", 500, "QUIET")
    books = [depth(at, "B", at, pu=at - 1) for at in (1400, 1500, 1600)]
    marks = [futures("markPriceUpdate", at, "QUIET") for at in (1300, 1301)]
    assert clocks(quiet, futures("aggTrade", 501, "B"), *books) == []
    assert [at for at, _ in clocks(quiet, *books, *marks)] == [1250.001]


def alive(at: int, asked: int, **more: Any) -> Line:
    return line({"e": "alive", "at": T0 + asked, **more}, at)


def test_on_a_silent_connection_time_passes_by_answers_as_far_behind_as_ticks_are() -> None:
    lines = trade(500), trade(600), alive(2950, 2900), alive(3050, 3000 + 1), alive(4050, 4000), alive(4060, 4001)
    assert clocks(*lines) == [(1250.001, ["A"]), (2250.001, ["A"])]
    *_, taken = run(*lines, trade(4100, t=2001))
    assert isinstance(taken, Parsed)


def test_answers_lie_as_far_behind_as_events_came_late() -> None:
    slow = trade(500), trade(900, t=600)  # received 300 ms after it happened
    assert clocks(*slow, alive(3350, 3300)) == []
    assert clocks(*slow, alive(3351, 3301)) == [(1250.001, ["A"])]


def test_answers_on_one_connection_of_futures_say_nothing_of_the_other() -> None:
    lines = (
        futures("aggTrade", 500, "A"),
        futures("aggTrade", 501, "A"),
        depth(500, "B", 1, pu=0),
        depth(501, "B", 2, pu=1),
    )
    books, trades = alive(9000, 8000, channels=["book"]), alive(9001, 8000, channels=["trade", "markPrice"])
    assert clocks(*lines, books) == clocks(*lines, trades) == []
    assert clocks(*lines, books, trades) == [(5250.001, ["A"])]


def test_after_a_lost_connection_a_symbol_is_named_again_once_it_has_spoken() -> None:
    lost = trade(500, "QUIET"), line({"e": "disconnect", "s": ["QUIET"]}, 600)
    assert clocks(*lost, trade(1300), trade(1301)) == []
    assert clocks(*lost, trade(700, "QUIET"), trade(1300), trade(1301)) == [(1250.001, ["QUIET"])]


def recovered(at: int) -> Line:
    known = {"id": 500, "price": "100", "qty": "1", "time": T0 + 500, "isBuyerMaker": True, "isBestMatch": True}
    note = {"e": "recovered", "s": "QUIET", "form": "trade", "first": 500, "is_end": True}
    return line({**note, "trades": [known]}, at)


def feed(**last: Any) -> Line:
    return line({"e": "feed", "s": ["QUIET", "A"], "hold_ms": 20_000, "lateness_ms": LATENESS, "last": last}, 0)


def test_a_symbol_is_named_again_once_the_venue_has_answered_that_no_trade_is_missing() -> None:
    lost = feed(), trade(500, "QUIET"), line({"e": "disconnect", "s": ["QUIET"]}, 600), trade(1300), trade(1301)
    back = line({"e": "connections", "s": ["QUIET"], "n": 1}, 1350), recovered(1400), recovered(2400)
    assert clocks(*lost, trade(2500), trade(2501)) == []
    assert clocks(*lost, *back, trade(2500), trade(2501)) == [(2250.001, ["QUIET"])]


def test_a_feed_that_starts_again_names_a_symbol_whose_trades_are_whole_before_it_speaks() -> None:
    at_us = (T0 + 500) * 1000
    known = {"id": 500, "time_us": at_us, "price": 100.0, "size": 1.0, "given_us": at_us, "written_ms": T0 + 510}
    begun = feed(QUIET=known), trade(1300), trade(1301)
    back = line({"e": "connections", "s": ["QUIET"], "n": 1}, 1350), recovered(1400), recovered(2400)
    assert clocks(*begun, trade(2500), trade(2501)) == []
    assert clocks(*begun, *back, trade(2500), trade(2501)) == [(2250.001, ["QUIET"])]


def test_a_recording_of_a_feed_that_was_started_again_begins_a_clock_of_its_own() -> None:
    assert clocks(trade(500, "QUIET"), trade(1300), feed(), trade(1400), trade(1500)) == []
    assert clocks(trade(500, "QUIET"), trade(1300), trade(1400), trade(1500)) == [(1250.001, ["QUIET"])]


def test_a_parser_without_a_pace_gives_no_clock_and_refuses_nothing() -> None:
    parser = Binance(5000)
    lines = trade(500, "QUIET"), trade(1300), trade(1301), trade(1310, "QUIET", t=1000)
    kinds = [output.kind for one in lines for output in parser.parse(one)]  # type: ignore[union-attr]
    assert kinds == ["trade", "trade", "trade", "gap", "trade"], "a gap where ids are left out"
