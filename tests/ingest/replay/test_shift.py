"""A recording moved in time."""

from __future__ import annotations

from ingest.messages.kinds import Gap, Trade, time_us
from ingest.publish.counts import Counts
from ingest.replay.shift import received_ms, shift

T0 = 1_700_000_000_000


def test_a_message_moves_by_the_same_time_in_either_unit() -> None:
    in_ms, in_us = Trade(T0, "A", 1.0, 1.0, None, "7", T0 + 5), Trade(0, "A", 1.0, 1.0, timestamp_us=T0 * 1000 + 250)
    for message, us in ((in_ms, T0 * 1000), (in_us, T0 * 1000 + 250)):
        shift(message, 60_000)
        assert time_us(message) == us + 60_000_000
    assert (in_ms.trade_id, in_ms.received, in_us.timestamp) == ("7+60000", T0 + 60_005, 0)
    assert received_ms(in_us) == T0 + 60_000


def test_the_begin_of_a_hole_moves_with_its_end() -> None:
    gap = Gap(T0, "A", channel="trade", since_us=T0 * 1000 - 250)
    shift(gap, -1000)
    assert gap == Gap(T0 - 1000, "A", channel="trade", since_us=(T0 - 1000) * 1000 - 250)
    gap = Gap(T0, "A", channel="trade", since=T0 - 5)
    shift(gap, 1000)
    assert gap == Gap(T0 + 1000, "A", channel="trade", since=T0 + 995)


def test_the_last_event_time_is_counted_rounded_up_so_that_a_tick_there_is_behind_every_event() -> None:
    counts = Counts()
    counts.add("trade", Trade(0, "A", 1.0, 1.0, timestamp_us=T0 * 1000 + 250))
    assert (counts.first_ms, counts.last_ms, counts.last_event) == (T0, T0 + 1, {"A": T0 + 1})
