"""Posts about a simulated symbol: one per half minute and more when the price moves, more positive after a rise, some of them reposts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from math import ceil
from operator import itemgetter
from pathlib import Path

import numpy as np

from ingest.messages.kinds import SocialPost
from ingest.simulate.market import Market
from ingest.simulate.noise import Floats, Ints, key, uniform

SLOT_MS = 30_000
"""A slot has a post, and up to `MOST` where the price moved; all of them are in its first ten seconds."""
MOST = 8
_JITTER_MS = 10_000
_DRIFT_MS = 300_000
_STIRRED = 700.0
"""A move of 1/700 in five minutes stirs as many posts as there can be."""
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
        numbers = self._numbers(np.arange(start_ms // SLOT_MS, ceil(end_ms / SLOT_MS), dtype=np.int64))
        # a repost repeats the first post of the slot before
        texts, previous = self._texts(numbers), self._texts((numbers // MOST - 1) * MOST)
        copies = (self._draw("copy", numbers) < _COPIES).tolist()
        names = ("author", "likes", "reposts", "replies", "delay")
        draws = zip(*(self._draw(name, numbers).tolist() for name in names), strict=True)
        posts = zip(numbers.tolist(), self._times(numbers).tolist(), texts, previous, copies, draws, strict=True)
        for number, t, text, before, copy, (author, likes, reposts, replies, delay) in sorted(
            posts, key=itemgetter(1, 0)
        ):
            if not start_ms <= t < end_ms:
                continue
            # a few authors write most posts and have most followers
            writer = int(_AUTHORS * author * author)
            received = t + 20 + int(delay * 180)
            yield SocialPost(
                timestamp=t,
                id=f"{self._market.symbol}-{self._seed}-{number}",
                text=f"RT @trader{int(_AUTHORS * likes)}: {before} https://example.com/{number}" if copy else text,
                source="simulator",
                author=f"trader{writer}",
                likes=int(2.0 / (likes + 0.01)),
                reposts=int(1.0 / (reposts + 0.02)),
                replies=int(1.0 / (replies + 0.05)),
                followers=100 + 20_000 // (1 + writer),
                observed_at=received,
                symbols=[self._market.symbol],
                received=received,
            )

    def _numbers(self, slots: Ints) -> Ints:
        """Return the numbers of the slots' posts: `MOST` numbers belong to a slot, and it uses the first few."""
        moved = np.abs(self._market.drift(slots * SLOT_MS, _DRIFT_MS))
        count = 1 + ((MOST - 1) * np.clip(moved * _STIRRED, 0.0, 1.0) * self._draw("count", slots) ** 2).astype(
            np.int64
        )
        numbers = slots[:, None] * MOST + np.arange(MOST)
        return numbers[np.arange(MOST) < count[:, None]]

    def _times(self, numbers: Ints) -> Ints:
        return numbers // MOST * SLOT_MS + (self._draw("time", numbers) * _JITTER_MS).astype(np.int64)

    def _texts(self, numbers: Ints) -> list[str]:
        """Return the text of each post if it is no copy."""
        lean = np.clip(self._market.drift(self._times(numbers), _DRIFT_MS) * 300.0, -0.3, 0.3)
        mood = self._draw("mood", numbers)
        kinds = np.where(mood < 0.35 + lean, 0, np.where(mood < 0.7, 1, 2)).tolist()
        picks = self._draw("text", numbers).tolist()
        tagged = (self._draw("tag", numbers) < 0.5).tolist()
        symbol = self._market.symbol
        return [
            _KINDS[kind][int(pick * len(_KINDS[kind]))].format(s=f"${symbol}" if tag else symbol)
            for kind, pick, tag in zip(kinds, picks, tagged, strict=True)
        ]

    def _draw(self, name: str, numbers: Ints) -> Floats:
        return uniform(key(self._seed, self._market.symbol, "post", name), numbers)
