"""The as-of join on columns, against the definition written as a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.stores.offline.join.asof import NONE, latest


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_the_row_at_the_very_moment_holds_and_so_does_one_as_old_as_the_ttl() -> None:
    found = latest(ints(9, 10, 19, 15, 25, 26), ints(10, 20), ints(10, 20), 5, known=False)
    assert found.tolist() == [NONE, 0, NONE, 0, 1, NONE]


def test_a_correction_is_seen_from_when_it_was_made_and_the_earlier_value_before() -> None:
    # Event 10 is written at 12, corrected at 30; event 20 arrives at 40 only.
    event, created = ints(10, 10, 20), ints(12, 30, 40)
    moments = ints(11, 12, 29, 30, 39, 40)
    assert latest(moments, event, created, 0, known=True).tolist() == [NONE, 0, 0, 1, 1, 2]
    assert latest(moments, event, created, 0, known=False).tolist() == [1, 1, 2, 2, 2, 2]


def test_a_day_that_arrived_a_day_late_is_skipped_without_walking_it() -> None:
    n = 86_400
    event = np.arange(n, dtype=np.int64)
    created = np.where(event < 100, event, event + n)
    found = latest(event, event, created, 0, known=True)
    assert found.tolist() == np.minimum(event, 99).tolist()


def test_known_rows_need_a_created_time() -> None:
    with pytest.raises(ValueError, match="created times"):
        latest(ints(1), ints(1), None, 0, known=True)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 25)), max_size=40),
    st.lists(st.integers(0, 40), max_size=10),
    st.integers(0, 10),
    st.booleans(),
)
def test_it_is_the_latest_of_all_rows_that_may_hold(
    rows: list[tuple[int, int]], moments: list[int], ttl: int, known: bool
) -> None:
    rows = sorted((event, event + delay) for event, delay in rows)
    columns = np.array(rows, np.int64).reshape(-1, 2).T
    found = latest(np.array(moments, np.int64), columns[0], columns[1], ttl, known=known)
    for moment, position in zip(moments, found.tolist(), strict=True):
        may = [
            i
            for i, (event, created) in enumerate(rows)
            if event <= moment and (not ttl or event >= moment - ttl) and (not known or created <= moment)
        ]
        assert position == max(may, default=NONE)
