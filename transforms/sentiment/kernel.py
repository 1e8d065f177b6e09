"""The posts of one symbol, folded into the rows of ``sentiment`` and ``social``.

Posts are rare, so this is plain Python over exact times: a window ``(t - w, t]`` is the posts in it, not buckets. Sums
go over those posts in the order in which they were counted, so a value depends on the posts of its window only, not on
when the process started (``sentiment_ew_15m`` reaches further back, and forgets). Nothing is changed by emitting.

What counts when:

- a post counts from ``t_us`` of its first observation, when its score was available;
- another observation of the same id is not counted again: from its time on the post has that engagement and, where the
  text was edited, that score (``sentiment_ew_15m`` keeps the first score);
- a post is a duplicate in a window when an earlier post of the window is within ``DISTANCE`` of its simhash. Means of
  scores leave duplicates out (``sentiment_ew_15m``: duplicates within the hour); ``tweet_count`` and the social counts
  count every post.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from transforms.catalog import SENTIMENT, SOCIAL
from transforms.instrument import Instrument
from transforms.kernel import HOUR_US, MINUTE_US, NAN, Vector
from transforms.sentiment.post import Post
from transforms.sentiment.simhash import DISTANCE, distance
from transforms.sentiment.state import COUNT_MAX, GONE, HOURS, WEEKS, Record, Row, State, from_bytes, key, to_bytes

__all__ = ["VERSION", "emit_sentiment", "emit_social", "from_bytes", "init", "last_event_us", "step_post", "to_bytes"]

VERSION = 1
WEEK_HOURS = 168
FIVE_US = 5 * MINUTE_US
EDGES_US = (FIVE_US // 2, FIVE_US, 2 * FIVE_US, HOUR_US)
"""Ages at which a post leaves a window or half of one."""
EW_RATE = math.log(2.0) / (15 * MINUTE_US)
_S = SENTIMENT.index
_V = SOCIAL.index


def init(instrument: Instrument, bucket_us: int) -> State:
    """The state before the first post; ``instrument`` says nothing that posts need."""
    return State(bucket_us)


def last_event_us(state: State) -> int:
    """Time of the newest observation of any post, 0 before the first."""
    return state.last_us


def step_post(state: State, t_us: int, post: Post) -> None:
    """Count ``post`` from ``t_us``; times are not to go back, one that does is taken as the newest time seen."""
    t_us = max(t_us, state.last_us)
    state.last_us = t_us
    state.packed = None
    state.rows.clear()
    _forget(state, t_us)
    post_id = key(post.id)
    if post_id in state.gone_ids:
        return
    record = state.by_id.get(post_id)
    if record is not None:
        _observe_again(state, record, t_us, post)
        return
    twin_us, scored_twin_us = _twins(state, post.simhash)
    record = Record(
        t_us,
        post_id,
        0 if post.author is None else key(post.author),
        post.simhash,
        twin_us,
        scored_twin_us,
        NAN,
        NAN,
        NAN,
        _count(post.likes),
        _count(post.reposts),
        _count(post.replies),
    )
    state.posts.append(record)
    state.by_id[post_id] = record
    _count_hour(state, t_us)
    _score(state, record, t_us, post)


def _count(n: int | None) -> int:
    return -1 if n is None or n < 0 else min(n, COUNT_MAX)


def _forget(state: State, t_us: int) -> None:
    """Drop the posts that no window can hold any more, and keep their ids for a while."""
    n = bisect_right(state.posts, t_us - HOUR_US, key=_time)
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


def _time(post: Record) -> int:
    return post.t_us


def _twins(state: State, simhash: int) -> tuple[int, int]:
    """When the newest near-duplicate, and the newest scored one, were counted; -1 for none."""
    twin_us = -1
    if simhash:
        for post in reversed(state.posts):
            if post.simhash and distance(post.simhash, simhash) <= DISTANCE:
                twin_us = max(twin_us, post.t_us)
                if post.positive == post.positive:
                    return twin_us, post.t_us
    return twin_us, -1


def _observe_again(state: State, record: Record, t_us: int, post: Post) -> None:
    likes, reposts, replies = _count(post.likes), _count(post.reposts), _count(post.replies)
    record.likes = likes if likes >= 0 else record.likes
    record.reposts = reposts if reposts >= 0 else record.reposts
    record.replies = replies if replies >= 0 else record.replies
    _score(state, record, t_us, post)


def _score(state: State, record: Record, t_us: int, post: Post) -> None:
    """Give ``record`` the post's score, if it has one; the first score of a post enters the weighted mean."""
    if post.positive is None or post.negative is None or post.neutral is None:
        return
    first = record.positive != record.positive
    record.positive, record.negative, record.neutral = post.positive, post.negative, post.neutral
    if first and record.scored_twin_us < 0:
        decay = math.exp(-EW_RATE * (t_us - state.ew_us))
        c = max(post.positive, post.negative, post.neutral)
        state.ew_sum = state.ew_sum * decay + c * (post.positive - post.negative)
        state.ew_weight = state.ew_weight * decay + c
        state.ew_us = t_us


