"""The posts of one symbol, folded into the rows of ``sentiment`` and ``social``.

Posts are rare, so this is plain Python over exact times: a window ``(t - w, t]`` is the posts in it, without buckets. Sums go over
these posts in the order in which they were counted, so a value depends on the posts of its window only, and not on when the process
started. Only ``sentiment_ew_15m`` reaches further back, with a weight that decays. Emitting changes no value.

- A post counts from ``t_us`` of its first observation, when its score was available.
- Another observation of the same id is not counted again. From its time on the post has the new engagement and, where the text was
  edited, the new score; ``sentiment_ew_15m`` keeps the first score.
- A post is a duplicate in a window when an earlier post of the window is within ``DISTANCE`` of its simhash. Means of scores leave
  duplicates out; ``sentiment_ew_15m`` leaves out duplicates within the hour. ``tweet_count`` and the social counts count every post.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

from transforms.instrument import Instrument
from transforms.kernel import HOUR_US, MINUTE_US, NAN, Vector
from transforms.sentiment import activity, scores
from transforms.sentiment.simhash import DISTANCE, distance
from transforms.sentiment.state import GONE, Post, Record, Row, State, count_hour, from_bytes, key, time_of, to_bytes

__all__ = ["VERSION", "emit_sentiment", "emit_social", "from_bytes", "init", "last_event_us", "step_post", "to_bytes"]

VERSION = 2
"""Version of the state's layout and of every formula; a checkpoint of another version is refused."""
EDGES_US = (scores.FIVE_US // 2, scores.FIVE_US, 2 * scores.FIVE_US, HOUR_US)
"""Ages at which a post leaves a window or half of one."""
EW_RATE = math.log(2.0) / (15 * MINUTE_US)
COUNT_MAX = 1 << 62
"""Engagement is cut here, so that any number that a source sends fits 64 bits."""


def init(instrument: Instrument, bucket_us: int) -> State:
    """Return the state before the first post; no setting of ``instrument`` concerns posts."""
    return State(bucket_us)


def last_event_us(state: State) -> int:
    """Return the time of the newest observation of any post, 0 before the first."""
    return state.last_us


def step_post(state: State, t_us: int, post: Post) -> None:
    """Count ``post`` from ``t_us``; a time before the newest one seen is taken as the newest."""
    t_us = max(t_us, state.last_us)
    state.last_us = t_us
    state.packed = None
    state.rows.clear()
    _drop_old(state, t_us)
    post_id = key(post.id)
    if post_id in state.gone_ids:
        return
    record = state.by_id.get(post_id)
    engagement = _count(post.likes), _count(post.reposts), _count(post.replies)
    if record is None:
        author = 0 if post.author is None else key(post.author)
        record = Record(t_us, post_id, author, post.simhash, *_twins(state, post.simhash), NAN, NAN, NAN, *engagement)
        state.posts.append(record)
        state.by_id[post_id] = record
        count_hour(state, t_us)
    else:
        likes, reposts, replies = engagement
        record.likes = likes if likes >= 0 else record.likes
        record.reposts = reposts if reposts >= 0 else record.reposts
        record.replies = replies if replies >= 0 else record.replies
    _score(state, record, t_us, post)


def _count(n: int | None) -> int:
    return -1 if n is None or n < 0 else min(n, COUNT_MAX)


def _drop_old(state: State, t_us: int) -> None:
    """Drop the posts that have left every window, and keep the ids of the newest of them."""
    n = bisect_right(state.posts, t_us - HOUR_US, key=time_of)
    if n == 0:
        return
    for post in state.posts[:n]:
        del state.by_id[post.id]
        state.gone.append(post.id)
        state.gone_ids.add(post.id)
    del state.posts[:n]
    for post_id in state.gone[:-GONE]:
        state.gone_ids.discard(post_id)
    del state.gone[:-GONE]


def _twins(state: State, simhash: int) -> tuple[int, int]:
    """Return when the newest near-duplicate, and the newest scored one, were counted; -1 for none."""
    twin_us = -1
    if simhash:
        for post in reversed(state.posts):
            if post.simhash and distance(post.simhash, simhash) <= DISTANCE:
                twin_us = max(twin_us, post.t_us)
                if post.scored:
                    return twin_us, post.t_us
    return twin_us, -1


def _score(state: State, record: Record, t_us: int, post: Post) -> None:
    """Give ``record`` the post's score, if it has one; the first score of a post enters the weighted mean."""
    if post.positive is None or post.negative is None or post.neutral is None:
        return
    first = not record.scored
    record.positive, record.negative, record.neutral = post.positive, post.negative, post.neutral
    if first and record.scored_twin_us < 0:
        decay = math.exp(-EW_RATE * (t_us - state.ew_us))
        state.ew_sum = state.ew_sum * decay + record.confidence * record.compound
        state.ew_weight = state.ew_weight * decay + record.confidence
        state.ew_us = t_us


def emit_sentiment(state: State, t_us: int, out: Vector) -> None:
    """Write the row of the view ``sentiment`` at ``t_us``."""
    _emit(state, "sentiment", scores.row, t_us, out)


def emit_social(state: State, t_us: int, out: Vector) -> None:
    """Write the row of the view ``social`` at ``t_us``."""
    _emit(state, "social", activity.row, t_us, out)


def _emit(state: State, view: str, make: Callable[[State, int], list[float]], t_us: int, out: Vector) -> None:
    row = state.rows.get(view)
    if row is None or not row.start_us <= t_us < row.end_us:
        row = state.rows[view] = Row(make(state, t_us), t_us, _next_change_us(state, t_us))
    for i, value in enumerate(row.values):
        out[i] = value


def _next_change_us(state: State, t_us: int) -> int:
    """Return when the next post leaves a window, or the next hour is complete."""
    end_us = (t_us // HOUR_US + 1) * HOUR_US
    for edge_us in EDGES_US:
        first = bisect_right(state.posts, t_us - edge_us, key=time_of)
        if first < len(state.posts):
            end_us = min(end_us, state.posts[first].t_us + edge_us)
    return end_us
