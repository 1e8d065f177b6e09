"""A feed to drive the technical kernel by hand: seconds, prices, sizes, and rows by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.transforms.hand_feed import KernelFeed
from transforms.catalog import TECHNICAL
from transforms.instrument import Instrument
from transforms.technical import kernel


class HandFeed(KernelFeed):
    """One symbol's kernel; times in seconds."""

    kernel, view = kernel, TECHNICAL

    def __init__(
        self, bucket_us: int = 1_000_000, digits: int = 8, profile_row: float | None = None, funding_hours: int = 0
    ) -> None:
        instrument = Instrument(size_digits=digits, profile_row=profile_row, funding_hours=funding_hours)
        self.state = kernel.init(instrument, bucket_us)

    def trade(self, t: float, price: float, size: float = 1.0) -> HandFeed:
        """Fold in a trade."""
        kernel.step_trade(self.state, round(t * 1e6), price, size)
        return self


@pytest.fixture
def new_feed() -> Callable[..., HandFeed]:
    """Makes a fresh kernel to feed by hand."""
    return HandFeed


@pytest.fixture
def feed() -> HandFeed:
    """A fresh kernel on a grid of one second."""
    return HandFeed()
