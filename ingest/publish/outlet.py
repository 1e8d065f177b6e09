"""Where a live feed writes: into the streams. It waits while Redis is away and while the worker is behind.

A batch is written whole and once, also where an answer of Redis is lost or Redis comes back older (``publish/producer.py``). Meanwhile the
feed is not read, so no message is accepted that could not be kept. The pauses are those of every part, so the worker knows how long after
an outage such messages may come (``outage.WRITTEN_S``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from random import random
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from ingest.messages.decode import decode
from ingest.messages.kinds import TRADE_CHANNEL, Clock, Gap, Message, OrderBook, SocialPost, Tick, Trade, time_us
from ingest.publish.counts import Counts
from ingest.publish.last_trades import LastTrades
from ingest.publish.placed import entries_of, fields_of, words_of
from ingest.publish.producer import Batch, Producer
from ingest.publish.publisher import SOURCE_MAX
from ingest.publish.readers import Readers
from ingest.recordings.binance_wire import LastTrade
from ingest.recordings.lines import Output, Rejected
from ingest.settings import Settings
from ingest.streams import keys, outage, read
from ingest.streams.dead_letters import dead_letter
from ingest.streams.move import Place

LONGEST_S = 30.0  # between two attempts at a venue; Redis is tried at least every `outage.LONGEST_PAUSE_S`
BATCH = 500  # entries that one script appends
_EVENTS: dict[bytes, type[OrderBook | Trade]] = {b"book": OrderBook, b"trade": Trade}
_LOG = logging.getLogger(__name__)


def pauses(first_s: float = 1.0, longest_s: float = LONGEST_S) -> Iterator[float]:
    """Yield how long to wait before each attempt: doubled up to ``longest_s``, each a random part from half to the whole.

    The random part keeps several feeds from returning at the same moment.
    """
    step = min(first_s, longest_s)
    while True:
        yield step * (0.5 + random() / 2)  # noqa: S311  # spreads attempts, keeps no secret
        step = min(2 * step, longest_s)


class NotWrittenError(UserError, redis.RedisError):
    """The feed was stopped, and its last messages did not enter Redis in time."""

    def __init__(self) -> None:
        super().__init__("the feed was stopped before Redis had taken its last messages: they are lost")


class Outlet:
    """Writes what feeds give, and counts it.

    Parameters
    ----------
    client, settings
        Of this deployment.
    prefix : str
        Put before every symbol, so that two venues are two symbols.
    progress : callable, optional
        Called with the counts after each batch.
    stop : threading.Event, optional
        Once set, a batch that cannot be written is given up.
    first_pause_s : float
        Wait before the first new attempt. A worker that had nothing to write during a short outage does not know of it and goes on with
        its ticks, so what was kept must be written soon.
    attempts : int, optional
        How often a batch is tried; without a number until ``stop``.
    feed : str
        Under this name the last trades that are written are stored (``last_trades``); empty stores none.
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        *,
        prefix: str = "",
        progress: Callable[[Counts], None] | None = None,
        stop: threading.Event | None = None,
        first_pause_s: float = outage.FIRST_PAUSE_S,
        attempts: int | None = None,
        feed: str = "",
    ) -> None:
        self.counts = Counts()
        self._last_trades = LastTrades(client, feed, settings.partitions) if feed else None
        self.stop = stop or threading.Event()
        self._is_given_up = False
        self.client = client
        self._lateness_ms = settings.allowed_lateness_ms
        self._producer = Producer(client, self._holes, settings)
        self._readers = Readers(client, settings.partitions, stop=self.stop)
        self.prefix = prefix
        self._progress = progress
        self._first_pause_s = first_pause_s
        self._attempts = attempts

    def write(self, outputs: Sequence[Output]) -> None:
        """Publish messages and keep refused lines; return when both are in Redis.

        Raise ``redis.RedisError`` if Redis cannot be written to, and ``stop`` is set or the attempts are used up.
        """
        if self.prefix:
            self._rename(outputs)
        self._follow()
        entries = [(output, *entry) for output in outputs for entry in self._entries(output)]
        for first in range(0, len(entries), BATCH):  # 1. Take the next batch.
            for part in read.split_by_size(entries[first : first + BATCH]):
                notes = self._last_trades.notes(output for output, *_ in part) if self._last_trades else {}
                # 2. Write it, again and again until Redis has answered.
                batch = Batch(_by_place(entry for _, *entry in part), notes, self._partitions)
                self._insist(partial(self._producer.write, batch))
        for output in outputs:  # 3. Count what is written.
            self.counts.add_output(output)
        if self._readers.is_check_due(len(outputs)):  # 4. Wait while the worker is far behind.
            self._insist(self._readers.wait_for_workers)
        if self._progress is not None:
            self._progress(self.counts)

    @property
    def _partitions(self) -> int:
        return self._readers.partitions

    def _follow(self) -> None:
        """Place messages by the number of partitions of today, as far as the producer has heard of it."""
        self._readers.partitions = self._producer.partitions
        if self._last_trades is not None:
            self._last_trades.partitions = self._producer.partitions

    def look(self) -> None:
        """Write again what Redis has lost, where there is nothing new to write."""
        self._insist(partial(self._producer.write, Batch({})))

    def give_up(self) -> None:
        """Let ``write`` raise `NotWrittenError` from now on, and at once where it waits for an answer of Redis."""
        self._is_given_up = True
        self.stop.set()
        outage.end_waits(self.client)

    def last_trades(self, symbols: Sequence[str]) -> dict[str, LastTrade]:
        """Return the last trades of symbols, named without the prefix, that an earlier run of this feed wrote."""
        last_trades = self._last_trades
        if last_trades is None:
            return {}
        self._follow()
        found: dict[str, LastTrade] = {}
        self._insist(lambda: found.update(last_trades.read([self.prefix + symbol for symbol in symbols])))
        return {name.removeprefix(self.prefix): last for name, last in found.items()}

    def _rename(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if isinstance(output, Rejected) or isinstance(output.message, SocialPost):
                continue
            if isinstance(output.message, Clock):
                output.message.symbols = [self.prefix + symbol for symbol in output.message.symbols]
            else:
                output.message.symbol = self.prefix + output.message.symbol

    def _entries(self, output: Output) -> list[tuple[Place, dict[bytes, bytes]]]:
        """Return where an output is appended, and its fields: a message in its log, a refused line byte for byte among the dead letters."""
        if not isinstance(output, Rejected):
            return entries_of(output.kind, output.message, self._partitions)
        line, reason, detail = output
        letter = dead_letter(line.source[:SOURCE_MAX], str(line.number), {b"data": line.data}, reason, detail)
        return [(keys.EDGE, dict(zip(letter[::2], letter[1::2], strict=True)))]

    def _holes(self, place: Place, again: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """Return what tells that a log has lost more than is written again: each symbol lost its feed until its first message of those.

        The log says better than this feed since when. A message may be out of order by the allowed lateness.
        """
        now_ms = time.time_ns() // 1_000_000
        first = {
            name: t
            for name, t in self.counts.last_event.items()
            if keys.partition_of(name, self._producer.partitions) == place
        }
        for symbol, t_ms in _events(again):
            first[symbol] = min(first.get(symbol, t_ms), t_ms)
        told: list[tuple[str, Message]] = []
        for symbol, t_ms in first.items():
            told.append(("tick", Tick(t_ms - self._lateness_ms - 1, symbol, lost=True)))
            told.append(("gap", Gap(t_ms + self._lateness_ms, symbol, now_ms, channel=TRADE_CHANNEL)))
        return [words_of(fields) for one in told for _, fields in entries_of(*one, self._producer.partitions)]

    def _insist(self, act: Callable[[], None]) -> None:
        if self._is_given_up:
            raise NotWrittenError
        for attempt, pause in enumerate(pauses(self._first_pause_s, outage.LONGEST_PAUSE_S), 1):
            try:
                act()
            except redis.RedisError as error:
                if self._is_given_up:
                    raise NotWrittenError from error
                if self.stop.is_set() or attempt == self._attempts:
                    raise
                _LOG.warning("redis takes no messages (%s): again in %.1f s", type(error).__name__, pause)
                self.stop.wait(pause)
            else:
                return


def _by_place(entries: Iterable[Sequence[Any]]) -> dict[Place, list[Sequence[Any]]]:
    found: dict[Place, list[Sequence[Any]]] = {}
    for place, fields in entries:
        found.setdefault(place, []).append(words_of(fields))
    return found


def _events(entries: Iterable[Sequence[Any]]) -> Iterator[tuple[str, int]]:
    """Yield symbol and time of each book and trade."""
    for words in entries:
        fields = fields_of(words)
        if (kind := _EVENTS.get(fields.get(b"kind", b""))) is not None:
            message = decode(kind, fields[b"data"])
            yield message.symbol, time_us(message) // 1000
