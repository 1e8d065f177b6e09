"""What Binance's futures say of contracts, with the venue's names of the fields, as in ``binance_wire``."""

from __future__ import annotations

import msgspec

from ingest.messages.refusal import Reason, Refused
from ingest.recordings.binance_wire import Timed


class MarkPrice(Timed):
    """``<symbol>@markPrice`` of futures: mark p, index i, rate r, and T, the next time of funding.

    Of contracts that expire r is empty and T is 0.
    """

    time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    price: float = msgspec.field(name="p")
    index: float | None = msgspec.field(name="i", default=None)
    rate: str = msgspec.field(name="r", default="")
    next_funding: int = msgspec.field(name="T", default=0)

    @property
    def funding_rate(self) -> float | None:
        """The rate of funding, None where it is empty."""
        try:
            return float(self.rate) if self.rate else None
        except ValueError:
            raise Refused(Reason.WRONG_TYPE, f"rate {self.rate!r:.40}") from None


class OpenInterest(Timed):
    """REST ``/openInterest`` of futures, in the unit of the symbol's sizes."""

    symbol: str
    contracts: float = msgspec.field(name="openInterest")


class Order(Timed):
    """The order in ``forceOrder``: p and q are its price and size, ap and z those at which it was filled, T its time."""

    time: int = msgspec.field(name="T")
    symbol: str = msgspec.field(name="s")
    side: str = msgspec.field(name="S")
    price: float = msgspec.field(name="p")
    size: float = msgspec.field(name="q")
    average_price: float = msgspec.field(name="ap", default=0.0)
    filled: float = msgspec.field(name="z", default=0.0)


class ForcedOrder(msgspec.Struct):
    """``<symbol>@forceOrder`` of futures; E is when the venue tells it."""

    time: int = msgspec.field(name="E")
    order: Order = msgspec.field(name="o")
