"""What venues told last of a contract: each value with the event time of the message that told it.

A message tells some of the values, and each counts for a time of its own: mark, index and open interest for ``FRESH_US``, the rate of
funding for ``RATE_FRESH_US``, because OKX tells it every 30 to 90 s, and no longer than until the settlement that it was told for. Then it
is null. A message that comes behind a newer one changes only values of which it tells a newer time.

State, the first slots of the vector: the names below; times are event times in µs, 0 where nothing was told.

Example: The mark was told 61 s ago, and the index just now; so their distance is not known:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.derivatives(0, mark=101.0, index=100.0)
>>> feed.value("basis_bps", at=60)
100.0
>>> feed.derivatives(61, index=100.0)
>>> feed.value("basis_bps", at=61) is None
True
"""

from __future__ import annotations

from math import isnan

from transforms.kernel import MINUTE_US, NAN, Vector, jit

FRESH_US = MINUTE_US
RATE_FRESH_US = 5 * MINUTE_US

(NEWEST_US, MARK, MARK_US, INDEX, INDEX_US, RATE, RATE_US, RATE_UNTIL_US, INTEREST, INTEREST_US, CONTRACT, INVERSE, FUNDING_HOURS,
 HEARD_US, SIZE) = range(15)  # fmt: skip
"""The newest message; what was told; the settlement that the rate is for, 0 where that was not told; from the instrument: size of a
contract, 1 if inverse, hours between two settlements; since when every liquidation is heard, and how many slots these are."""


@jit
def _tell(state: Vector, value_at: int, t_us: int, value: float) -> None:
    """Keep a value, which is NaN where the message does not tell it, with its time in the next slot."""
    if not isnan(value) and t_us >= state[value_at + 1]:
        state[value_at] = value
        state[value_at + 1] = float(t_us)


@jit
def tell(state: Vector, t_us: int, mark: float, index: float, rate: float, settled_us: int) -> None:
    """Keep what a message of ``t_us`` tells; ``settled_us`` is when funding is settled next, 0 where it does not say."""
    state[NEWEST_US] = max(state[NEWEST_US], float(t_us))
    _tell(state, MARK, t_us, mark)
    _tell(state, INDEX, t_us, index)
    if not isnan(rate) and t_us >= state[RATE_US]:
        state[RATE_UNTIL_US] = float(settled_us) if settled_us > t_us else 0.0
    _tell(state, RATE, t_us, rate)


@jit
def _fresh(state: Vector, value_at: int, t_us: int, for_us: int) -> float:
    """Return a value that was told at most ``for_us`` ago, else NaN."""
    told_us = state[value_at + 1]
    return float(state[value_at]) if told_us > 0.0 and t_us - told_us <= for_us else NAN


@jit
def mark(state: Vector, t_us: int) -> float:
    """Return the mark price at ``t_us``, NaN where it is not known."""
    return _fresh(state, MARK, t_us, FRESH_US)


@jit
def index(state: Vector, t_us: int) -> float:
    """Return the index price at ``t_us``, NaN where it is not known."""
    return _fresh(state, INDEX, t_us, FRESH_US)


@jit
def contracts(state: Vector, t_us: int) -> float:
    """Return the open interest at ``t_us`` as the venue told it, NaN where it is not known."""
    return _fresh(state, INTEREST, t_us, FRESH_US)


@jit
def rate(state: Vector, t_us: int) -> float:
    """Return the rate of funding at ``t_us``, NaN where it is not known or was told for a settlement that has passed."""
    until_us = state[RATE_UNTIL_US]
    if 0.0 < until_us <= t_us:
        return NAN
    return _fresh(state, RATE, t_us, RATE_FRESH_US)
