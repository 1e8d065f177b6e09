"""Volumes and counts of fixed windows: ``buy_volume_1m``, ``sell_volume_1m``, ``delta_volume_*``, ``trade_flow_imbalance_*``,
``trade_count_1m``, ``avg_trade_size_1m``, ``side_inferred_share_1m``, ``vwap_1m``, ``vwap_5m``.

Sizes are whole lots, so their sums are exact in any order. ``sum pq`` is not exact: it is summed in the order of arrival within a
bucket, and bucket by bucket in time order when a row is emitted.

State, from offset ``o``: two rings over the same buckets, one behind the other::

    1 min   bought lots, sold lots, trades, trades whose side was inferred
    5 min   bought - sold lots, all lots, sum of price*lots

Example: After a first trade more than a minute ago: 3 bought at 100, 1 sold at 104:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.trade(0.5, price=100.0)
>>> feed.trade(30, price=100.0, size=3.0, side=1)
>>> feed.trade(40, price=104.0, size=1.0, side=-1)
>>> [feed.value(name, at=61) for name in ("delta_volume_1m", "trade_flow_imbalance_1m", "avg_trade_size_1m", "vwap_1m", "vwap_5m")]
[2.0, 0.5, 2.0, 101.0, None]
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import MINUTE_US, SECOND_US, Vector, jit

_slots = ORDER_FLOW.slots
_BUY_1M, _SELL_1M, _COUNT_1M = _slots("buy_volume_1m", "sell_volume_1m", "trade_count_1m")
_DELTA_1S, _DELTA_1M, _DELTA_5M = _slots("delta_volume_1s", "delta_volume_1m", "delta_volume_5m")
_IMBALANCE_1M, _IMBALANCE_5M = _slots("trade_flow_imbalance_1m", "trade_flow_imbalance_5m")
_MEAN_SIZE_1M, _INFERRED_1M = _slots("avg_trade_size_1m", "side_inferred_share_1m")
_VWAP_1M, _VWAP_5M = _slots("vwap_1m", "vwap_5m")

_MINUTE, _FIVE = 60, 300
"""Seconds of the two rings."""
_BOUGHT, _SOLD, _TRADES, _INFERRED, _SHORT = range(5)
"""Channels of the ring over 1 min, and how many there are."""
_DELTA, _LOTS, _TURNOVER, _LONG = range(4)
"""Channels of the ring over 5 min, and how many there are."""


def size(per_second: int) -> int:
    """Return how many slots both rings take with ``per_second`` buckets a second."""
    return window.size(_MINUTE * per_second, _SHORT) + window.size(_FIVE * per_second, _LONG)


@jit
def _long_at(o: int, per_second: int) -> int:
    return o + window.BUCKETS + _MINUTE * per_second * _SHORT


@jit
def advance(state: Vector, o: int, per_second: int, b: int) -> None:
    """Make ``b`` the newest bucket."""
    window.advance(state, o, _MINUTE * per_second, _SHORT, b)
    window.advance(state, _long_at(o, per_second), _FIVE * per_second, _LONG, b)


@jit
def add(state: Vector, o: int, per_second: int, b: int, price: float, lots: float, side: float, inferred: bool) -> None:
    """Fold a trade into bucket ``b``, the newest."""
    at = window.slot(o, _MINUTE * per_second, _SHORT, b)
    if side > 0.0:
        state[at + _BOUGHT] += lots
    elif side < 0.0:
        state[at + _SOLD] += lots
    state[at + _TRADES] += 1.0
    if inferred:
        state[at + _INFERRED] += 1.0
    at = window.slot(_long_at(o, per_second), _FIVE * per_second, _LONG, b)
    state[at + _DELTA] += side * lots
    state[at + _LOTS] += lots
    state[at + _TURNOVER] += price * lots


@jit
def emit(state: Vector, o: int, per_second: int, b: int, scale: float, seen_us: int, out: Vector) -> None:
    """Write the row at the end of bucket ``b``, the newest; ``seen_us`` is the time since the first trade."""
    if seen_us >= SECOND_US:
        bought = window.total(state, o, _MINUTE * per_second, _SHORT, _BOUGHT, b, per_second)
        sold = window.total(state, o, _MINUTE * per_second, _SHORT, _SOLD, b, per_second)
        out[_DELTA_1S] = (bought - sold) / scale
    if seen_us >= MINUTE_US:
        _emit_1m(state, o, per_second, b, scale, out)
    if seen_us >= 5 * MINUTE_US:
        long = _long_at(o, per_second)
        delta, volume, turnover = _sums(state, long, _FIVE * per_second, b, _FIVE * per_second)
        out[_DELTA_5M] = delta / scale
        if volume > 0.0:
            out[_IMBALANCE_5M] = delta / volume
            out[_VWAP_5M] = turnover / volume


@jit
def _emit_1m(state: Vector, o: int, per_second: int, b: int, scale: float, out: Vector) -> None:
    n = _MINUTE * per_second
    bought = window.total(state, o, n, _SHORT, _BOUGHT, b, n)
    sold = window.total(state, o, n, _SHORT, _SOLD, b, n)
    trades = window.total(state, o, n, _SHORT, _TRADES, b, n)
    inferred = window.total(state, o, n, _SHORT, _INFERRED, b, n)
    delta, volume, turnover = _sums(state, _long_at(o, per_second), _FIVE * per_second, b, n)
    out[_BUY_1M] = bought / scale
    out[_SELL_1M] = sold / scale
    out[_DELTA_1M] = delta / scale
    out[_COUNT_1M] = trades
    if trades > 0.0:
        out[_MEAN_SIZE_1M] = volume / scale / trades
        out[_INFERRED_1M] = inferred / trades
    if volume > 0.0:
        out[_IMBALANCE_1M] = delta / volume
        out[_VWAP_1M] = turnover / volume


@jit
def _sums(state: Vector, o: int, n: int, b: int, w: int) -> tuple[float, float, float]:
    """Return the sums of the three channels of the ring over 5 min, over the ``w`` buckets that end with ``b``, oldest first."""
    delta = 0.0
    volume = 0.0
    turnover = 0.0
    first = o + window.BUCKETS
    delta_at, lots_at, turnover_at = first + _DELTA, first + _LOTS, first + _TURNOVER
    for i in range(b - w + 1, b + 1):
        at = (i % n) * _LONG
        delta += state[delta_at + at]
        volume += state[lots_at + at]
        turnover += state[turnover_at + at]
    return delta, volume, turnover
