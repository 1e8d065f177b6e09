"""Sizes as whole lots."""

from __future__ import annotations

import pytest

from transforms.lots import lots, whole


def test_a_size_becomes_the_nearest_whole_number_of_lots() -> None:
    assert 0.29 * 100 != 29.0
    assert lots(0.29, 100.0) == 29.0
    assert lots(0.004, 100.0) == 0.0
    assert lots(0.005, 100.0) == 1.0


@pytest.mark.parametrize("n", [2.0**52 - 1, 2.0**52 + 1, 2.0**53 - 1, 2.0**53])
def test_a_whole_number_of_lots_is_itself(n: float) -> None:
    assert lots(n, 1.0) == n


def test_past_what_a_double_counts_a_size_stays_what_it_is() -> None:
    """1e12 coins of a millionth each are 1e20 lots of 1e-8, and none of them is left out."""
    assert lots(1e12, 1e8) == 1e20


def test_a_number_becomes_the_nearest_whole_one() -> None:
    assert 0.29 * 100 != 29.0
    assert whole(0.29 * 100) == 29.0
    assert whole(0.5) == 1.0
    assert whole(2.5) == 3.0
    assert whole(0.49) == 0.0
    assert whole(0.4999) == 0.0
    assert whole(2.0**53 - 1) == 2.0**53 - 1


def test_beyond_the_integers_of_a_machine_a_number_stays_what_it_is() -> None:
    assert whole(1e25) == 1e25
