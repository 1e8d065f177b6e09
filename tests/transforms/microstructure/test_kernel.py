"""The kernel as a whole: restarts, order of calls, plain and compiled, the start's date, and what came later."""

from __future__ import annotations

import importlib.util
import random
from math import isnan
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.transforms.modes import assert_same_bits
from transforms.catalog import MICROSTRUCTURE
from transforms.instrument import Instrument
from transforms.kernel import Vector, from_bytes, to_bytes, zeros
from transforms.microstructure import kernel

TAPE = Path(__file__).with_name("tape.py")
BIDS = [(100.0 - i / 100, 1.0 + i) for i in range(20)]
ASKS = [(100.01 + i / 100, 2.0 + i) for i in range(20)]


@pytest.fixture(scope="module")
def tape() -> ModuleType:
    """The module ``tape`` of this folder, which is also run as a program."""
    spec = importlib.util.spec_from_file_location("microstructure_tape", TAPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(
    tape: ModuleType,
    events: list[Any],
    *,
    bucket_us: int = 1_000_000,
    restart: float = 0.0,
    skip: float = 0.0,
    repeat: bool = False,
) -> dict[int, bytes]:
    """Rows of ``events`` by their times: restarted from bytes, rows left out at random, every row emitted twice."""
    rng = random.Random(1)
    state: Vector = kernel.init(Instrument(size_digits=8), bucket_us, tape.table())
    row = zeros(kernel.FEATURES)
    out: dict[int, bytes] = {}
    boundary = (events[0][0] // bucket_us + 1) * bucket_us
    for event in events:
        while event[0] > boundary:
            if rng.random() >= skip:
                kernel.emit(state, boundary, row)
                out[boundary] = to_bytes(row)
                if repeat:
                    before = to_bytes(state)
                    kernel.emit(state, boundary, row)
                    assert to_bytes(row) == out[boundary]
                    assert to_bytes(state) == before
            boundary += bucket_us
        tape.step(state, event)
        if rng.random() < restart:
            state = from_bytes(to_bytes(state))
    return out


def named(row: bytes) -> dict[str, float | None]:
    """A row's values by name, None where null."""
    return {n: None if isnan(x) else float(x) for n, x in zip(MICROSTRUCTURE.names, from_bytes(row), strict=True)}


def test_before_the_first_event_everything_is_null(new_feed: Any) -> None:
    assert set(new_feed().row(5).values()) == {None}


def test_after_an_invalid_book_only_its_flag_is_not_null(new_feed: Any) -> None:
    feed = new_feed().book(1, BIDS, ASKS).book(1.5, BIDS, ASKS)
    assert feed.row(2)["book_valid"] == 1.0
    feed.invalid(2.5)
    row = feed.row(3)
    assert row.pop("book_valid") == 0.0
    assert set(row.values()) == {None}
    assert feed.book(3.5, BIDS, ASKS).row(4)["book_valid"] == 1.0


def test_a_feed_that_begins_invalid_is_invalid_and_not_unknown(new_feed: Any) -> None:
    assert new_feed().invalid(1).row(1)["book_valid"] == 0.0


def test_the_state_tells_the_newest_event_of_the_feed_good_or_not(new_feed: Any) -> None:
    feed = new_feed()
    assert feed.state[0] == 0.0
    assert feed.book(1.25, BIDS, ASKS).state[0] == 1_250_000.0
    assert feed.invalid(2.5).state[0] == 2_500_000.0


def test_a_full_book_for_a_minute_leaves_only_the_microprice_and_far_depth_null(new_feed: Any) -> None:
    feed = new_feed().book(1, BIDS, ASKS).book(60.5, BIDS, ASKS)
    nulls = {name for name, x in feed.row(61).items() if x is None}
    # 20 levels of 1 bp reach 19 bps
    assert nulls == {"microprice", "depth_bid_25bps", "depth_ask_25bps", "depth_bid_50bps", "depth_ask_50bps"}


@pytest.mark.parametrize("bucket_us", [0, -1, 300_000, 2_000_000])
def test_a_bucket_that_does_not_divide_a_second_is_refused(bucket_us: int) -> None:
    with pytest.raises(ValueError, match="whole number of buckets"):
        kernel.init(Instrument(), bucket_us)


def test_what_stands_in_the_book_behind_its_levels_changes_nothing(new_feed: Any, flat_book: Any) -> None:
    clean, dirty = new_feed(), new_feed()
    for t in (1, 2):
        clean.book(t, BIDS[:3], ASKS[:2])
        book = flat_book(BIDS, ASKS)
        kernel.step_book(dirty.state, t * 1_000_000, book, 3, 2)
    assert to_bytes(clean.state) == to_bytes(dirty.state)


@pytest.mark.parametrize("bucket_us", [1_000_000, 100_000])
def test_restarted_from_bytes_at_random_points_the_rows_are_the_same_bits(tape: ModuleType, bucket_us: int) -> None:
    events = tape.events(3000, seed=2)
    assert rows(tape, events, bucket_us=bucket_us, restart=0.1) == rows(tape, events, bucket_us=bucket_us)


def test_emitting_twice_gives_the_same_row_and_state(tape: ModuleType) -> None:
    events = tape.events(3000, seed=3)
    assert rows(tape, events, repeat=True) == rows(tape, events)


def test_rows_left_out_change_no_later_row(tape: ModuleType) -> None:
    events = tape.events(3000, seed=4)
    every, some = rows(tape, events), rows(tape, events, skip=0.7)
    assert 0 < len(some) < len(every)
    assert some == {t: every[t] for t in some}


def test_a_row_knows_nothing_of_later_events(tape: ModuleType) -> None:
    events = tape.events(3000, seed=5)
    every = rows(tape, events)
    for cut in (500, 1500, 2999):
        part = rows(tape, events[:cut])
        assert part == {t: every[t] for t in part}


def test_rows_do_not_depend_on_when_the_process_started(tape: ModuleType) -> None:
    events = tape.events(3000, seed=6)
    every = rows(tape, events)
    for start in (100, 700, 2000):
        late = rows(tape, events[start:])
        warm_from = next(t for t, book, _, _ in events[start:] if book is not None) + 60_000_000
        compared = 0
        for t, row in late.items():
            both = zip(named(row).items(), named(every[t]).items(), strict=True)
            if t >= warm_from:
                assert row == every[t]
                compared += 1
            else:  # null or the same, never another number
                assert all(x is None or x == y for (_, x), (_, y) in both)
        assert compared > 100


def test_the_tape_reaches_every_feature_and_every_null(tape: ModuleType) -> None:
    """The four tests above would be empty if the tape did not."""
    seen = [named(row) for row in rows(tape, tape.events(3000, seed=6)).values()]
    for name in MICROSTRUCTURE.names:
        values = {row[name] for row in seen}
        assert len(values) > 2 or name == "book_valid"
        assert (None in values) == (name != "book_valid")


def test_plain_python_and_compiled_code_write_the_same_bits() -> None:
    assert_same_bits(TAPE)
