"""``basis_bps`` and ``last_basis_bps``: how far the contract is from the index of its underlying, in basis points.

    basis_bps = 1e4 (mark - index)/index        last_basis_bps = 1e4 (p - index)/index, p the price of the last trade

The venue computes the mark from the index, the funding that is due and its own book, so ``basis_bps`` is smooth; ``last_basis_bps`` is
what was traded. Null: mark or index were told more than 60 s ago, or, for ``last_basis_bps``, the last trade is more than 60 s old or a
later one may be missing. Source: the premium of https://www.binance.com/en/support/faq/360033525031, without its impact prices.

Example: The mark is 10 bps above the index, and the last trade 10 bps below:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.trade(0.5, price=999.0)
>>> feed.derivatives(1, mark=1001.0, index=1000.0)
>>> feed.value("basis_bps", at=1), feed.value("last_basis_bps", at=1)
(10.0, -10.0)
"""

from __future__ import annotations

from transforms.catalog import DERIVATIVES
from transforms.derivatives import told
from transforms.kernel import Vector, jit

_BASIS, _LAST = DERIVATIVES.slots("basis_bps", "last_basis_bps")


@jit
def emit(state: Vector, t_us: int, last: float, out: Vector) -> None:
    """Write the features of this module; ``last`` is the price of the last trade, NaN where it is not known."""
    index = told.index(state, t_us)
    out[_BASIS] = 1e4 * (told.mark(state, t_us) - index) / index
    out[_LAST] = 1e4 * (last - index) / index
