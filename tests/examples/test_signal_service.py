"""The example service holds wherever a value is missing, old or absent, and says which."""

from __future__ import annotations

import re

import pytest

from ingest.messages.kinds import Gap, Tick
from ingest.publish.publisher import Publisher
from ingest.simulate import history

T0 = 1_700_000_000_000
GOOD = {"imbalance_l5": 0.7, "spread_pct": 0.001, "price_momentum_1m": 0.0, "volatility_1m": 0.001}


def features(example, **changed):
    given = {**GOOD, **changed}
    return {name: example.Value(value, "PRESENT", 0.3) for name, value in given.items()}


@pytest.mark.parametrize(
    ("changed", "action"),
    [
        ({}, "buy"),
        ({"imbalance_l5": -0.7}, "sell"),
        ({"imbalance_l5": 0.2}, "hold"),
        ({"spread_pct": 0.05}, "hold"),
        ({"price_momentum_1m": -0.002}, "hold"),
    ],
)
def test_the_rule_on_values_that_are_there(signal_service, changed, action) -> None:
    assert signal_service.decide("A", features(signal_service, **changed)).action == action


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize("status", ["OUTSIDE_MAX_AGE", "NOT_FOUND", "NULL_VALUE"])
def test_a_feature_that_is_not_served_is_waited_for(signal_service, name, status) -> None:
    given = features(signal_service)
    given[name] = signal_service.Value(None, status, 90.0)
    assert signal_service.decide("A", given) == signal_service.Signal("A", "hold", f"{name} is {status}")


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_null_is_waited_for_and_never_taken_for_zero(signal_service, name) -> None:
    given = features(signal_service, **{name: None})
    assert signal_service.decide("A", given).why == f"{name} is null"


def publish(pipeline, *, gap: bool) -> None:
    with Publisher(pipeline.client, pipeline.settings.partitions) as publisher:
        for kind, message in history(T0, T0 + 90_000, symbols=("SIM-BTC",), seed=5, kinds=("book", "trade")):
            publisher.publish(kind, message, recorded=True)
        if gap:
            publisher.publish("gap", Gap(T0 + 90_500, "SIM-BTC"), recorded=True)
        publisher.publish("tick", Tick(T0 + 91_000, "SIM-BTC"), recorded=True)


@pytest.mark.parametrize(
    ("gap", "after_s", "why"),
    [
        (False, 0.5, r"imbalance [+-]0\.\d\d"),
        (True, 0.5, "imbalance_l5 is null"),
        (False, 11.0, "imbalance_l5 is OUTSIDE_MAX_AGE"),
        (False, 200.0, "imbalance_l5 is OUTSIDE_MAX_AGE"),
    ],
)
def test_the_service_on_a_real_store_sees_a_value_a_gap_and_a_silent_feed(
    signal_service, store, pipeline, gap, after_s, why
) -> None:
    publish(pipeline, gap=gap)
    pipeline.run()
    now_s = (T0 + 91_000) / 1000 + after_s
    store._get_provider().online_store.clock = lambda: int(now_s * 1e6)
    slept: list[float] = []
    found = list(
        signal_service.signals(
            store, ["SIM-BTC", "NEVER"], every_s=0.5, rounds=2, clock=lambda: now_s, sleep=slept.append
        )
    )
    assert len(found) == 4
    assert found[0].symbol == "SIM-BTC"
    assert re.fullmatch(why, found[0].why)
    assert found[1] == signal_service.Signal("NEVER", "hold", "imbalance_l5 is NOT_FOUND")
    assert slept[0] == 0.5
