"""The venues with Binance's protocol: addresses, streams, and what their requests weigh.

Weights: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#order-book, and the same of USD-M
futures. Binance.US weighs no more and allows less.

USD-M futures are routed since April 2026: a stream that is asked for at another path than its own is accepted and gives nothing.
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Important-WebSocket-Change-Notice
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

DEPTH = "depth@100ms"  # the stream of a symbol's book
CONTRACT = ("markPrice@1s", "forceOrder")  # the streams of a perpetual or a future besides its book and trades


@dataclass(frozen=True, slots=True)
class Route:
    """Streams that a venue gives at one path of its address.

    Attributes
    ----------
    channels : tuple of str
        The streams of each symbol, such as ``depth@100ms``.
    paths : tuple of str
        Where the combined streams are. Where a path is refused or gives nothing, the next one is tried.
    """

    channels: tuple[str, ...]
    paths: tuple[str, ...] = ("/stream",)


@dataclass(frozen=True, slots=True)
class Venue:
    """A venue with Binance's protocol."""

    stream: str  # address of the streams, without a path
    rest: str  # address of ``/depth``
    trades: str = "trade"  # name of its stream of trades
    others: tuple[str, ...] = ()  # further streams of a symbol
    open_interest: str = ""  # address of ``/openInterest``, where the venue has contracts
    is_routed: bool = False  # books are given at ``/public``, aggregated trades and mark prices at ``/market``
    has_micros: bool = False  # its streams give times in microseconds where they are asked for
    depths: tuple[tuple[int, int], ...] = ((5000, 250), (1000, 50))  # levels of ``/depth`` and the weight of a request
    weight_a_minute: int = 3000  # for our requests: half of what the venue allows an address
    weight_of_trades: int = 25  # of a request for old trades
    prefix: str = ""  # put before its symbols in the logs; only Binance spot has none

    @property
    def old_trades(self) -> str:
        """Where old trades of the form that its stream gives can be asked for; both take ``fromId``."""
        path = "/aggTrades" if self.trades == "aggTrade" else "/historicalTrades"
        return self.rest.rpartition("/")[0] + path

    @property
    def name(self) -> str:
        """What tells the ids of its trades from all others: the venue, and the form of the trades."""
        return f"{self.prefix or 'BINANCE:'}{self.trades}"

    @property
    def routes(self) -> tuple[Route, ...]:
        """Where its streams are. A routed venue may give them at the plain path too, as the coin-margined one does in its documents."""
        market = (self.trades, *self.others)
        if not self.is_routed:
            return (Route((DEPTH, *market)),)
        return (Route((DEPTH,), ("/public/stream", "/stream")), Route(market, ("/market/stream", "/stream")))


VENUES: dict[str, Venue] = {
    "binance": Venue("wss://stream.binance.com:9443", "https://api.binance.com/api/v3/depth", has_micros=True),
    "binance-us": Venue(
        "wss://stream.binance.us:9443", "https://api.binance.us/api/v3/depth", prefix="BINANCE-US:", weight_a_minute=600
    ),
    "binance-futures": Venue(
        "wss://fstream.binance.com",
        "https://fapi.binance.com/fapi/v1/depth",
        trades="aggTrade",
        open_interest="https://fapi.binance.com/fapi/v1/openInterest",
        others=CONTRACT,
        is_routed=True,
        prefix="BINANCE-FUTURES:",
        depths=((1000, 20),),
        weight_a_minute=1200,
        weight_of_trades=20,
    ),
    "binance-coinm": Venue(
        "wss://dstream.binance.com",
        "https://dapi.binance.com/dapi/v1/depth",
        trades="aggTrade",
        open_interest="https://dapi.binance.com/dapi/v1/openInterest",
        others=CONTRACT,
        is_routed=True,
        prefix="BINANCE-COINM:",
        depths=((1000, 20),),
        weight_a_minute=1200,
        weight_of_trades=20,
    ),
}


class Allowance:
    """The weight that requests may have. A minute's worth may be taken at once; it comes back evenly over a minute.

    Parameters
    ----------
    a_minute : int
    clock : callable
        Returns seconds; injected for tests.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_minute = a_minute
        self._clock = clock
        self._back_at = clock()  # when all that was taken will be back

    def wait_s(self, weight: int) -> float:
        """Return for how many seconds a request of this weight must wait."""
        now = self._clock()
        return max(0.0, max(self._back_at, now) + 60.0 * weight / self._a_minute - now - 60.0)

    def take(self, weight: int) -> None:
        """Take ``weight``."""
        self._back_at = max(self._back_at, self._clock()) + 60.0 * weight / self._a_minute


def depth_to_ask(venue: Venue, symbols: int) -> tuple[int, int]:
    """Return levels and weight of the deepest snapshot that all ``symbols`` can get within a minute, or of the shallowest."""
    fits = (depth for depth in venue.depths if depth[1] * symbols <= venue.weight_a_minute)
    return next(fits, venue.depths[-1])
