"""The kernel as a whole: a second implementation, restarts, order of calls, plain and compiled, start dates, truncation."""

from __future__ import annotations

import importlib.util
import random
import sys
from math import isnan
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.transforms.modes import assert_same_bits
from transforms.catalog import ORDER_FLOW
from transforms.instrument import Instrument
from transforms.kernel import DAY_US, Vector, from_bytes, to_bytes, zeros
from transforms.order_flow import kernel

HERE = Path(__file__).parent
BY_ORIGIN = {"vpin", "vpin_bvc", "trade_rate_10s", "cvd", "vwap_session", "vwap_dev_bps", "session_complete"}
"""Features that are not functions of a fixed window."""
BY_SAMPLE = {"kyle_lambda_5m", "roll_spread_5m", "effective_spread_bps_1m", "realized_spread_bps_5s"}
"""Features that are given as soon as their sample is large enough, while their window fills."""
BY_SIDE = {name for name in ORDER_FLOW.names if name.startswith(("buy_", "sell_", "delta_", "trade_flow_", "side_"))}
"""Features of sides: the tick rule has no direction before the first change of price after the start."""


def load(name: str) -> ModuleType:
    """A module of this folder."""
    spec = importlib.util.spec_from_file_location(f"order_flow_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tape() -> ModuleType:
    """The module ``tape``, which is also run as a program."""
    return load("tape")


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    """The module ``oracle``."""
    return load("oracle")


def rows(
    tape: ModuleType,
    events: list[Any],
    *,
    bucket_us: int = 1_000_000,
    vpin_bucket: float | None = None,
    restart: float = 0.0,
    skip: float = 0.0,
    repeat: bool = False,
) -> dict[int, bytes]:
    """Rows of ``events`` by their times: restarted from bytes, rows left out at random, every row emitted twice."""
    rng = random.Random(1)
    state: Vector = kernel.init(Instrument(vpin_bucket=vpin_bucket), bucket_us)
    row = zeros(kernel.FEATURES)
    out: dict[int, bytes] = {}
    ends = [e.t_us for e in events[1:]] + [events[-1].t_us + 1]
    for event, following_us in zip(events, ends, strict=True):
        tape.step(state, event)
        if rng.random() < restart:
            state = from_bytes(to_bytes(state))
        for t in tape.boundaries(event.t_us, following_us, bucket_us):
            if rng.random() >= skip:
                kernel.emit(state, t, row)
                out[t] = to_bytes(row)
                if repeat:
                    before = to_bytes(state)
                    kernel.emit(state, t, row)
                    assert to_bytes(row) == out[t]
                    assert to_bytes(state) == before
    return out


def named(row: bytes) -> dict[str, float | None]:
    """A row's values by name, None where null."""
    return {n: None if isnan(x) else float(x) for n, x in zip(ORDER_FLOW.names, from_bytes(row), strict=True)}


def test_before_the_first_trade_everything_is_null(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101)
    assert set(feed.row(5).values()) == {None}
    assert feed.state[0] == 0.0


def test_the_state_tells_the_newest_trade_and_no_book(new_feed: Any) -> None:
    feed = new_feed().trade(1.25).quote(2, 99, 101).invalid(3)
    assert feed.state[0] == 1_250_000.0


def test_a_state_takes_tens_of_kilobytes(new_feed: Any) -> None:
    assert len(to_bytes(new_feed().state)) < 64 * 1024


@pytest.mark.parametrize("bucket_us", [0, -1, 300_000, 2_000_000])
def test_a_bucket_that_does_not_divide_a_second_is_refused(bucket_us: int) -> None:
    with pytest.raises(ValueError, match="whole number of buckets"):
        kernel.init(Instrument(), bucket_us)


@pytest.mark.parametrize("seed", [21, 22, 23])
def test_rows_agree_with_a_second_implementation_without_state(tape: ModuleType, oracle: ModuleType, seed: int) -> None:
    events = tape.events(1200, seed=seed)
    slow = oracle.Oracle(
        [e for e in events if isinstance(e, tape.Quote)], [e for e in events if isinstance(e, tape.Trade)]
    )
    first_us = slow.trades[0].t_us
    every = rows(tape, events)
    for t in random.Random(seed).sample([t for t in every if t >= first_us], 70):
        row = named(every[t])
        for name, expected in slow.row(t).items():
            assert row[name] == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9)), (name, t)


