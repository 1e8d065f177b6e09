"""The view ``context`` against numpy over the same seconds, with legs that come late, and its state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transforms.catalog import CONTEXT
from transforms.context.layout import Neighbours
from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.kernel import DAY_US, SECOND_US, to_bytes

OF = Neighbours(("LEAD", "PAIR", "VENUE"), leader=0, pair=1, venues=(1, 2))
NEVER = -(2**62)
FOREVER = 2**62


class Market:
    """Random mids and sizes of a symbol and its three neighbours, second by second; NaN where a book is not valid."""

    def __init__(self, seconds: int, seed: int, unknown: float = 0.02) -> None:
        chance = np.random.default_rng(seed)
        common = chance.normal(0, 1e-4, seconds)
        self.mids = np.exp(
            np.cumsum(np.stack([common + chance.normal(0, 1e-4, seconds) for _ in range(4)]), axis=1)
        ) * np.array([[100.0], [5000.0], [99.9], [100.2]])
        self.sizes = chance.uniform(0.1, 9.0, (2, 4, seconds)).round(3)
        self.mids[chance.random(self.mids.shape) < unknown] = np.nan
        self.seconds = seconds

    def own(self, engine: Engine, s: int) -> None:
        mid, bid, ask = self.mids[0, s], *self.sizes[:, 0, s]
        if math.isnan(mid):
            engine.lose_book(t_us(s) - 500_000)
        else:
            engine.book(t_us(s) - 500_000, [(mid - 0.5, bid)], [(mid + 0.5, ask)])
        engine.emit(t_us(s))
        self.mids[0, s] = engine.quote(t_us(s))[0]  # as the book rounds it

    def tell(self, engine: Engine, number: int, s: int) -> None:
        assert engine.context is not None
        engine.context.hear(OF.names[number - 1], t_us(s), self.mids[number, s], *self.sizes[:, number, s])


def t_us(s: int) -> int:
    return DAY_US + (s + 1) * SECOND_US


def rows(engine: Engine, before_us: int) -> dict[int, dict[str, float]]:
    """The rows that are due, by second."""
    assert engine.context is not None
    found = {}
    while (row := engine.context.next_row(before_us)) is not None:
        found[(row[0] - DAY_US) // SECOND_US - 1] = dict(zip(CONTEXT.names, map(float, row[1]), strict=True))
    return found


def run(market: Market, late: tuple[int, int, int] = (0, 0, 0)) -> dict[int, dict[str, float]]:
    """Each second what neighbours tell, some of it seconds late, and a row that does not wait."""
    engine = Engine(Instrument(), SECOND_US, OF)
    found: dict[int, dict[str, float]] = {}
    for s in range(market.seconds):
        for number, behind in enumerate(late, 1):
            if s >= behind:
                market.tell(engine, number, s - behind)
        market.own(engine, s)
        found |= rows(engine, t_us(s) + 1)
    return found


def told(market: Market, number: int, s: int, late: int) -> int | None:
    """The second that the row of s uses."""
    return s - late if late <= 2 and s >= late else None


def test_beta_and_correlation_are_those_of_numpy_over_the_same_seconds() -> None:
    market = Market(4200, seed=5)
    found = run(market)
    y, x = (np.diff(np.log(market.mids[i])) for i in (0, 1))
    compared = 0
    for s in [*range(250, 4200, 173), 4199]:
        some = slice(max(s - 3600, 0), s)
        both = ~np.isnan(x[some] + y[some])
        a, b = x[some][both], y[some][both]
        row = found[s]
        if both.sum() < 300 or np.isnan(market.mids[1, s]):
            assert math.isnan(row["beta_60m"])
            assert math.isnan(row["correlation_60m"])
            continue
        covariance = np.cov(a, b)
        assert row["beta_60m"] == pytest.approx(covariance[0, 1] / covariance[0, 0], rel=1e-9)
        assert row["correlation_60m"] == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-9)
        compared += 1
    assert compared > 15


@pytest.mark.parametrize("late", range(4))
def test_returns_strength_basis_and_venues_are_those_of_the_newest_rows(late: int) -> None:
    market = Market(3700, seed=late, unknown=0.01)
    found = run(market, (late, late, late))
    logs = np.log(market.mids)

    def log_of(number: int, s: int) -> float:
        return logs[number, s] if s >= 0 else np.nan

    for s in range(10, 3700):
        u = told(market, 1, s, late)
        row = found[s]
        wanted = dict.fromkeys(CONTEXT.names, np.nan)
        if u is not None:
            wanted |= {f"return_leader_{w}s": log_of(1, u) - log_of(1, u - w) for w in (1, 10, 60)}
            wanted["relative_strength_60m"] = (log_of(0, u) - log_of(0, u - 3600)) - (
                log_of(1, u) - log_of(1, u - 3600)
            )
            own, others = market.mids[0, s], market.mids[2:, u]
            wanted["pair_basis_bps"] = (own - others[0]) / others[0] * 1e4
            known = ~np.isnan(others)
            if known.any() and not np.isnan(own):
                mean = others[known].mean()
                bid, ask = (side[0, s] + side[2:, u][known].sum() for side in market.sizes)
                wanted["cross_venue_mid_dev_bps"] = (own - mean) / mean * 1e4
                wanted["consolidated_imbalance"] = (bid - ask) / (bid + ask)
        for name in wanted.keys() - {"beta_60m", "correlation_60m"}:
            assert row[name] == pytest.approx(wanted[name], rel=1e-9, abs=1e-12, nan_ok=True), (s, name)


@pytest.mark.parametrize("leg", [1, 2, 3])
@pytest.mark.parametrize("late", range(11))
def test_a_leg_that_comes_late_is_never_seen_ahead_and_its_values_are_null_when_it_is_too_old(
    leg: int, late: int
) -> None:
    market = Market(400, seed=leg, unknown=0.0)
    delays = [0, 0, 0]
    delays[leg - 1] = late
    found = run(market, tuple(delays))  # type: ignore[arg-type]
    for cut in (30, 151, 399):
        known = Market(400, seed=leg, unknown=0.0)
        for number, behind in enumerate((0, *delays)):
            known.mids[number, max(cut + 1 - behind, 0) :] = 7.0  # whatever comes later
            known.sizes[:, number, max(cut + 1 - behind, 0) :] = 7.0
        assert same(run(known, tuple(delays))[cut], found[cut])  # type: ignore[arg-type]
    last = found[399]
    of_leg = {1: ("return_leader_1s", "return_leader_60s", "beta_60m"), 2: ("pair_basis_bps",), 3: ()}[leg]
    for name in of_leg:
        assert math.isnan(last[name]) == (late > 2), name
    assert not math.isnan(last["cross_venue_mid_dev_bps"])


def same(a: dict[str, float], b: dict[str, float]) -> bool:
    return a.keys() == b.keys() and all(
        x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a.values(), b.values(), strict=True)
    )


def test_a_row_waits_for_each_neighbour_or_until_it_is_told_to_wait_no_longer() -> None:
    market = Market(20, seed=1, unknown=0.0)
    engine = Engine(Instrument(), SECOND_US, OF)
    assert engine.context is not None
    for s in range(3):
        market.own(engine, s)
        for number in (1, 2):
            market.tell(engine, number, s)
    assert rows(engine, NEVER) == {}
    assert engine.context.waiting_us() == t_us(0)
    market.tell(engine, 3, 1)
    assert list(rows(engine, NEVER)) == [0, 1]
    assert list(rows(engine, t_us(2) + 1)) == [2]
    assert engine.context.waiting_us() == 0


def test_a_neighbour_that_is_ahead_is_used_up_to_the_time_of_the_row() -> None:
    market = Market(60, seed=2, unknown=0.0)
    engine = Engine(Instrument(), SECOND_US, Neighbours(("LEAD",), leader=0, pair=0))
    assert engine.context is not None
    for s in range(60):
        market.tell(engine, 1, s)
    for s in range(60):
        market.own(engine, s)
    found = rows(engine, NEVER)
    for s in range(1, 60):
        assert found[s]["return_leader_1s"] == pytest.approx(
            math.log(market.mids[1, s] / market.mids[1, s - 1]), rel=1e-9
        )


def test_no_row_is_given_ten_seconds_after_the_last_word_of_any_neighbour() -> None:
    market = Market(40, seed=3, unknown=0.0)
    engine = Engine(Instrument(), SECOND_US, OF)
    market.tell(engine, 1, 4)
    for s in range(40):
        market.own(engine, s)
    found = rows(engine, FOREVER)
    assert list(found)[-1] == 14
    assert engine.silence_us(CONTEXT, t_us(14)) == 10 * SECOND_US


def test_what_is_told_twice_or_out_of_order_changes_nothing() -> None:
    market = Market(10, seed=4, unknown=0.0)
    engine = Engine(Instrument(), SECOND_US, OF)
    assert engine.context is not None
    market.tell(engine, 1, 5)
    before = to_bytes(engine.context.state)
    for s in (5, 4):
        assert not engine.context.hear("LEAD", t_us(s), 1.0, 1.0, 1.0)
    assert not engine.context.hear("NOBODY", t_us(9), 1.0, 1.0, 1.0)
    assert to_bytes(engine.context.state) == before


def test_a_restart_in_the_middle_changes_no_bit() -> None:
    market = Market(900, seed=6)
    whole, restarted = (Engine(Instrument(), SECOND_US, OF) for _ in range(2))
    for s in range(900):
        if s % 97 == 0:
            parts = restarted.save()
            restarted = Engine(Instrument(), SECOND_US, OF)
            restarted.restore(parts)
            assert restarted.anew == frozenset()
        found = []
        for engine in (whole, restarted):
            market.own(engine, s)
            for number in (1, 2, 3):
                market.tell(engine, number, s)
            found.append(rows(engine, NEVER))
        assert same(found[0][s], found[1][s])
    assert whole.save() == restarted.save()


def test_only_a_symbol_with_neighbours_has_a_state_for_them() -> None:
    alone = Engine(Instrument(), SECOND_US)
    assert alone.context is None
    assert "context" not in alone.save()
    assert "context" in Engine(Instrument(), SECOND_US, OF).save()


@pytest.mark.parametrize(
    "others",
    [Neighbours(("OTHER", "PAIR", "VENUE"), leader=0, pair=1, venues=(1, 2)), Neighbours(("PAIR",), pair=0), None],
)
def test_a_state_of_other_neighbours_is_not_used(others: Neighbours | None) -> None:
    market = Market(5, seed=7, unknown=0.0)
    engine = Engine(Instrument(), SECOND_US, OF)
    for s in range(5):
        market.own(engine, s)
        market.tell(engine, 1, s)
    after = Engine(Instrument(), SECOND_US, others)
    after.restore(engine.save())
    fresh = Engine(Instrument(), SECOND_US, others)
    assert (after.context is None) == (others is None)
    if after.context is not None and fresh.context is not None:
        assert to_bytes(after.context.state) == to_bytes(fresh.context.state)
    after.emit(t_us(4))
    assert after.quote(t_us(4)) == engine.quote(t_us(4))
