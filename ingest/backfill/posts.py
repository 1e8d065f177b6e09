"""Posts of recordings scored without streams: by the live scorer, whose outcomes are kept instead of moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from ingest.messages.decode import decode, encode
from ingest.messages.kinds import ScoredPost, SocialPost
from ingest.sentiment.history import History
from ingest.sentiment.scorer import Model, Scorer
from ingest.settings import Settings
from ingest.streams import keys


def scored(
    posts: Iterable[SocialPost], settings: Settings, model: Model, history: History
) -> tuple[list[ScoredPost], Counter[str]]:
    """Score recorded posts: one message a post and symbol, in their order, and how many were refused by reason.

    A recorded post counts from when it could be known (``scorer.recorded_ms``), as when it is replayed.
    """
    scorer = Scorer(None, model, settings, history)  # type: ignore[arg-type]  # what it scores is not moved
    entries = ((keys.SOCIAL, b"0-0", {b"data": encode(post), b"recorded": b"1"}) for post in posts)
    found: list[ScoredPost] = []
    refused: Counter[str] = Counter()
    while batch := list(islice(entries, model.window)):
        outcomes, _ = scorer.outcomes(batch)
        for outcome in outcomes:
            if outcome.reason:
                refused[outcome.reason] += 1
                continue
            for _, words in outcome.copies:
                found.append(decode(ScoredPost, dict(zip(words[::2], words[1::2], strict=True))["data"]))
    return found, refused
