"""``vpin``: volume-synchronised probability of informed trading, sum |bought - sold| / sum V over the last 50 closed buckets.

Trades fill buckets of exactly V lots in the order of arrival. A trade that does not fit is split at the bucket's edge, and may fill
several buckets. A trade that fits exactly closes the bucket, and the next volume opens another.

Both sums are whole lots, so ``vpin`` is an exact ratio, rounded once. Unclassified volume fills a bucket and is neither bought nor sold.
A bucket keeps the V that it opened with (``bucket_volume``). Where V comes from the previous days, the open bucket is dropped when a
session begins, and the closed ones stay. So every bucket holds exactly the V of its day, and the edges do not depend on when the process
started. With a configured V nothing is dropped.

A hole in the trades hides the edges, because nobody knows how much was traded in it. The buckets before it are forgotten, and none is
formed until the edges are known again: where V comes from the previous days, from the next session on. With a configured V they
never are, so the edges count anew from the first session that begins a day after the hole or later, as they do after a start.

Example: Each of 50 buckets of 2 holds 1.5 bought and 0.5 sold, so its imbalance is 1 of 2:

>>> from transforms.example import HandFeed
>>> feed = HandFeed(vpin_bucket=2.0)
>>> for second in range(1, 51):
...     feed.trade(second, price=100.0, size=1.5, side=1)
...     feed.trade(second, price=100.0, size=0.5, side=-1)
>>> feed.value("vpin", at=50)
0.5
"""

from __future__ import annotations

from transforms.catalog import ORDER_FLOW
from transforms.kernel import Vector, jit
from transforms.order_flow import vpin_bvc

BUCKETS = 50

CLOSED, _OPEN_LOTS, _FILLED, _DELTA, _OPEN_PRICE, _SILENT, _RING_DELTA = range(7)
"""Number of buckets closed so far; of the open bucket V, its lots (0 where none is open), bought less sold lots, the last price before
it, and 1 if its change of price is unknown; then |bought - sold| lots of the last 50 closed buckets."""
_RING_LOTS = _RING_DELTA + BUCKETS
"""V of the last 50 closed buckets."""
_BVC = _RING_LOTS + BUCKETS
"""State of ``vpin_bvc``."""
BVC_CLOSED = _BVC + vpin_bvc.CLOSED
SIZE = _BVC + vpin_bvc.SIZE

_MANY, _ENOUGH = 100.0, 80.0
"""A trade that fills more buckets than the first fills the second number of them; the rings look back on 70."""

_VPIN = ORDER_FLOW.index["vpin"]


@jit
def add(
    state: Vector, o: int, v: float, lots: float, side: float, price: float, last_price: float, since_us: float
) -> None:
    """Fill buckets of ``v`` lots with a trade; ``last_price`` of ``since_us`` ago is that of the trade before, NaN for the first."""
    if v == 0.0:
        return
    opened_at = last_price if last_price == last_price else price
    left = lots
    while left > 0.0:
        if state[o + _FILLED] == 0.0:
            state[o + _OPEN_LOTS] = v
            state[o + _OPEN_PRICE] = opened_at
            state[o + _SILENT] = 0.0
        if since_us > vpin_bvc.LONGEST_US:
            state[o + _SILENT] = 1.0
        room = state[o + _OPEN_LOTS] - state[o + _FILLED]
        if left < room:
            state[o + _FILLED] += left
            state[o + _DELTA] += side * left
            return
        state[o + _DELTA] += side * room
        left -= room
        _close(state, o, price)
        opened_at = price
        since_us = 0.0
        if left > _MANY * v:
            # The last buckets that such a trade fills push the earlier ones out of both rings, so the earlier ones are skipped.
            left -= (left // v - _ENOUGH) * v


@jit
def _close(state: Vector, o: int, price: float) -> None:
    """Close the open bucket, which a trade at ``price`` has filled."""
    closed = int(state[o + CLOSED])
    v = state[o + _OPEN_LOTS]
    state[o + _RING_DELTA + closed % BUCKETS] = abs(state[o + _DELTA])
    state[o + _RING_LOTS + closed % BUCKETS] = v
    if state[o + _SILENT] == 0.0:
        vpin_bvc.close(state, o + _BVC, v, price - state[o + _OPEN_PRICE])
    state[o + CLOSED] = closed + 1.0
    drop_open(state, o)


@jit
def drop_open(state: Vector, o: int) -> None:
    """Empty the open bucket."""
    state[o + _FILLED] = 0.0
    state[o + _DELTA] = 0.0


@jit
def empty(state: Vector, o: int) -> None:
    """Forget every bucket."""
    state[o + CLOSED] = 0.0
    state[o + _BVC + vpin_bvc.CLOSED] = 0.0
    drop_open(state, o)


@jit
def emit(state: Vector, o: int, out: Vector) -> None:
    """Write ``vpin`` and ``vpin_bvc``; V must be known."""
    vpin_bvc.emit(state, o + _BVC, out)
    closed = int(state[o + CLOSED])
    if closed < BUCKETS:
        return
    delta = 0.0
    lots = 0.0
    for i in range(closed - BUCKETS, closed):
        delta += state[o + _RING_DELTA + i % BUCKETS]
        lots += state[o + _RING_LOTS + i % BUCKETS]
    out[_VPIN] = delta / lots
