"""Live feeds of cryptofeed's venues. cryptofeed handles the protocols and the books, this module the connections.

cryptofeed does not report a lost connection, and its pauses double without end, so connections are opened again here. When one ends, its
books are unknown until their next snapshot, and trades may be missing until the next one is there (``venue_trades``). If updates were
missing, cryptofeed builds a book again and gives it without a change (``delta``) after books with one; a gap is published before such a
book. Checksums are compared if a venue sends them. A channel that is silent while others speak counts as lost (``channels``).

A symbol is called ``VENUE:BASE-QUOTE``. A book without a time of the venue counts at its receive time.
Source: https://github.com/bmoscon/cryptofeed, 2.4.1
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from feature_repo.stores.errors import UserError
from ingest.feeds.channels import Channels
from ingest.feeds.cryptofeed_book import VenueBook
from ingest.feeds.cryptofeed_contract import Contracts, now_ms, subscription
from ingest.feeds.pump import Pump
from ingest.feeds.silent_channels import SilentChannels
from ingest.feeds.venue_trades import VenueTrades
from ingest.messages.kinds import Gap, OrderBook, Trade, time_fields
from ingest.publish.outlet import Outlet, pauses
from ingest.recordings.lines import Output, Parsed
from transforms.instrument import Instrument, known
from transforms.limits import MAX_LEVELS

CLOSE_S = 0.3  # how long a venue may take to answer that a connection is closed
OURS = {"binance-futures": "binance-futures", "binance-delivery": "binance-coinm"}
"""cryptofeed's feeds of Binance's perpetuals, and ours. Since April 2026 the venue gives trades and mark prices at another path than books.
cryptofeed (2.4.1) asks for all at one, which accepts that and gives no trades, and nothing says so; clients saw the same of COIN-M."""
KINDS = {"l2_book": "book", "trades": "trade"}
WATCH_S = 0.5  # between two looks for silent channels
QUIET_S = 120.0  # a connection that is silent for this long counts as lost
_LOG = logging.getLogger(__name__)


class FeedError(UserError, ValueError):
    """cryptofeed does not know the venue or a symbol, or cannot reach the venue to ask."""


class PassedError(Exception):
    """The price has left what is known of a book."""


def venues() -> dict[str, type[Any]]:
    """Return cryptofeed's venues by the names that ``feed`` accepts, such as ``kraken``."""
    from cryptofeed.exchanges import EXCHANGE_MAP

    return {name.lower().replace("_", "-"): venue for name, venue in EXCHANGE_MAP.items()}


