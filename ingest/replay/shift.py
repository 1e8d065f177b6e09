"""Move a recording in time: the same market at another hour.

The shift is a whole number of grid intervals, so that rows fall on the same events. Ids and sequences of books are changed with the
times, because a shifted message is another event: a second replay must not be taken for a repetition of the first.
"""

from __future__ import annotations

from typing import Any

from ingest.messages.kinds import Message, SocialPost, time_us
from ingest.publish.counts import Counts
from ingest.recordings.lines import Parsed
from ingest.recordings.recording import Recording

_TIMES = ("received", "observed_at", "next_funding", "since")
_TIMES_US = ("timestamp_us", "since_us")
_IDS = ("sequence", "trade_id", "id")


def shift_to_end_now(recording: Recording, grid_ms: int, speed: float, now_s: float) -> int:
    """Return the shift (ms) with which a recording ends when its replay does; read its files once for that.

    ``speed`` is that of the replay, ``now_s`` the time at which it begins. If it is slower than real time, the recording is shifted
    as for real time: no message may come from the future.
    """
    events = Counts()
    first = last = newest_post = 0
    for stage in (recording.posts(), recording.market()):
        for output in stage:
            if not isinstance(output, Parsed):
                continue
            events.add(*output)
            if isinstance(output.message, SocialPost):
                newest_post = max(newest_post, -(-time_us(output.message) // 1000))
            else:
                received = received_ms(output.message)
                first, last = min(first or received, received), max(last, received)
    duration_ms = (last - first) / max(speed, 1.0) if speed else 0.0
    return shift_to_end_at(events.last_ms or newest_post, int(now_s * 1000 + duration_ms), grid_ms)


def shift_to_end_at(last_ms: int, end_ms: int, grid_ms: int) -> int:
    """Return the milliseconds to add so that the boundary at or after ``last_ms`` is the last one at or before ``end_ms``.

    >>> shift_to_end_at(10_250, 99_900, 1000)
    88000
    """
    boundary = -(-last_ms // grid_ms) * grid_ms
    return (end_ms - boundary) // grid_ms * grid_ms


def received_ms(message: Message | SocialPost) -> int:
    """Return when a message was received, or its event time if it does not say."""
    return getattr(message, "received", None) or time_us(message) // 1000


def shift(message: Message | SocialPost, shift_ms: int) -> None:
    """Move a message in time, in place."""
    if not shift_ms:
        return
    if message.timestamp_us is None:
        message.timestamp += shift_ms
    for name in _TIMES_US:
        us: int | None = getattr(message, name, None)
        if us is not None:
            setattr(message, name, us + shift_ms * 1000)
    for name in (*_TIMES, *_IDS):
        value: Any = getattr(message, name, None)
        if isinstance(value, str):
            setattr(message, name, f"{value}{shift_ms:+d}")
        elif value is not None:
            setattr(message, name, value + shift_ms)
