"""``open_interest``, ``oi_value``, ``oi_change_5m``, ``oi_change_1h``: the contracts that are open.

With n as the venue told it, c the size of a contract and M the mark price::

    linear      open_interest = n c         oi_value = n c M
    inverse     open_interest = n c/M       oi_value = n c
    oi_change   ln(n_t/n_{t-w}): of the contracts, so that it does not move with the price of an inverse one

n_t is the newest one told at or before t, and n_{t-w} the newest one told at or before t - w, each at most 60 s before. Of those before,
the last of each 5 s is kept; where one of these came after t - w, the one of the 5 s before counts. Null: there is none; a value that needs
the mark also where that is not known; a change where either is 0.

State, from offset ``o``: a ring of ``BUCKETS`` pairs, ``| time, µs | contracts |``, the last pair of the 5 s that end at ``5 s * b`` at
``b % BUCKETS``.

Example: 1,000 contracts of 0.01 coins at a mark of 200, a tenth more than five minutes before:

>>> from transforms.example import HandFeed
>>> feed = HandFeed(contract_size=0.01)
>>> feed.derivatives(0, open_interest=1_000.0)
>>> feed.derivatives(300, open_interest=1_100.0, mark=200.0)
>>> [round(feed.value(name, at=300), 6) for name in ("open_interest", "oi_value", "oi_change_5m")]
[11.0, 2200.0, 0.09531]
"""

from __future__ import annotations

from math import isnan

from transforms import window
from transforms.catalog import DERIVATIVES
from transforms.derivatives import told
from transforms.instrument import base_size, quote_value
from transforms.kernel import HOUR_US, MINUTE_US, NAN, SECOND_US, Vector, jit
from transforms.returns import log_ratio

_INTEREST, _VALUE, _CHANGE_5M, _CHANGE_1H = DERIVATIVES.slots(
    "open_interest", "oi_value", "oi_change_5m", "oi_change_1h"
)
KEPT_US = 5 * SECOND_US
BUCKETS = (HOUR_US + told.FRESH_US) // KEPT_US + 2
"""The oldest that may be used is told 1 h and 60 s before the row; the newest is of the row's own time."""
SIZE = 2 * BUCKETS


@jit
def tell(state: Vector, o: int, t_us: int, contracts: float) -> None:
    """Keep the open interest that a message of ``t_us`` tells."""
    if t_us < state[told.INTEREST_US]:
        return
    state[told.INTEREST] = contracts
    state[told.INTEREST_US] = float(t_us)
    at = o + 2 * (window.bucket(t_us, KEPT_US) % BUCKETS)
    state[at] = float(t_us)
    state[at + 1] = contracts


@jit
def _before(state: Vector, o: int, t_us: int) -> float:
    """Return the contracts that were kept last at or before ``t_us``, NaN if that was more than ``told.FRESH_US`` before."""
    newest = window.bucket(t_us, KEPT_US)
    for b in range(newest, newest - told.FRESH_US // KEPT_US - 1, -1):
        at = o + 2 * (b % BUCKETS)
        told_us = state[at]
        if t_us - told.FRESH_US <= told_us <= t_us:
            return float(state[at + 1])
    return NAN


@jit
def emit(state: Vector, o: int, t_us: int, out: Vector) -> None:
    """Write the features of this module."""
    contracts = told.contracts(state, t_us)
    if isnan(contracts):
        return
    mark, size, inverse = told.mark(state, t_us), state[told.CONTRACT], state[told.INVERSE] > 0.0
    out[_INTEREST] = base_size(contracts, mark, size, inverse)
    out[_VALUE] = quote_value(contracts, mark, size, inverse)
    if contracts > 0.0:
        out[_CHANGE_5M] = _change(contracts, _before(state, o, t_us - 5 * MINUTE_US))
        out[_CHANGE_1H] = _change(contracts, _before(state, o, t_us - HOUR_US))


@jit
def _change(now: float, before: float) -> float:
    return log_ratio(now, before) if before > 0.0 else NAN
