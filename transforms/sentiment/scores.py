"""The row of the view ``sentiment``: what the scored posts of a window say.

s is P(positive) - P(negative) of a post, c its largest probability. Means leave duplicates out (``kernel``), ``tweet_count`` does not.
``sentiment_momentum`` compares halves of time, not of posts. ``sentiment_ew_15m`` is a mean over all posts so far.

Example: A post of s = 0.5 three minutes ago and one of s = -0.1 now, which also makes one positive and no negative post:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.post(120, positive=0.6, negative=0.1)
>>> feed.post(300, positive=0.2, negative=0.3)
>>> names = ("sentiment_compound", "sentiment_volatility", "sentiment_momentum", "bullishness_1h")
>>> [round(feed.value(name, at=300), 4) for name in names]
[0.2, 0.3, -0.6, 0.6931]
"""

from __future__ import annotations

import math

from transforms.catalog import SENTIMENT
from transforms.kernel import HOUR_US, MINUTE_US, NAN
from transforms.sentiment.state import Record, State, window

FIVE_US = 5 * MINUTE_US
EW_RATE = math.log(2.0) / (15 * MINUTE_US)
_SLOT = SENTIMENT.index


def row(state: State, t_us: int) -> list[float]:
    """Return the row of ``t_us``."""
    out = [NAN] * len(_SLOT)
    scored = [p for p in window(state, t_us, FIVE_US) if p.scored]
    out[_SLOT["tweet_count"]] = float(len(scored))
    _five_minutes([p for p in scored if p.scored_twin_us <= t_us - FIVE_US], t_us, out)
    since = t_us - HOUR_US
    _hour([p for p in window(state, t_us, HOUR_US) if p.scored and p.scored_twin_us <= since], out)
    total, weight, _ = weighted(state, state.posts)
    if weight > 0.0:
        out[_SLOT["sentiment_ew_15m"]] = total / weight
    return out


def weighted(state: State, posts: list[Record]) -> tuple[float, float, int]:
    """Return sum, weight and time of the exponentially weighted mean of the posts before ``state.posts`` and of ``posts``."""
    total, weight, at_us = state.ew_sum, state.ew_weight, state.ew_us
    for p in posts:
        if p.scored and p.scored_twin_us < 0:
            decay = math.exp(-EW_RATE * (p.t_us - at_us))
            total = total * decay + p.confidence * p.compound
            weight = weight * decay + p.confidence
            at_us = p.t_us
    return total, weight, at_us


def _five_minutes(posts: list[Record], t_us: int, out: list[float]) -> None:
    n = len(posts)
    if n == 0:
        return
    s = positive = negative = neutral = confidence = 0.0
    newer = older = 0.0
    n_newer = 0
    for p in posts:
        s += p.compound
        positive += p.positive
        negative += p.negative
        neutral += p.neutral
        confidence += p.confidence
        if p.t_us > t_us - FIVE_US // 2:
            newer += p.compound
            n_newer += 1
        else:
            older += p.compound
    mean = s / n
    out[_SLOT["sentiment_compound"]] = mean
    out[_SLOT["sentiment_positive"]] = positive / n
    out[_SLOT["sentiment_negative"]] = negative / n
    out[_SLOT["sentiment_neutral"]] = neutral / n
    out[_SLOT["sentiment_confidence"]] = confidence / n
    if n >= 2:
        squares = 0.0
        for p in posts:
            squares += (p.compound - mean) ** 2
        out[_SLOT["sentiment_volatility"]] = math.sqrt(squares / n)
    if 0 < n_newer < n:
        out[_SLOT["sentiment_momentum"]] = newer / n_newer - older / (n - n_newer)


def _hour(posts: list[Record], out: list[float]) -> None:
    if not posts:
        return
    s = weighted = weights = 0.0
    positives = negatives = 0
    for p in posts:
        s += p.compound
        weight = p.confidence * math.log(1 + max(p.likes, 0) + 2 * max(p.reposts, 0) + max(p.replies, 0))
        weighted += weight * p.compound
        weights += weight
        positives += p.positive > max(p.negative, p.neutral)
        negatives += p.negative > max(p.positive, p.neutral)
    out[_SLOT["sentiment_compound_1h"]] = s / len(posts)
    if weights > 0.0:
        out[_SLOT["sentiment_engagement_1h"]] = weighted / weights
    out[_SLOT["bullishness_1h"]] = math.log((1 + positives) / (1 + negatives))
