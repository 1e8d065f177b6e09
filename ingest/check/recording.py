"""The messages of recordings by symbol, as the checks read them; posts are scored by a stand-in for the model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from msgspec import structs

from ingest.backfill.posts import score_posts
from ingest.messages.kinds import Message, SocialPost, WithdrawnPost
from ingest.recordings.columns import GivenColumns
from ingest.recordings.lines import Parsed
from ingest.recordings.recording import Recording
from ingest.sentiment.history import History
from ingest.settings import Settings

Feed = list[tuple[str, Any]]
"""The messages of a symbol in the order of arrival, each with its kind."""


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


def read_recordings(
    paths: Sequence[Path], settings: Settings, symbols: Sequence[str], columns: GivenColumns, refused: Counter[str]
) -> tuple[dict[str, Feed], list[str]]:
    """Return the messages of recordings as `by_symbol` does, and a sentence for each file of which nothing could be read.

    Refused lines are counted in ``refused`` by reason.
    """
    recording = Recording(paths, None, columns, settings.max_future_ms)

    def accepted() -> Iterator[tuple[str, Message | SocialPost]]:
        for stage in (recording.posts(), recording.market()):
            for output in stage:
                if isinstance(output, Parsed):
                    yield output.kind, output.message
                else:
                    refused[output.reason] += 1

    return by_symbol(accepted(), settings, symbols), recording.unread()


def by_symbol(
    messages: Iterable[tuple[str, Message | SocialPost]], settings: Settings, symbols: Sequence[str] = ()
) -> dict[str, Feed]:
    """Return messages by symbol, the scored posts before the market; only those of ``symbols`` if any are named."""
    posts: list[SocialPost] = []
    market: Feed = []
    for kind, message in messages:
        if isinstance(message, SocialPost):
            posts.append(message)
        else:
            market.append((kind, message))
    scored, _ = score_posts(posts, settings, StandIn(), History(None))
    found: dict[str, Feed] = defaultdict(list)
    for post in scored:
        if isinstance(post, WithdrawnPost):
            for name, feed in found.items():
                feed.append(("withdrawal", structs.replace(post, symbol=name)))
        elif not symbols or post.symbol in symbols:
            found[post.symbol].append(("post", post))
    for kind, message in market:
        if not symbols or message.symbol in symbols:
            found[message.symbol].append((kind, message))
    return dict(sorted(found.items()))