@pytest.mark.parametrize("bucket_us", [1_000_000, 100_000])
def test_restarted_from_bytes_at_random_points_the_rows_are_the_same_bits(tape: ModuleType, bucket_us: int) -> None:
    events = tape.events(2000, seed=2)
    skip = 0.8 if bucket_us < 1_000_000 else 0.0
    every = rows(tape, events, bucket_us=bucket_us, skip=skip, vpin_bucket=2.0)
    # the generator also draws for each event, so that the same rows are left out
    assert rows(tape, events, bucket_us=bucket_us, skip=skip, vpin_bucket=2.0, restart=0.2) == every


def test_emitting_twice_gives_the_same_row_and_state(tape: ModuleType) -> None:
    events = tape.events(2000, seed=3)
    assert rows(tape, events, repeat=True) == rows(tape, events)


@pytest.mark.parametrize("vpin_bucket", [None, 2.0])
def test_rows_left_out_change_no_later_row(tape: ModuleType, vpin_bucket: float | None) -> None:
    events = tape.events(2000, seed=4)
    every, some = (rows(tape, events, vpin_bucket=vpin_bucket, skip=s) for s in (0.0, 0.7))
    assert 0 < len(some) < len(every)
    assert some == {t: every[t] for t in some}


def test_a_row_knows_nothing_of_later_events(tape: ModuleType) -> None:
    events = tape.events(2000, seed=5)
    every = rows(tape, events)
    for cut in (400, 1100, 1999):
        part = rows(tape, events[:cut])
        # of the last event's own time others may follow in the tape
        known = {t: row for t, row in part.items() if t < events[cut].t_us}
        assert known == {t: every[t] for t in known}


def test_rows_do_not_depend_on_when_the_process_started(tape: ModuleType) -> None:
    """From starts in the first day. VPIN's V comes from the second: with it known, 70 buckets on, all bits are equal."""
    events = tape.events(6000, seed=6)
    every = rows(tape, events)
    rate = ORDER_FLOW.index["trade_rate_10s"] * 8
    for start in (50, 400, 1200):
        late = rows(tape, events[start:])
        first_us = next(e.t_us for e in events[start:] if isinstance(e, tape.Trade))
        third_day = (first_us // DAY_US + 2) * DAY_US
        equal = 0
        for t, row in late.items():
            if t < first_us:
                continue
            mine, reference = named(row), named(every[t])
            for name in ORDER_FLOW.names:
                if name not in BY_ORIGIN | BY_SAMPLE | BY_SIDE:
                    assert mine[name] is None or mine[name] == reference[name], name  # never another number
                elif name not in BY_ORIGIN and t >= first_us + 310_000_000:
                    assert mine[name] == reference[name], name
            if t >= third_day and mine["vpin_bvc"] is not None:
                assert row[:rate] + row[rate + 8 :] == every[t][:rate] + every[t][rate + 8 :]
                assert mine["trade_rate_10s"] == pytest.approx(reference["trade_rate_10s"], rel=1e-12)
                equal += 1
        assert equal > 100


def test_the_tape_reaches_every_feature_and_every_null(tape: ModuleType) -> None:
    """The tests above would be empty if the tape did not."""
    seen = [named(row) for row in rows(tape, tape.events(6000, seed=6)).values()]
    never_null = {"trade_rate_10s", "session_complete", "trade_valid"}
    begun = [row for row in seen if row["trade_rate_10s"] is not None]
    for name in ORDER_FLOW.names:
        values = {row[name] for row in begun}
        assert len(values) > {"session_complete": 1, "trade_valid": 0}.get(name, 10), name
        assert (None in values) == (name not in never_null), name


def test_every_value_lies_in_the_range_of_the_catalogue(tape: ModuleType) -> None:
    for row in rows(tape, tape.events(3000, seed=8), vpin_bucket=1.5).values():
        for feature, value in zip(ORDER_FLOW.features, named(row).values(), strict=True):
            assert value is None or feature.low <= value <= feature.high, feature.name


def test_plain_python_and_compiled_code_write_the_same_bits() -> None:
    assert_same_bits(HERE / "tape.py")
