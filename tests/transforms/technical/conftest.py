"""A feed to drive the technical kernel by hand: seconds, prices, sizes, and rows by name."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan

import pytest

from transforms.catalog import TECHNICAL
from transforms.instrument import Instrument
from transforms.kernel import from_bytes, to_bytes, zeros
from transforms.technical import kernel

Row = dict[str, float | None]


class HandFeed:
    """One symbol's kernel; times in seconds."""

    def __init__(self, bucket_us: int = 1_000_000, digits: int = 8, profile_row: float | None = None) -> None:
        self.state = kernel.init(Instrument(size_digits=digits, profile_row=profile_row), bucket_us)

    def trade(self, t: float, price: float, size: float = 1.0) -> HandFeed:
        """Fold in a trade."""
        kernel.step_trade(self.state, round(t * 1e6), price, size)
        return self

    def row(self, t: float) -> Row:
        """The row of ``t``, None where null."""
        out = zeros(len(TECHNICAL.features))
        kernel.emit(self.state, round(t * 1e6), out)
        return {name: None if isnan(x) else float(x) for name, x in zip(TECHNICAL.names, out, strict=True)}

    def restart(self) -> None:
        """Save the state as bytes and go on from them."""
        self.state = from_bytes(to_bytes(self.state))


@pytest.fixture
def new_feed() -> Callable[..., HandFeed]:
    """Makes a fresh kernel to feed by hand."""
    return HandFeed


@pytest.fixture
def feed() -> HandFeed:
    """A fresh kernel on a grid of one second."""
    return HandFeed()
