"""``return_leader_*``, ``relative_strength_60m``, ``beta_60m``, ``correlation_60m``: how the leader moved, and the symbol with it.

All are of logarithms of mids at whole seconds, l of the leader and y of the symbol, and null unless the leader's newest second u, up to the
row's and at most 2 s older, has a mid.

    return_leader_ks         l(u) - l(u - k)
    relative_strength_60m    y(u) - y(u - 3600) - (l(u) - l(u - 3600))
    beta_60m                 sum (dl - mean dl)(dy - mean dy) / sum (dl - mean dl)^2
    correlation_60m          the same sum over the root of the product of both sums of squares

The last two are over the one-second changes dl and dy of the 3,600 s up to the row's, of the seconds at which both are known, 300 at least.

Example: Mids of the leader and of the symbol, a second apart. The leader rose by 1 %, ln 1.01 = 0.00995:

>>> from transforms.example import HandFeed
>>> feed = HandFeed(leader="L")
>>> for at, mid in ((1, 100.0), (2, 101.0)):
...     feed.neighbour(at, "L", mid)
...     feed.book(at - 0.5, bids=[(49.0, 1.0)], asks=[(51.0, 1.0)])
...     found = feed.value("return_leader_1s", at=at)
>>> round(found, 5)
0.00995
"""

from __future__ import annotations

from math import isnan, sqrt

from transforms.catalog import CONTEXT
from transforms.context.layout import LOGS, LONG, WINDOW
from transforms.kernel import NAN, Vector, jit

READY = 300
"""Seconds with both changes that beta and correlation need."""
RETURN_1S, RETURN_10S, RETURN_60S = CONTEXT.slots("return_leader_1s", "return_leader_10s", "return_leader_60s")
BETA, CORRELATION, STRENGTH = CONTEXT.slots("beta_60m", "correlation_60m", "relative_strength_60m")


@jit
def put_log(state: Vector, o: int, second: int, y: float) -> None:
    """Put the logarithm of a second into a ring; seconds between it and the newest one are unknown."""
    newest = int(state[o])
    for s in range(max(newest + 1, second - LONG + 1), second):
        state[o + 1 + s % LONG] = NAN
    state[o + 1 + second % LONG] = y
    state[o] = float(second)


@jit
def _at(state: Vector, o: int, second: int) -> float:
    """Return the logarithm of a second, NaN where it is not known."""
    newest = int(state[o])
    return float(state[o + 1 + second % LONG]) if newest - LONG < second <= newest and second > 0 else NAN


@jit
def _sums(
    state: Vector, leader: int, own: int, first: int, end: int, mean_x: float, mean_y: float
) -> tuple[int, float, float, float, float, float]:
    """Return of the changes from ``first`` to ``end``, less their means: how many are known at both, their sums, squares and products."""
    n = 0
    sum_x = sum_y = xx = xy = yy = 0.0
    at = first % LONG
    x, y = state[leader + 1 + at], state[own + 1 + at]
    for _ in range(first, end):
        at = at + 1 if at + 1 < LONG else 0
        x_before, y_before = x, y
        x, y = state[leader + 1 + at], state[own + 1 + at]
        dx, dy = x - x_before - mean_x, y - y_before - mean_y
        if not isnan(dx + dy):
            n += 1
            sum_x += dx
            sum_y += dy
            xx += dx * dx
            xy += dx * dy
            yy += dy * dy
    return n, sum_x, sum_y, xx, xy, yy


@jit
def emit_lead(state: Vector, own: int, second: int, told: int, out: Vector) -> None:
    """Write the features; ``own`` is where the two rings begin, ``told`` the leader's second, 0 where there is none."""
    leader = own + LOGS
    if told == 0 or isnan(_at(state, leader, told)):
        return
    now = _at(state, leader, told)
    out[RETURN_1S] = now - _at(state, leader, told - 1)
    out[RETURN_10S] = now - _at(state, leader, told - 10)
    out[RETURN_60S] = now - _at(state, leader, told - 60)
    out[STRENGTH] = (_at(state, own, told) - _at(state, own, told - WINDOW)) - (now - _at(state, leader, told - WINDOW))
    end = min(second, int(state[leader]), int(state[own]))
    n, sum_x, sum_y, _, _, _ = _sums(state, leader, own, second - WINDOW, end, 0.0, 0.0)
    if n < READY:
        return
    _, _, _, xx, xy, yy = _sums(state, leader, own, second - WINDOW, end, sum_x / n, sum_y / n)
    if xx > 0.0:
        out[BETA] = xy / xx
        if yy > 0.0:
            out[CORRELATION] = min(1.0, max(-1.0, xy / sqrt(xx * yy)))
