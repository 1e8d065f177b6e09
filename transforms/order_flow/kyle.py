"""``kyle_lambda_5m``: how far a unit of signed volume moved the mid, sum(dm*x)/sum(x^2) over the last 300 whole seconds.

x is the signed volume of a second (k - 1 s, k], dm the mid at its end less the mid at its beginning. A second takes part where it had
a trade and both mids are known. A mid is unknown after an invalid book, and when the last book is more than 10 s old: a silent book
feed must not look like a price that does not move. A window in which books were lost has no value. Seconds stay the unit also where
rows are emitted more often; the window then ends with the last whole second.

Example: In every second 2 are bought and the mid rises by 0.1, which is 0.05 for each unit:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> for second in range(40):
...     feed.book(second + 0.5, bids=[(99.0 + second / 10, 1.0)], asks=[(101.0 + second / 10, 1.0)])
...     feed.trade(second + 0.7, price=100.0, size=2.0, side=1)
>>> round(feed.value("kyle_lambda_5m", at=40), 6)
0.05
"""

from __future__ import annotations

from transforms.catalog import ORDER_FLOW
from transforms.kernel import NAN, SECOND_US, Vector, jit

SECONDS = 300
MIN_SECONDS = 30
MID_TTL_US = 10 * SECOND_US

END_US = 0
"""End of the open second, µs; call ``advance`` before an event after it."""
_RING = 1
_N = SECONDS + 2
"""Seconds of the window, the open one, and the one before the window for the mid at its beginning."""
_FLOW, _MID, _CHANNELS = range(3)
"""Channels of a second: signed lots, NaN where it had no trade; the mid at its end."""
SIZE = _RING + _CHANNELS * _N

_LAMBDA = ORDER_FLOW.index["kyle_lambda_5m"]


def init(state: Vector, o: int) -> None:
    """Start with no trade in any second, and no mid known."""
    for i in range(_RING, SIZE):
        state[o + i] = NAN


@jit
def advance(state: Vector, o: int, second: int, mid: float, mid_us: float) -> None:
    """Open ``second``; ``mid`` of time ``mid_us`` is the newest before it, NaN where the book is not valid."""
    open_second = int(state[o + END_US]) // SECOND_US
    if second <= open_second:
        return
    for k in range(max(open_second, second - _N + 1), second):
        fresh = k * SECOND_US - mid_us <= MID_TTL_US
        state[o + _RING + k % _N * _CHANNELS + _MID] = mid if fresh else NAN
        state[o + _RING + (k + 1) % _N * _CHANNELS + _FLOW] = NAN
    state[o + END_US] = float(second * SECOND_US)


@jit
def add(state: Vector, o: int, signed_lots: float) -> None:
    """Fold a trade into the open second."""
    at = o + _RING + int(state[o + END_US]) // SECOND_US % _N * _CHANNELS + _FLOW
    so_far = state[at]
    state[at] = signed_lots if so_far != so_far else so_far + signed_lots


@jit
def emit(state: Vector, o: int, last: int, scale: float, out: Vector) -> None:
    """Write lambda over the seconds up to ``last``; call ``advance`` to the second after it first."""
    seconds = 0
    moved = 0.0
    squares = 0.0
    flow_at, mid_at = o + _RING + _FLOW, o + _RING + _MID
    for k in range(last - SECONDS + 1, last + 1):
        at = k % _N * _CHANNELS
        x = state[flow_at + at]
        if x == x:
            dm = state[mid_at + at] - state[mid_at + (k - 1) % _N * _CHANNELS]
            if dm == dm:
                seconds += 1
                moved += dm * x
                squares += x * x
    if seconds >= MIN_SECONDS and squares > 0.0:
        out[_LAMBDA] = moved / squares * scale
