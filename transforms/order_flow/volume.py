"""Volumes and counts of fixed windows: buy_volume_1m, sell_volume_1m, delta_volume_*, trade_flow_imbalance_*,
trade_count_1m, avg_trade_size_1m, side_inferred_share_1m, vwap_1m, vwap_5m.

Sizes are whole lots, so their sums are exact in any order. ``sum pq`` is not: it is summed in order of arrival within
a bucket, and bucket by bucket in time order when a row is emitted.

Two rings over the same buckets, one behind the other::

    o       1 min   bought lots, sold lots, trades, trades whose side was inferred
    behind  5 min   bought - sold lots, all lots, sum of price*lots

All are null until the first trade seen lies at or before the window's begin.
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import MINUTE_US, SECOND_US, Vector, jit

_BUY_1M = ORDER_FLOW.index["buy_volume_1m"]
_SELL_1M = ORDER_FLOW.index["sell_volume_1m"]
_DELTA_1S = ORDER_FLOW.index["delta_volume_1s"]
_DELTA_1M = ORDER_FLOW.index["delta_volume_1m"]
_DELTA_5M = ORDER_FLOW.index["delta_volume_5m"]
_IMBALANCE_1M = ORDER_FLOW.index["trade_flow_imbalance_1m"]
_IMBALANCE_5M = ORDER_FLOW.index["trade_flow_imbalance_5m"]
_COUNT_1M = ORDER_FLOW.index["trade_count_1m"]
_MEAN_SIZE_1M = ORDER_FLOW.index["avg_trade_size_1m"]
_INFERRED_1M = ORDER_FLOW.index["side_inferred_share_1m"]
_VWAP_1M = ORDER_FLOW.index["vwap_1m"]
_VWAP_5M = ORDER_FLOW.index["vwap_5m"]

_SHORT = 4
_LONG = 3


def size(per_second: int) -> int:
    """Slots of both rings with ``per_second`` buckets a second."""
    return window.size(60 * per_second, _SHORT) + window.size(300 * per_second, _LONG)


@jit
def _long_at(o: int, per_second: int) -> int:
    return o + 1 + 60 * per_second * _SHORT


@jit
def advance(state: Vector, o: int, per_second: int, b: int) -> None:
    """Make ``b`` the newest bucket."""
    window.advance(state, o, 60 * per_second, _SHORT, b)
    window.advance(state, _long_at(o, per_second), 300 * per_second, _LONG, b)


@jit
def add(state: Vector, o: int, per_second: int, b: int, price: float, lots: float, side: float, inferred: bool) -> None:
    """Fold a trade into bucket ``b``, the newest."""
    at = window.slot(o, 60 * per_second, _SHORT, b)
    if side > 0.0:
        state[at] += lots
    elif side < 0.0:
        state[at + 1] += lots
    state[at + 2] += 1.0
    if inferred:
        state[at + 3] += 1.0
    at = window.slot(_long_at(o, per_second), 300 * per_second, _LONG, b)
    state[at] += side * lots
    state[at + 1] += lots
    state[at + 2] += price * lots


@jit
def emit(state: Vector, o: int, per_second: int, b: int, scale: float, seen_us: int, out: Vector) -> None:
    """Write the row at the end of bucket ``b``, the newest; ``seen_us`` is the time since the first trade."""
    if seen_us >= SECOND_US:
        bought = window.total(state, o, 60 * per_second, _SHORT, 0, b, per_second)
        sold = window.total(state, o, 60 * per_second, _SHORT, 1, b, per_second)
        out[_DELTA_1S] = (bought - sold) / scale
    if seen_us >= MINUTE_US:
        _emit_1m(state, o, per_second, b, scale, out)
    if seen_us >= 5 * MINUTE_US:
        long = _long_at(o, per_second)
        delta, volume, turnover = _sums(state, long, 300 * per_second, b, 300 * per_second)
        out[_DELTA_5M] = delta / scale
        if volume > 0.0:
            out[_IMBALANCE_5M] = delta / volume
            out[_VWAP_5M] = turnover / volume


@jit
def _emit_1m(state: Vector, o: int, per_second: int, b: int, scale: float, out: Vector) -> None:
    n = 60 * per_second
    bought = window.total(state, o, n, _SHORT, 0, b, n)
    sold = window.total(state, o, n, _SHORT, 1, b, n)
    trades = window.total(state, o, n, _SHORT, 2, b, n)
    inferred = window.total(state, o, n, _SHORT, 3, b, n)
    delta, volume, turnover = _sums(state, _long_at(o, per_second), 300 * per_second, b, n)
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
    """The three channels of the long ring over the ``w`` buckets that end with ``b``, oldest first, in one pass."""
    delta = 0.0
    volume = 0.0
    turnover = 0.0
    for i in range(b - w + 1, b + 1):
        at = o + 1 + (i % n) * _LONG
        delta += state[at]
        volume += state[at + 1]
        turnover += state[at + 2]
    return delta, volume, turnover
