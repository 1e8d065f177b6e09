"""Posts of recordings scored without streams: the live scorer, writing into memory instead of Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from ingest import log
from ingest.messages import ScoredPost, SocialPost, decode, encode
from ingest.sentiment.history import History
from ingest.sentiment.scorer import Model, Scorer
from ingest.settings import Settings


class _Memory:
    """What the scorer needs of Redis, kept here: the posts that it appends, the reasons of those that it refuses."""

    def __init__(self) -> None:
        self.posts: list[ScoredPost] = []
        self.refused: Counter[str] = Counter()

    def pipeline(self, transaction: bool = True) -> _Memory:
        return self

    def xadd(self, name: Any, fields: Mapping[bytes, bytes], *_: Any, **__: Any) -> None:
        if name != log.DEAD_LETTER:
            self.posts.append(decode(ScoredPost, fields[b"data"]))

    def hincrby(self, _: Any, counter: str, by: int) -> None:
        if counter.startswith("refused."):  # the scorer's own work is counted there too
            self.refused[counter.removeprefix("refused.")] += by

    def hset(self, *_: Any) -> None:
        """Nobody looks here which model it is."""

    def xack(self, *_: Any) -> None:
        """Nothing waits here."""

    def xdel(self, *_: Any) -> None:
        """Nothing is kept here."""

    def execute(self) -> None:
        """All is done already."""


def scored(
    posts: Iterable[SocialPost], settings: Settings, model: Model, history: History
) -> tuple[list[ScoredPost], Counter[str]]:
    """Score recorded posts: one message a post and symbol, in their order, and how many were refused by reason.

    A recorded post counts from when it could be known (``scorer.recorded_ms``), as when it is replayed.
    """
    memory = _Memory()
    scorer = Scorer(memory, model, settings, history)  # type: ignore[arg-type]  # the part of a client that it uses
    entries = ((log.SOCIAL, b"0-0", {b"data": encode(post), b"recorded": b"1"}) for post in posts)
    while batch := list(islice(entries, model.window)):
        scorer.take(batch)
    return memory.posts, memory.refused
