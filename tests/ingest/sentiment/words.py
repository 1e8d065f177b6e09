"""A model of a few lines, and the time of its tests."""

from __future__ import annotations

from collections.abc import Sequence

NOW_MS = 1_717_243_200_000


class Words:
    """Scores "up" and "down"; fails on "poison"; None for an empty text."""

    name, revision, window = "words", "1", 50

    def __init__(self) -> None:
        self.scored: list[str] = []
        self.tokens_read = 0
        self.broken = False

    def score(self, texts: Sequence[str]) -> list[tuple[float, float, float] | None]:
        if self.broken or any("poison" in t for t in texts):
            raise RuntimeError("poison")
        self.scored += texts
        self.tokens_read += sum(len(t.split()) for t in texts)
        return [None if not t.strip() else (0.75, 0.0, 0.25) if "up" in t else (0.0, 0.5, 0.5) for t in texts]
