"""Posts about a simulated symbol: one per half minute, more positive after the price has risen, some of them reposts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np

from ingest.messages.kinds import SocialPost
from ingest.simulate.market import Market
from ingest.simulate.noise import Floats, Ints, key, uniform

SLOT_MS = 30_000
"""A slot has one post, in its first ten seconds, so posts are 20 to 40 seconds apart."""
_JITTER_MS = 10_000
_DRIFT_MS = 300_000
_COPIES = 0.12
_AUTHORS = 150
CORPUS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("corpus.toml").read_text(encoding="utf-8"))
_KINDS = (CORPUS["bullish"], CORPUS["bearish"], CORPUS["neutral"])


class Talk:
    """The posts about one market."""

    def __init__(self, market: Market, seed: int) -> None:
        self._market = market
        self._seed = seed

    def posts(self, start_ms: int, end_ms: int) -> Iterator[SocialPost]:
        """Yield the posts from ``start_ms`` until before ``end_ms``, in time order."""
        slots = np.arange(start_ms // SLOT_MS, ceil(end_ms / SLOT_MS), dtype=np.int64)
        times = self._times(slots).tolist()
        texts, previous = self._texts(slots), self._texts(slots - 1)
        copies = (self._draw("copy", slots) < _COPIES).tolist()
        names = ("author", "likes", "reposts", "replies", "delay")
        draws = zip(*(self._draw(name, slots).tolist() for name in names), strict=True)
        for slot, t, text, before, copy, (author, likes, reposts, replies, delay) in zip(
            slots.tolist(), times, texts, previous, copies, draws, strict=True
        ):
            if not start_ms <= t < end_ms:
                continue
            # a few authors write most posts and have most followers
            number = int(_AUTHORS * author * author)
            received = t + 20 + int(delay * 180)
            yield SocialPost(
                timestamp=t,
                id=f"{self._market.symbol}-{self._seed}-{slot}",
                text=f"RT @trader{int(_AUTHORS * likes)}: {before} https://example.com/{slot}" if copy else text,
                source="simulator",
                author=f"trader{number}",
                likes=int(2.0 / (likes + 0.01)),
                reposts=int(1.0 / (reposts + 0.02)),
                replies=int(1.0 / (replies + 0.05)),
                followers=100 + 20_000 // (1 + number),
                observed_at=received,
                symbols=[self._market.symbol],
                received=received,
            )

    def _times(self, slots: Ints) -> Ints:
        return slots * SLOT_MS + (self._draw("time", slots) * _JITTER_MS).astype(np.int64)

    def _texts(self, slots: Ints) -> list[str]:
        """Return the text of each slot if it is no copy."""
        lean = np.clip(self._market.drift(self._times(slots), _DRIFT_MS) * 300.0, -0.3, 0.3)
        mood = self._draw("mood", slots)
        kinds = np.where(mood < 0.35 + lean, 0, np.where(mood < 0.7, 1, 2)).tolist()
        picks = self._draw("text", slots).tolist()
        tagged = (self._draw("tag", slots) < 0.5).tolist()
        symbol = self._market.symbol
        return [
            _KINDS[kind][int(pick * len(_KINDS[kind]))].format(s=f"${symbol}" if tag else symbol)
            for kind, pick, tag in zip(kinds, picks, tagged, strict=True)
        ]

    def _draw(self, name: str, slots: Ints) -> Floats:
        return uniform(key(self._seed, self._market.symbol, "post", name), slots)
