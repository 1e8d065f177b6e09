"""Posts of recordings, scored without streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice

from ingest.messages.kinds import ScoredPost, SocialPost, WithdrawnPost
from ingest.messages.refusal import Refused
from ingest.sentiment.history import History
from ingest.sentiment.scoring import Model, Scoring
from ingest.settings import Settings


def score_posts(
    posts: Iterable[SocialPost],
    settings: Settings,
    model: Model,
    history: History,
    hand_on: Callable[[SocialPost, Refused], None] = lambda *_: None,
) -> tuple[list[ScoredPost | WithdrawnPost], Counter[str]]:
    """Score recorded posts; return one message a post and symbol, and one a withdrawal, in order, and the refusals by reason.

    ``hand_on`` is given each refused post. A recorded post counts from when it could be known (``scoring.recorded_ms``), as in a replay.
    """
    scoring = Scoring(model, settings, history)
    messages: list[ScoredPost | WithdrawnPost] = []
    refused: Counter[str] = Counter()
    left = iter(posts)
    while batch := list(islice(left, model.window)):
        accepted, originals = [], []
        for post in batch:
            try:
                accepted.append(scoring.accept(post, is_recorded=True))
                originals.append(post)
            except Refused as why:
                refused[why.reason] += 1
                hand_on(post, why)
        for post, outcome in zip(originals, scoring.score(accepted).outcomes, strict=True):
            if isinstance(outcome, Refused):
                refused[outcome.reason] += 1
                hand_on(post, outcome)
            else:
                messages += outcome
    return messages, refused
