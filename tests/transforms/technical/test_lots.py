"""Sizes as whole lots in the volume profile and in relative volume."""

from __future__ import annotations

import pytest

from transforms.technical.lots import lots


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
