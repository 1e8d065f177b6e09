"""The last trade of each symbol that a live feed wrote, in Redis: its next run knows which trades it missed.

It is stored by the script that appends the trade. A Redis that comes back older has lost both, so the feed asks for the trade again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import redis

from ingest.messages.kinds import Clock, Hold, OrderBook, Trade, time_us
from ingest.recordings.binance_wire import LastTrade
from ingest.recordings.lines import Output, Rejected
from ingest.streams import keys
from ingest.streams.move import Notes, Place

_NS_PER_MS = 1_000_000


class LastTrades:
    """Follows what one feed writes.

    Parameters
    ----------
    client : redis.Redis
    feed : str
        Names the venue and its form of trades: ids of another form are other ids.
    partitions : int
        What is stored of a symbol stands in the slot of its log.
    """

    def __init__(
        self, client: redis.Redis, feed: str, partitions: int, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._client = client
        self._feed = feed
        self.partitions = partitions
        self._clock_ns = clock_ns
        self._known: dict[str, LastTrade] = {}
        self._read: dict[str, LastTrade] = {}  # of the run before

    def read(self, symbols: Sequence[str]) -> dict[str, LastTrade]:
        """Return what an earlier run stored of these symbols."""
        self._read = {}
        for p, names in self._by_partition(symbols).items():
            found: Any = self._client.hmget(keys.last_trades(p, self._feed), names)
            texts = zip(names, found, strict=True)
            self._read |= {name: msgspec.json.decode(text, type=LastTrade) for name, text in texts if text is not None}
        if absent := [name for name in symbols if name not in self._read]:
            before: Any = self._client.hmget(f"last_trades:{self._feed}", absent)  # where the release before kept them
            texts = zip(absent, before, strict=True)
            self._read |= {name: msgspec.json.decode(text, type=LastTrade) for name, text in texts if text is not None}
        return dict(self._read)

    def _by_partition(self, symbols: Iterable[str]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for symbol in symbols:
            found.setdefault(keys.partition_of(symbol, self.partitions), []).append(symbol)
        return found

    def notes(self, outputs: Iterable[Output]) -> dict[Place, Notes]:
        """Return what to store with a batch of outputs in each partition; nothing where it says nothing of a symbol with trades.

        A hold and a clock count as written too: for so long the worker lets no time pass without the feed. A hold before the first trade
        says that this run asks for what the one before missed: if it ends before it knows, the next one asks from the same trade on.
        """
        changed: set[str] = set()
        for output in outputs:
            message = None if isinstance(output, Rejected) else output.message
            if isinstance(message, Trade) and isinstance(message.trade_id, int):
                symbol, at_us = message.symbol, time_us(message)
                known = self._known.get(symbol)
                if known is None or known.id is None or message.trade_id > known.id or at_us > known.time_us:
                    given_us = max(at_us, known.given_us) if known is not None else at_us
                    self._known[symbol] = LastTrade(message.trade_id, at_us, message.price, message.size, given_us, 0)
                    changed.add(symbol)
            elif isinstance(message, OrderBook) and (known := self._of_book(message.symbol)) is not None:
                known.given_us = max(known.given_us, time_us(message))
                changed.add(message.symbol)
            elif isinstance(message, Hold):
                if (last := self._read.get(message.symbol)) is not None:
                    self._known.setdefault(message.symbol, last)
                changed.add(message.symbol)
            elif isinstance(message, Clock):
                passed_us = time_us(message)
                for symbol in message.symbols:
                    if (known := self._known.get(symbol)) is not None:
                        known.given_us = max(known.given_us, passed_us)
                        changed.add(symbol)
        changed &= self._known.keys()
        now_ms = self._clock_ns() // _NS_PER_MS
        for symbol in changed:
            self._known[symbol].written_ms = now_ms
        return {
            p: Notes(keys.last_trades(p, self._feed), {name: msgspec.json.encode(self._known[name]) for name in names})
            for p, names in self._by_partition(changed).items()
        }

    def _of_book(self, symbol: str) -> LastTrade | None:
        """Return what is known of a symbol with a book; None where the trade of the run before must stay, because this one does not ask."""
        known = self._known.get(symbol)
        if known is None:
            last = self._read.get(symbol)
            if last is None or last.id is None:
                known = self._known[symbol] = LastTrade(None, 0, 0.0, 0.0, 0, 0)
        return known
