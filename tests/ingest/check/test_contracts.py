"""What venues tell of contracts in the checks: legs that come seconds late, liquidations that are missed, and a later start."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from ingest.check.lookahead import lookahead
from ingest.check.warmup import warmup
from ingest.messages.contract_kinds import Derivatives
from ingest.messages.kinds import Gap
from ingest.simulate import history
from ingest.simulate.history import MARKET
from transforms.instrument import Instrument

from .conftest import CONF, MIDNIGHT

PERP = replace(CONF, instruments={"SIM-BTC": Instrument(funding_hours=8)})
SECONDS = 1500


def arrivals(late_ms: int) -> list[tuple[str, Any]]:
    """A market in the order of arrival: what is told of contracts comes up to so much late, and liquidations are missed for a minute."""
    rng = random.Random(late_ms)
    begin = MIDNIGHT - SECONDS * 500
    told: list[tuple[int, str, Any]] = []
    for kind, message in history(begin, begin + SECONDS * 1000, symbols=("SIM-BTC",), seed=9, kinds=MARKET):
        is_late = kind in ("derivatives", "liquidation")
        told.append((message.timestamp + (rng.randrange(late_ms + 1) if is_late else 0), kind, message))
    missed = begin + 400_000
    told = [one for one in told if one[1] != "liquidation" or not missed < one[2].timestamp <= missed + 60_000]
    gap = Gap(missed + 60_000, "SIM-BTC", channel="liquidation", since=missed)
    told.append((missed, "gap", gap))
    told.sort(key=lambda one: one[0])
    return [(kind, message) for _, kind, message in told]


@pytest.mark.parametrize("late_ms", [0, 1000, 10_000])
def test_no_row_sees_its_future_however_late_a_leg_is(late_ms: int) -> None:
    found = {result.feature: result for result in lookahead(arrivals(late_ms), PERP) if result.view == "derivatives"}
    assert [name for name, result in found.items() if result.differing] == []
    assert (
        min(found[name].values for name in ("basis_bps", "last_basis_bps", "oi_change_5m", "liquidation_buy_1m")) > 50
    )


@pytest.mark.parametrize("late_ms", [0, 10_000])
def test_no_value_depends_on_the_start_once_it_is_warm(late_ms: int) -> None:
    found = {result.feature: result for result in warmup(arrivals(late_ms), PERP) if result.view == "derivatives"}
    assert [name for name, result in found.items() if result.differing] == []
    for name in (
        "basis_bps",
        "funding_rate",
        "minutes_to_funding",
        "open_interest",
        "oi_change_5m",
        "liquidation_imbalance_5m",
    ):
        assert found[name].values > 100, name


def test_a_leg_that_stays_away_for_longer_than_a_minute_makes_null_what_it_must() -> None:
    stays = [
        (kind, message)
        for kind, message in arrivals(0)
        if not (isinstance(message, Derivatives) and message.mark and message.timestamp > MIDNIGHT)
    ]
    found = {result.feature: result for result in lookahead(stays, PERP) if result.view == "derivatives"}
    whole = {result.feature: result for result in lookahead(arrivals(0), PERP) if result.view == "derivatives"}
    assert found["basis_bps"].values < 0.7 * whole["basis_bps"].values
    assert found["open_interest"].values > 0.9 * whole["open_interest"].values
