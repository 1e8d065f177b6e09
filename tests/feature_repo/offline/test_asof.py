"""The as-of join on columns, against the definition written as a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.stores.asof import NONE, latest


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_the_row_at_the_very_moment_holds_and_so_does_one_as_old_as_the_ttl() -> None:
    rows = ints(0, 0), ints(10, 20), ints(10, 20)
    found = latest(ints(0, 0, 0, 0, 0), ints(9, 10, 19, 25, 26), *rows, 5, known=False)
    assert found.tolist() == [NONE, 0, NONE, 1, NONE]


def test_a_correction_is_seen_from_when_it_was_made_and_the_earlier_value_before() -> None:
    # Event 10 is written at 12, corrected at 30; event 20 arrives at 40 only.
    rows = ints(0, 0, 0), ints(10, 10, 20), ints(12, 30, 40)
    moments = ints(11, 12, 29, 30, 39, 40)
    assert latest(np.zeros(6, np.int64), moments, *rows, 0, known=True).tolist() == [NONE, 0, 0, 1, 1, 2]
    assert latest(np.zeros(6, np.int64), moments, *rows, 0, known=False).tolist() == [1, 1, 2, 2, 2, 2]


def test_a_day_that_arrived_a_day_late_is_skipped_without_walking_it() -> None:
    n = 86_400
    event = np.arange(n, dtype=np.int64)
    created = np.where(event < 100, event, event + n)
    found = latest(np.zeros(n, np.int64), event, np.zeros(n, np.int64), event, created, 0, known=True)
    assert found.tolist() == np.minimum(event, 99).tolist()


def test_times_too_far_apart_for_one_number_are_ranked() -> None:
    far = 2**61
    found = latest(ints(0, 5, 7), ints(far, far, far), ints(0, 5, 5), ints(-far, 0, far), ints(0, 0, 0), 0, known=False)
    assert found.tolist() == [0, 2, NONE]


def test_known_rows_need_a_created_time() -> None:
    with pytest.raises(ValueError, match="row_created"):
        latest(ints(0), ints(1), ints(0), ints(1), None, 0, known=True)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 25)), max_size=40),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=10),
    st.integers(0, 10),
    st.booleans(),
)
def test_it_is_the_latest_of_all_rows_that_may_hold(
    rows: list[tuple[int, int, int]], asked: list[tuple[int, int]], ttl: int, known: bool
) -> None:
    rows = sorted((key, event, event + delay) for key, event, delay in rows)
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    lookups = np.array(asked, np.int64).reshape(-1, 2).T
    found = latest(lookups[0], lookups[1], columns[0], columns[1], columns[2], ttl, known=known)
    for (key, moment), position in zip(asked, found.tolist(), strict=True):
        may = [
            i
            for i, (row_key, event, created) in enumerate(rows)
            if row_key == key
            and event <= moment
            and (not ttl or event >= moment - ttl)
            and (not known or created <= moment)
        ]
        assert position == max(may, default=NONE)
