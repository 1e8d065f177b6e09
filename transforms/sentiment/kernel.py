"""The posts of one symbol, folded into the rows of ``sentiment`` and ``social``.

Posts are rare, so this is plain Python over exact times: a window ``(t - w, t]`` is the posts in it, without buckets. Sums go over
these posts in the order in which they were counted, so a value depends on the posts of its window only, and not on when the process
started. Only ``sentiment_ew_15m`` reaches further back, with a weight that decays. Emitting changes no value.

- A post counts from ``t_us`` of its first observation, when its score was available.
- Another observation of the same id is not counted again, however long after the first. From its time on the post has the new engagement
  and, where the text was edited, the new score; it has none where the text was emptied.
- A withdrawn post counts nowhere from then on, as if it had not been posted, if it is withdrawn within its hour. Later, ``social_volume_z``
  forgets it, and ``sentiment_ew_15m`` keeps what is left of its weight, a sixteenth or less.
- A post is a duplicate in a window when an earlier post of the window is within ``DISTANCE`` of its simhash. Means of scores leave
  duplicates out; ``sentiment_ew_15m`` leaves out duplicates within the hour. ``tweet_count`` and the social counts count every post.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from transforms.instrument import Instrument
from transforms.kernel import HOUR_US, NAN, Vector
from transforms.sentiment import activity, scores
from transforms.sentiment.simhash import DISTANCE, distance
from transforms.sentiment.state import (
    REMEMBERED_US,
    Post,
    Record,
    Row,
    State,
    count_hour,
    forget_old_days,
    from_bytes,
    hour_of,
    key,
    remember_gone,
    time_of,
    to_bytes,
    uncount_hour,
)

__all__ = [
    "emit_sentiment", "emit_social", "from_bytes", "init", "knows", "last_event_us", "step_post", "to_bytes", "withdraw_post",
]  # fmt: skip

EDGES_US = (scores.FIVE_US // 2, scores.FIVE_US, 2 * scores.FIVE_US, HOUR_US)
"""Ages at which a post leaves a window or half of one."""
COUNT_MAX = 1 << 62
"""Engagement is cut here, so that any number that a source sends fits 64 bits."""


def init(instrument: Instrument, bucket_us: int) -> State:
    """Return the state before the first post; no setting of ``instrument`` concerns posts."""
    return State(bucket_us)


def last_event_us(state: State) -> int:
    """Return the time of the newest observation of any post, 0 before the first."""
    return state.last_us


def step_post(state: State, t_us: int, post: Post) -> bool:
    """Count ``post`` from ``t_us``; a time before the newest one seen is taken as the newest.

    Return False, and count nothing, if the post was written so long ago that its id may be forgotten: it may have been counted before.
    """
    t_us = max(t_us, state.last_us)
    post_id = key(post.id)
    record = state.by_id.get(post_id)
    is_new = record is None and post_id not in state.gone
    if is_new and post.written_us and post.written_us <= max(t_us - REMEMBERED_US, state.forgotten_us):
        return False
    state.last_us = t_us
    state.packed = None
    state.rows.clear()
    forget_old_days(state, hour_of(t_us))
    _drop_old(state, t_us)
    record = state.by_id.get(post_id)  # it may have left its hour by now
    engagement = _count(post.likes), _count(post.reposts), _count(post.replies)
    if is_new:
        author = 0 if post.author is None else key(post.author)
        record = Record(
            t_us, post_id, author, post.simhash, *_twins(state.posts, post.simhash), *_score(post), *engagement
        )
        state.posts.append(record)
        state.by_id[post_id] = record
        count_hour(state, t_us)
    elif record is not None:
        likes, reposts, replies = engagement
        record.likes = likes if likes >= 0 else record.likes
        record.reposts = reposts if reposts >= 0 else record.reposts
        record.replies = replies if replies >= 0 else record.replies
        _edit(state, record, post)
    return True


def withdraw_post(state: State, t_us: int, post_id: str) -> None:
    """Take a post out of every window, from the next row on.

    Its id stays remembered, so that another delivery does not count it again, nor a first one that comes after the withdrawal.
    """
    number = key(post_id)
    record, hour = state.by_id.pop(number, None), state.gone.get(number, 0)
    if hour < 0:
        return  # it was withdrawn before
    state.packed = None
    state.rows.clear()
    if record is not None:
        hour = hour_of(record.t_us)
        at = state.posts.index(record, bisect_left(state.posts, record.t_us, key=time_of))
        del state.posts[at]
        _find_twins_again(state, at, record.simhash)
    if hour:
        uncount_hour(state, hour)
    remember_gone(state, number, -(hour or hour_of(t_us)))


def knows(state: State, post_id: str) -> bool:
    """Return whether the state holds a post or remembers its id."""
    number = key(post_id)
    return number in state.by_id or number in state.gone


def _count(n: int | None) -> int:
    return -1 if n is None or n < 0 else min(n, COUNT_MAX)


def _score(post: Post) -> tuple[float, float, float]:
    if post.positive is None or post.negative is None or post.neutral is None:
        return NAN, NAN, NAN
    return post.positive, post.negative, post.neutral


def _drop_old(state: State, t_us: int) -> None:
    """Drop the posts that have left the hour: keep their ids, and what they add to the weighted mean."""
    n = bisect_right(state.posts, t_us - HOUR_US, key=time_of)
    if n == 0:
        return
    old = state.posts[:n]
    del state.posts[:n]
    state.ew_sum, state.ew_weight, state.ew_us = scores.weighted(state, old)
    for post in old:
        del state.by_id[post.id]
        remember_gone(state, post.id, hour_of(post.t_us))


def _edit(state: State, record: Record, post: Post) -> None:
    """Give ``record`` the text's new score and fingerprint; an empty text has none of either."""
    was_scored, old_simhash = record.scored, record.simhash
    record.positive, record.negative, record.neutral = _score(post)
    record.simhash = post.simhash
    if record.scored == was_scored and record.simhash == old_simhash:
        return
    at = state.posts.index(record, bisect_left(state.posts, record.t_us, key=time_of))
    _find_twins_again(state, at, old_simhash, record.simhash)
    record.twin_us, record.scored_twin_us = _twins(state.posts[:at], record.simhash)


def _twins(earlier: list[Record], simhash: int) -> tuple[int, int]:
    """Return when the newest near-duplicate, and the newest scored one, were counted; -1 for none."""
    twin_us = -1
    if simhash:
        for post in reversed(earlier):
            if post.simhash and distance(post.simhash, simhash) <= DISTANCE:
                twin_us = max(twin_us, post.t_us)
                if post.scored:
                    return twin_us, post.t_us
    return twin_us, -1


def _find_twins_again(state: State, at: int, *changed: int) -> None:
    """Find the twins of the posts from number ``at`` on that are near one of the fingerprints that changed."""
    for i in range(at, len(state.posts)):
        post = state.posts[i]
        if any(simhash and post.simhash and distance(post.simhash, simhash) <= DISTANCE for simhash in changed):
            post.twin_us, post.scored_twin_us = _twins(state.posts[:i], post.simhash)


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
