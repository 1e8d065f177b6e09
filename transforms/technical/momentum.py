"""``price_momentum_1m``, ``_5m``, ``_15m``: the log return over k minutes; null also where the ratio is outside the range of a double.

A ring keeps the last price of every grid bucket of the past 16.5 minutes, 0 where nothing was traded, NaN where a hole in the trades
makes it unknown. Grid times, ``k`` and ``k/10`` are
whole buckets, so "at or before t - k" means the bucket that ends there, or the nearest one before it with a trade. Only for the oldest
bucket that may be used does the trade's own time matter: a trade at the very end of that bucket is exactly ``k/10`` old and counts, an
earlier one does not. The sign holds that one bit: a price traded exactly at the end of its bucket is stored negative.

Example: The price was 100 a minute ago, or at most 6 s before that, and is 101 now: ln 1.01 = 0.00995:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.trade(57, price=100.0)
>>> feed.trade(100, price=101.0)
>>> round(feed.value("price_momentum_1m", at=120), 5), feed.value("price_momentum_5m", at=121)
(0.00995, None)
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import TECHNICAL
from transforms.kernel import MINUTE_US, NAN, SECOND_US, Vector, jit
from transforms.returns import log_ratio

HISTORY_US = 15 * MINUTE_US + 90 * SECOND_US
"""The longest look-back and its tolerance."""

_1M, _5M, _15M = TECHNICAL.slots("price_momentum_1m", "price_momentum_5m", "price_momentum_15m")


@jit
def buckets(bucket_us: int) -> int:
    """Return how many buckets the ring holds, the newest included."""
    return HISTORY_US // bucket_us + 1


def size(bucket_us: int) -> int:
    """Return how many slots of a state the ring takes."""
    return window.size(buckets(bucket_us), 1)


@jit
def step(state: Vector, o: int, n: int, bucket_us: int, t_us: int, price: float) -> None:
    """Make ``price`` the last one of its bucket, in the ring of ``n`` buckets; NaN where a later trade may be missing."""
    b = window.bucket(t_us, bucket_us)
    window.advance(state, o, n, 1, b)
    state[window.slot(o, n, 1, b)] = -price if t_us == b * bucket_us else price


@jit
def lose(state: Vector, o: int, n: int, bucket_us: int, since_us: int) -> None:
    """Take the last prices from the bucket of ``since_us`` on as unknown: trades after them may be missing."""
    first = window.bucket(since_us, bucket_us)
    window.advance(state, o, n, 1, first)
    newest = int(state[o])
    for b in range(max(first, newest - n + 1), newest + 1):
        at = window.slot(o, n, 1, b)
        if b == first or state[at] != 0.0:
            state[at] = NAN


@jit
def emit(state: Vector, o: int, n: int, bucket_us: int, t_us: int, price: float, out: Vector) -> None:
    """Write the features of this module at grid time ``t_us``; ``price`` is the last one."""
    window.advance(state, o, n, 1, t_us // bucket_us)
    out[_1M] = _value(state, o, n, bucket_us, t_us, MINUTE_US, price)
    out[_5M] = _value(state, o, n, bucket_us, t_us, 5 * MINUTE_US, price)
    out[_15M] = _value(state, o, n, bucket_us, t_us, 15 * MINUTE_US, price)


@jit
def _value(state: Vector, o: int, n: int, bucket_us: int, t_us: int, k_us: int, price: float) -> float:
    """Return ``ln(price/p_{t-k})``, NaN without a trade in ``[t - k - k/10, t - k]``."""
    newest = (t_us - k_us) // bucket_us
    oldest = newest - k_us // 10 // bucket_us
    for b in range(newest, oldest - 1, -1):
        past = state[window.slot(o, n, 1, b)]
        if past < 0.0:
            return log_ratio(price, -past)
        if past != past:
            return NAN
        if past > 0.0:
            return NAN if b == oldest else log_ratio(price, past)
    return NAN
