"""realized_spread_bps_5s: what was left of the effective spread five seconds later.

::

    sum q * 2 s (p - m_{t+5s})/m_before * 1e4 / sum q

It is known, and therefore stamped, at t + 5 s: a row at T is the mean, weighted by volume, over the trades whose five
seconds ended in (T - 1 min, T]. m_{t+5s} is the mid of the last book at or before t + 5 s; where that book was not valid
the trade takes no part. Trades, sides and m_before are those of ``effective_spread``.

A trade waits for its mid. Its share is linear in that mid, and trades of one timestamp wait for the same one, so they
wait as one entry: exact, however many they are. 1,024 timestamps may wait, 205 a second for five seconds (the busiest
five seconds of a BTCUSDT capture with 950 trades in a second have 189 in all). Past that a trade is given up, and the
feature is null until the minute after its five seconds is over: never a mean that silently left something out.

::

    o             ring of (t + 5 s, A = sum q s p/m_before, B = sum q s/m_before, sum q): the share is 2e4*(A - m B)
    o + _RING     ring of windows over 1 min: sum of shares, lots

Null where no such volume is in the window, or a trade of it was given up. Huang and Stoll 1996.
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import MINUTE_US, SECOND_US, Vector, jit

HORIZON_US = 5 * SECOND_US
CAPACITY = 1024

NEXT_US = 0
"""When the oldest entry's five seconds end, µs; infinite where none waits."""
_HEAD = 1
"""Entries that left."""
_TAIL = 2
"""Entries that came."""
_LOST_US = 3
"""When the five seconds of the last trade given up end, µs; minus infinity where none was."""
_ENTRIES = 4
_RING = _ENTRIES + 4 * CAPACITY
_CHANNELS = 2

_NEVER = float("inf")
_REALIZED = ORDER_FLOW.index["realized_spread_bps_5s"]


def size(per_second: int) -> int:
    """Slots with ``per_second`` buckets a second."""
    return _RING + window.size(60 * per_second, _CHANNELS)


def init(state: Vector, o: int) -> None:
    """No trade waits, and none was given up."""
    state[o + NEXT_US] = _NEVER
    state[o + _LOST_US] = -_NEVER


@jit
def settle(state: Vector, o: int, per_second: int, t_us: int, mid: float) -> None:
    """Give ``mid``, the newest before ``t_us``, to the entries whose five seconds ended before ``t_us``."""
    head = int(state[o + _HEAD])
    tail = int(state[o + _TAIL])
    ring = o + _RING
    n = 60 * per_second
    while head < tail:
        at = o + _ENTRIES + head % CAPACITY * 4
        end_us = int(state[at])
        if end_us >= t_us:
            break
        if mid == mid:
            b = window.bucket(end_us, SECOND_US // per_second)
            window.advance(state, ring, n, _CHANNELS, b)
            into = window.slot(ring, n, _CHANNELS, b)
            state[into] += 2e4 * (state[at + 1] - mid * state[at + 2])
            state[into + 1] += state[at + 3]
        head += 1
    state[o + _HEAD] = float(head)
    state[o + NEXT_US] = state[o + _ENTRIES + head % CAPACITY * 4] if head < tail else _NEVER


@jit
def add(state: Vector, o: int, t_us: int, price: float, lots: float, side: float, mid: float) -> None:
    """Let a trade with a side and a mid before it wait; only after ``settle`` to ``t_us``."""
    head = int(state[o + _HEAD])
    tail = int(state[o + _TAIL])
    end_us = float(t_us + HORIZON_US)
    at = o + _ENTRIES + (tail - 1) % CAPACITY * 4
    if head == tail or state[at] != end_us:
        if tail - head == CAPACITY:
            state[o + _LOST_US] = end_us
            return
        at = o + _ENTRIES + tail % CAPACITY * 4
        state[at] = end_us
        state[at + 1] = 0.0
        state[at + 2] = 0.0
        state[at + 3] = 0.0
        state[o + _TAIL] = tail + 1.0
        if head == tail:
            state[o + NEXT_US] = end_us
    signed = side * lots
    state[at + 1] += signed * price / mid
    state[at + 2] += signed / mid
    state[at + 3] += lots


@jit
def emit(state: Vector, o: int, per_second: int, t_us: int, b: int, out: Vector) -> None:
    """Write the row of ``t_us``, the end of bucket ``b``; only after ``settle`` to the time after it."""
    n = 60 * per_second
    ring = o + _RING
    window.advance(state, ring, n, _CHANNELS, b)
    lots = window.total(state, ring, n, _CHANNELS, 1, b, n)
    if lots > 0.0 and state[o + _LOST_US] <= t_us - MINUTE_US:
        out[_REALIZED] = window.total(state, ring, n, _CHANNELS, 0, b, n) / lots
