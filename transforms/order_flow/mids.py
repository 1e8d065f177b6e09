"""The mid price for the trades: the newest one, and the one before the newest timestamp.

A venue stamps a book and the trades that made it with the same millisecond, and books come before trades of equal time. The mid of
that book has already moved with the trade, so a trade must be measured against the mid strictly before it. Two mids are therefore
kept: the newest with its time, and the last one of an earlier time.

State, from offset ``o``::

    o + MID       newest mid, NaN where unknown        o + MID_US     its time, µs
    o + EARLIER   last mid of a time before MID_US     o + EARLIER_US its time, µs

Example: Seen from a trade at 2.0 s, the mid of the same time does not count, the one of 1.5 s does:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> init(state, 0)
>>> set_mid(state, 0, 1_500_000, 100.0)
>>> set_mid(state, 0, 2_000_000, 101.0)
>>> float(before(state, 0, 2_000_000)), float(before(state, 0, 2_000_001))
(100.0, 101.0)
"""

from __future__ import annotations

from transforms.kernel import NAN, SECOND_US, Vector, jit

MID, MID_US, EARLIER, EARLIER_US, SIZE = range(5)

MAX_AGE_US = SECOND_US
"""A trade is not measured against a mid of this age or older."""


def init(state: Vector, o: int) -> None:
    """Start with no mid known."""
    state[o + MID] = NAN
    state[o + EARLIER] = NAN


@jit
def set_mid(state: Vector, o: int, t_us: int, mid: float) -> None:
    """Set the mid from ``t_us`` on; NaN where the book is not valid."""
    if t_us > state[o + MID_US]:
        state[o + EARLIER] = state[o + MID]
        state[o + EARLIER_US] = state[o + MID_US]
        state[o + MID_US] = float(t_us)
    state[o + MID] = mid


@jit
def before(state: Vector, o: int, t_us: int) -> float:
    """Return the last mid strictly before ``t_us`` and under 1 s old, NaN where there is none or the book was not valid then."""
    if state[o + MID_US] < t_us:
        mid = state[o + MID]
        age = t_us - state[o + MID_US]
    else:
        mid = state[o + EARLIER]
        age = t_us - state[o + EARLIER_US]
    return mid if age < MAX_AGE_US else NAN
