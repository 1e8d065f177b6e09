"""``parkinson_15m``, ``garman_klass_15m``, ``rogers_satchell_15m``, ``yang_zhang_15m``: volatility of a minute from the ranges of bars.

Over the 15 whole minutes that have ended by the row's time, not annualised. For Yang and Zhang, overnight is ln(o/c') with c' the close
before the bar, open-close is ln(c/o), variances are those of a sample, and ``k = 0.34/(1.34 + (n + 1)/(n - 1))`` with n = 15.

Null where one of the minutes has no bar, because an estimator over bars that lie apart would measure some longer, unknown time, and a
flat bar in between would be invented.

State, from offset ``o``: ``| newest minute | bars in unbroken minutes | its close | 15 bars of 4 terms, minute b at b % 15 |``

Example: Every bar opens and closes at its low, and the high is 1 % above: ln 1.01/sqrt(4 ln 2), ln 1.01/sqrt(2) and ln 1.01:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> for minute in range(1, 16):
...     step(state, 0, minute, 100.0, 101.0, 100.0, 100.0)
>>> round(parkinson(state, 0), 5), round(garman_klass(state, 0), 5), round(rogers_satchell(state, 0), 5)
(0.00598, 0.00704, 0.00995)
"""

from __future__ import annotations

import math

from transforms.kernel import NAN, Vector, jit
from transforms.returns import log_ratio

BARS = 15
_MINUTE, _RUN, _CLOSE, _BARS = range(4)
_RANGE2, _BODY, _RS, _OVERNIGHT, _TERMS = range(5)
"""Terms of a bar, and how many there are: ln(h/l)^2, ln(c/o), that of Rogers and Satchell, ln(o/c')."""
SIZE = _BARS + _TERMS * BARS
LN2 = math.log(2.0)
YZ_K = 0.34 / (1.34 + (BARS + 1) / (BARS - 1))


@jit
def step(state: Vector, o: int, minute: int, open_: float, high: float, low: float, close: float) -> None:
    """Fold in the bar of ``minute``."""
    unbroken = state[o + _RUN] > 0.0 and minute == int(state[o + _MINUTE]) + 1
    at = o + _BARS + minute % BARS * _TERMS
    hl = log_ratio(high, low)
    state[at + _RANGE2] = hl * hl
    state[at + _BODY] = log_ratio(close, open_)
    state[at + _RS] = log_ratio(high, close) * log_ratio(high, open_) + log_ratio(low, close) * log_ratio(low, open_)
    state[at + _OVERNIGHT] = log_ratio(open_, state[o + _CLOSE]) if unbroken else NAN
    state[o + _MINUTE] = float(minute)
    state[o + _RUN] = state[o + _RUN] + 1.0 if unbroken else 1.0
    state[o + _CLOSE] = close


@jit
def lose(state: Vector, o: int, minute: int) -> None:
    """Begin anew if a bar of ``minute`` or later is known: trades of it are missing, as it turns out."""
    if state[o + _MINUTE] >= minute:
        state[o + _RUN] = 0.0


@jit
def _root(x: float) -> float:
    """Return the square root, 0 where rounding left ``x`` below 0; NaN stays NaN."""
    return 0.0 if x < 0.0 else math.sqrt(x)


@jit
def _mean(state: Vector, o: int, term: int) -> float:
    """Return the mean of a term over the 15 bars, oldest first."""
    minute = int(state[o + _MINUTE])
    first = o + _BARS + term
    total = 0.0
    for b in range(minute - BARS + 1, minute + 1):
        total += state[first + b % BARS * _TERMS]
    return total / BARS


@jit
def _variance(state: Vector, o: int, term: int) -> float:
    """Return the sample variance of a term over the 15 bars."""
    mean = _mean(state, o, term)
    minute = int(state[o + _MINUTE])
    first = o + _BARS + term
    total = 0.0
    for b in range(minute - BARS + 1, minute + 1):
        d = state[first + b % BARS * _TERMS] - mean
        total += d * d
    return total / (BARS - 1)


@jit
def bars(state: Vector, o: int, minute: int) -> int:
    """Return how many unbroken minutes with bars end with ``minute``, the newest that has ended; 0 where it has no bar."""
    return int(state[o + _RUN]) if int(state[o + _MINUTE]) == minute else 0


@jit
def parkinson(state: Vector, o: int) -> float:
    """Return Parkinson's estimator; it needs 15 bars."""
    return math.sqrt(_mean(state, o, _RANGE2) / (4.0 * LN2))


@jit
def garman_klass(state: Vector, o: int) -> float:
    """Return the estimator of Garman and Klass; it needs 15 bars."""
    minute = int(state[o + _MINUTE])
    body_at, range2_at = o + _BARS + _BODY, o + _BARS + _RANGE2
    total = 0.0
    for b in range(minute - BARS + 1, minute + 1):
        at = b % BARS * _TERMS
        body = state[body_at + at]
        total += 0.5 * state[range2_at + at] - (2.0 * LN2 - 1.0) * (body * body)
    return _root(total / BARS)


@jit
def rogers_satchell(state: Vector, o: int) -> float:
    """Return the estimator of Rogers and Satchell; it needs 15 bars."""
    return _root(_mean(state, o, _RS))


@jit
def yang_zhang(state: Vector, o: int) -> float:
    """Return the estimator of Yang and Zhang; it needs 15 bars, and is NaN with just these, as the first has no close before it."""
    rs = _mean(state, o, _RS)
    return _root(_variance(state, o, _OVERNIGHT) + YZ_K * _variance(state, o, _BODY) + (1.0 - YZ_K) * rs)
