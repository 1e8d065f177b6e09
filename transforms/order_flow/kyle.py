"""kyle_lambda_5m: what a unit of signed volume moved the mid by.

::

    lambda = sum(dm*x) / sum(x^2)      over the seconds with trades of the last 300 whole seconds

x is the signed volume of a second (base units), dm the mid at its end less the mid at its begin (quote units). A second
(k - 1 s, k] takes part where it had a trade and both mids are known. A mid is unknown after an invalid book, and when
the last book is more than 10 s old: a silent book feed must not look like a price that does not move. Seconds are
seconds also where rows are emitted more often; then the last whole second ends the window.

Null with fewer than 30 such seconds, or where their signed volumes are all 0.

Kyle 1985.
"""

from __future__ import annotations

from transforms.catalog import ORDER_FLOW
from transforms.kernel import NAN, SECOND_US, Vector, jit

SECONDS = 300
MIN_SECONDS = 30
MID_TTL_US = 10 * SECOND_US

END_US = 0
"""End of the open second, µs: an event after it must ``advance`` first."""
_RING = 1
_N = SECONDS + 2
"""The window, the open second, and the second before the window for the mid at its begin."""
SIZE = _RING + 2 * _N
"""A second is two slots: its signed lots, NaN where it had no trade, and the mid at its end."""

_LAMBDA = ORDER_FLOW.index["kyle_lambda_5m"]


def init(state: Vector, o: int) -> None:
    """No second had a trade, and no mid is known."""
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
        state[o + _RING + k % _N * 2 + 1] = mid if fresh else NAN
        state[o + _RING + (k + 1) % _N * 2] = NAN
    state[o + END_US] = float(second * SECOND_US)


@jit
def add(state: Vector, o: int, signed_lots: float) -> None:
    """Fold a trade into the open second."""
    at = o + _RING + int(state[o + END_US]) // SECOND_US % _N * 2
    so_far = state[at]
    state[at] = signed_lots if so_far != so_far else so_far + signed_lots


@jit
def emit(state: Vector, o: int, last: int, scale: float, out: Vector) -> None:
    """Write lambda over the seconds up to ``last``; only after ``advance`` to the one after it."""
    seconds = 0
    moved = 0.0
    squares = 0.0
    for k in range(last - SECONDS + 1, last + 1):
        at = o + _RING + k % _N * 2
        x = state[at]
        if x == x:
            dm = state[at + 1] - state[o + _RING + (k - 1) % _N * 2 + 1]
            if dm == dm:
                seconds += 1
                moved += dm * x
                squares += x * x
    if seconds >= MIN_SECONDS and squares > 0.0:
        out[_LAMBDA] = moved / squares * scale
