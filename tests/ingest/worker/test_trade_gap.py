"""A hole in the trades on its way through the log: when it counts, what it moves, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.messages.kinds import Gap, Tick
from ingest.replay import messages
from ingest.worker.partition import Partition

from .log import CONF, T0, Log, book, tick, trade


def hole(since: int, until: int, **fields: Any) -> tuple[str, Gap]:
    return "gap", Gap(T0 + until, "A", T0 + until + 3, channel="trade", since=T0 + since, **fields)


def lost(log: Log) -> list[tuple[float, float]]:
    """Give each hole that the kernels are told, in ms since T0."""
    told: list[tuple[float, float]] = []
    engine = type(log.partition.symbols["A"].engine)

    class Told(engine):  # type: ignore[misc, valid-type]
        __slots__ = ()

        def lose_trades(self, since_us: int, until_us: int) -> None:
            told.append(((since_us - 1000 * T0) / 1000, (until_us - 1000 * T0) / 1000))
            super().lose_trades(since_us, until_us)

    log.partition.symbols["A"].engine.__class__ = Told
    return told


def test_a_hole_counts_from_its_begin_and_leaves_the_book_as_it_is() -> None:
    log = Log().append(book(400), trade(500, 1))
    told = lost(log)
    log.append(hole(500, 1700), trade(1700, 9), book(1800), tick(3000))
    assert log.reasons() == []
    assert told == [(500, 1700)]
    assert [row["book_valid"] for _, _, row in log.rows("microstructure")] == [1, 1, 1]


def test_a_hole_behind_the_watermark_is_not_late_and_is_told_whole() -> None:
    log = Log().append(trade(500, 1), tick(5000))
    told = lost(log)
    log.append(hole(500, 2000), tick(7000))
    assert log.reasons() == []
    assert told == [(500, 2000)]


def test_a_hole_makes_no_time_pass_so_that_books_of_its_time_may_come_behind_it() -> None:
    log = Log().append(trade(500, 1), hole(500, 9000), book(1000), trade(9000, 2))
    assert log.reasons() == []


def test_a_hole_comes_before_the_trades_after_it_even_where_it_is_told_behind_them() -> None:
    log = Log().append(trade(500, 1))
    told = lost(log)
    log.append(trade(700, 4), hole(500, 700))
    assert told == [], "nothing before the watermark"
    assert [entry[-1].kind for entry in sorted(log.partition.symbols["A"].timeline.held)] == ["gap", "trade", "trade"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"channel": "quotes", "since": T0}, "wrong_type"),
        ({"since": T0 + 501}, "out_of_range"),
        ({"since": T0, "since_us": T0 * 1000}, "wrong_type"),
        ({"since": -5}, "too_old"),
        ({"since": 10**30}, "out_of_range"),
        ({"since": T0, "missing": -1}, "out_of_range"),
        ({"since": T0, "missing": 2**63}, "out_of_range"),
    ],
)
def test_an_impossible_hole_is_refused_and_changes_nothing(fields: dict[str, Any], reason: str) -> None:
    log = Log().append(trade(300, 1))
    told, before = lost(log), log.partition.symbols["A"].save()
    data = {"timestamp": T0 + 500, "symbol": "A", "channel": "trade", **fields}

    log.append(("gap", json.dumps(data).encode()), ("gap", b"\x81"))
    assert log.reasons() == [reason, "undecodable"]
    assert log.partition.symbols["A"].save() == before
    assert told == []


def test_a_hole_in_microseconds_is_told_to_the_microsecond() -> None:
    log = Log().append(trade(500, 1))
    told = lost(log)
    message = Gap(0, "A", timestamp_us=T0 * 1000 + 700_001, channel="trade", since_us=T0 * 1000 + 500_003)
    log.append(("gap", message), tick(3000))
    assert told == [(500.003, 700.001)]


def test_a_hole_that_waits_is_in_the_checkpoint() -> None:
    log = Log().append(trade(500, 1), hole(500, 700, missing=3))
    saved = log.partition.symbols["A"].save()
    other = Log().append(trade(100))
    other.partition.symbols["A"].restore(saved)
    told = lost(other)
    other.append(tick(3000))
    assert told == [(500, 700)]


def test_a_file_of_our_own_lines_tells_its_hole_to_the_rows(tmp_path: Path) -> None:
    """A trade a second, 121 to 129 missing: the minute's count is null from the last one before until a minute after the next."""
    lines = [
        {
            "timestamp": T0 + 1000 * s,
            "symbol": "A",
            "price": 100.0,
            "size": 1.0,
            "side": "buy",
            "received": T0 + 1000 * s + 5,
        }
        for s in range(250)
        if not 120 < s < 130
    ]
    gap = {"kind": "gap", "channel": "trade", "symbol": "A", "timestamp": T0 + 130_000, "since": T0 + 120_000}
    lines.insert(121, {**gap, "missing": 9, "received": T0 + 130_004})
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = Log()
    log.arrived_ms = T0 + 300_000
    log.append(*messages([file]), tick(249_000))
    assert log.reasons() == []
    counts = {t_ms // 1000: row["trade_count_1m"] for t_ms, _, row in log.rows("order_flow")}
    assert {s for s, n in counts.items() if s >= 60 and n != n} == set(range(120, 190))
    assert {n for s, n in counts.items() if s >= 60 and n == n} == {60.0}


def gone(ms: int) -> tuple[str, Tick]:
    return "tick", Tick(T0 + ms, "A", lost=True)


def holes_of(partition: Partition) -> int:
    return partition.pending.missing.counts["A holes"]


def test_a_lost_feed_is_one_hole_and_the_feed_that_comes_back_tells_the_same_one() -> None:
    log = Log().append(book(400), trade(500, 1))
    assert holes_of(log.partition) == 0
    log.append(gone(22_000), gone(23_000), gone(24_000))
    log.append(hole(500, 25_000), trade(25_000, 9), hole(500, 25_000, missing=7))
    assert holes_of(log.partition) == 1
    assert log.partition.pending.missing.counts["A trades_missing"] == 7
    log.append(trade(60_000, 10), gone(90_000))
    assert holes_of(log.partition) == 2


@pytest.mark.parametrize("told", [hole(500, 9000), gone(9000)])
def test_a_hole_that_is_told_again_after_a_restart_of_the_worker_counts_once(told: tuple[str, Any]) -> None:
    log = Log().append(trade(500, 1), told)
    assert holes_of(log.partition) == 1
    taker = Partition(0, CONF)
    taker.restore(log.partition.save())
    log.partition = taker
    log.append(hole(500, 9500), gone(12_000))
    assert holes_of(taker) == 0
    log.append(trade(30_000, 7), hole(30_000, 31_000))
    assert holes_of(taker) == 1


def test_the_rows_of_a_lost_feed_end_as_those_of_a_feed_that_is_silent() -> None:
    log = Log().append(book(400), trade(500, 1), *(gone(1000 * second) for second in range(22, 90)))
    assert [at for at, _, row in log.rows("microstructure") if row["book_valid"] == 0] == [
        1000.0 * i for i in range(1, 11)
    ]
    assert [at for at, _, _ in log.rows("order_flow")][-1] == 60_000
    assert {row["trade_valid"] for _, _, row in log.rows("order_flow")} == {0}
    assert not log.partition.symbols["A"].waits_for_time()
    n = len(log.rows("microstructure"))
    log.append(("gap", Gap(T0 + 401, "A")), gone(95_000))
    assert len(log.rows("microstructure")) == n, "the same hole told again is no word of the feed"
    log.append(book(96_000), book(97_300))
    assert [row["book_valid"] for *_, row in log.rows("microstructure")[n:]] == [1, 1]
