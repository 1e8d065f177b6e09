"""The simulated messages of any span, in time order, and the same messages in real time.

Consecutive spans join exactly: the messages from a to c are those from a to b followed by those from b to c.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from heapq import merge

from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import Clock, OrderBook, SocialPost, Trade
from ingest.recordings.lines import POST
from ingest.recordings.venue_clock import Pace
from ingest.simulate.contract import Contract
from ingest.simulate.market import SPECS, Market
from ingest.simulate.talk import Talk

Simulated = OrderBook | Trade | SocialPost | Derivatives | Liquidation
SYMBOLS: tuple[str, ...] = tuple(SPECS)
_CHUNK_S = 300
_RANK = {"book": 0, "trade": 1, POST: 2, "derivatives": 3, "liquidation": 4}
MARKET: tuple[str, ...] = tuple(kind for kind in _RANK if kind != POST)
"""The kinds that a venue gives."""
_Keyed = tuple[int, int, int, str, Simulated]


def history(
    start_ms: int, end_ms: int, *, symbols: Sequence[str] = SYMBOLS, seed: int = 0, kinds: Sequence[str] = tuple(_RANK)
) -> Iterator[tuple[str, Simulated]]:
    """Yield the messages from ``start_ms`` until before ``end_ms`` by event time, then by kind and symbol.

    ``symbols`` may be any names; those of ``SPECS`` have prices and sizes of their own. Each ``seed`` gives another market. ``kinds``
    are of those of ``MARKET`` and ``social``. ``received`` of a message is some milliseconds after its ``timestamp``.
    """
    markets = [Market(symbol, seed) for symbol in symbols]
    others = [(Talk(market, seed), Contract(market, seed)) for market in markets]
    for from_s in range(start_ms // 1000, -(-end_ms // 1000), _CHUNK_S):
        to_s = min(from_s + _CHUNK_S, -(-end_ms // 1000))
        low, high = max(start_ms, from_s * 1000), min(end_ms, to_s * 1000)
        feeds: list[Iterator[_Keyed]] = []
        for number, (market, (talk, contract)) in enumerate(zip(markets, others, strict=True)):
            streams: dict[str, Iterator[Simulated]] = {
                "book": market.books(from_s, to_s),
                "trade": market.trades(from_s, to_s),
                POST: talk.posts(low, high),
                "derivatives": contract.derivatives(from_s, to_s),
                "liquidation": contract.liquidations(from_s, to_s),
            }
            feeds += [_keyed(kind, number, stream, low, high) for kind, stream in streams.items() if kind in kinds]
        for _, _, _, kind, message in merge(*feeds, key=lambda item: item[:3]):
            yield kind, message


def _keyed(kind: str, number: int, messages: Iterator[Simulated], low: int, high: int) -> Iterator[_Keyed]:
    rank = _RANK[kind]
    for message in messages:
        if low <= message.timestamp < high:
            yield message.timestamp, rank, number, kind, message


def live(
    start_ms: int,
    end_ms: int | None = None,
    *,
    symbols: Sequence[str] = SYMBOLS,
    seed: int = 0,
    pace: Pace | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[tuple[str, Simulated | Clock]]:
    """Yield the messages from ``start_ms`` until ``end_ms`` or ``stop``, each when its receive time has come.

    Messages whose time has passed come at once. ``clock`` returns seconds since the epoch. With a ``pace`` the market tells its clock
    whenever rows are due, as the feed of a venue does (``venue_clock``), so no row waits for the next message of its symbol.
    """
    second = start_ms
    while end_ms is None or second < end_ms:
        until = second // 1000 * 1000 + 1000
        until = until if end_ms is None else min(until, end_ms)
        told = _clocks(second, until, symbols, pace) if pace else ()
        events = merge(history(second, until, symbols=symbols, seed=seed), told, key=lambda event: event[1].timestamp)
        for kind, message in events:
            ahead = (message.received or message.timestamp) / 1000 - clock()
            if ahead > 0:
                sleep(ahead)
            if stop is not None and stop.is_set():
                return
            yield kind, message
        second = until


def _clocks(start_ms: int, end_ms: int, symbols: Sequence[str], pace: Pace) -> Iterator[tuple[str, Clock]]:
    """Yield the clocks of a span: one for each boundary of the grid, right behind the allowed lateness."""
    grid_ms, behind_ms = pace.grid_us // 1000, pace.lateness_us // 1000 + 1
    first_ms = -(-(start_ms - behind_ms) // grid_ms) * grid_ms
    for boundary_ms in range(first_ms, end_ms - behind_ms, grid_ms):
        t_ms = boundary_ms + behind_ms
        yield "clock", Clock(t_ms, list(symbols), received=t_ms)
