"""What Binance sends, by the names that it gives its fields.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams, and the same of USD-M futures.
"""

from __future__ import annotations

import msgspec

from ingest.recordings.book import Level


class Snapshot(msgspec.Struct):
    """REST ``/depth``."""

    last: int = msgspec.field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]
    symbol: str | None = None

    def is_of(self, symbol: str) -> bool:
        return self.symbol is None or self.symbol == symbol


class Disconnect(msgspec.Struct):
    """The connection that carried these symbols was lost."""

    symbols: list[str] = msgspec.field(name="s")


class Diff(msgspec.Struct):
    """``<symbol>@depth``: E is the event time, U and u the first and last update in it, pu (futures) the u before it."""

    time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first: int = msgspec.field(name="U")
    last: int = msgspec.field(name="u")
    bids: list[Level] = msgspec.field(name="b")
    asks: list[Level] = msgspec.field(name="a")
    before: int | None = msgspec.field(name="pu", default=None)

    def follows(self, last: int) -> bool:
        return self.first == last + 1 if self.before is None else self.before == last

    def spans(self, last: int) -> bool:
        """Whether this is the first diff to apply to a book of the update ``last``."""
        return self.last > last and (self.first <= last + 1 or (self.before is not None and self.before <= last))


class Trade(msgspec.Struct):
    """``<symbol>@trade``: T is the trade time; m, the buyer was the maker, so the seller was the aggressor."""

    symbol: str = msgspec.field(name="s")
    time: int = msgspec.field(name="T")
    price: float = msgspec.field(name="p")
    size: float = msgspec.field(name="q")
    maker_bought: bool = msgspec.field(name="m")
    id: int = msgspec.field(name="t")


class AggTrade(Trade):
    """``<symbol>@aggTrade``: the trades of one order at one price, with an id of its own."""

    id: int = msgspec.field(name="a")


class MarkPrice(msgspec.Struct):
    """``<symbol>@markPrice`` of perpetual futures: T is when funding is settled next; contracts that expire say 0."""

    symbol: str = msgspec.field(name="s")
    next_funding: int = msgspec.field(name="T")
