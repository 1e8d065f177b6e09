"""A limit order book that changes of single price levels keep up to date.

A price is the float of its decimal string, so two spellings of one price are one key.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

Level = tuple[float, float]  # price and size


class Side:
    """One side of a book: the size at each price, and the prices in ascending order.

    >>> asks = Side([(101.0, 2.0), (100.0, 1.0)])
    >>> asks.put(100.0, 0.0)
    1.0
    >>> asks.sizes
    {101.0: 2.0}
    """

    __slots__ = ("prices", "sizes")

    def __init__(self, levels: Iterable[Level] = ()) -> None:
        self.sizes: dict[float, float] = dict(levels)
        self.prices: list[float] = sorted(self.sizes)

    def put(self, price: float, size: float) -> float:
        """Set the size at a price and return the size before; 0 removes the level, and means that there was none."""
        before = self.sizes.get(price, 0.0)
        if size:
            if not before:
                insort(self.prices, price)
            self.sizes[price] = size
        elif before:
            del self.sizes[price]
            del self.prices[bisect_left(self.prices, price)]
        return before


class Book:
    """Both sides. The caller has checked that sizes are finite and not negative, and prices finite and positive."""

    __slots__ = ("asks", "bids")

    def __init__(self, bids: Iterable[Level] = (), asks: Iterable[Level] = ()) -> None:
        self.bids = Side(bids)
        self.asks = Side(asks)

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask. A book with an empty side is not crossed."""
        bids, asks = self.bids.prices, self.asks.prices
        return bool(bids and asks) and bids[-1] >= asks[0]

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> bool:
        """Apply a change of both sides, all of it or nothing, and return whether it was applied.

        It is not applied if the book would be crossed: no exchange publishes that, so the change is damaged.
        """
        undo = [(self.bids, price, self.bids.put(price, size)) for price, size in bids]
        undo += [(self.asks, price, self.asks.put(price, size)) for price, size in asks]
        if not self.crossed:
            return True
        for side, price, size in reversed(undo):
            side.put(price, size)
        return False

    def best(self, depth: int) -> tuple[list[Level], list[Level]]:
        """Return the best ``depth`` levels of bids and asks, best first; fewer if a side has fewer."""
        bids, asks = self.bids.sizes, self.asks.sizes
        top = self.bids.prices[-depth:]
        top.reverse()
        return [(price, bids[price]) for price in top], [(price, asks[price]) for price in self.asks.prices[:depth]]