class Translator:
    """cryptofeed's callbacks. They give our messages to ``put``; ``clock_ms`` is the receive time of what has none.

    ``instrument`` returns what is known of a symbol: its contract tells the depths. ``heard`` is called with each channel that speaks,
    such as ``BTC-USD trade``.
    """

    def __init__(
        self,
        venue: str,
        put: Callable[[Output], Any],
        clock_ms: Callable[[], int],
        instrument: Callable[[str], Instrument] = known,
    ) -> None:
        self._venue = venue
        self._put = put
        self._clock_ms = clock_ms
        self._instrument = instrument
        self._books: dict[str, VenueBook] = {}
        self._newest_us: dict[str, int] = {}
        self._came_as_change: dict[str, bool] = {}  # the last book of each symbol
        self._trades = VenueTrades(venue)
        self.heard: Callable[[str], None] = lambda _: None

    async def book(self, book: Any, receipt_s: float) -> None:
        """Put an order book, and a gap before it if cryptofeed built it again.

        Raise ``PassedError`` where the price has left what is known of the book: a new connection brings a new snapshot.
        """
        symbol = f"{self._venue}:{book.symbol}"
        self.heard(f"{book.symbol} book")
        at_us, received = self._times(book.timestamp, receipt_s)
        if book.delta is None and self._came_as_change.get(symbol):
            await self._put(Parsed("gap", _gap(min(at_us, self._newest_us[symbol] + 1), symbol, received)))
        self._came_as_change[symbol] = book.delta is not None
        self._newest_us[symbol] = max(at_us, self._newest_us.get(symbol, 0))
        if symbol not in self._books:
            self._books[symbol] = VenueBook(is_window=not self._venue.startswith("BINANCE"))
        ours = self._books[symbol].update(book.book, book.delta)
        if ours.passed:
            raise PassedError(f"the price of {symbol} has left what is known of its book")
        ms, us = time_fields(at_us)
        depth = ours.depth(self._instrument(symbol))
        message = OrderBook(ms, symbol, *ours.best(MAX_LEVELS), None, received, depth, us)
        await self._put(Parsed("book", message))

    async def trade(self, trade: Any, receipt_s: float) -> None:
        """Put a trade."""
        symbol = f"{self._venue}:{trade.symbol}"
        at_us, received = self._times(trade.timestamp, receipt_s)
        self._newest_us[symbol] = max(at_us, self._newest_us.get(symbol, 0))
        ms, us = time_fields(at_us)
        side = trade.side if trade.side in ("buy", "sell") else None
        message = Trade(ms, symbol, float(trade.price), float(trade.amount), side, trade.id or None, received, None, us)
        gaps = self._trades.take(message)
        if gaps is None:
            return
        self.heard(f"{trade.symbol} trade")
        for gap in gaps:
            await self._put(gap)
        await self._put(Parsed("trade", message))

    async def lose(self, symbols: Sequence[str]) -> None:
        """Put gaps for each of these symbols (as cryptofeed names them): their connection was lost."""
        await self.miss(symbols)
        for name in symbols:
            await self.lose_book(name)

    async def lose_book(self, name: str) -> None:
        """Put a gap of a book, if it is known."""
        symbol = f"{self._venue}:{name}"
        if self._came_as_change.pop(symbol, None) is not None:
            await self._put(Parsed("gap", _gap(self._newest_us[symbol] + 1, symbol, self._clock_ms())))

    async def miss(self, symbols: Sequence[str]) -> None:
        """Put a gap of the trades of each of these symbols up to now: nobody hears them. To be called again as long as that lasts."""
        now_ms = self._clock_ms()
        for name in symbols:
            for gap in self._trades.missed(f"{self._venue}:{name}", now_ms * 1000, now_ms):
                await self._put(gap)

    def _times(self, event_s: Any, receipt_s: float | None) -> tuple[int, int]:
        """Return the event time in microseconds, and the receive time in milliseconds.

        Cryptofeed gives seconds as a double, whose steps are a quarter of a microsecond: rounded, it is the venue's own time, whether
        that was in milliseconds or in microseconds.
        """
        received = self._clock_ms() if receipt_s is None else round(receipt_s * 1000)
        return (round(event_s * 1e6) if isinstance(event_s, (int, float)) else received * 1000), received


def _gap(t_us: int, symbol: str, received: int) -> Gap:
    ms, us = time_fields(t_us)
    return Gap(ms, symbol, received, us)


async def _end_of(tasks: Sequence[asyncio.Task[None]]) -> list[Exception]:
    """Wait for cancelled tasks, which close their connections; a venue that does not answer the close is left after `CLOSE_S`."""
    _, slow = await asyncio.wait(tasks, timeout=CLOSE_S)
    for task in slow:
        task.cancel()  # ends the wait for the venue's answer
    done, _ = await asyncio.wait(tasks, timeout=CLOSE_S)
    return [error for task in done if not task.cancelled() and isinstance(error := task.exception(), Exception)]