def _count_hour(state: State, t_us: int) -> None:
    """Add one to the hour of ``t_us``; hour ``h`` is ``((h - 1) h, h h]``, in slot ``h % HOURS``."""
    hour = -(-t_us // HOUR_US)
    if state.first_us == 0:
        state.first_us = t_us
        state.newest_hour = hour
        state.hours = [0] * HOURS
    for h in range(max(state.newest_hour + 1, hour - HOURS + 1), hour + 1):
        state.hours[h % HOURS] = 0
    state.newest_hour = hour
    state.hours[hour % HOURS] += 1


def _posts_of_hour(state: State, hour: int) -> int:
    return state.hours[hour % HOURS] if hour <= state.newest_hour else 0


def emit_sentiment(state: State, t_us: int, out: Vector) -> None:
    """Write the row of view ``sentiment`` at ``t_us``; its meanings are in the catalogue."""
    _emit(state, "sentiment", t_us, out)


def emit_social(state: State, t_us: int, out: Vector) -> None:
    """Write the row of view ``social`` at ``t_us``; its meanings are in the catalogue."""
    _emit(state, "social", t_us, out)


def _emit(state: State, view: str, t_us: int, out: Vector) -> None:
    row = state.rows.get(view)
    if row is None or not row.start_us <= t_us < row.end_us:
        values = _sentiment(state, t_us) if view == "sentiment" else _social(state, t_us)
        row = state.rows[view] = Row(values, t_us, _next_change_us(state, t_us))
    for i, value in enumerate(row.values):
        out[i] = value


def _next_change_us(state: State, t_us: int) -> int:
    """When the next post leaves a window, or the next hour is complete."""
    end_us = (t_us // HOUR_US + 1) * HOUR_US
    for edge_us in EDGES_US:
        first = bisect_right(state.posts, t_us - edge_us, key=_time)
        if first < len(state.posts):
            end_us = min(end_us, state.posts[first].t_us + edge_us)
    return end_us


def _window(state: State, t_us: int, width_us: int) -> list[Record]:
    """Posts of ``(t_us - width_us, t_us]`` in the order in which they were counted."""
    first = bisect_right(state.posts, t_us - width_us, key=_time)
    last = bisect_right(state.posts, t_us, key=_time)
    return state.posts[first:last]


def _sentiment(state: State, t_us: int) -> list[float]:
    out = [NAN] * len(_S)
    scored = [p for p in _window(state, t_us, FIVE_US) if p.positive == p.positive]
    out[_S["tweet_count"]] = float(len(scored))
    _five_minutes([p for p in scored if p.scored_twin_us <= t_us - FIVE_US], t_us, out)
    since = t_us - HOUR_US
    _hour([p for p in _window(state, t_us, HOUR_US) if p.positive == p.positive and p.scored_twin_us <= since], out)
    if state.ew_weight > 0.0:
        out[_S["sentiment_ew_15m"]] = state.ew_sum / state.ew_weight
    return out


def _five_minutes(posts: list[Record], t_us: int, out: list[float]) -> None:
    n = len(posts)
    if n == 0:
        return
    s = positive = negative = neutral = confidence = 0.0
    newer = older = 0.0
    n_newer = 0
    for p in posts:
        compound = p.positive - p.negative
        s += compound
        positive += p.positive
        negative += p.negative
        neutral += p.neutral
        confidence += max(p.positive, p.negative, p.neutral)
        if p.t_us > t_us - FIVE_US // 2:
            newer += compound
            n_newer += 1
        else:
            older += compound
    mean = s / n
    out[_S["sentiment_compound"]] = mean
    out[_S["sentiment_positive"]] = positive / n
    out[_S["sentiment_negative"]] = negative / n
    out[_S["sentiment_neutral"]] = neutral / n
    out[_S["sentiment_confidence"]] = confidence / n
    if n >= 2:
        squares = 0.0
        for p in posts:
            squares += (p.positive - p.negative - mean) ** 2
        out[_S["sentiment_volatility"]] = math.sqrt(squares / n)
    if 0 < n_newer < n:
        out[_S["sentiment_momentum"]] = newer / n_newer - older / (n - n_newer)


def _hour(posts: list[Record], out: list[float]) -> None:
    if not posts:
        return
    s = weighted = weights = 0.0
    positives = negatives = 0
    for p in posts:
        compound = p.positive - p.negative
        s += compound
        confidence = max(p.positive, p.negative, p.neutral)
        weight = confidence * math.log(1 + max(p.likes, 0) + 2 * max(p.reposts, 0) + max(p.replies, 0))
        weighted += weight * compound
        weights += weight
        positives += p.positive > max(p.negative, p.neutral)
        negatives += p.negative > max(p.positive, p.neutral)
    out[_S["sentiment_compound_1h"]] = s / len(posts)
    if weights > 0.0:
        out[_S["sentiment_engagement_1h"]] = weighted / weights
    out[_S["bullishness_1h"]] = math.log((1 + positives) / (1 + negatives))


def _social(state: State, t_us: int) -> list[float]:
    out = [NAN] * len(_V)
    hour = _window(state, t_us, HOUR_US)
    five = len(_window(state, t_us, FIVE_US))
    ten = len(_window(state, t_us, 2 * FIVE_US))
    out[_V["social_volume_5m"]] = float(five)
    out[_V["social_volume_1h"]] = float(len(hour))
    out[_V["social_velocity"]] = five / 5
    out[_V["social_acceleration"]] = (five - (ten - five)) / 5
    out[_V["social_volume_z"]] = _volume_z(state, t_us)
    named = [p.author for p in hour if p.author]
    distinct = len(set(named))
    out[_V["unique_authors_1h"]] = float(distinct)
    if named:
        out[_V["author_ratio_1h"]] = distinct / len(named)
    if hour:
        since = t_us - HOUR_US
        out[_V["duplicate_share_1h"]] = sum([p.twin_us > since for p in hour]) / len(hour)
    return out


def _volume_z(state: State, t_us: int) -> float:
    """z of ln(1 + posts) of the last complete UTC hour against the same hour of the week before, up to four of them.

    The deviation is the sample's (n - 1). Null before two such hours lie after the first post, and where they are all
    alike.
    """
    hour = t_us // HOUR_US
    first = -(-state.first_us // HOUR_US) + 1
    past = [hour - WEEK_HOURS * k for k in range(WEEKS, 0, -1)]
    counts = [_posts_of_hour(state, h) for h in past if h >= first] if state.first_us else []
    if len(set(counts)) < 2:
        return NAN
    logs = [math.log(1 + n) for n in counts]
    n = len(logs)
    total = 0.0
    for x in logs:
        total += x
    mean = total / n
    squares = 0.0
    for x in logs:
        squares += (x - mean) ** 2
    return (math.log(1 + _posts_of_hour(state, hour)) - mean) / math.sqrt(squares / (n - 1))
