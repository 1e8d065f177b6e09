"""The messages of recordings, as the checks read them; posts are scored by a stand-in for the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import structs

from ingest.backfill.posts import score_posts
from ingest.messages.kinds import SocialPost, WithdrawnPost
from ingest.recordings.columns import GivenColumns
from ingest.recordings.lines import Output, Parsed
from ingest.recordings.recording import Recording, find_out
from ingest.recordings.venue_clock import Pace
from ingest.sentiment.history import History
from ingest.settings import Settings
from ingest.worker.neighbours import Leaders

Arrival = tuple[str, Any]
"""Kind and message, as it arrives."""


class StandIn:
    """A sentiment model that takes probabilities from a hash of the text: checks test times and need no real model."""

    name = "stand-in"
    revision = "1"
    window = 1024
    tokens_read = 0

    def score(self, texts: Sequence[str]) -> list[tuple[float, float, float] | None]:
        """Return three shares of one for each text, always the same; None for a text without a letter."""
        out: list[tuple[float, float, float] | None] = []
        for text in texts:
            a, b, c = (1 + n for n in blake2b(text.encode(), digest_size=3).digest())
            out.append((a / (a + b + c), b / (a + b + c), c / (a + b + c)) if any(map(str.isalpha, text)) else None)
        return out


class Messages:
    """The messages of recordings in the order of arrival, scored posts before the market; each iteration reads the files again.

    So a check needs no more memory for a longer recording. Posts are the exception: they are scored, and so kept, before the market.

    Attributes
    ----------
    symbols : set of str
        The symbols that had a message.
    refused : Counter of str
        Lines refused in the last pass, by reason.
    unread : list of str
        A sentence for each file of which nothing could be read, after a pass.
    """

    def __init__(
        self, paths: Sequence[Path], settings: Settings, symbols: Sequence[str], columns: GivenColumns
    ) -> None:
        self._paths, self._settings, self._wanted, self._columns = paths, settings, frozenset(symbols), columns
        self._known = find_out(paths, columns)
        self.symbols: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.unread: list[str] = []

    def __iter__(self) -> Iterator[Arrival]:
        settings = self._settings
        recording = Recording(
            self._paths,
            None,
            self._columns,
            settings.max_future_ms,
            self._known,
            instrument=settings.instrument,
            pace=Pace.of(settings),
        )
        self.refused = Counter()
        posts = [message for _, message in self._parsed(recording.posts())]
        leaders = Leaders(settings)
        for kind, message in chain(scored(posts, self._settings), self._parsed(recording.market())):
            rows = leaders.accept(kind, message)
            if not self._wanted or message.symbol in self._wanted:
                self.symbols.add(message.symbol)
                yield kind, message
            for row in rows:
                for name in self.symbols.intersection(row.symbols):
                    yield "neighbour", structs.replace(row, symbol=name)
        self.unread = recording.unread()

    def _parsed(self, outputs: Iterable[Output]) -> Iterator[Arrival]:
        for output in outputs:
            if isinstance(output, Parsed):
                yield output.kind, output.message
            else:
                self.refused[output.reason] += 1


def scored(posts: list[SocialPost], settings: Settings) -> Iterator[Arrival]:
    """Yield posts with the scores of a stand-in, one for each of their symbols, and withdrawals for each symbol that had a post."""
    found, _ = score_posts(posts, settings, StandIn(), History(None))
    symbols: set[str] = set()
    for post in found:
        if isinstance(post, WithdrawnPost):
            for name in sorted(symbols):
                yield "withdrawal", structs.replace(post, symbol=name)
        else:
            symbols.add(post.symbol)
            yield "post", post
