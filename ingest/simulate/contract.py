"""What a simulated venue tells of a symbol as a perpetual, each second a function of (seed, symbol, second) alone, as in ``market``.

Mark, index and funding come every second, open interest every ten seconds in a message of its own, as of a venue that is asked for it.
The index is the price without the spread, and the mark is at most 12 bps from it. There are some five liquidations a minute, more and
on the side that lost when the price has moved.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.simulate.market import Market
from ingest.simulate.noise import Ints, key, level, uniform

_FUNDING_S = 8 * 3600
_INTEREST_S = 10
_DRIFT_MS = 60_000
_OFTEN = 0.08
"""Share of the seconds with a liquidation while the price stands still."""


class Contract:
    """The perpetual of a simulated market."""

    def __init__(self, market: Market, seed: int) -> None:
        self._market = market
        self._keys = {
            name: key(seed, market.symbol, "contract", name)
            for name in ("premium", "interest", "wait", "delay", "happens", "side", "size", "price")
        }

    def derivatives(self, start_s: int, end_s: int) -> Iterator[Derivatives]:
        """Yield what is told in the seconds from ``start_s`` until before ``end_s``, in time order."""
        spec, symbol = self._market.spec, self._market.symbol
        second = np.arange(start_s, end_s, dtype=np.int64)
        t_ms = second * 1000
        index = spec.base * (1.0 + self._market.level(t_ms))
        premium = 0.02 * level(self._keys["premium"], t_ms)
        unit = 10.0 ** (spec.price_digits + 2)  # two digits more than a trade's price
        indexes = (np.floor(index * 100.0) / unit).tolist()
        marks = (np.floor(index * (1.0 + premium) * 100.0) / unit).tolist()
        rates = (np.floor((1e-4 + 0.1 * premium) * 1e8) / 1e8).tolist()
        contracts = np.floor(spec.lots * 1e6 * (1.0 + level(self._keys["interest"], t_ms)))
        interest = (contracts / 10.0**spec.size_digits).tolist()
        received = (t_ms + self._delay(second)).tolist()
        for s, index_price, mark, rate, held, known in zip(
            second.tolist(), indexes, marks, rates, interest, received, strict=True
        ):
            settled_ms = (s // _FUNDING_S + 1) * _FUNDING_S * 1000
            yield Derivatives(s * 1000, symbol, mark, index_price, rate, settled_ms, received=known)
            if s % _INTEREST_S == 0:
                yield Derivatives(s * 1000 + 100, symbol, open_interest=held, received=known + 200)

    def liquidations(self, start_s: int, end_s: int) -> Iterator[Liquidation]:
        """Yield the liquidations of the same seconds, in time order."""
        spec = self._market.spec
        second = np.arange(start_s, end_s, dtype=np.int64)
        moved = self._market.drift(second * 1000, _DRIFT_MS)
        happens = uniform(self._keys["happens"], second) < _OFTEN + np.clip(np.abs(moved) * 100.0, 0.0, 0.3)
        second, moved = second[happens], moved[happens]
        t_ms = second * 1000 + (uniform(self._keys["wait"], second) * 990).astype(np.int64)
        buys = (uniform(self._keys["side"], second) < 0.5 + np.clip(moved * 500.0, -0.45, 0.45)).tolist()
        away = (uniform(self._keys["price"], second) - 0.5) * 1e-3
        ticks = np.floor(spec.base * (1.0 + self._market.level(t_ms)) * (1.0 + away))
        prices = (ticks / 10.0**spec.price_digits).tolist()
        lots = np.floor(spec.lots / (uniform(self._keys["size"], second) + 0.01))
        sizes = (lots / 10.0**spec.size_digits).tolist()
        received = (t_ms + self._delay(second)).tolist()
        for t, buy, price, size, known in zip(t_ms.tolist(), buys, prices, sizes, received, strict=True):
            yield Liquidation(t, self._market.symbol, "buy" if buy else "sell", price, size, known)

    def _delay(self, second: Ints) -> Ints:
        """Return the milliseconds until each message is received."""
        return 5 + (uniform(self._keys["delay"], second) * 25).astype(np.int64)
