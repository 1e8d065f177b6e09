"""A limit order book that changes of single price levels keep up to date, and that knows how far it is known.

A snapshot of N levels says nothing of what lies beyond the last of them. Changes beyond it are kept, but other levels may stand between
them that nobody has heard of. So each side has a farthest known price, which stays where it is until the next snapshot: only levels up
to it are given as levels or counted for depth. A side that the snapshot holds whole is known without end.

How it is told: venues give 5, 10, 20, 50, 100, 500, 1000 or 5000 levels of a side, or any number that was asked for. If the larger side
of a snapshot has one of these numbers of levels, or both sides have the same number and it is 20 or more, that number was the limit, and
each side with so many levels was cut there. Otherwise the book is whole.

A price is the float of its decimal string, so two spellings of one price are one key.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from math import inf, isnan
from typing import Any

import numpy as np

from transforms.instrument import Instrument
from transforms.kernel import COMPILED, zeros
from transforms.microstructure.depth import ASKS, BIDS, side_depth
from transforms.microstructure.layout import DEPTHS, Depth

Level = tuple[float, float]  # price and size
LIMITS = frozenset({5, 10, 20, 50, 100, 500, 1000, 5000})
BASE_UNITS = Instrument()
EQUAL_MIN = 20  # so many levels on both sides are no chance


def limit_of(n_bids: int, n_asks: int) -> float:
    """Return the number of levels at which a snapshot of so many was cut, infinity if it holds the whole book.

    >>> limit_of(1000, 1000), limit_of(1000, 873), limit_of(300, 300), limit_of(640, 873)
    (1000, 1000, 300, inf)
    """
    most = max(n_bids, n_asks)
    return most if most in LIMITS or (n_bids == n_asks and most >= EQUAL_MIN) else inf


class Side:
    """One side of a book: the prices in ascending order, the size at each, and how far they are known.

    Arrays of doubles, because compiled code sums thousands of levels for each book.

    Attributes
    ----------
    prices, sizes : array of float
    known : float
        The farthest price up to which every level is known; 0 of bids, or infinity of asks, if all are.
    halfway : float
        The price halfway between the best level of the snapshot and ``known``.

    Examples
    --------
    >>> asks = Asks([(101.0, 2.0), (100.0, 1.0)])
    >>> asks.put(100.0, 0.0)
    1.0
    >>> asks.prices.tolist(), asks.sizes.tolist()
    ([101.0], [2.0])
    """

    __slots__ = ("halfway", "known", "prices", "sizes")
    END = inf  # the price beyond every level of this side
    OUTWARDS = (0, -1)  # places of the best level and of the farthest

    def __init__(self, levels: Sequence[Level] = (), limit: float = inf) -> None:
        by_price = dict(levels)
        self.prices = array("d", sorted(by_price))
        self.sizes = array("d", map(by_price.__getitem__, self.prices))
        self.known = self.halfway = self.END
        if len(levels) >= limit:
            best, self.known = (self.prices[i] for i in self.OUTWARDS)
            self.halfway = (best + self.known) / 2.0

    def put(self, price: float, size: float) -> float:
        """Set the size at a price and return the size before; 0 removes the level, and means that there was none."""
        prices, sizes = self.prices, self.sizes
        i = bisect_left(prices, price)
        if i < len(prices) and prices[i] == price:
            before = sizes[i]
            if size:
                sizes[i] = size
            else:
                del prices[i], sizes[i]
            return before
        if size:
            prices.insert(i, price)
            sizes.insert(i, size)
        return 0.0

    def keep(self, n: float) -> None:
        """Forget all but the best ``n`` levels, for a venue that sends so many; once there were so many, the last is the farthest known."""
        if self.known != self.END or len(self.prices) >= n:
            self._forget(max(0, len(self.prices) - int(n)))
            self.known = self.prices[self.OUTWARDS[1]] if self.prices else self.known

    def _forget(self, farthest: int) -> None:
        del self.prices[len(self.prices) - farthest :], self.sizes[len(self.sizes) - farthest :]

    def best(self, depth: int) -> list[Level]:
        """Return the best ``depth`` known levels, best first."""
        n = min(depth, bisect_right(self.prices, self.known))
        return list(zip(self.prices[:n], self.sizes[:n], strict=True))

    def measure(self, mid: float, contract: Instrument, out: Any) -> None:
        """Write the depths of this side to ``out``, as ``transforms.microstructure.depth.side_depth``."""
        side_depth(
            _view(self.prices),
            0,
            _view(self.sizes),
            0,
            1,
            len(self.prices),
            mid,
            self.known,
            contract.contract_size,
            contract.inverse,
            out,
            ASKS,
        )


class Asks(Side):
    """The asks: the best level is the first."""

    __slots__ = ()


class Bids(Side):
    """The bids: the best level is the last."""

    __slots__ = ()
    END = 0.0
    OUTWARDS = (-1, 0)

    def _forget(self, farthest: int) -> None:
        del self.prices[:farthest], self.sizes[:farthest]

    def best(self, depth: int) -> list[Level]:
        """Return the best ``depth`` known levels, best first."""
        from_ = max(len(self.prices) - depth, bisect_left(self.prices, self.known))
        return list(zip(self.prices[from_:], self.sizes[from_:], strict=True))[::-1]

    def measure(self, mid: float, contract: Instrument, out: Any) -> None:
        """Write the depths of this side to ``out``."""
        last = len(self.prices) - 1
        side_depth(
            _view(self.prices),
            last,
            _view(self.sizes),
            last,
            -1,
            last + 1,
            mid,
            self.known,
            contract.contract_size,
            contract.inverse,
            out,
            BIDS,
        )


def _view(values: array[float]) -> Any:
    """Return what compiled code reads; it must be dropped before the array changes its length."""
    return np.frombuffer(values) if COMPILED else values


class Book:
    """Both sides. The caller has checked that sizes are finite and not negative, and prices finite and positive.

    ``bids`` and ``asks`` are those of a snapshot.
    """

    __slots__ = ("_depths", "asks", "bids")

    def __init__(self, bids: Sequence[Level] = (), asks: Sequence[Level] = ()) -> None:
        limit = limit_of(len(bids), len(asks))
        self.bids = Bids(bids, limit)
        self.asks = Asks(asks, limit)
        self._depths = zeros(DEPTHS)

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask. A book with an empty side is not crossed."""
        bids, asks = self.bids.prices, self.asks.prices
        return bool(bids and asks) and bids[-1] >= asks[0]

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> bool:
        """Apply a change of both sides, all of it or nothing, and return whether it was applied.

        It is not applied if the book would be crossed: no exchange publishes that, so the change is damaged.
        """
        changes: list[tuple[Side, Iterable[Level]]] = [(self.bids, bids), (self.asks, asks)]
        undo = [(side, price, side.put(price, size)) for side, levels in changes for price, size in levels]
        if not self.crossed:
            return True
        for side, price, size in reversed(undo):
            side.put(price, size)
        return False

    def best(self, depth: int) -> tuple[list[Level], list[Level]]:
        """Return the best ``depth`` known levels of bids and asks, best first; fewer if fewer are known."""
        return self.bids.best(depth), self.asks.best(depth)

    @property
    def passed(self) -> bool:
        """Whether the price has left what is known: a side that was cut has no known level."""
        return any(side.known != side.END and not side.best(1) for side in (self.bids, self.asks))

    @property
    def fading(self) -> bool:
        """Whether the price has come halfway to the end of what is known, so that a new snapshot is due."""
        bids, asks = self.bids, self.asks
        low = bids.prices[-1] < bids.halfway if bids.prices else bids.known != bids.END
        return low or (asks.prices[0] > asks.halfway if asks.prices else asks.known != asks.END)

    def depth(self, contract: Instrument = BASE_UNITS) -> Depth | None:
        """Return the depths over all known levels, as an ``OrderBook`` carries them; None where a side is empty or ``passed``.

        ``contract`` says what the sizes are worth.
        """
        bids, asks = self.bids, self.asks
        if not bids.prices or not asks.prices or self.passed:
            return None
        mid, out = (bids.prices[-1] + asks.prices[0]) / 2.0, self._depths
        bids.measure(mid, contract, out)
        asks.measure(mid, contract, out)
        b10, a10, b25, a25, b50, a50 = (None if isnan(x) else float(x) for x in out)
        return (b10, b25, b50), (a10, a25, a50)
