"""What cryptofeed's venues tell of perpetuals and futures, as messages of this project.

cryptofeed (2.4.1) gives funding, open interest, index and liquidations as they stand in a venue's message, so what they mean differs:

- times are seconds, or milliseconds (Bybit), or that of the settlement to come (OKX);
- the side of a liquidation is that of the order, and Bybit's is that of the position.

A time that is none of the last minute is not used, and the message counts at its receive time. A time ahead is that of the next settlement.
Some venues tell a value with each change of any other, so of each kind one message a second and symbol is taken. Only channels that come
through the socket are asked for; cryptofeed asks for others by REST (OKX's liquidations, Huobi's funding).
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import LIQUIDATION_CHANNEL, MAX_TIME_MS, Gap, time_fields
from ingest.recordings.lines import Output, Parsed

FUNDING, INTEREST, INDEX, LIQUIDATIONS = "funding", "open_interest", "index", "liquidations"
CHANNELS: dict[str, tuple[str, ...]] = {
    "BITMEX": (INTEREST, LIQUIDATIONS),
    "BYBIT": (FUNDING, INTEREST, INDEX, LIQUIDATIONS),
    "GATEIO-FUTURES": (FUNDING, INTEREST, INDEX),
    "KRAKEN-FUTURES": (FUNDING, INTEREST),
    "OKX": (FUNDING, INTEREST),
}
"""The channels that are asked for, by venue. BitMEX tells a rate only when it is settled."""
_OF_PERPETUAL = re.compile(r"-PERP$").search
_OF_CONTRACT = re.compile(r"-(?:PERP|\d\d[A-Z]\d\d?)$").search
_OTHER = {"buy": "sell", "sell": "buy"}
_OLDEST_US, _AHEAD_US = 60_000_000, 5_000_000
_APART_MS = 1000


def subscription(venue: str, symbols: Sequence[str]) -> dict[str, list[str]]:
    """Return what is asked of a venue: books and trades of all symbols, and of contracts the venue's channels about them.

    >>> subscription("BITMEX", ["BTC-USD-PERP", "BTC-USD"])["open_interest"]
    ['BTC-USD-PERP']
    """
    wanted = {channel: list(symbols) for channel in ("l2_book", "trades")}
    for channel in CHANNELS.get(venue, ()):
        is_of = _OF_PERPETUAL if channel == FUNDING else _OF_CONTRACT
        if contracts := [symbol for symbol in symbols if is_of(symbol)]:
            wanted[channel] = contracts
    return wanted


def now_ms() -> int:
    """Return the time of the wall's clock in milliseconds."""
    return time.time_ns() // 1_000_000


class Contracts:
    """cryptofeed's callbacks of these channels. They give our messages to ``put``; ``clock_ms`` is the receive time of what has none."""

    def __init__(
        self, venue: str, put: Callable[[Output], Awaitable[Any]], clock_ms: Callable[[], int] = now_ms
    ) -> None:
        self._venue = venue
        self._put = put
        self._clock_ms = clock_ms
        self._told_ms: dict[tuple[str, str], int] = {}  # when a message of a kind and symbol was taken

    @property
    def callbacks(self) -> dict[str, Callable[[Any, float], Awaitable[None]]]:
        """The callback of each channel that is asked for."""
        every = {FUNDING: self.funding, INTEREST: self.interest, INDEX: self.index, LIQUIDATIONS: self.liquidation}
        return {channel: every[channel] for channel in CHANNELS.get(self._venue, ())}

    async def funding(self, told: Any, receipt_s: float) -> None:
        """Put mark price, rate of funding and the next settlement."""
        received = self._received(receipt_s)
        ahead = [us for us in (_us(told.timestamp), _us(told.next_funding_time)) if us > received * 1000 + _AHEAD_US]
        mark = None if told.mark_price is None else float(told.mark_price)
        rate = None if told.rate is None else float(told.rate)
        settled_ms = min(ahead) // 1000 if ahead else None
        if (mark, rate, settled_ms) != (None, None, None):
            await self._tell(FUNDING, told, received, mark=mark, funding_rate=rate, next_funding_time=settled_ms)

    async def interest(self, told: Any, receipt_s: float) -> None:
        """Put open interest."""
        await self._tell(INTEREST, told, self._received(receipt_s), open_interest=float(told.open_interest))

    async def index(self, told: Any, receipt_s: float) -> None:
        """Put the price of an index."""
        await self._tell(INDEX, told, self._received(receipt_s), index=float(told.price))

    async def liquidation(self, told: Any, receipt_s: float) -> None:
        """Put a liquidation."""
        received = self._received(receipt_s)
        ms, us = time_fields(self._at_us(told.timestamp, received))
        symbol, size = f"{self._venue}:{told.symbol}", float(told.quantity)
        message = Liquidation(ms, symbol, self._side(told), float(told.price), size, received, us)
        await self._put(Parsed("liquidation", message))

    async def begin(self, symbols: Sequence[str]) -> None:
        """Say that liquidations of these symbols are heard from now on, where the venue tells them."""
        if LIQUIDATIONS in CHANNELS.get(self._venue, ()):
            at_ms = self._clock_ms()
            for name in filter(_OF_CONTRACT, symbols):
                gap = Gap(at_ms, f"{self._venue}:{name}", at_ms, channel=LIQUIDATION_CHANNEL)
                await self._put(Parsed("gap", gap))

    async def _tell(self, what: str, told: Any, received: int, **values: Any) -> None:
        if received - self._told_ms.get((what, told.symbol), 0) < _APART_MS:
            return
        self._told_ms[what, told.symbol] = received
        ms, us = time_fields(self._at_us(told.timestamp, received))
        message = Derivatives(ms, f"{self._venue}:{told.symbol}", **values, received=received, timestamp_us=us)
        await self._put(Parsed("derivatives", message))

    def _side(self, told: Any) -> str:
        """Return the side of the forced order."""
        return _OTHER.get(told.side, told.side) if self._venue == "BYBIT" else str(told.side)

    def _received(self, receipt_s: float | None) -> int:
        return self._clock_ms() if receipt_s is None else round(receipt_s * 1000)

    def _at_us(self, told: Any, received: int) -> int:
        """Return the event time: the venue's own where it is one of the last minute."""
        at_us, received_us = _us(told), received * 1000
        return at_us if received_us - _OLDEST_US <= at_us <= received_us + _AHEAD_US else received_us


def _us(told: Any) -> int:
    """Return a time of seconds or of milliseconds in microseconds, 0 where there is none.

    >>> _us(1_700_000_000.5), _us(1_700_000_000_500), _us(None)
    (1700000000500000, 1700000000500000, 0)
    """
    if not isinstance(told, (int, float)):
        return 0
    return round(told * 1000) if MAX_TIME_MS / 1000 < told <= MAX_TIME_MS else round(told * 1e6)
