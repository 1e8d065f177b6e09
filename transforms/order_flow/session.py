"""``cvd``, ``vwap_session``, ``vwap_dev_bps``: the trades of the session, null until one was heard from its beginning (``sessions``)
and from a hole in the trades until the session ends;
``session_complete`` says whether it was, also for the session values of the view ``technical``.

A session includes its beginning and not its end: a trade at exactly 00:00 UTC is the first of its day. The row of exactly 00:00 belongs
to the new session, so ``cvd`` is 0 and the vwap null there unless a trade has that very time.

Example: 3 bought at 100 and 1 sold at 104: the delta is 2, the average (300 + 104)/4 = 101, and 104 lies 3/101 = 297 bps above it:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.trade(1, price=100.0, size=3.0, side=1)
>>> feed.trade(2, price=104.0, size=1.0, side=-1)
>>> feed.value("cvd", at=2), feed.value("vwap_session", at=2), round(feed.value("vwap_dev_bps", at=2))
(2.0, 101.0, 297)
"""

from __future__ import annotations

from transforms import sessions
from transforms.catalog import ORDER_FLOW
from transforms.kernel import Vector, jit

DELTA, LOTS, TURNOVER, SIZE = range(sessions.SIZE, sessions.SIZE + 4)
"""Behind the state of the session: bought less sold lots; all lots; sum of price*lots, in order of arrival."""

_CVD, _VWAP, _DEVIATION, _COMPLETE = ORDER_FLOW.slots("cvd", "vwap_session", "vwap_dev_bps", "session_complete")


@jit
def start(state: Vector, o: int, start_us: int, end_us: int, day: int, newest_us: float) -> None:
    """Begin a session, as ``sessions.start`` does."""
    sessions.start(state, o, start_us, end_us, day, newest_us)
    state[o + DELTA] = 0.0
    state[o + LOTS] = 0.0
    state[o + TURNOVER] = 0.0


@jit
def add(state: Vector, o: int, price: float, lots: float, side: float) -> None:
    """Fold a trade into the open session."""
    state[o + DELTA] += side * lots
    state[o + LOTS] += lots
    state[o + TURNOVER] += price * lots


@jit
def emit(state: Vector, o: int, scale: float, price: float, whole: bool, out: Vector) -> None:
    """Write the session so far, null unless it is ``whole``; ``price`` is that of the newest trade."""
    out[_COMPLETE] = 1.0 if whole else 0.0
    if not whole:
        return
    out[_CVD] = state[o + DELTA] / scale
    if state[o + LOTS] > 0.0:
        vwap = state[o + TURNOVER] / state[o + LOTS]
        out[_VWAP] = vwap
        out[_DEVIATION] = 1e4 * (price - vwap) / vwap
