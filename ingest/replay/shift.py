"""Moving a recording in time: the same market at another hour.

The shift is a whole number of grid intervals, so that rows fall on the same events. Ids and book sequences move with the time:
what is shifted is another event, and a second replay is not taken for a repetition of the first.
"""

from __future__ import annotations

from typing import Any

from ingest.messages.kinds import Message, SocialPost

_TIMES = ("timestamp", "received", "observed_at", "next_funding")


def shift_to_end_at(last_ms: int, end_ms: int, grid_ms: int) -> int:
    """Milliseconds to add so that the boundary at or after ``last_ms`` is the last one at or before ``end_ms``.

    >>> shift_to_end_at(10_250, 99_900, 1000)
    88000
    """
    boundary = -(-last_ms // grid_ms) * grid_ms
    return (end_ms - boundary) // grid_ms * grid_ms


def shifted(message: Message | SocialPost, shift_ms: int) -> Message | SocialPost:
    """The message, moved in place."""
    if not shift_ms:
        return message
    fields: Any = message
    for name in _TIMES:
        value = getattr(fields, name, None)
        if value is not None:
            setattr(fields, name, value + shift_ms)
    for name in ("sequence", "trade_id", "id"):
        value = getattr(fields, name, None)
        if isinstance(value, int):
            setattr(fields, name, value + shift_ms)
        elif value is not None:
            setattr(fields, name, f"{value}{shift_ms:+d}")
    return message
