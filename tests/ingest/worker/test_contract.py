"""What a venue tells of a contract: its order among books and trades, what is late, what a gap says, and a restart."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import Gap, Tick
from transforms.instrument import Instrument

from .log import CONF, T0, Log, book, tick, trade

PERP = replace(CONF, instruments={"A": Instrument(funding_hours=8)})


def told(ms: int, **fields: Any) -> tuple[str, Derivatives]:
    return "derivatives", Derivatives(T0 + ms, "A", received=T0 + ms + 3, **fields)


def forced(ms: int, size: float = 1.0, side: str = "buy", price: float = 100.0) -> tuple[str, Liquidation]:
    return "liquidation", Liquidation(T0 + ms, "A", side, price, size, T0 + ms + 3)


def gap(since: int | None, until: int) -> tuple[str, Gap]:
    return "gap", Gap(T0 + until, "A", channel="liquidation", since=None if since is None else T0 + since)


def perpetual() -> Log:
    log = Log(PERP)
    log.arrived_ms = T0 + 500_000
    return log


def column(log: Log, name: str) -> dict[float, float]:
    """The values by second after T0 that are not null."""
    return {at / 1000: row[name] for at, _, row in log.rows("derivatives") if row[name] == row[name]}


def test_it_counts_in_the_order_of_event_time_among_books_and_trades() -> None:
    log = perpetual().append(
        trade(500, 1, price=100.1),
        told(700, mark=101.0, index=100.0),
        book(1900),
        told(1500, mark=102.0),
        trade(2600, 2),
        tick(3000),
    )
    assert log.reasons() == []
    assert column(log, "basis_bps") == {1: 100.0, 2: 200.0, 3: 200.0}
    assert column(log, "last_basis_bps") == pytest.approx({1: 10.0, 2: 10.0, 3: 50.0})


def test_it_makes_no_time_pass_so_no_book_behind_it_is_late() -> None:
    log = perpetual().append(book(500), told(9000, mark=101.0), forced(9500), book(700), trade(800, 1), tick(1000))
    assert log.reasons() == []
    assert log.rows("derivatives") == []


def test_what_comes_behind_the_watermark_counts_from_there_on_and_as_of_its_own_time() -> None:
    log = perpetual().append(book(500), book(5300), told(2000, mark=101.0, index=100.0), tick(70_000))
    assert log.reasons() == []
    times = list(column(log, "basis_bps"))
    assert (times[0], times[-1]) == (6, 62)  # the rows up to 5 s are written; 60 s after it was told it is too old


def test_what_comes_more_than_a_minute_behind_the_watermark_is_late() -> None:
    log = perpetual().append(book(500), book(70_250), told(10_000, mark=1.0), forced(9_999), told(9_999, mark=1.0))
    assert log.reasons() == ["late", "late"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (told(500), "missing_field"),
        (told(500, mark=0.0), "not_positive"),
        (told(500, index=float("inf")), "not_finite"),
        (told(500, index=2e15), "out_of_range"),
        (told(500, funding_rate=1.0), "out_of_range"),
        (told(500, funding_rate=float("nan")), "not_finite"),
        (told(500, open_interest=-1.0), "out_of_range"),
        (told(500, next_funding_time=1_700_000_000), "out_of_range"),
        (forced(500, size=0.0), "not_positive"),
        (forced(500, price=float("nan")), "not_finite"),
        (forced(500, side="long"), "wrong_type"),
    ],
)
def test_an_impossible_message_is_refused_and_opens_no_symbol(message: Any, reason: str) -> None:
    log = perpetual().append(message)
    assert log.reasons() == [reason]
    assert not log.partition.symbols


def test_an_open_interest_of_nothing_is_a_number() -> None:
    log = perpetual().append(told(500, open_interest=0.0), tick(1000))
    assert column(log, "open_interest") == {1: 0.0}


def test_liquidations_are_known_from_the_first_one_on_or_from_where_the_feed_begins_to_hear_them() -> None:
    first = perpetual().append(forced(500), told(60_000, mark=1.0), tick(62_000))
    assert column(first, "liquidation_buy_1m") == {61: 0.0, 62: 0.0}
    begun = perpetual().append(gap(None, 500), told(60_000, mark=1.0), tick(62_000))
    assert column(begun, "liquidation_buy_1m") == {61: 0.0, 62: 0.0}
    heard = perpetual().append(gap(None, 500), forced(30_000), told(60_000, mark=1.0), tick(62_000))
    assert column(heard, "liquidation_buy_1m") == {61: 100.0, 62: 100.0}


def test_a_gap_of_liquidations_makes_every_window_null_that_holds_a_part_of_it() -> None:
    log = perpetual().append(
        forced(500),
        forced(70_000),
        gap(80_500, 90_000),
        *(told(s * 1000, mark=1.0) for s in range(60, 155)),
        tick(155_000),
    )
    assert log.reasons() == []
    times = list(column(log, "liquidation_buy_1m"))
    assert times == [*range(61, 81), *range(150, 156)]


def test_a_lost_feed_loses_liquidations_only_where_they_are_heard() -> None:
    log = perpetual().append(forced(500), told(500, mark=1.0), trade(600, 1), told(65_000, mark=1.0), tick(65_000))
    log.append(("tick", Tick(T0 + 70_000, "A", lost=True)), told(71_000, mark=1.0), tick(72_000))
    assert [at / 1000 for at, _, _ in log.rows("derivatives")][-3:] == [70, 71, 72]
    assert column(log, "liquidation_buy_1m") == {65: 0.0}
    other = perpetual().append(trade(600, 1), ("tick", Tick(T0 + 70_000, "A", lost=True)))
    assert other.partition.symbols["A"].engine.contract.state is None


def test_a_liquidation_that_is_told_again_counts_once_also_behind_the_watermark() -> None:
    log = perpetual().append(
        gap(None, 0), forced(500), forced(500), forced(500, side="sell"), told(60_000, mark=1.0), tick(61_000)
    )
    log.append(forced(59_000), forced(59_000), forced(59_000, size=2.0), told(62_000, mark=1.0), tick(63_000))
    assert log.reasons() == ["duplicate", "duplicate"]
    assert log.partition.symbols.accepted["liquidation"] == 4
    assert column(log, "liquidation_buy_1m") == {60: 100.0, 61: 0.0, 62: 300.0, 63: 300.0}
    assert column(log, "liquidation_sell_1m") == {60: 100.0, 61: 0.0, 62: 0.0, 63: 0.0}


def test_a_restart_at_any_place_gives_the_same_rows() -> None:
    rng = random.Random(5)
    messages: list[tuple[str, Any]] = []
    for ms in range(0, 400_000, 700):
        messages += [trade(ms, ms + 1, 100.0 + rng.random()), book(ms + 10)]
        at = ms - rng.choice((0, 0, 0, 5000, 20_000))
        messages.append(told(at, mark=100 + rng.random(), index=100.0, funding_rate=rng.random() / 1000))
        if ms % 7000 == 0:
            messages.append(told(at + 1, open_interest=50 + rng.random()))
        if ms % 4900 == 0:
            messages.append(forced(at + 2, 1 + rng.random(), rng.choice(("buy", "sell"))))
        if ms == 200_200:
            messages.append(gap(199_000, 200_000))
    messages.append(tick(400_000))
    whole = perpetual().append(*messages)
    assert set(whole.reasons()) <= {"late"}
    rows = [(at, str(row)) for at, _, row in whole.rows("derivatives")]
    assert len(rows) == 401
    for cut in rng.sample(range(len(messages)), 6):
        before, after = perpetual().append(*messages[:cut]), perpetual()
        after.n = before.n
        after.partition.restore(before.partition.save())
        after.append(*messages[cut:])
        found = [(at, str(row)) for log in (before, after) for at, _, row in log.rows("derivatives")]
        assert found == rows
        assert after.partition.symbols["A"].save() == whole.partition.symbols["A"].save()
