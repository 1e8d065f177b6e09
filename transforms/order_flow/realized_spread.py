"""``realized_spread_bps_5s``: what is left of the effective spread five seconds later.

    sum q * 2 s (p - m_{t+5s})/m_before * 1e4 / sum q

It is known, and therefore stamped, at t + 5 s: a row at T is the mean, weighted by volume, over the trades whose five seconds ended in
(T - 1 min, T]. m_{t+5s} is the mid of the last book at or before t + 5 s; where that book was not valid, the trade is left out. Where
books were lost in these 65 s there is no value. Trades, sides and m_before are those of ``effective_spread``.

A trade waits for its mid. Its share is linear in that mid, and all trades of one timestamp wait for the same mid, so they wait as one
entry, without loss. 1,024 timestamps may wait, which is 205 a second for five seconds; the busiest five seconds of a BTCUSDT capture
with 950 trades in a second have 189 in all. A trade beyond that is given up, and the feature is null until the minute after its five
seconds is over, because a mean that left out a trade would be wrong.

State, from offset ``o``::

    _ENTRIES   ring of waiting entries (t + 5 s, A = sum q s p/m_before, B = sum q s/m_before, sum q): the share is 2e4*(A - m B)
    _WINDOW    ring of window buckets over 1 min: sum of shares, lots

Example: Bought at 100.5 when the mid was 100; five seconds later it is 100.2: 2*(100.5 - 100.2)/100 = 60 bps:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.book(0.5, bids=[(99.0, 1.0)], asks=[(101.0, 1.0)])
>>> feed.trade(1, price=100.5)
>>> feed.book(4, bids=[(99.2, 1.0)], asks=[(101.2, 1.0)])
>>> round(feed.value("realized_spread_bps_5s", at=6), 6)
60.0
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import MINUTE_US, SECOND_US, Vector, jit

HORIZON_US = 5 * SECOND_US
CAPACITY = 1024

NEXT_US, _HEAD, _TAIL, _LOST_US, _ENTRIES = range(5)
"""When the five seconds of the oldest entry end, µs, infinite where none waits; numbers of entries that have left, and that have come; when
the five seconds of the last trade that was given up end, µs, minus infinity where none was; the ring of entries."""
_END_US, _A, _B, _LOTS, _ENTRY = range(5)
"""Slots of a waiting entry, and how many there are."""
_WINDOW = _ENTRIES + _ENTRY * CAPACITY
_SHARE, _SHARE_LOTS, _CHANNELS = range(3)
"""Channels of a window bucket, and how many there are."""
SECONDS = 60

_NEVER = float("inf")
_REALIZED = ORDER_FLOW.index["realized_spread_bps_5s"]


def size(per_second: int) -> int:
    """Return how many slots it takes with ``per_second`` buckets a second."""
    return _WINDOW + window.size(SECONDS * per_second, _CHANNELS)


def init(state: Vector, o: int) -> None:
    """Start with no trade that waits, and none given up."""
    state[o + NEXT_US] = _NEVER
    state[o + _LOST_US] = -_NEVER


def begin(state: Vector, o: int, newest_us: float) -> None:
    """Give up the trades up to the newest one, of ``newest_us``: the state is a new one, and the symbol is not."""
    state[o + _LOST_US] = newest_us + HORIZON_US


@jit
def settle(state: Vector, o: int, per_second: int, t_us: int, mid: float) -> None:
    """Give ``mid``, the newest before ``t_us``, to the entries whose five seconds ended before ``t_us``."""
    head = int(state[o + _HEAD])
    tail = int(state[o + _TAIL])
    ring = o + _WINDOW
    n = SECONDS * per_second
    while head < tail:
        at = o + _ENTRIES + head % CAPACITY * _ENTRY
        end_us = int(state[at + _END_US])
        if end_us >= t_us:
            break
        if mid == mid:
            b = window.bucket(end_us, SECOND_US // per_second)
            window.advance(state, ring, n, _CHANNELS, b)
            into = window.slot(ring, n, _CHANNELS, b)
            state[into + _SHARE] += 2e4 * (state[at + _A] - mid * state[at + _B])
            state[into + _SHARE_LOTS] += state[at + _LOTS]
        for i in range(at, at + _ENTRY):
            state[i] = 0.0  # what nobody reads any more need not be saved
        head += 1
    state[o + _HEAD] = float(head)
    state[o + NEXT_US] = state[o + _ENTRIES + head % CAPACITY * _ENTRY + _END_US] if head < tail else _NEVER


@jit
def add(state: Vector, o: int, t_us: int, price: float, lots: float, side: float, mid: float) -> None:
    """Let a trade with a side and a mid before it wait; call ``settle`` to ``t_us`` first."""
    head = int(state[o + _HEAD])
    tail = int(state[o + _TAIL])
    end_us = float(t_us + HORIZON_US)
    at = o + _ENTRIES + (tail - 1) % CAPACITY * _ENTRY
    if head == tail or state[at + _END_US] != end_us:
        if tail - head == CAPACITY:
            state[o + _LOST_US] = end_us
            return
        at = o + _ENTRIES + tail % CAPACITY * _ENTRY
        state[at + _END_US] = end_us
        state[at + _A] = 0.0
        state[at + _B] = 0.0
        state[at + _LOTS] = 0.0
        state[o + _TAIL] = tail + 1.0
        if head == tail:
            state[o + NEXT_US] = end_us
    signed = side * lots
    state[at + _A] += signed * price / mid
    state[at + _B] += signed / mid
    state[at + _LOTS] += lots


@jit
def emit(state: Vector, o: int, per_second: int, t_us: int, b: int, out: Vector) -> None:
    """Write the row of ``t_us``, the end of bucket ``b``; call ``settle`` to the time after it first."""
    n = SECONDS * per_second
    ring = o + _WINDOW
    window.advance(state, ring, n, _CHANNELS, b)
    lots = window.total(state, ring, n, _CHANNELS, _SHARE_LOTS, b, n)
    if lots > 0.0 and state[o + _LOST_US] <= t_us - MINUTE_US:
        out[_REALIZED] = window.total(state, ring, n, _CHANNELS, _SHARE, b, n) / lots
