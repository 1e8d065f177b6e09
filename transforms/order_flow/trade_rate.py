"""``trade_rate_10s``: trades a second, exponentially decayed, 1/s. In a steady stream of trades it settles at their rate.

It needs no window, so it has a value from the first trade on; the value is too low for the first 30 s. After a hole in the trades it is
null for 10 minutes: what is missing then has e^-60 of its weight, less than the last bit of any rate.

Example: Ten seconds after the only trade, 0.1/e is left:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.trade(1, price=100.0)
>>> feed.value("trade_rate_10s", at=1), round(feed.value("trade_rate_10s", at=11), 4)
(0.1, 0.0368)
"""

from __future__ import annotations

import math

from transforms.catalog import ORDER_FLOW
from transforms.kernel import MINUTE_US, SECOND_US, Vector, jit

SIZE = 1
"""One slot: the rate at the newest trade, 1/s."""

FORGOTTEN_US = 10 * MINUTE_US
"""How long a missing trade matters."""
_TAU_US = 10.0 * SECOND_US
_RATE = ORDER_FLOW.index["trade_rate_10s"]


@jit
def add(state: Vector, o: int, since_us: float) -> None:
    """Fold in a trade that comes ``since_us`` after the one before it, infinite where that is not known."""
    if since_us > 0.0:
        state[o] *= math.exp(-since_us / _TAU_US)
    state[o] += 0.1


@jit
def emit(state: Vector, o: int, since_us: float, out: Vector) -> None:
    """Write the rate ``since_us`` after the newest trade."""
    out[_RATE] = state[o] * math.exp(-since_us / _TAU_US)
