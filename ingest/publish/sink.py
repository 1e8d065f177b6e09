"""Where a replay or a simulation writes: the streams, with patience for those who read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import redis

from ingest.messages.check import is_symbol
from ingest.messages.kinds import Message, Neighbour, SocialPost, Tick, time_us
from ingest.publish.counts import Counts
from ingest.publish.publisher import Publisher
from ingest.publish.readers import Readers
from ingest.recordings.lines import Output, Rejected
from ingest.settings import Settings

Leaders = Callable[[str, Message | SocialPost], Iterable[Neighbour]]
PATIENCE_S = 120.0  # how long a reader may make no progress at all; a scorer loads its model in that time
POST_SYMBOLS = 100  # symbols of posts whose last time is remembered


class Sink:
    """Publishes, refuses and counts.

    Parameters
    ----------
    client, settings
        Of this deployment.
    counts : Counts
        What is written is counted there.
    patience_s : float
        How long to wait for a reader that makes no progress.
    leaders : callable, optional
        Is given each recorded message, and returns the rows that it finishes, for symbols that follow: they are published behind it.

    Attributes
    ----------
    post_symbols : dict of str to int
        The symbols of posts, with the time of the last one: `POST_SYMBOLS` at most.
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        counts: Counts,
        *,
        patience_s: float = PATIENCE_S,
        leaders: Leaders = lambda *_: (),
    ) -> None:
        self.counts = counts
        self._leaders = leaders
        self._grid_ms = settings.emit_interval_ms
        self._publisher = Publisher(client, settings.partitions, configured=settings.configured)
        self._readers = Readers(client, settings.partitions, patience_s=patience_s)
        self.post_symbols: dict[str, int] = {}

    def write(self, output: Output, *, recorded: bool = True) -> None:
        """Publish a message, or keep a refused line."""
        if isinstance(output, Rejected):
            self._publisher.publish_output(output)
            self.counts.add_output(output)
        else:
            self.publish(output.kind, output.message, recorded=recorded)

    def publish(self, kind: str, message: Message | SocialPost, *, recorded: bool) -> None:
        """Publish a message; wait while too many entries are unread."""
        self._publisher.publish(kind, message, recorded=recorded)
        if isinstance(message, SocialPost):
            self.remember_symbols(message, message.symbols or ())
        self.counts.add(kind, message)
        if recorded:
            self._tell(kind, message)
        if self._readers.is_check_due(1):
            self.flush()
            self._readers.wait_for_workers()

    def flush(self) -> None:
        """Send what is gathered."""
        self._publisher.flush()
        self._readers.partitions = self._publisher.partitions

    def wait_for_scores(self) -> None:
        """Wait until every post that was published is scored and in the logs of its symbols.

        A score counts from its symbol's watermark where it stands in the log, if that is later than the time it was available. A
        recording that is replayed fast passes hours in the time in which a text is scored. So its posts must be in the logs before the
        market data that pass them; otherwise all of them would count at its end. Raise ``NotReadError`` if no scorer runs.
        """
        self.flush()
        self._readers.wait_for_scorer()

    def end(self) -> None:
        """Publish a tick at the grid's next boundary for every symbol, so that its last rows are made; first what they tell to others."""
        ends = {**self.post_symbols, **self.counts.last_event}
        for symbol, last in ends.items():
            self._tell("tick", Tick(-(-last // self._grid_ms) * self._grid_ms, symbol))
        for symbol, last in ends.items():
            self.publish("tick", Tick(-(-last // self._grid_ms) * self._grid_ms, symbol), recorded=True)
        self.flush()

    def _tell(self, kind: str, message: Message | SocialPost) -> None:
        for row in self._leaders(kind, message):
            self._publisher.publish("neighbour", row, recorded=True)
            self.counts.add("neighbour", row)

    def remember_symbols(self, post: SocialPost, symbols: Iterable[str]) -> None:
        """Note the symbols of a post: for one without market data no other message makes time pass."""
        for symbol in symbols:
            if is_symbol(symbol) and (symbol in self.post_symbols or len(self.post_symbols) < POST_SYMBOLS):
                at = max(post.received or 0, -(-time_us(post) // 1000), self.post_symbols.get(symbol, 0))
                self.post_symbols[symbol] = at
