"""The mid price as the trades see it: the newest one, and the one before the newest timestamp.

A venue stamps a book and the trades that made it with one millisecond, and books come before trades at equal times.
The mid of that book already moved with the trade; a trade must be measured against the mid strictly before it. So two
mids are kept: the newest with its time, and the last one of an earlier time.

::

    o + MID       newest mid, NaN where unknown        o + MID_US     its time, µs
    o + EARLIER   last mid of a time before MID_US     o + EARLIER_US its time, µs
"""

from __future__ import annotations

from transforms.kernel import NAN, SECOND_US, Vector, jit

MID = 0
MID_US = 1
EARLIER = 2
EARLIER_US = 3
SIZE = 4

MAX_AGE_US = SECOND_US
"""A mid this old or older says nothing of a trade."""


def init(state: Vector, o: int) -> None:
    """No mid is known yet."""
    state[o + MID] = NAN
    state[o + EARLIER] = NAN


@jit
def set_mid(state: Vector, o: int, t_us: int, mid: float) -> None:
    """The mid is ``mid`` from ``t_us`` on; NaN where the book is not valid."""
    if t_us > state[o + MID_US]:
        state[o + EARLIER] = state[o + MID]
        state[o + EARLIER_US] = state[o + MID_US]
        state[o + MID_US] = float(t_us)
    state[o + MID] = mid


@jit
def before(state: Vector, o: int, t_us: int) -> float:
    """The last mid strictly before ``t_us`` and under 1 s old; NaN where there is none or the book was not valid then."""
    if state[o + MID_US] < t_us:
        mid = state[o + MID]
        age = t_us - state[o + MID_US]
    else:
        mid = state[o + EARLIER]
        age = t_us - state[o + EARLIER_US]
    return mid if age < MAX_AGE_US else NAN
