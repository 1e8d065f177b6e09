"""Every feature of the view against pandas, over made messages: partial, of several paces, with silences, linear and inverse."""

from __future__ import annotations

import random
from math import isnan
from typing import Any

import numpy as np
import pandas as pd
import pytest

from transforms.catalog import DERIVATIVES
from transforms.engine import Engine
from transforms.instrument import Instrument

S = 1_000_000
MIDNIGHT = 1_700_006_400 * S
SPAN_S = 4500
EVERY_S = 28_800
CONTRACTS = [
    Instrument(funding_hours=8),
    Instrument(contract_size=0.01, funding_hours=4),
    Instrument(contract_size=100.0, inverse=True),
]

Told = list[tuple[int, str, dict[str, Any]]]


def messages(seed: int) -> Told:
    """An hour and a quarter: marks nearly every second, open interest every 20 s, rates every minute; trades, liquidations, silences."""
    rng = random.Random(seed)
    found: Told = []
    silent = {
        rng.randrange(SPAN_S // 300): rng.choice(("mark", "index", "interest", "rate", "trade")) for _ in range(12)
    }
    price, interest = 60_000.0, 5_000.0
    for second in range(SPAN_S):
        quiet = silent.get(second // 300)
        price += rng.gauss(0, 5)
        interest *= 1 + rng.gauss(0, 1e-3)
        at = MIDNIGHT + second * S + rng.randrange(S)
        told: dict[str, Any] = {}
        if quiet != "mark" and rng.random() < 0.9:
            told["mark"] = price * (1 + rng.gauss(0, 1e-4))
        if quiet != "index":
            told["index"] = price
        if quiet != "rate" and second % 60 == 7:
            told["funding_rate"] = rng.gauss(0, 1e-4)
            told["settled_us"] = MIDNIGHT + (second // EVERY_S + 1) * EVERY_S * S if rng.random() < 0.7 else None
        if told:
            found.append((at, "derivatives", told))
        if quiet != "interest" and second % 20 == 3:
            found.append((at + 1, "derivatives", {"open_interest": interest if rng.random() < 0.98 else 0.0}))
        if quiet != "trade" and rng.random() < 0.2:
            found.append((at + 2, "trade", {"price": price + rng.gauss(0, 3)}))
        if second > 200 and rng.random() < 0.03:
            side = rng.choice((1, -1))
            found.append((at + 3, "liquidation", {"price": price, "size": float(rng.randrange(1, 40)), "side": side}))
    return sorted(found, key=lambda one: one[0])


def rows(told: Told, instrument: Instrument, grid_us: int) -> pd.DataFrame:
    engine = Engine(instrument, grid_us)
    due = iter([*told, (MIDNIGHT + (SPAN_S + 100) * S, "end", {})])
    ahead = next(due)
    found = {}
    for t_us in range(MIDNIGHT + grid_us, MIDNIGHT + (SPAN_S + 90) * S, grid_us):
        while ahead[0] <= t_us:
            at, kind, fields = ahead
            if kind == "trade":
                engine.trade(at, fields["price"], 1.0, 1)
            elif kind == "liquidation":
                engine.contract.liquidate(at, **fields)
            else:
                engine.tell_contract(at, **fields)
            ahead = next(due)
        for view, values in engine.emit(t_us):
            if view is DERIVATIVES:
                found[t_us] = dict(zip(view.names, map(float, values), strict=True))
    return pd.DataFrame.from_dict(found, orient="index")


def newest(told: Told, name: str, kind: str, at: pd.Series, within_s: int) -> pd.Series:
    """The value of a field that was told last at or before each time, at most so long before."""
    values = [(t, fields[name]) for t, of, fields in told if of == kind and fields.get(name) is not None]
    series = pd.DataFrame(values, columns=["t", "x"]).drop_duplicates("t", keep="last")
    joined = pd.merge_asof(pd.DataFrame({"t": at.to_numpy()}), series, on="t", tolerance=within_s * S)
    return pd.Series(joined.x.to_numpy(), index=at.index)


def expected(told: Told, instrument: Instrument, at: pd.Series) -> pd.DataFrame:
    mark, index = (newest(told, name, "derivatives", at, 60) for name in ("mark", "index"))
    last = newest(told, "price", "trade", at, 60)
    rate = newest(told, "funding_rate", "derivatives", at, 300)
    n = newest(told, "open_interest", "derivatives", at, 60)
    c = instrument.contract_size
    out = pd.DataFrame(index=at.index)
    out["basis_bps"] = 1e4 * (mark - index) / index
    out["last_basis_bps"] = 1e4 * (last - index) / index
    out["funding_rate"] = rate
    out["funding_annualised"] = rate * 8760 / instrument.funding_hours if instrument.funding_hours else np.nan
    out["open_interest"] = n * c / mark if instrument.inverse else n * c
    out["oi_value"] = n * c if instrument.inverse else n * c * mark
    for name, s in (("oi_change_5m", 300), ("oi_change_1h", 3600)):
        before = newest(told, "open_interest", "derivatives", at - s * S, 60)
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.log(n / before)
        out[name] = change.where((n > 0) & (before > 0))
    forced = [
        (t, f["side"], f["size"] * c * (1.0 if instrument.inverse else f["price"]))
        for t, of, f in told
        if of == "liquidation"
    ]
    frame = pd.DataFrame(forced, columns=["t", "side", "value"])
    first = frame.t.iloc[0]

    def total(side: int, s: int) -> pd.Series:
        of = frame[frame.side == side]
        cumulated = np.concatenate([[0.0], of.value.cumsum().to_numpy()])
        ends = (
            cumulated[np.searchsorted(of.t, at, side="right")]
            - cumulated[np.searchsorted(of.t, at - s * S, side="right")]
        )
        return pd.Series(ends, index=at.index).where(at - first >= s * S)

    out["liquidation_buy_1m"], out["liquidation_sell_1m"] = total(1, 60), total(-1, 60)
    buys, sells = total(1, 300), total(-1, 300)
    out["liquidation_imbalance_5m"] = ((buys - sells) / (buys + sells)).where(buys + sells > 1e-6)
    return out


@pytest.mark.parametrize("instrument", CONTRACTS, ids=["linear", "linear of 0.01", "inverse"])
@pytest.mark.parametrize("grid_us", [S, S // 2])
def test_every_feature_is_what_pandas_computes(instrument: Instrument, grid_us: int) -> None:
    told = messages(grid_us % 7 + int(instrument.contract_size))
    found = rows(told, instrument, grid_us)
    wanted = expected(told, instrument, pd.Series(found.index, index=found.index))
    for name in wanted:
        nulls = wanted[name].isna()
        assert (found[name].isna() == nulls).all(), name
        assert nulls.any(), name
        assert not nulls.all() or (name == "funding_annualised" and instrument.funding_hours == 0), name
        np.testing.assert_allclose(found[name][~nulls], wanted[name][~nulls], rtol=1e-9, atol=1e-6, err_msg=name)


def test_a_symbol_that_hears_nothing_of_these_kinds_has_no_row_and_no_state() -> None:
    engine = Engine(Instrument(funding_hours=8), S)
    engine.trade(MIDNIGHT, 100.0, 1.0, 1)
    assert "derivatives" not in {view.name for view, _ in engine.emit(MIDNIGHT + S)}
    assert "derivatives" not in engine.save()
    engine.contract.lose(MIDNIGHT + S, if_heard=True)
    assert "derivatives" not in engine.save()


def test_minutes_to_funding_are_those_of_technical_and_follow_what_the_venue_tells() -> None:
    engine = Engine(Instrument(funding_hours=8), S)
    engine.trade(MIDNIGHT, 100.0, 1.0, 1)
    engine.tell_contract(MIDNIGHT + S, mark=100.0, settled_us=MIDNIGHT + 3600 * S)
    engine.tell_contract(MIDNIGHT, settled_us=MIDNIGHT + 60 * S)  # comes behind a newer one
    found = {view.name: dict(zip(view.names, values, strict=True)) for view, values in engine.emit(MIDNIGHT + 60 * S)}
    assert found["derivatives"]["minutes_to_funding"] == found["technical"]["minutes_to_funding"] == 59.0


def test_a_rate_counts_no_longer_than_until_the_settlement_that_it_was_told_for() -> None:
    engine = Engine(Instrument(funding_hours=8), S)
    engine.tell_contract(MIDNIGHT, funding_rate=0.0001, settled_us=MIDNIGHT + 2 * S)

    def rate(second: int) -> float:
        ((_, row), *_) = [found for found in engine.emit(MIDNIGHT + second * S) if found[0] is DERIVATIVES]
        return float(row[DERIVATIVES.index["funding_rate"]])

    assert rate(1) == 0.0001
    assert isnan(rate(2))
    engine.tell_contract(
        MIDNIGHT + 2 * S + 1, funding_rate=0.0002, settled_us=MIDNIGHT + 2 * S
    )  # the venue's word is old
    assert rate(3) == 0.0002
