"""volatility_k: realised volatility, ``sqrt(sum r^2)`` of one-second log returns, not annualised (Andersen and Bollerslev 1998).

``r_i = ln(P_i/P_{i-1})``, ``P_i`` the last price traded at or before the end of whole second ``i``, UTC. A second
without a trade carries the price forward: its return is 0, and the next trade's second has the whole move. The
window is the ``k`` whole seconds that have ended by ``t``, so a finer grid changes nothing.

Null rule: the return of a second is known when a price was known before it began. A value needs known returns for
95 % of the window's seconds (57 of 60), which is the same as 95 % of the window having passed since the first
trade; and it needs a trade in the window, because a feed that is silent says nothing of volatility.

State, from offset ``o``::

    | open second | price at its beginning, 0 unknown | first second traded | newest second traded | newest closed one traded | 900 r^2 ...
"""

from __future__ import annotations

import math

from transforms import window
from transforms.kernel import NAN, SECOND_US, Vector, jit
from transforms.returns import log_ratio

SECONDS = 900
_OPEN, _EDGE, _FIRST, _TRADED, _CLOSED, _RING = 0, 1, 2, 3, 4, 5
SIZE = _RING + SECONDS


@jit
def _close(state: Vector, o: int, second: int, last: float) -> None:
    """Close every second up to and with ``second``; ``last`` is the last price traded in them."""
    current = int(state[o + _OPEN])
    if second < current:
        return
    edge = state[o + _EDGE]
    r = log_ratio(last, edge) if edge > 0.0 else 0.0
    state[o + _RING + current % SECONDS] = r * r
    first = current + 1
    if second - first >= SECONDS:
        first = second - SECONDS + 1
    for i in range(first, second + 1):
        state[o + _RING + i % SECONDS] = 0.0
    if int(state[o + _TRADED]) == current:
        state[o + _CLOSED] = float(current)
    state[o + _OPEN] = float(second + 1)
    state[o + _EDGE] = last


@jit
def step(state: Vector, o: int, t_us: int, before: float) -> None:
    """A trade at ``t_us``; ``before`` is the last price before it, whatever on the first."""
    second = window.bucket(t_us, SECOND_US)
    if state[o + _FIRST] == 0.0:
        state[o + _FIRST] = float(second)
        state[o + _OPEN] = float(second)
    elif second > int(state[o + _OPEN]):
        _close(state, o, second - 1, before)
    state[o + _TRADED] = float(second)


@jit
def emit(state: Vector, o: int, t_us: int, last: float, out: Vector, at: int) -> None:
    """Write the values over 1, 5 and 15 minutes to ``out[at]``, ``out[at + 1]``, ``out[at + 2]``; after the first trade.

    The sum runs from the newest second back, so that one pass gives all three windows.
    """
    end = t_us // SECOND_US
    _close(state, o, end, last)
    known = end - int(state[o + _FIRST])
    quiet = end - int(state[o + _CLOSED])
    total = 0.0
    done = 0
    for i in range(3):
        k = 60 if i == 0 else 300 if i == 1 else 900
        if 100 * known < 95 * k:
            out[at + i] = NAN
            continue
        for second in range(end - done, end - k, -1):
            total += state[o + _RING + second % SECONDS]
        done = k
        out[at + i] = math.sqrt(total) if quiet < k else NAN
