"""The ring of buckets, against a list of every event."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms import window
from transforms.kernel import zeros

N, K, OFFSET = 6, 2, 3


def ring() -> Any:
    """A state with a ring of 6 buckets of 2 channels from slot 3, and a slot behind it."""
    return zeros(OFFSET + window.size(N, K) + 1)


@pytest.mark.parametrize(
    ("t_us", "b"), [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (2_000_000, 2), (3_599_999_999, 3600)]
)
def test_a_bucket_is_open_on_the_left_and_closed_on_the_right(t_us: int, b: int) -> None:
    assert window.bucket(t_us, 1_000_000) == b


def test_a_bucket_of_this_century_is_exact() -> None:
    t = 1_723_161_254_300_000
    assert [window.bucket(t + d, 100_000) for d in (-1, 0, 1)] == [t // 100_000, t // 100_000, t // 100_000 + 1]


def test_a_total_sums_its_channel_over_the_last_buckets() -> None:
    state = ring()
    for b in range(10, 16):
        window.advance(state, OFFSET, N, K, b)
        at = window.slot(OFFSET, N, K, b)
        state[at] = float(b)
        state[at + 1] = 100.0 * b
    assert window.total(state, OFFSET, N, K, 0, 15, 1) == 15
    assert window.total(state, OFFSET, N, K, 0, 15, 3) == 13 + 14 + 15
    assert window.total(state, OFFSET, N, K, 1, 15, 6) == 100 * (10 + 11 + 12 + 13 + 14 + 15)


def test_advancing_to_a_bucket_passed_already_changes_nothing() -> None:
    state = ring()
    window.advance(state, OFFSET, N, K, 9)
    state[window.slot(OFFSET, N, K, 9)] = 4.0
    before = list(state)
    window.advance(state, OFFSET, N, K, 9)
    window.advance(state, OFFSET, N, K, 5)
    assert list(state) == before


EVENTS = st.lists(st.tuples(st.integers(0, 25), st.integers(1, 9), st.booleans()), max_size=40)


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, start=st.integers(0, 2**40), w=st.integers(1, N))
def test_a_total_equals_the_sum_over_a_list_whatever_the_steps(
    events: list[tuple[int, int, bool]], start: int, w: int
) -> None:
    state = ring()
    b = start
    seen: list[tuple[int, int]] = []
    for step, value, read in events:
        b += step if step > 9 else step // 4  # ties, neighbours, leaps over the whole ring
        window.advance(state, OFFSET, N, K, b)
        state[window.slot(OFFSET, N, K, b) + 1] += float(value)
        seen.append((b, value))
        if read:
            expected = sum(v for at, v in seen if b - w < at <= b)
            assert window.total(state, OFFSET, N, K, 1, b, w) == expected
    assert window.total(state, OFFSET, N, K, 0, b, 1) == 0.0
    assert list(state)[:OFFSET] == [0.0] * OFFSET
    assert list(state)[-1] == 0.0
