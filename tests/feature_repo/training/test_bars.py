"""Bars against a loop over every trade, whole and cut into pieces."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest

from feature_repo.training.bars import Bars, BarsError, Kind, Trades, bars_of, moments


def trades(seed: int, n: int = 3000) -> Trades:
    """Trades of tick prices and lots, a quarter without a side, several at one time, three holes."""
    rng = np.random.default_rng(seed)
    t_us = np.cumsum(rng.integers(0, 3, n))
    price = np.round(100 + np.cumsum(rng.integers(-1, 2, n)) * 0.01, 2)
    size = rng.integers(1, 40, n) * 0.1
    side = rng.choice([1, -1, 0], n, p=[0.4, 0.35, 0.25]).astype(np.int8)
    part = np.searchsorted(np.sort(rng.choice(n, 3, replace=False)), np.arange(n), side="right")
    return Trades(t_us, price, size, side, part)


def cut(whole: Trades, at: list[int]) -> list[Trades]:
    columns = (whole.t_us, whole.price, whole.size, whole.side, whole.part)
    return [Trades(*piece) for piece in zip(*(np.split(column, at) for column in columns), strict=True)]


def expected(definition: Bars, of: Trades) -> list[int]:
    """Return the times of the bars, a trade at a time."""
    rows = zip(*(getattr(of, name).tolist() for name in ("t_us", "price", "size", "side", "part")), strict=True)
    total, n, part_before, price_before, sign = 0.0, 0, None, None, 0
    per_bar, per_trade = definition.size, None
    found = []
    for t_us, price, size, side, part in rows:
        if part != part_before:
            total, n, price_before, sign, part_before = 0.0, 0, None, 0, part
        if side:
            sign = side
        elif price_before is not None and price != price_before:
            sign = 1 if price > price_before else -1
        price_before = price
        value = {"tick": 1.0, "volume": size, "dollar": size * price}[definition.kind.partition("_")[0]]
        if not definition.is_imbalance:
            total += value
            if total >= definition.size:
                found.append(t_us)
                total = 0.0
            continue
        total, n = total + sign * value, n + 1
        if per_trade is None:
            if n >= definition.size:
                found.append(t_us)
                per_trade, total, n = total / n, 0.0, 0
        elif abs(total) >= per_bar * abs(per_trade):
            found.append(t_us)
            alpha = 2.0 / (definition.memory + 1)
            per_bar = min(max(per_bar + alpha * (n - per_bar), 0.1 * definition.size), 10 * definition.size)
            per_trade += alpha * (total / n - per_trade)
            total, n = 0.0, 0
    return sorted(set(found))


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("seed", range(4))
def test_bars_equal_a_loop_over_all_trades_however_these_are_cut(kind: Kind, seed: int) -> None:
    size = {"tick": 25.0, "volume": 60.0, "dollar": 5000.0}.get(kind, 20.0)
    definition, whole = Bars(kind, size, 5), trades(seed)
    wanted = expected(definition, whole)
    assert len(wanted) > 5
    assert np.concatenate(list(moments(definition, [whole]))).tolist() == wanted
    at = np.sort(np.random.default_rng(seed).choice(3000, 40)).tolist()  # some pieces are empty
    assert np.concatenate(list(moments(definition, cut(whole, at)))).tolist() == wanted


def test_tenths_add_up_as_a_loop_adds_them() -> None:
    """Ten trades of 0.1 are 0.9999999999999999 from left to right: the eleventh ends the bar."""
    n = 22
    whole = Trades(np.arange(n), np.ones(n), np.full(n, 0.1), np.ones(n, np.int8), np.zeros(n, np.int64))
    assert np.concatenate(list(moments(Bars("volume", 1.0), [whole]))).tolist() == [10, 21]


def test_a_later_trade_changes_no_earlier_bar() -> None:
    for kind in get_args(Kind):
        definition, whole = Bars(kind, 20.0, 5), trades(9)
        all_of_them = np.concatenate(list(moments(definition, [whole])))
        half = np.concatenate(list(moments(definition, cut(whole, [1500])[:1])))
        assert half.tolist() == all_of_them[: len(half)].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "time"}, "no kind of bar"),
        ({"size": 0.0}, "above 0"),
        ({"size": float("nan")}, "above 0"),
        ({"memory": 0}, "a bar or more"),
        ({"kind": "tick_imbalance", "size": 2.5}, "whole number of trades"),
        ({"size": "1"}, "no definition of bars"),
        ({"sizes": 1}, "no definition of bars"),
    ],
)
def test_bars_that_are_none_are_refused(change: dict[str, Any], message: str) -> None:
    given = Bars("dollar", 1000.0).described()
    assert bars_of(json.loads(json.dumps(given))) == Bars("dollar", 1000.0)
    with pytest.raises(BarsError, match=message):
        bars_of({**given, **change})
