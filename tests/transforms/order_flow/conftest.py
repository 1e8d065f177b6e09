"""A feed to drive the order flow kernel by hand: seconds, quotes, trades, and rows by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.transforms.hand_feed import KernelFeed
from transforms.catalog import ORDER_FLOW
from transforms.instrument import Instrument
from transforms.order_flow import kernel


class HandFeed(KernelFeed):
    """One symbol's kernel; times in seconds."""

    kernel, view = kernel, ORDER_FLOW

    def __init__(self, vpin_bucket: float | None = None, bucket_us: int = 1_000_000, digits: int = 8) -> None:
        self.state = kernel.init(Instrument(size_digits=digits, vpin_bucket=vpin_bucket), bucket_us)

    def quote(self, t: float, bid: float, ask: float) -> HandFeed:
        """Fold in a book."""
        kernel.step_quote(self.state, round(t * 1e6), bid, ask)
        return self

    def invalid(self, t: float) -> HandFeed:
        """The book is unknown from ``t`` on."""
        kernel.step_quote_invalid(self.state, round(t * 1e6))
        return self

    def trade(self, t: float, price: float = 100.0, size: float = 1.0, side: int = 1) -> HandFeed:
        """Fold in a trade."""
        kernel.step_trade(self.state, round(t * 1e6), price, size, side)
        return self


@pytest.fixture
def new_feed() -> Callable[..., HandFeed]:
    """Makes a fresh kernel to feed by hand."""
    return HandFeed
