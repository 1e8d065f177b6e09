"""Books and trades of a simulated symbol. The messages of a second are a function of (seed, symbol, second) alone.

There are two books a second; their ``sequence`` is the number of half seconds since the epoch. There are up to three trades a second,
each at the best bid or ask of the book before it. Prices are whole ticks and sizes whole lots. A size at a price lasts five seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ingest.messages.kinds import OrderBook, Trade
from ingest.recordings.book import Level
from ingest.simulate.noise import Floats, Ints, key, level, uniform
from transforms.limits import MAX_LEVELS

BOOKS = 2
TRADES = 3
"""At most, in a second."""
_HALF_MS = 500
_TRADE_COUNT = (0.70, 0.35, 0.15)
"""Share of the seconds with at least one, two, three trades: 1.2 trades a second on average."""
_SIZE_HOLDS_MS = 5000
_DRIFT_MS = 20_000
_GAP = 2.4e-4
"""Largest gap between two levels of a side as a share of the price: twenty levels then reach beyond 10 bps."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Prices and sizes of a simulated symbol.

    Attributes
    ----------
    base : int
        Price around which it moves, in ticks.
    price_digits, size_digits : int
        Decimal digits: a tick is ``10**-price_digits``, a lot ``10**-size_digits``.
    lots : int
        Size of the smallest trades, in lots; the mean is 4.6 times it, the largest 100 times. A VPIN bucket should be about 500 times
        it: fifty buckets then fill in an hour and a quarter.
    """

    base: int
    price_digits: int
    size_digits: int
    lots: int


SPECS: dict[str, Spec] = {
    "SIM-BTC": Spec(base=6_000_000, price_digits=2, size_digits=5, lots=200),
    "SIM-ETH": Spec(base=300_000, price_digits=2, size_digits=4, lots=400),
    "SIM-SOL": Spec(base=150_000, price_digits=3, size_digits=2, lots=40),
}
"""The symbols that are simulated by default."""
_OTHER = Spec(base=100_000, price_digits=3, size_digits=3, lots=100)


class Market:
    """One simulated symbol."""

    def __init__(self, symbol: str, seed: int) -> None:
        self.symbol = symbol
        self.spec = SPECS.get(symbol, _OTHER)
        self._price = key(seed, symbol, "price")
        self._keys = {
            name: key(seed, symbol, name)
            for name in ("book", "spread", "gap", "size", "delay", "trade", "side", "lots", "count", "wait")
        }

    def level(self, t_ms: Ints) -> Floats:
        """Return the relative deviation of the price from its base at each time."""
        return level(self._price, t_ms)

    def drift(self, t_ms: Ints, over_ms: int) -> Floats:
        """Return the relative change of the price over the last ``over_ms``."""
        return self.level(t_ms) - self.level(t_ms - over_ms)

    def books(self, start_s: int, end_s: int) -> Iterator[OrderBook]:
        """Yield the books of the seconds from ``start_s`` until before ``end_s``, in time order."""
        sequence, t_ms, bid, ask = self._touch(start_s, end_s)
        gaps = self._draw("gap", sequence[:, None] * (2 * MAX_LEVELS) + np.arange(2 * MAX_LEVELS))
        steps = 1 + (gaps * gaps * (self.spec.base * _GAP)).astype(np.int64)
        steps[:, 0] = steps[:, MAX_LEVELS] = 0
        bids = bid[:, None] - np.cumsum(steps[:, :MAX_LEVELS], axis=1)
        asks = ask[:, None] + np.cumsum(steps[:, MAX_LEVELS:], axis=1)
        epoch = (t_ms // _SIZE_HOLDS_MS)[:, None]
        received = t_ms + self._delay(sequence)
        sides = self._levels(bids, epoch), self._levels(asks, epoch)
        rows = zip(t_ms.tolist(), *sides, sequence.tolist(), received.tolist(), strict=True)
        for t, bid_levels, ask_levels, number, known in rows:
            yield OrderBook(t, self.symbol, bid_levels, ask_levels, number, known)

    def trades(self, start_s: int, end_s: int) -> Iterator[Trade]:
        """Yield the trades of the same seconds, in time order. There are more buys after the price has risen."""
        _, book_ms, bid, ask = self._touch(start_s, end_s)
        second = np.repeat(np.arange(start_s, end_s), TRADES)
        nth = np.tile(np.arange(TRADES), end_s - start_s)
        happens = self._draw("count", second) < np.array(_TRADE_COUNT)[nth]
        second, nth = second[happens], nth[happens]
        ids = second * TRADES + nth
        after = (second - start_s) * BOOKS + np.minimum(nth, BOOKS - 1)
        t_ms = book_ms[after] + 1 + nth * 30 + (self._draw("wait", ids) * 30).astype(np.int64)
        lean = np.clip(self.drift(t_ms, _DRIFT_MS) * 1000.0, -0.3, 0.3)
        buys = self._draw("side", ids) < 0.5 + lean
        prices = (np.where(buys, ask[after], bid[after]) / 10**self.spec.price_digits).tolist()
        lots = 1 + (self.spec.lots / (self._draw("lots", ids) + 0.01)).astype(np.int64)
        sizes = (lots / 10**self.spec.size_digits).tolist()
        received = t_ms + self._delay(ids + 2**40)
        rows = zip(t_ms.tolist(), prices, sizes, buys.tolist(), ids.tolist(), received.tolist(), strict=True)
        for t, price, size, buy, trade_id, r in rows:
            yield Trade(t, self.symbol, price, size, "buy" if buy else "sell", trade_id, r)

    def _touch(self, start_s: int, end_s: int) -> tuple[Ints, Ints, Ints, Ints]:
        """Return sequence, time, best bid and best ask of each book."""
        sequence = np.arange(start_s * BOOKS, end_s * BOOKS, dtype=np.int64)
        t_ms = sequence * _HALF_MS + (self._draw("book", sequence) * 400).astype(np.int64)
        mid = (self.spec.base * (1.0 + self.level(t_ms))).astype(np.int64)
        wide = self._draw("spread", sequence)
        spread = 1 + (wide * wide * wide * (self.spec.base * 1e-4)).astype(np.int64)
        bid = mid - spread // 2
        return sequence, t_ms, bid, bid + spread

    def _levels(self, ticks: Ints, epoch: Ints) -> list[list[Level]]:
        """Return the levels of one side of each book."""
        lots = 1 + (self.spec.lots * 10 / (self._draw("size", ticks * 2**32 + epoch) + 0.05)).astype(np.int64)
        sizes: list[list[float]] = (lots / 10**self.spec.size_digits).tolist()
        # a whole number divided by a power of ten is the double nearest to its decimal text
        prices = (ticks / 10**self.spec.price_digits).tolist()
        return [list(zip(*side, strict=True)) for side in zip(prices, sizes, strict=True)]

    def _draw(self, name: str, index: Ints) -> Floats:
        return uniform(self._keys[name], index)

    def _delay(self, index: Ints) -> Ints:
        """Return the milliseconds until each message is received."""
        return 5 + (self._draw("delay", index) * 25).astype(np.int64)