class CryptofeedFeed:
    """Books and trades of one venue, and what it tells of contracts, until stopped.

    ``venue`` is a name of ``venues``, symbols are named as in cryptofeed (``BTC-USD``), and ``first_pause_s`` is the wait before the first
    new attempt at a connection. ``instrument`` returns what is known of a symbol. The constructor may raise ``FeedError``.
    """

    def __init__(
        self,
        venue: str,
        symbols: Sequence[str],
        outlet: Outlet,
        *,
        first_pause_s: float = 1.0,
        instrument: Callable[[str], Instrument] = known,
    ) -> None:
        if venue in OURS:
            raise FeedError(
                f"cryptofeed's {venue} asks for trades at an address where Binance may give none since April 2026; "
                f"use our own feed: python -m ingest feed {OURS[venue]} {'BTCUSD_PERP' if 'coinm' in OURS[venue] else 'BTCUSDT'}"
            )
        kind = venues().get(venue)
        if kind is None:
            raise FeedError(f"no venue {venue!r:.60}; cryptofeed knows {', '.join(sorted(venues()))}")
        self._first_pause_s = first_pause_s
        self._pump: Pump[Output] = Pump(list, outlet)
        self._stop = asyncio.Event()
        self._lost: set[str] = set()  # symbols whose connection was lost, and that no next one was heard of yet
        name = kind.id.replace("_", "-")
        self._translator = Translator(name, self._pump.put, now_ms, instrument)
        self._contracts = Contracts(name, self._pump.put)
        self._silent = SilentChannels(outlet.client, f"{name}:")
        self._channels: Channels
        feed_log = logging.getLogger("feedhandler")  # of cryptofeed: it also prints the trace of what it raises
        was, feed_log.disabled = feed_log.disabled, True
        try:
            self._feed = kind(
                config={"log": {"disabled": True}},
                subscription=subscription(name, list(dict.fromkeys(symbols))),
                callbacks={"l2_book": self._translator.book, "trades": self._translator.trade}
                | self._contracts.callbacks,
                checksum_validation=True,
            )
        except Exception as error:  # of cryptofeed, requests or the venue: they have no common class
            raise FeedError(f"{venue}: {type(error).__name__}: {error!s:.200}") from error
        finally:
            feed_log.disabled = was

    async def run(self) -> None:
        """Listen until ``stop``."""
        pump = asyncio.create_task(self._pump.run())
        parts = [(*connection, self._streams(connection[0])) for connection in self._feed.connect()]
        channels = self._channels = Channels({name: what for *_, streams in parts for name, what in streams.items()})
        self._translator.heard = lambda name: channels.hear(name.encode())
        listening = [asyncio.create_task(self._listen(*part)) for part in parts]
        listening.append(asyncio.create_task(self._watch()))
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({pump, stopped, *listening}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopped, *listening):
            task.cancel()
        ended = await _end_of(listening)
        await self._pump.close()
        await asyncio.gather(pump, self._silent.end())
        await self._feed.http_conn.close()
        for error in ended:
            raise error

    def _streams(self, connection: Any) -> dict[str, tuple[str, str]]:
        """Return symbol and kind of the channels of a connection, by the name that the translator calls each."""
        wanted = connection.subscription or self._feed.subscription
        names = {
            (self._feed.exchange_symbol_to_std_symbol(symbol), KINDS[kind])
            for channel, symbols in wanted.items()
            if (kind := self._feed.exchange_channel_to_std(channel)) in KINDS
            for symbol in symbols
        }
        return {f"{symbol} {kind}": (symbol, kind) for symbol, kind in sorted(names)}

    async def _watch(self) -> None:
        """Look every `WATCH_S` for channels that are silent; as long as one is, its messages are missing."""
        while True:
            await asyncio.sleep(WATCH_S)
            silent = self._channels.look()
            for channel in silent:
                if channel.kind == "book":
                    await self._translator.lose_book(channel.symbol)
                else:
                    await self._translator.miss([channel.symbol])
            self._silent.tell(silent)

    def stop(self) -> None:
        """End ``run``; call it from the loop of ``run``."""
        self._stop.set()

    async def _listen(
        self, connection: Any, subscribe: Any, handle: Any, authenticate: Any, streams: Mapping[str, tuple[str, str]]
    ) -> None:
        attempts = pauses(self._first_pause_s)
        symbols = list(dict.fromkeys(symbol for symbol, _ in streams.values()))
        while True:
            heard = False
            try:
                async with connection.connect() as opened:
                    await authenticate(opened)
                    await subscribe(opened)
                    _LOG.info("listening to %s of %s", ", ".join(symbols), self._feed.id)
                    self._channels.opened(streams)
                    frames = aiter(opened.read())
                    while True:
                        async with asyncio.timeout(QUIET_S):
                            frame = await anext(frames)
                        if not heard:
                            heard = True
                            await self._end_loss(symbols)
                            await self._contracts.begin(symbols)
                        await handle(frame, opened, connection.last_message)
            except StopAsyncIteration:
                why = "it was closed"
            # a frame that cryptofeed cannot take, a checksum, the network: all end the connection
            except Exception as error:
                why = f"{type(error).__name__}: {error!s:.200}"
            finally:
                self._channels.closed(streams)
                await self._translator.lose(symbols)
                self._lost.update(symbols)
            if heard:
                attempts = pauses(self._first_pause_s)
            pause = next(attempts)
            _LOG.warning("the connection to %s is lost (%s): again in %.1f s", self._feed.id, why, pause)
            while pause > 0:
                await asyncio.sleep(min(pause, WATCH_S))
                pause -= WATCH_S
                await self._translator.miss(symbols)

    async def _end_loss(self, symbols: Sequence[str]) -> None:
        """Tell up to when trades of these symbols were missed, if their connection was lost: now the next one is there."""
        if lost := [symbol for symbol in symbols if symbol in self._lost]:
            self._lost.difference_update(lost)
            await self._translator.miss(lost)
