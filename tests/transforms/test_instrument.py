"""What the digits of a size change, and what they do not: why they are not learnt."""

from __future__ import annotations

import random
import struct

import pytest

from transforms.catalog import MICROSTRUCTURE, ORDER_FLOW, TECHNICAL
from transforms.engine import Engine
from transforms.instrument import Instrument

SECOND = 1_000_000
MINUTE = 28_333_440 * 60
"""A midnight, s, so that the session is heard from its beginning."""
SUMS = (
    *(name for name in MICROSTRUCTURE.names if "ofi" in name),
    "buy_volume_1m", "sell_volume_1m", "delta_volume_1s", "delta_volume_1m", "delta_volume_5m", "cvd", "avg_trade_size_1m",
    "trade_flow_imbalance_1m", "trade_flow_imbalance_5m", "vpin", "volume_profile", "poc", "value_area_low", "value_area_high",
)  # fmt: skip
"""Sums of sizes, and ratios of two sums."""
PRODUCTS = ("kyle_lambda_5m", "effective_spread_bps_1m", "realized_spread_bps_5s", "vwap_1m", "vwap_5m", "vwap_session")
"""Sums of sizes times something else."""


def rows(digits: int) -> list[dict[str, float]]:
    """Rows of eight minutes in which every size has two decimals."""
    rng = random.Random(5)
    engine = Engine(Instrument(size_digits=digits, vpin_bucket=40.0), SECOND)
    out = []
    for second in range(MINUTE, MINUTE + 480):
        for k in range(4):
            t_us = second * SECOND + k * 200_000
            mid = 100 + rng.randrange(-5, 6) / 100
            size = rng.randrange(1, 2000) / 100
            if k == 3:
                engine.trade(t_us, mid, size, rng.choice((-1, 0, 1)))
                continue
            levels = [(round(mid - 0.01 * i, 2), rng.randrange(1, 2000) / 100) for i in range(1, 8)]
            engine.book(t_us, levels, [(round(mid + 0.01 * i, 2), size + i) for i in range(1, 8)])
        row: dict[str, float] = {}
        for view, values in engine.emit((second + 1) * SECOND):
            if view in (MICROSTRUCTURE, ORDER_FLOW, TECHNICAL):
                row.update(zip(view.names, map(float, values), strict=True))
        out.append(row)
    return out


@pytest.fixture(scope="module")
def of_two_digits() -> list[dict[str, float]]:
    return rows(2)


@pytest.mark.parametrize("digits", range(3, 9))
def test_sums_of_sizes_have_the_same_bits_whichever_digits_hold_every_size(
    of_two_digits: list[dict[str, float]], digits: int
) -> None:
    finer = rows(digits)
    for name in SUMS:
        mine, theirs = ([struct.pack("d", row[name]) for row in table] for table in (of_two_digits, finer))
        assert mine == theirs, name
        assert of_two_digits[-1][name] == of_two_digits[-1][name], f"{name} is null"
    for name in PRODUCTS:
        assert finer[-1][name] == pytest.approx(of_two_digits[-1][name], rel=1e-12), name
