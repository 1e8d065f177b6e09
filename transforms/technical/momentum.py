"""price_momentum_k: ``ln(p_t/p_{t-k})``, ``p_{t-k}`` the last price at or before ``t - k`` and not older than ``k/10`` before it.

A ring keeps the last price of every grid bucket of the past 16.5 minutes, 0 where nothing was traded. Grid times,
``k`` and ``k/10`` are whole buckets, so "at or before t - k" is the bucket that ends there or the nearest one
before with a trade. Only the oldest bucket that may be used needs the trade's own time: a trade at its closing edge
is exactly ``k/10`` old and counts, an earlier one does not. That one bit is the sign: a price traded exactly at its
bucket's edge is stored negative.
"""

from __future__ import annotations

from transforms import window
from transforms.kernel import MINUTE_US, NAN, Vector, jit
from transforms.returns import log_ratio

HISTORY_US = 15 * MINUTE_US + 90 * 1_000_000
"""The longest look-back and its tolerance."""


@jit
def buckets(bucket_us: int) -> int:
    """Buckets that the ring holds, the newest included.

    >>> buckets(1_000_000)
    991
    """
    return HISTORY_US // bucket_us + 1


def size(bucket_us: int) -> int:
    """Slots of a state that the ring takes."""
    return window.size(buckets(bucket_us), 1)


@jit
def step(state: Vector, o: int, n: int, bucket_us: int, t_us: int, price: float) -> None:
    """Make ``price`` the last one of its bucket."""
    b = window.bucket(t_us, bucket_us)
    window.advance(state, o, n, 1, b)
    state[window.slot(o, n, 1, b)] = -price if t_us == b * bucket_us else price


@jit
def advance(state: Vector, o: int, n: int, bucket_us: int, t_us: int) -> None:
    """Let time pass to the grid time ``t_us``; before ``value``."""
    window.advance(state, o, n, 1, t_us // bucket_us)


@jit
def value(state: Vector, o: int, n: int, bucket_us: int, t_us: int, k_us: int, price: float) -> float:
    """``ln(price/p_{t-k})`` at the grid time ``t_us``; NaN without a trade in ``[t - k - k/10, t - k]``."""
    newest = (t_us - k_us) // bucket_us
    oldest = newest - k_us // 10 // bucket_us
    for b in range(newest, oldest - 1, -1):
        past = state[window.slot(o, n, 1, b)]
        if past < 0.0:
            return log_ratio(price, -past)
        if past > 0.0:
            return NAN if b == oldest else log_ratio(price, past)
    return NAN
