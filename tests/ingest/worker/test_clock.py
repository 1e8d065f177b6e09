"""A feed's clock makes time pass for the symbols that it names, and its hold keeps ticks from doing so."""

from __future__ import annotations

import pytest

from ingest import settings
from ingest.messages.kinds import Clock, Gap, Hold, OrderBook, Tick
from ingest.worker.partition import Partition
from transforms.engine import Engine

from .log import ASKS, BIDS, T0, Log, book, trade

LATENESS_MS = 250
RECOVER_MS = 20_000


def clock(ms: int, *names: str) -> tuple[str, Clock]:
    return "clock", Clock(T0 + ms, list(names or ("A",)))


def hold(ms: int, until_ms: int) -> tuple[str, Hold]:
    return "hold", Hold(T0 + ms, "A", T0 + until_ms)


def test_a_clock_completes_the_row_that_a_book_of_its_time_would_complete():
    at = 1000 + LATENESS_MS
    assert not Log().append(book(500), clock(at)).rows("microstructure")
    assert not Log().append(book(500), book(at)).rows("microstructure")
    [by_clock] = Log().append(book(500), clock(at + 1)).rows("microstructure")
    [by_book] = Log().append(book(500), book(at + 1)).rows("microstructure")
    assert (by_clock[0], str(by_clock[2])) == (by_book[0], str(by_book[2]))  # as text, because no null equals another


def test_a_message_behind_a_clock_by_the_allowed_lateness_is_taken_and_one_behind_that_is_late():
    log = Log().append(book(500), clock(2000), trade(2000 - LATENESS_MS), trade(1999 - LATENESS_MS))
    assert log.reasons() == ["late"]
    assert log.partition.pending.dead[0][0] == log.entries[-1]


def test_one_clock_makes_time_pass_for_all_symbols_that_it_names_and_for_no_other():
    log = Log().append(*(("book", OrderBook(T0 + 500, name, BIDS, ASKS)) for name in "ABC"))
    log.append(clock(1500, "A", "B"))
    assert log.partition.pending.batches["microstructure"].columns().symbols == ["A", "B"]


def test_a_clock_opens_no_symbol():
    log = Log().append(clock(1500, "NEVER"), hold(1500, 9000))
    assert not log.partition.symbols and not log.reasons()


def test_the_clock_of_a_recording_leaves_a_live_symbol_alone_and_the_other_way_round():
    assert not Log().append(book(500), recorded=False).append(clock(1500)).rows("microstructure")
    assert not Log().append(book(500)).append(clock(1500), recorded=False).rows("microstructure")


def test_a_recorded_row_is_available_when_the_clock_that_completed_it_was_received():
    log = Log().append(book(500), ("clock", Clock(T0 + 1500, ["A"], received=T0 + 1700)))
    assert [created for _, created, _ in log.rows("microstructure")] == [1700]


def test_a_clock_changes_no_symbol_whose_rows_have_ended():
    log = Log().append(book(500), clock(3_600_000))
    log.partition.save()
    log.append(clock(3_700_000))
    assert log.partition.save().keys() == {b"state_id"}


@pytest.mark.parametrize(
    ("told", "from_ms"),
    [
        ([clock(1000)], RECOVER_MS),
        ([hold(1000, 6000)], RECOVER_MS),
        ([hold(1000, 61_000)], 60_000),
        ([hold(1000, 61_000), hold(2000, 2000)], RECOVER_MS),
    ],
)
def test_no_tick_passes_a_symbol_for_a_while_after_the_last_clock_or_hold(told: list, from_ms: int):
    log = Log().append(book(500), *told, recorded=False)
    assert log.partition.symbols["A"].ticks_from_ms == log.arrived_ms + from_ms


def test_nothing_is_held_without_a_time_to_recover():
    log = Log(settings.load({"TFS_PARTITIONS": "1", "TFS_RECOVER_S": "0"}))
    log.append(book(500), clock(1000), hold(1000, 9000), recorded=False)
    assert log.partition.symbols["A"].ticks_from_ms == 0


def test_the_next_owner_holds_time_as_long_as_the_last_one():
    log = Log().append(book(500), hold(1000, 61_000), recorded=False)
    taker = Partition(0, settings.load({"TFS_PARTITIONS": "1"}))
    taker.restore(log.partition.save())
    assert taker.symbols["A"].ticks_from_ms == log.arrived_ms + 60_000


def test_a_message_after_the_feed_was_lost_gives_the_symbol_back_to_ticks_and_a_gap_does_not():
    log = Log().append(book(500), clock(1000), recorded=False)
    log.arrived_ms += RECOVER_MS
    log.append(("gap", Gap(T0 + 1100, "A")), recorded=False)
    assert log.partition.symbols["A"].ticks_from_ms == log.arrived_ms
    log.append(book(1200), recorded=False)
    assert log.partition.symbols["A"].ticks_from_ms == 0


def test_a_tick_that_says_that_the_feed_is_lost_keeps_what_was_heard_and_makes_the_book_unknown_behind_it():
    said = [book(500), clock(2100), book(2200)]
    quiet, lost = ("tick", Tick(T0 + 4000, "A")), ("tick", Tick(T0 + 4000, "A", lost=True))
    assert [row["mid_price"] for *_, row in Log().append(*said, quiet).rows("microstructure")] == [100.5] * 4
    rows = Log().append(*said, lost).rows("microstructure")
    assert [(at, row["book_valid"]) for at, _, row in rows] == [(1000, 1), (2000, 1), (3000, 0), (4000, 0)]


def test_a_feed_that_is_lost_loses_trades_from_the_watermark_on(monkeypatch: pytest.MonkeyPatch):
    told = []
    monkeypatch.setattr(Engine, "lose_trades", lambda _, since_us, until_us: told.append((since_us, until_us)))
    Log().append(trade(500), clock(2100), ("tick", Tick(T0 + 4000, "A", lost=True)))
    assert told == [((T0 + 2100 - LATENESS_MS) * 1000, (T0 + 4000) * 1000)]


def test_a_hold_longer_than_any_recovery_is_refused():
    assert Log().append(book(500), hold(1000, 601_001)).reasons() == ["out_of_range"]
