"""A fitted table in the log: used from its own time on, whenever it came, through restarts; and no hostile one is taken."""

from __future__ import annotations

import json

import msgspec
import pytest

from ingest import settings
from ingest.messages.decode import encode
from ingest.messages.envelope import from_entry
from ingest.messages.kinds import MAX_AHEAD_MS, MicropriceTable, OrderBook, Tick, Trade
from ingest.messages.refusal import Refused
from ingest.worker.partition import Partition
from ingest.worker.symbol import TABLES_HELD, Symbol
from transforms.catalog import MICROSTRUCTURE
from transforms.microstructure.layout import G_SIZE

T0 = 1_700_000_000_000
CONF = settings.load({"TFS_PARTITIONS": "1"})
MID, MICROPRICE = MICROSTRUCTURE.index["mid_price"], MICROSTRUCTURE.index["microprice"]


def table(usable_s: float, g: float, version: int = 1) -> MicropriceTable:
    """Used from second ``usable_s`` on; ``g`` ticks of 0.5 in every cell."""
    usable = T0 + round(usable_s * 1000)
    return MicropriceTable(T0 + 1_000_000, "A", version, T0 - 1000, usable, 0.5, [g] * G_SIZE)


class Feed:
    """One symbol; ``added`` is what microprice adds to the mid in each row, None where it is null."""

    def __init__(self) -> None:
        self.added: dict[float, float | None] = {}
        self.symbol = Symbol("A", CONF, self._emit, lambda *_: None)

    def _emit(self, symbol, view, t_us, values):
        if view is MICROSTRUCTURE:
            added = values[MICROPRICE] - values[MID]
            self.added[t_us / 1e6 - T0 / 1000] = None if added != added else added

    def accept(self, kind, message, *, recorded=True):
        fields = {b"kind": kind.encode(), b"data": encode(message)}
        if recorded:
            fields[b"recorded"] = b"1"
        self.symbol.accept(from_entry(b"0-0", fields))
        return self

    def book(self, second):
        ms = T0 + round(second * 1000)
        return self.accept("book", OrderBook(ms, "A", [(100.0, 1.0)], [(101.0, 1.0)], received=ms))

    def table(self, *args):
        return self.accept("microprice", table(*args), recorded=False)


def test_a_table_is_used_from_its_own_time_on_and_not_before():
    feed = Feed().book(0.5).table(3, 2.0).book(2.5).book(4.5).book(6.5)
    assert feed.added == {1: None, 2: None, 3: 1.0, 4: 1.0, 5: 1.0, 6: 1.0}


def test_tables_take_each_others_place_in_order_of_their_times_whichever_came_first():
    feed = Feed().table(4, 4.0, 2).table(2, 2.0, 3).book(0.5).book(5.5)
    assert feed.added == {1: None, 2: 1.0, 3: 1.0, 4: 2.0, 5: 2.0}


def test_of_two_tables_of_one_time_the_higher_version_is_used():
    feed = Feed().table(2, 4.0, 2).table(2, 2.0, 1).book(0.5).book(3.5)
    assert feed.added == {1: None, 2: 2.0, 3: 2.0}


def test_a_table_that_came_after_its_time_counts_from_when_it_came_and_is_never_late():
    feed = Feed().book(0.5).book(4.5).table(1, 2.0).book(6.5)
    assert feed.added == {1: None, 2: None, 3: None, 4: None, 5: 1.0, 6: 1.0}


def test_a_table_moves_no_watermark_and_leaves_a_recorded_symbol_recorded():
    feed = Feed().book(0.5)
    before = feed.symbol.timeline.watermark
    feed.table(1000, 2.0)
    assert (feed.symbol.timeline.watermark, feed.symbol.recorded) == (before, True)
    assert feed.book(0.4).added == {}


def test_a_table_that_waits_makes_no_time_pass():
    feed = Feed().table(1000, 2.0)
    assert not feed.symbol.timeline.waits()
    assert feed.symbol.timeline.boundary == 0
    feed.book(0.5)
    assert feed.symbol.timeline.waits()
    feed.accept("tick", Tick(T0 + 60_000, "A"))
    assert not feed.symbol.timeline.waits()
    assert feed.symbol.engine.last_row_us() < feed.symbol.timeline.boundary


def test_a_restart_keeps_the_table_that_waits_and_the_one_in_use():
    feed = Feed().table(2, 2.0, 1).table(5, 4.0, 2).book(0.5).book(3.5)
    again = Feed()
    again.symbol.restore(feed.symbol.save())
    again.book(6.5)
    assert {**feed.added, **again.added} == {1: None, 2: 1.0, 3: 1.0, 4: 1.0, 5: 2.0, 6: 2.0}


def test_an_unknown_cell_is_null():
    cells: list[float | None] = [1.0] * G_SIZE
    cells[5 * 5 + 1] = None  # balanced, two ticks wide
    feed = Feed().accept("microprice", msgspec.structs.replace(table(1, 0.0), g=cells), recorded=False)
    assert feed.book(0.5).book(1.5).added == {1: None}


BAD = {
    "short": ({"g": [1.0] * (G_SIZE - 1)}, "wrong_type"),
    "long": ({"g": [1.0] * 100_000}, "wrong_type"),
    "no list": ({"g": 5}, "wrong_type"),
    "nan": ({"g": [float("nan")] * G_SIZE}, "not_finite"),
    "infinite": ({"g": [float("inf")] * G_SIZE}, "not_finite"),
    "huge": ({"g": [-1e300] * G_SIZE}, "out_of_range"),
    "no tick": ({"tick": 0.0}, "not_positive"),
    "nan tick": ({"tick": float("nan")}, "not_finite"),
    "its own future": ({"usable_from": T0 - 2000}, "out_of_range"),
    "never": ({"usable_from": T0 + 1_000_000 + MAX_AHEAD_MS + 1}, "future_time"),
    "past a double": ({"usable_from": 10**30}, "out_of_range"),
    "version": ({"version": 0}, "out_of_range"),
    "symbol": ({"symbol": "A B"}, "bad_symbol"),
    "time": ({"timestamp": T0 + 2_000_000}, "future_time"),
}


@pytest.mark.parametrize(("changes", "reason"), BAD.values(), ids=BAD)
def test_a_bad_table_of_any_producer_is_refused_with_the_reason(changes, reason):
    partition = Partition(0, CONF)
    entry = b"%d-1" % (T0 + 1_000_000)
    data = json.dumps({**msgspec.to_builtins(table(5, 1.0)), **changes}).encode()
    partition.process(entry, {b"kind": b"microprice", b"data": data}, 0)
    assert [str(refused.reason) for _, refused in partition.pending.dead] == [reason]
    good = {b"kind": b"microprice", b"data": encode(table(5, 1.0))}
    partition.process(b"%d-2" % (T0 + 1_000_000), good, 0)
    assert partition.symbols.accepted == {"microprice": 1}


def test_tables_without_end_cannot_fill_the_memory():
    feed = Feed()
    for version in range(TABLES_HELD):
        feed.table(1000, 1.0, version + 1)
    with pytest.raises(Refused, match="wait already"):
        feed.table(1000, 1.0, TABLES_HELD + 1)
    feed.accept("trade", Trade(T0, "A", 1.0, 1.0))
    assert len(feed.symbol.timeline.held) == TABLES_HELD + 1
