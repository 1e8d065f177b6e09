"""``volatility_1m``, ``_5m``, ``_15m``: realised volatility, ``sqrt(sum r^2)`` of one-second log returns, not annualised.

``r_i = ln(P_i/P_{i-1})``, where ``P_i`` is the last price traded at or before the end of whole second ``i``, UTC. A second without a
trade has the return 0, and the second of the next trade has the whole move. The window is the ``k`` whole seconds that have ended by
``t``, so a finer grid changes nothing. It is null without a trade in the window, because a silent feed says nothing of volatility, and
where it contains the first trade after a silence longer than the window, because that trade carries the move of the silence (``returns``).
A second with a hole in its trades, or with the first trade after one, has the return NaN, which makes null every window with it.

State, from offset ``o``::

    | open second | price at its beginning, 0 before the first trade | first second traded | newest second traded | newest closed one traded
    | newest second after more than 1, 5, 15 min without a trade | 900 r^2 ...

Example: Two moves of 1 % in the last minute: sqrt(2)*ln 1.01 = 0.01407:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> for second, price in ((1, 100.0), (20, 101.0), (40, 100.0)):
...     feed.trade(second, price)
>>> round(feed.value("volatility_1m", at=60), 5)
0.01407
"""

from __future__ import annotations

import math

from transforms import window
from transforms.catalog import TECHNICAL
from transforms.kernel import NAN, SECOND_US, Vector, jit
from transforms.returns import log_ratio

SECONDS = 900
_WINDOWS = (60, 300, 900)
_SLOTS = TECHNICAL.slots("volatility_1m", "volatility_5m", "volatility_15m")
_OPEN, _EDGE, _FIRST, _TRADED, _CLOSED, _UNKNOWN = range(6)
_RING = _UNKNOWN + len(_WINDOWS)
SIZE = _RING + SECONDS


@jit
def _close(state: Vector, o: int, second: int, last: float) -> None:
    """Close every second up to ``second``, itself included; ``last`` is the last price traded in them, NaN where it may be missing."""
    current = int(state[o + _OPEN])
    if second < current:
        return
    edge = state[o + _EDGE]
    r = log_ratio(last, edge) if edge != 0.0 else 0.0
    state[o + _RING + current % SECONDS] = r * r
    first = current + 1
    if second - first >= SECONDS:
        first = second - SECONDS + 1
    for i in range(first, second + 1):
        state[o + _RING + i % SECONDS] = 0.0 if last == last else NAN
    if int(state[o + _TRADED]) == current:
        if state[o + _CLOSED] > 0.0:
            silence = current - state[o + _CLOSED]
            for i in range(len(_WINDOWS)):
                if silence > _WINDOWS[i]:
                    state[o + _UNKNOWN + i] = float(current)
        state[o + _CLOSED] = float(current)
    state[o + _OPEN] = float(second + 1)
    state[o + _EDGE] = last


@jit
def step(state: Vector, o: int, t_us: int, before: float) -> None:
    """Fold in a trade at ``t_us``; ``before`` is the last price before it, any number for the first trade."""
    second = window.bucket(t_us, SECOND_US)
    if state[o + _FIRST] == 0.0:
        state[o + _FIRST] = float(second)
        state[o + _OPEN] = float(second)
    elif second > int(state[o + _OPEN]):
        _close(state, o, second - 1, before)
    state[o + _TRADED] = float(second)


@jit
def lose(state: Vector, o: int, since_us: int, last: float) -> None:
    """Take the returns from ``since_us`` on as unknown; ``last`` is the last price before."""
    if state[o + _FIRST] == 0.0:
        state[o + _EDGE] = NAN
        return
    first = window.bucket(since_us, SECOND_US)
    _close(state, o, first - 1, last)
    current = int(state[o + _OPEN])
    if first < current:
        for i in range(max(first, current - SECONDS), current):
            state[o + _RING + i % SECONDS] = NAN
        state[o + _EDGE] = NAN


def begin(state: Vector, o: int, newest_us: float) -> None:
    """Take every return up to the newest trade, of ``newest_us``, as unknown: the state is a new one, and the symbol is not."""
    second = window.bucket(int(newest_us), SECOND_US)
    for i in range(SECONDS):
        state[o + _RING + i] = NAN
    state[o + _EDGE] = NAN
    state[o + _FIRST] = float(max(second - SECONDS, 1))
    state[o + _OPEN] = float(second)


@jit
def emit(state: Vector, o: int, t_us: int, last: float, out: Vector) -> None:
    """Write the features of this module, after the first trade.

    The sum runs from the newest second back, so that one pass gives all three windows.
    """
    end = t_us // SECOND_US
    _close(state, o, end, last)
    known = end - int(state[o + _FIRST])
    quiet = end - int(state[o + _CLOSED])
    total = 0.0
    done = 0
    for i in range(len(_WINDOWS)):
        k = _WINDOWS[i]
        if 100 * known < 95 * k:
            out[_SLOTS[i]] = NAN
            continue
        for second in range(end - done, end - k, -1):
            total += state[o + _RING + second % SECONDS]
        done = k
        unknown = state[o + _UNKNOWN + i]
        out[_SLOTS[i]] = math.sqrt(total) if quiet < k and not unknown > max(0, end - k) else NAN
