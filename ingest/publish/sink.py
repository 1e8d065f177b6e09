"""Where a replay or a simulation writes: logs, posts and dead letters, with an eye on who reads them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from ingest.messages.check import is_symbol
from ingest.messages.decode import encode
from ingest.messages.kinds import Message, SocialPost, Tick
from ingest.publish.counts import Counts
from ingest.publish.publisher import Publisher
from ingest.recordings.lines import Output, Rejected
from ingest.settings import Settings
from ingest.streams.backlog import backlog
from ingest.streams.dead_letters import refuse

WAITING_MAX = 200_000
"""Entries that may wait in the logs: some 100 MB; past it the producer waits."""
CHECK_EVERY = 10_000
PATIENCE_S = 120.0
"""How long a reader may make no progress at all; a scorer loads its model in that time."""
POLL_S = 0.02
POST_SYMBOLS = 100
_NAME_MAX = 200


class NotReadError(UserError, RuntimeError):
    """Whoever should read a stream does not; the message says who and how to start it."""


class Sink:
    """Publishes, refuses and counts.

    Parameters
    ----------
    client, settings:
        Of this deployment.
    counts:
        What is written is counted there.
    patience_s:
        How long to wait for a reader that makes no progress.
    """

    def __init__(
        self, client: redis.Redis, settings: Settings, counts: Counts, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.counts = counts
        self._client = client
        self._settings = settings
        self._patience_s = patience_s
        self._publisher = Publisher(client, settings.partitions)
        self._letters: Any = client.pipeline(transaction=False)
        self._unchecked = 0
        self._post_symbols: dict[str, int] = {}

    def take(self, output: Output, *, recorded: bool = True) -> None:
        """Publish a message, or keep a refused line byte for byte with its file, its number and the reason."""
        if isinstance(output, Rejected):
            line, reason, detail = output
            self.counts.refused[reason] += 1
            refuse(self._letters, line.source[:_NAME_MAX], {b"data": line.data}, reason, detail, str(line.number))
            if len(self._letters) >= 500:
                self._letters.execute()
            return
        self.publish(output.kind, output.message, recorded=recorded)

    def publish(self, kind: str, message: Message | SocialPost, *, recorded: bool) -> None:
        """Publish a message; waits while more than ``WAITING_MAX`` entries are unread."""
        if isinstance(message, SocialPost):
            self._publisher.publish_post(encode(message), recorded=recorded)
            self._remember(message)
        else:
            self._publisher.publish(kind, message, recorded=recorded)
        self.counts.add(kind, message)
        self._unchecked += 1
        if self._unchecked >= CHECK_EVERY:
            self._wait(lambda: self._waiting().events, WAITING_MAX, "No worker reads the logs")
            self._unchecked = 0

    def flush(self) -> None:
        """Send what is gathered."""
        self._publisher.flush()
        if len(self._letters):
            self._letters.execute()

    def wait_for_scores(self) -> None:
        """Wait until every post that was published is scored and in the logs of its symbols.

        A score counts from its symbol's watermark where it stands in the log, if that is later than the time it was
        available. A recording that is replayed fast passes hours in the time in which a text is scored: so its posts must be
        in the logs before the market data that pass them, or they would all count at its end.

        Raises
        ------
        NotReadError
            Nobody scores.
        """
        self.flush()
        self._wait(lambda: self._waiting().posts, 0, "No scorer reads the posts")

    def end(self) -> None:
        """Say for every symbol that all was said up to the grid's next boundary: so the last rows come out."""
        grid = self._settings.emit_interval_ms
        for symbol, last in {**self._post_symbols, **self.counts.last_event}.items():
            self.publish("tick", Tick(-(-last // grid) * grid, symbol), recorded=True)
        self.flush()

    def _remember(self, post: SocialPost) -> None:
        """Note the symbols that a post names itself: one without market data has nothing else that passes its time."""
        for symbol in post.symbols or ():
            if is_symbol(symbol) and (symbol in self._post_symbols or len(self._post_symbols) < POST_SYMBOLS):
                at = max(post.received or 0, post.timestamp, self._post_symbols.get(symbol, 0))
                self._post_symbols[symbol] = at

    def _waiting(self) -> Any:
        return backlog(self._client, self._settings.partitions)

    def _wait(self, waiting: Callable[[], int], bound: int, trouble: str) -> None:
        """Wait until at most ``bound`` entries wait; patience starts anew whenever their number falls."""
        self.flush()
        fewest = n = waiting()
        deadline = time.monotonic() + self._patience_s
        while n > bound:
            if time.monotonic() > deadline:
                raise NotReadError(f"{trouble}: {n} wait. Start it with `python -m ingest run`.")
            time.sleep(POLL_S)
            n = waiting()
            if n < fewest:
                fewest, deadline = n, time.monotonic() + self._patience_s
