"""The kinds of messages about a perpetual or a future, besides its book and trades. Times are as in ``kinds``."""

from __future__ import annotations

import msgspec


class Derivatives(msgspec.Struct, gc=False, omit_defaults=True):
    """Stream ``derivatives``: what a venue tells of a perpetual or a future; one value at least, and those that are None stay as they were.

    ``funding_rate`` is for the settlement at ``next_funding_time``, milliseconds. ``open_interest`` is in the unit of the symbol's sizes.
    """

    timestamp: int
    symbol: str
    mark: float | None = None
    index: float | None = None
    funding_rate: float | None = None
    next_funding_time: int | None = None
    open_interest: float | None = None
    received: int | None = None
    timestamp_us: int | None = None


class Liquidation(msgspec.Struct, gc=False, omit_defaults=True):
    """Stream ``liquidation``: a position that the venue closed by force.

    ``side`` is that of the forced order: ``buy`` closes a short, ``sell`` a long. ``size`` is in the unit of the symbol's sizes.
    """

    timestamp: int
    symbol: str
    side: str
    price: float
    size: float
    received: int | None = None
    timestamp_us: int | None = None
