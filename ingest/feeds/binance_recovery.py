"""Asks a venue for missing trades, as the parser wants them (``recordings/whole_trades``), and notes what the parser must know.

The questions go out in pages, each with the last known trade first, so that an answer shows whether it is of the right symbol. What fails,
or brings nothing new, is asked again after a pause, until the time of the symbol is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec

from ingest.feeds.binance_addresses import Venue
from ingest.feeds.binance_connection import Connections
from ingest.feeds.binance_rest import Rest
from ingest.feeds.binance_venue import RestrictedError
from ingest.publish.outlet import pauses
from ingest.recordings.binance_wire import LastTrade
from ingest.recordings.followed_trades import Wanted

PAGE = 1000  # trades that a venue gives at most
LOOK_S = 0.1  # between two looks at what is wanted
SETTLE_S = 1.0  # after a connection is open: what a trade before it does not show now, the venue does not have
LONGEST_PAUSE_S = 5.0  # between two questions for the same trades
NAMES_SHOWN = 10
REFUSALS = (400, 401, 404, 405)  # statuses that say that this venue gives no old trades to who has no key
IN_MICROSECONDS = {"X-MBX-TIME-UNIT": "MICROSECOND"}
_NS_PER_MS = 1_000_000
_LOG = logging.getLogger(__name__)


class Recovery:
    """The questions of one feed.

    Parameters
    ----------
    venue : Venue
    symbols : sequence of str
    connections : Connections
        Those that carry the trades.
    rest : Rest
    put : callable
        Awaited with each line, and with the symbol if it is an answer about its trades.
    hold_ms, lateness_ms : int
        As ``followed_trades.Rule``; with a hold of 0 nothing is asked.
    clock_ns : callable
        The time of lines.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        connections: Connections,
        rest: Rest,
        put: Callable[[bytes, str], Awaitable[None]],
        *,
        hold_ms: int,
        lateness_ms: int,
        clock_ns: Callable[[], int],
        first_pause_s: float,
    ) -> None:
        self._venue = venue
        self._symbols = symbols
        self._connections = connections
        self._rest = rest
        self._put = put
        self._hold_ms = hold_ms
        self._lateness_ms = lateness_ms
        self._clock_ns = clock_ns
        self._first_pause_s = first_pause_s
        self._wanted: dict[str, Wanted] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, int] = {}  # the first id of the last question for each symbol
        self._pauses: dict[str, tuple[Iterator[float], float]] = {}  # and before when nothing is asked again

    async def start(self, last: dict[str, LastTrade]) -> None:
        """Note that the feed starts, and what it wrote before."""
        note = {
            "e": "feed",
            "s": self._symbols,
            "hold_ms": self._hold_ms,
            "lateness_ms": self._lateness_ms,
            "last": last,
        }
        await self._put(msgspec.json.encode(note), "")

    async def end(self) -> None:
        """Ask no more, and note that the feed ends."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self._put(msgspec.json.encode({"e": "stopped", "s": self._symbols}), "")

    def note(self, wanted: Sequence[Wanted], answered: Sequence[str]) -> None:
        """Note what the parser wants now, and the symbols whose answers it has read."""
        self._wanted = {one.symbol: one for one in wanted}
        for symbol in answered:
            self._asking.pop(symbol, None)
        for symbol in self._pauses.keys() - self._wanted.keys():
            del self._pauses[symbol]
            self._asked.pop(symbol, None)

    async def run(self) -> None:
        """Ask for what is wanted until cancelled."""
        clock = asyncio.get_running_loop().time
        told_s = clock()
        while True:
            await asyncio.sleep(LOOK_S)
            now_s, now_ms = clock(), self._clock_ns() // _NS_PER_MS
            if self._hold_ms and not self._connections.is_open and now_s - told_s >= self._hold_ms / 4000:
                told_s = now_s
                await self._connections.tell()  # the time of its symbols is held again
            over = [one.symbol for one in self._wanted.values() if now_ms >= one.until_ms]
            if over:
                await self._give_up(over)
            for one in self._wanted.values():
                self._ask(one, now_s, now_ms)

    async def _give_up(self, symbols: Sequence[str]) -> None:
        names = ", ".join(symbols[:NAMES_SHOWN])
        _LOG.warning("trades of %s did not come in %.0f s and are missing", names, self._hold_ms / 1000)
        for symbol in symbols:
            del self._wanted[symbol]
            if (task := self._asking.pop(symbol, None)) is not None:
                task.cancel()
        await self._put(msgspec.json.encode({"e": "unrecovered", "s": symbols}), "")

    def _ask(self, wanted: Wanted, now_s: float, now_ms: int) -> None:
        symbol = wanted.symbol
        is_new = self._asked.get(symbol) != wanted.first  # the answer before brought something
        waits, again_s = self._pauses.get(symbol, (None, 0.0))
        is_early = wanted.last is None and now_s - self._connections.open_since < SETTLE_S
        if symbol in self._asking or is_early or (now_s < again_s and not is_new):
            return
        if waits is None or is_new:
            waits = pauses(self._first_pause_s, LONGEST_PAUSE_S)
        self._asked[symbol] = wanted.first
        self._pauses[symbol] = waits, now_s + next(waits)
        due_s = now_s + (wanted.until_ms - now_ms) / 1000
        self._asking[symbol] = asyncio.create_task(self._fetch(wanted, due_s, is_end=wanted.last is None))

    async def _fetch(self, wanted: Wanted, due_s: float, *, is_end: bool) -> None:
        """Ask for a page and put the answer as a line."""
        import aiohttp

        symbol, first = wanted.symbol, wanted.first - 1
        query = {"symbol": symbol, "fromId": str(first), "limit": str(PAGE)}
        headers = IN_MICROSECONDS if self._venue.has_micros else None
        try:
            answer = await self._rest.get(self._venue.old_trades, query, self._venue.weight_of_trades, due_s, headers)
            if not answer.startswith(b"["):
                raise ValueError(f"an answer that is no list: {answer[:100]!r}")
            trades = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(answer)))
        except (RestrictedError, TimeoutError, OSError, ValueError, aiohttp.ClientError) as error:
            _LOG.warning("no missing trades of %s: %s: %.200s", symbol, type(error).__name__, error)
            self._asking.pop(symbol, None)
            if isinstance(error, RestrictedError) or getattr(error, "status", None) in REFUSALS:
                await self._give_up([symbol])
            return
        note = {
            "e": "recovered",
            "s": symbol,
            "form": self._venue.trades,
            "first": first,
            "is_end": is_end,
            "trades": trades,
        }
        await self._put(msgspec.json.encode(note), symbol)
