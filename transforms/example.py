"""One symbol fed by hand: the examples of the feature modules use it, and it lets you try a feature at the prompt.

>>> feed = HandFeed()
>>> feed.book(0.5, bids=[(99.0, 3.0)], asks=[(101.0, 1.0)])
>>> feed.value("mid_price", at=1)
100.0
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

from transforms.catalog import CONTEXT
from transforms.context.layout import neighbours
from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.kernel import DAY_US, SECOND_US
from transforms.sentiment.state import Post


class HandFeed:
    """An engine on a grid of one second; ``settings`` are those of the ``Instrument``, ``venues`` are the asset's other ones.

    Times are seconds after a midnight (UTC); they must not go back.
    """

    def __init__(self, venues: Sequence[str] = (), **settings: Any) -> None:
        about = Instrument(**settings)
        self._engine = Engine(about, SECOND_US, neighbours(about.leader, about.pair, venues))

    def book(self, at: float, bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]]) -> None:
        """Give a book: levels of price and size, best first."""
        self._engine.book(_t_us(at), bids, asks)

    def microprice(self, at: float, tick: float, g: Sequence[float]) -> None:
        """Give a fitted table for ``microprice``."""
        self._engine.install_microprice(_t_us(at), tick, g)

    def trade(self, at: float, price: float, size: float = 1.0, side: int = 1) -> None:
        """Give a trade; ``side`` is 1 where a buyer was the aggressor, -1 a seller, 0 unknown."""
        self._engine.trade(_t_us(at), price, size, side)

    def lose_trades(self, since: float, until: float) -> None:
        """Say that trades of these times and between them may be missing."""
        self._engine.lose_trades(_t_us(since), _t_us(until))

    def derivatives(self, at: float, **told: float) -> None:
        """Give what a venue tells of a contract: ``mark``, ``index``, ``funding_rate``, ``open_interest``."""
        self._engine.tell_contract(_t_us(at), settled_us=None, **told)

    def liquidation(self, at: float, price: float, size: float, side: int) -> None:
        """Give a position that was closed by force; ``side`` is 1 where it was bought back, -1 where it was sold."""
        self._engine.contract.liquidate(_t_us(at), price, size, side)

    def post(self, at: float, *, positive: float, negative: float, **fields: Any) -> None:
        """Give a scored post with a new id, or the ``id`` of ``fields``; what is not positive or negative is neutral."""
        fields.setdefault("id", f"{at}")
        post = Post(positive=positive, negative=negative, neutral=1.0 - positive - negative, **fields)
        self._engine.post(_t_us(at), post)

    def neighbour(self, at: int, name: str, mid: float, bid_size: float = 1.0, ask_size: float = 1.0) -> None:
        """Give the row that another symbol finished for second ``at``."""
        if self._engine.context is not None:
            self._engine.context.hear(name, _t_us(at), mid, bid_size, ask_size)

    def value(self, feature: str, at: int) -> float | None:
        """Return ``feature`` in the row of second ``at``, None where it is null or its view gives no row."""
        x = self.rows(at).get(feature)
        return None if x is None or isnan(x) else x

    def rows(self, at: int) -> dict[str, float]:
        """Return all features in the rows of second ``at``, NaN where null."""
        rows = self._engine.emit(_t_us(at))
        if self._engine.context is not None and (found := self._engine.context.next_row(_t_us(at) + 1)) is not None:
            rows.append((CONTEXT, found[1]))
        return {name: float(x) for view, row in rows for name, x in zip(view.names, row, strict=True)}


def _t_us(at: float) -> int:
    return DAY_US + round(at * SECOND_US)
