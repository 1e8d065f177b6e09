"""Rows of the price axis: decimals as they are written, not as doubles come out."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from transforms.technical import price_grid

HEIGHTS = ["1", "2", "5", "0.5", "0.25", "0.05", "0.02", "1e-4", "1e-8", "12.5"]


@given(st.integers(1, 10**9), st.integers(0, 8), st.sampled_from(HEIGHTS))
def test_a_decimal_price_is_in_the_row_that_decimal_arithmetic_says(units: int, digits: int, height: str) -> None:
    price = Decimal(units).scaleb(-digits)
    assume(price / Decimal(height) < 10**11)  # beyond it rows and roundings are of one size
    num, den = price_grid.fraction(float(height))
    row = price_grid.row_of(float(price), num, den)
    assert row == math.floor(price / Decimal(height))
    assert price_grid.edge(row, num, den) == float(row_edge := Decimal(int(row)) * Decimal(height))
    assert row_edge <= price


@pytest.mark.parametrize(
    ("price", "height"),
    [
        (61583.22, 5.0),  # 1 bp is 6.158322
        (50000.0, 5.0),  # 1 bp exactly
        (49999.99, 2.0),
        (20000.0, 2.0),
        (10000.0, 1.0),
        (9999.0, 0.5),
        (2.0, 0.0002),
        (0.5, 0.00005),
        (0.3, 0.00002),
        (0.00001234, 1e-9),
        (1e-300, 1e-18),
        (1e300, 5e18),
    ],
)
def test_the_default_row_is_the_largest_1_2_5_within_a_basis_point(price: float, height: float) -> None:
    num, den = price_grid.default_height(price)
    assert num / den == height


@pytest.mark.parametrize("height", [0.0, -1.0, math.nan, math.inf])
def test_a_height_that_is_none_is_refused(height: float) -> None:
    with pytest.raises(ValueError, match="finite height above 0"):
        price_grid.fraction(height)


@pytest.mark.parametrize("price", [5e-324, 1e-300, 1e300, 1.7e308])
def test_a_price_from_nowhere_has_a_row(price: float) -> None:
    for height in (1e-8, 0.05, 5.0):
        row = price_grid.row_of(price, *price_grid.fraction(height))
        assert 0.0 <= row <= price_grid.FARTHEST
