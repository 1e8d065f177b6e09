"""A follower's rows wait for what its leader's log tells, and no longer than one allowed lateness."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from ingest.messages.kinds import Clock, Gap, Neighbour, OrderBook, Tick
from ingest.worker.neighbours import Leaders
from ingest.worker.partition import Partition
from transforms.instrument import Instrument

from .log import CONF, T0, Log, book, tick

FOLLOWS = replace(CONF, instruments={"A": Instrument(leader="LEAD", pair="LEAD"), "B": Instrument(leader="LEAD")})


def told(ms: int, mid: float | None = 50.0, **about: Any) -> tuple[str, Neighbour]:
    return "neighbour", Neighbour(T0 + ms, ["A"], "LEAD", mid, mid and 1.0, mid and 2.0, **about)


def times(log: Log) -> list[float]:
    return [at for at, _, _ in log.rows("context")]


def basis(log: Log) -> list[float]:
    return [row["pair_basis_bps"] for _, _, row in log.rows("context")]


def test_a_row_is_given_with_the_leaders_of_its_second_and_others_do_not_wait_for_it() -> None:
    log = Log(FOLLOWS).append(told(0), book(500), book(1251))
    assert [at for at, _, _ in log.rows("microstructure")] == [1000]
    assert times(log) == []
    assert times(log.append(told(1000, 80.0))) == [1000]
    assert basis(log) == [(100.5 - 80.0) / 80.0 * 1e4]


def test_a_row_waits_for_one_allowed_lateness_and_then_takes_the_newest_second_that_is_known() -> None:
    log = Log(FOLLOWS).append(book(500), told(0), book(1251), book(1500))
    assert times(log) == []
    assert times(log.append(book(1501))) == [1000]
    assert basis(log) == [(100.5 - 50.0) / 50.0 * 1e4]
    assert times(log.append(told(1000, 80.0))) == [1000]  # too late for that row


def test_a_clock_of_the_followers_feed_ends_the_waiting_as_a_book_does() -> None:
    log = Log(FOLLOWS).append(book(500), told(0), ("clock", Clock(T0 + 1501, ["A"])))
    assert times(log) == [1000]


def test_a_tick_ends_all_waiting() -> None:
    assert times(Log(FOLLOWS).append(book(500), told(0), tick(1000))) == [1000]


def test_a_leader_with_an_invalid_book_makes_null_what_needs_it() -> None:
    log = Log(FOLLOWS).append(told(0), book(500), told(1000, None), book(1251))
    [row] = [row for *_, row in log.rows("context")]
    assert all(math.isnan(value) for value in row.values())


def test_a_row_that_waits_keeps_a_live_symbol_waiting_for_time() -> None:
    log = Log(FOLLOWS).append(told(0), book(500), book(1251), recorded=False)
    symbol = log.partition.symbols["A"]
    symbol.timeline.held.clear()
    symbol.timeline.boundary = 2**62  # nothing but the row waits
    assert symbol.waits_for_time()
    log.append(told(1000), recorded=False)
    assert not symbol.waits_for_time()


def test_rows_of_neighbours_open_no_symbol_and_change_none_that_does_not_follow() -> None:
    log = Log(FOLLOWS).append(told(0), ("neighbour", Neighbour(T0, ["B", "C"], "LEAD", 1.0, 1.0, 1.0)))
    assert not log.partition.symbols and not log.reasons()
    log.append(("book", OrderBook(T0 + 500, "C", [(1.0, 1.0)], [(2.0, 1.0)])))
    before = log.partition.symbols["C"].save()
    log.append(("neighbour", Neighbour(T0 + 1000, ["C"], "LEAD", 1.0, 1.0, 1.0)))
    assert log.partition.symbols["C"].save() == before
    assert "context" not in before


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Neighbour(T0 + 1, ["A"], "LEAD", 1.0, 1.0, 1.0), "wrong_type"),
        (Neighbour(T0, ["A"], "NO SYMBOL", 1.0, 1.0, 1.0), "bad_symbol"),
        (Neighbour(T0, ["A"], "LEAD", -1.0, 1.0, 1.0), "not_positive"),
        (Neighbour(T0, ["A"], "LEAD", math.inf, 1.0, 1.0), "not_finite"),
        (Neighbour(T0, ["A"], "LEAD", 1.0, 1.0, 1e300), "out_of_range"),
    ],
)
def test_a_row_that_no_worker_tells_is_refused(row: Neighbour, reason: str) -> None:
    assert Log(FOLLOWS).append(book(500), ("neighbour", row)).reasons() == [reason]


def test_a_recorded_row_is_available_when_the_message_that_completed_the_leaders_was_received() -> None:
    log = Log(FOLLOWS).append(book(500), book(1251), told(1000, received=T0 + 1700))
    assert [created for _, created, _ in log.rows("context")] == [1700]


def test_a_live_leader_tells_whole_seconds_with_the_entries_that_completed_them() -> None:
    of_leader = replace(CONF, instruments={"B": Instrument(leader="A")}, emit_interval_ms=500)
    log = Log(of_leader).append(
        book(500), book(1251), book(1900), ("gap", Gap(T0 + 1950, "A")), book(2251), recorded=False
    )
    found = [(entry_id, row.timestamp - T0, row.mid, row.symbols) for entry_id, row in log.partition.pending.told]
    assert found == [(log.entries[1][0], 1000, 100.5, ["B"]), (log.entries[4][0], 2000, None, ["B"])]


def test_a_recorded_leader_is_told_by_who_reads_the_recording_with_the_same_values() -> None:
    of_leader = replace(CONF, instruments={"B": Instrument(leader="A")})
    messages = [book(500), book(1251, bids=[(90.0, 7.0)]), book(2600), tick(3000)]
    recorded = Log(of_leader).append(*messages)
    assert recorded.partition.pending.told == []
    partition = Partition(0, of_leader, tells_recorded=True)
    for entry in recorded.entries:
        partition.process(*entry, 0)
    leaders = Leaders(of_leader)
    rows = [[row.timestamp - T0 for row in leaders.accept(kind, message)] for kind, message in messages]
    assert rows == [[], [1000], [2000], [3000]]
    again = Leaders(of_leader)
    assert [row for kind, message in messages for row in again.accept(kind, message)] == [
        row for _, row in partition.pending.told
    ]


def test_a_symbol_that_nobody_follows_costs_a_reader_nothing() -> None:
    leaders = Leaders(FOLLOWS)
    assert leaders.accept(*book(500)) == leaders.accept("tick", Tick(T0, "A")) == []


@pytest.mark.parametrize("after", [Instrument(leader="LEAD", pair="NEW"), Instrument(pair="NEW"), Instrument()])
def test_a_row_that_waits_while_the_neighbours_become_others_is_given_once_with_what_was_told(
    after: Instrument,
) -> None:
    log = Log(FOLLOWS).append(book(500), told(0), book(1251))
    assert times(log) == []
    log.partition = log.partition.with_settings(replace(FOLLOWS, instruments={"A": after}))
    assert times(log) == [1000] and basis(log) == [(100.5 - 50.0) / 50.0 * 1e4]
    log.append(("neighbour", Neighbour(T0 + 2000, ["A"], "NEW", 80.0, 1.0, 1.0)), told(2000), book(2251))
    assert times(log) == [1000, 2000] if after.pair else [1000]
    assert basis(log)[1:] == [(100.5 - 80.0) / 80.0 * 1e4] * bool(after.pair)


def test_a_row_goes_on_waiting_while_other_settings_change() -> None:
    log = Log(FOLLOWS).append(book(500), told(0), book(1251))
    log.partition = log.partition.with_settings(replace(FOLLOWS, max_age_ms=10**9))
    assert times(log) == []
    assert times(log.append(told(1000))) == [1000]
