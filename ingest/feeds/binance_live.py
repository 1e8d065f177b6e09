"""The live feed of Binance and of venues with its protocol: websocket frames and REST snapshots go to our own parser.

::

    frames --.
             |--> one queue of lines, as a capture has them --> Binance (the parser of the replay) --> outlet
    answers -'         ^                                            |
    lost connections --'      symbols that wait for a snapshot <----'

What this feed records replays to the same rows. It does not use cryptofeed (2.4.1), because for Binance cryptofeed

- resets the books of all symbols at a sequence gap and reports that only in its log, and does not report a lost connection at all, so
  an old book would count as a known one;
- uses ``aggTrade`` for trades, and gives times as floating-point seconds;
- holds up the frames of every symbol while it fetches the snapshot of one;
- connects only to ``wss://`` addresses, so no test could play a capture to it.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

import msgspec

from feature_repo.stores.errors import UserError
from ingest.feeds import open_interest
from ingest.feeds.binance_addresses import Allowance, Venue, depth_to_ask
from ingest.feeds.binance_connection import Connections
from ingest.feeds.binance_recovery import Recovery
from ingest.feeds.binance_rest import Rest
from ingest.feeds.binance_socket import is_regular, kind_of
from ingest.feeds.binance_venue import ANSWER_S, RestrictedError, check_symbols
from ingest.feeds.channels import MARKET, Channels
from ingest.feeds.pump import Pump
from ingest.feeds.silent_channels import SilentChannels
from ingest.publish.outlet import Outlet, pauses
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Output
from ingest.recordings.venue_clock import Pace
from transforms.instrument import Instrument, known

if TYPE_CHECKING:
    from aiohttp import ClientSession

SYMBOLS_MAX = 100  # of one connection; each has two streams, and venues close connections with many more
RENEW_S = 60.0  # between two snapshots of a symbol that make its book known further
WATCH_S = 0.5  # between two looks for silent channels
MICROSECONDS = "&timeUnit=MICROSECOND"
DEPTH, TRADES = "depth", "trades"  # what an answer among the lines is about
_NAME = re.compile(r"\w{1,40}\Z").match
_LOG = logging.getLogger(__name__)


class BinanceFeed:
    """Books and trades of some symbols, until stopped.

    Parameters
    ----------
    symbols : sequence of str
        As the venue writes them, in any case.
    max_future_ms : int
        How far a message may be stamped ahead of its receive time.
    record : file, optional
        Gets every line, as a capture that ``replay`` reads.
    instrument : callable
        Returns what is known of a symbol, which has the venue's prefix: its contract tells the depths.
    pace : Pace, optional
        When rows are due: with it the venue's clock makes time pass for quiet symbols.
    first_pause_s : float
        Wait before the first new attempt at a connection or a snapshot.
    connections : int
        How many connections are kept to each address: what one does not hear, another may.
    hold_ms, lateness_ms : int
        How long missing trades are asked for, and how far behind a message may come (``whole_trades``). With 0 nothing is asked for.

    Raises
    ------
    UserError
        A symbol does not have Binance's form, or there are too many for a connection.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        outlet: Outlet,
        max_future_ms: int,
        *,
        record: IO[bytes] | None = None,
        instrument: Callable[[str], Instrument] = known,
        pace: Pace | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        first_pause_s: float = 1.0,
        connections: int = 1,
        hold_ms: int = 0,
        lateness_ms: int = 0,
    ) -> None:
        symbols = list(dict.fromkeys(symbol.upper() for symbol in symbols))
        bad = [symbol for symbol in symbols if not _NAME(symbol)]
        if bad:
            raise UserError(f"{bad[0]!r:.60} is no symbol of Binance's form, such as BTCUSDT")
        if not 1 <= len(symbols) <= SYMBOLS_MAX:
            raise UserError(
                f"{len(symbols)} symbols: one connection carries 1 to {SYMBOLS_MAX}; start another feed for more"
            )
        self._venue = venue
        self._symbols = symbols
        self._record = record
        self._clock_ns = clock_ns
        self._first_pause_s = first_pause_s
        self._parser = Binance(max_future_ms, instrument=lambda symbol: instrument(venue.prefix + symbol), pace=pace)
        self._outlet = outlet
        self._lines = 0
        self._refused: UserError | None = None
        self._channels = Channels(
            {
                f"{symbol.lower()}@{channel}": (symbol, kind_of(channel))
                for symbol in symbols
                for route in venue.routes
                for channel in route.channels
                if is_regular(channel)
            }
        )
        self._connections = [
            Connections(
                venue.stream,
                route,
                symbols,
                self._channels,
                self._put,
                wanted=connections,
                is_only=len(venue.routes) == 1,
                query=MICROSECONDS if venue.has_micros else "",
                first_pause_s=first_pause_s,
            )
            for route in venue.routes
        ]
        self._silent = SilentChannels(outlet.client, outlet.prefix)
        self._depth, self._weight = depth_to_ask(venue, len(self._symbols))
        self._hold_ms, self._lateness_ms = hold_ms, lateness_ms
        self._renew_at: dict[str, float] = {}  # before which no symbol asks for another snapshot of a known book
        self._requests: dict[str, asyncio.Task[None]] = {}
        self._pauses: dict[str, Iterator[float]] = {}
        self._pump: Pump[tuple[Line, tuple[str, str] | None]]  # this and what follows belong to the loop of `run`
        self._stop: asyncio.Event
        self._http: ClientSession
        self._rest: Rest
        self._recovery: Recovery

    async def run(self) -> None:
        """Listen until ``stop``. A lost connection gives gaps in the logs, and is opened again.

        Raise `UserError` if the venue does not list a symbol, or serves nobody at this location.
        """
        import aiohttp

        self._stop = asyncio.Event()
        self._pump = Pump(self._parse, self._outlet, self._request_missing)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as self._http:
            self._rest = Rest(self._http, Allowance(self._venue.weight_a_minute))
            self._recovery = Recovery(
                self._venue,
                self._symbols,
                self._connections[-1],
                self._rest,
                lambda line, symbol: self._put(line, (TRADES, symbol) if symbol else None),
                hold_ms=self._hold_ms,
                lateness_ms=self._lateness_ms,
                clock_ns=self._clock_ns,
                first_pause_s=self._first_pause_s,
            )
            pump = asyncio.create_task(self._pump.run())
            listening = asyncio.create_task(self._check_and_listen())
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait({pump, listening, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (stopped, listening, *self._requests.values()):
                task.cancel()
            ended, *_ = await asyncio.gather(listening, *self._requests.values(), return_exceptions=True)
            await self._recovery.end()
            await self._rest.close()
            if not pump.done():
                await self._pump.close()
            await asyncio.gather(pump, self._silent.end())
            if refused := self._refused or (ended if isinstance(ended, Exception) else None):
                raise refused

    def stop(self) -> None:
        """End ``run``; call it from the loop of ``run``. What was read is written, and then gaps, as the books are unknown from now on."""
        self._stop.set()

    async def _check_and_listen(self) -> None:
        await check_symbols(self._http, self._venue.rest.rpartition("/")[0] + "/exchangeInfo", self._symbols)
        await self._recovery.start(await asyncio.to_thread(self._outlet.last_trades, self._symbols))
        tasks = [asyncio.create_task(each.listen(self._http)) for each in self._connections]
        tasks += [asyncio.create_task(self._watch()), asyncio.create_task(self._recovery.run())]
        tasks += [asyncio.create_task(open_interest.ask(self._rest, self._venue, self._symbols, self._put))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Look every `WATCH_S` for channels that are silent, and tell the parser and Redis of them as long as they are."""
        while True:
            await asyncio.sleep(WATCH_S)
            while self._parser.unmissed:
                self._channels.was_quiet(*self._parser.unmissed.popleft())
            silent = self._channels.look()
            for kind in MARKET:
                if symbols := [channel.symbol for channel in silent if channel.kind == kind]:
                    await self._put(msgspec.json.encode({"e": "silence", "s": symbols, "channel": kind}))
            self._silent.tell(silent)

    @property
    def _gives_books(self) -> bool:
        """Whether diffs can come now; the first route of a venue carries them."""
        return self._connections[0].is_open

    async def _put(self, payload: bytes, answers: tuple[str, str] | None = None) -> None:
        """Queue a line; ``answers`` says what it is an answer about, and of which symbol."""
        now_ns = self._clock_ns()
        self._lines += 1
        data = b"%d " % now_ns + payload.replace(b"\n", b" ").replace(b"\r", b" ")
        await self._pump.put((Line("live", self._lines, now_ns, data, True), answers))

    def _parse(self, items: Sequence[tuple[Line, tuple[str, str] | None]]) -> list[Output]:
        if self._record is not None:
            self._record.writelines(line.data + b"\n" for line, _ in items)
        outputs = [output for line, _ in items for output in self._parser.parse(line)]
        self._outlet.counts.lines += len(items)
        self._outlet.counts.ignored = self._parser.ignored
        return outputs

    async def _request_missing(self, items: Sequence[tuple[Line, tuple[str, str] | None]]) -> None:
        """Request what is missing after a batch: snapshots, one request a symbol at a time, and trades."""
        answered = [answers for _, answers in items if answers is not None]
        for about, symbol in answered:
            if about == DEPTH:
                self._requests.pop(symbol, None)
        self._recovery.note(self._parser.wanted(), [symbol for about, symbol in answered if about == TRADES])
        missing = [s for s in self._parser.missing() if s in self._symbols] if self._gives_books else []
        for symbol in self._pauses.keys() - set(missing) - self._requests.keys():
            del self._pauses[symbol]
        for symbol in missing:
            if symbol not in self._requests:
                self._requests[symbol] = asyncio.create_task(self._request_snapshot(symbol))
        now = time.monotonic()
        for symbol in self._parser.fading() if self._gives_books else ():
            if symbol in self._symbols and symbol not in self._requests and now >= self._renew_at.get(symbol, 0.0):
                self._renew_at[symbol] = now + RENEW_S
                self._requests[symbol] = asyncio.create_task(self._renew_snapshot(symbol))

    async def _request_snapshot(self, symbol: str) -> None:
        """Fetch a snapshot and queue it as a line that names its symbol. Only the first request of a series is sent at once."""
        while True:
            if symbol in self._pauses:
                await asyncio.sleep(next(self._pauses[symbol]))
            else:
                self._pauses[symbol] = pauses(self._first_pause_s)
            try:
                answer = await self._fetch(symbol)
            except RestrictedError as error:
                self._refused = error
                self._stop.set()
                return
            except (TimeoutError, OSError, ValueError, _client_error()) as error:
                _LOG.warning("no snapshot of %s: %s: %.200s", symbol, type(error).__name__, error)
                continue
            await self._put(b'{"symbol":"%s",' % symbol.encode() + answer[1:], (DEPTH, symbol))
            return

    async def _renew_snapshot(self, symbol: str) -> None:
        """Fetch one more snapshot of a known book. If that fails, the next is due after the usual time."""
        try:
            answer = await self._fetch(symbol)
        except (RestrictedError, TimeoutError, OSError, ValueError, _client_error()) as error:
            _LOG.warning("no new snapshot of %s: %s: %.200s", symbol, type(error).__name__, error)
            self._requests.pop(symbol, None)
            return
        await self._put(b'{"symbol":"%s",' % symbol.encode() + answer[1:], (DEPTH, symbol))

    async def _fetch(self, symbol: str) -> bytes:
        query = {"symbol": symbol, "limit": str(self._depth)}
        data = await self._rest.get(self._venue.rest, query, self._weight)
        if not data.startswith(b"{") or data[1:2] == b"}":
            raise ValueError("an answer that is no JSON object")
        return data


def _client_error() -> type[Exception]:
    import aiohttp

    return aiohttp.ClientError
