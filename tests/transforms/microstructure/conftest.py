"""A feed to drive the kernel by hand: seconds, lists of (price, size), and rows by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.transforms.hand_feed import KernelFeed
from transforms.catalog import MICROSTRUCTURE
from transforms.instrument import Instrument
from transforms.kernel import Vector, vector
from transforms.microstructure import kernel

Side = Sequence[tuple[float, float]]


def flat(bids: Side, asks: Side) -> Vector:
    """The doubles of a book without depths; what is not used holds a number that would show."""
    book = [-7.0] * 80 + [0.0] + [-7.0] * 6
    for at, side in ((0, bids), (40, asks)):
        for i, (price, size) in enumerate(side):
            book[at + i] = price
            book[at + 20 + i] = size
    return vector(book)


class HandFeed(KernelFeed):
    """One symbol's kernel; times in seconds."""

    kernel, view = kernel, MICROSTRUCTURE

    def __init__(self, bucket_us: int = 1_000_000, digits: int = 8, table: Sequence[float] = ()) -> None:
        self.state = kernel.init(Instrument(size_digits=digits), bucket_us, table)

    def book(self, t: float, bids: Side, asks: Side) -> HandFeed:
        """Fold in a good book."""
        kernel.step_book(self.state, round(t * 1e6), flat(bids, asks), len(bids), len(asks))
        return self

    def invalid(self, t: float) -> HandFeed:
        """The book is unknown from ``t`` on."""
        kernel.step_invalid(self.state, round(t * 1e6))
        return self


@pytest.fixture
def new_feed() -> Callable[..., HandFeed]:
    """Makes a fresh kernel to feed by hand."""
    return HandFeed


@pytest.fixture
def flat_book() -> Callable[[Side, Side], Vector]:
    """The doubles of a book."""
    return flat
