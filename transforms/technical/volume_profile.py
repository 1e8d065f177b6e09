"""``volume_profile``, ``poc``, ``value_area_low``, ``value_area_high``, ``poc_dev_bps``: at which prices the session's volume was traded.

The session is the UTC day, or its part since the first trade seen. ``volume_profile`` counts by exact price up to 3071 distinct prices,
beyond that as ``price_cells`` says. The others count by rows of ``Instrument.profile_row`` (``price_rows``).

State, from offset ``o``: ``| day, -1 none | trades | lots | configured row height: num, 0 none; den | rows | cells |``

Example: Of 100 trades 60 were at 100 and 40 at 110, the last of them at 100. In rows of 1, the row of 100 reaches to 101:

>>> from transforms.example import HandFeed
>>> feed = HandFeed(profile_row=1.0)
>>> for price in [110.0] * 40 + [100.0] * 60:
...     feed.trade(1, price)
>>> feed.value("volume_profile", at=1), feed.value("poc", at=1)
(0.6, 100.5)
"""

from __future__ import annotations

from transforms.catalog import TECHNICAL
from transforms.kernel import DAY_US, Vector, jit
from transforms.technical import price_cells, price_rows
from transforms.technical.price_grid import default_height, fraction

READY = 100
"""Trades that a session needs."""
_DAY, _TRADES, _LOTS, _NUM, _DEN, _ROWS = range(6)
_CELLS = _ROWS + price_rows.SIZE
SIZE = _CELLS + price_cells.SIZE

_POC, _LOW, _HIGH = TECHNICAL.slots("poc", "value_area_low", "value_area_high")
_POC_DEV, _SHARE = TECHNICAL.slots("poc_dev_bps", "volume_profile")


def configure(state: Vector, o: int, profile_row: float | None) -> None:
    """Set the height of a row in a state of zeros; raise ``ValueError`` as ``price_grid.fraction`` does."""
    state[o + _DAY] = -1.0
    if profile_row is not None:
        state[o + _NUM], state[o + _DEN] = fraction(profile_row)


@jit
def step(state: Vector, o: int, t_us: int, price: float, lots: float) -> None:
    """Fold in a trade."""
    day = t_us // DAY_US
    if day != int(state[o + _DAY]):
        num, den = state[o + _NUM], state[o + _DEN]
        if num == 0.0:
            num, den = default_height(price)
        price_rows.reset(state, o + _ROWS, price, num, den)
        price_cells.reset(state, o + _CELLS)
        state[o + _DAY] = float(day)
        state[o + _TRADES] = 0.0
        state[o + _LOTS] = 0.0
    state[o + _TRADES] += 1.0
    state[o + _LOTS] += lots
    price_rows.add(state, o + _ROWS, price, lots)
    num = state[o + _ROWS + price_rows.NUM]
    price_cells.add(state, o + _CELLS, price, lots, num, state[o + _ROWS + price_rows.DEN])


@jit
def ready(state: Vector, o: int, t_us: int) -> bool:
    """Return whether the session of ``t_us`` has 100 trades, and volume."""
    return t_us // DAY_US == int(state[o + _DAY]) and state[o + _TRADES] >= READY and state[o + _LOTS] > 0.0


@jit
def emit(state: Vector, o: int, t_us: int, price: float, out: Vector) -> None:
    """Write the features of this module into a row of NaN; ``price`` is the last one."""
    if not ready(state, o, t_us):
        return
    poc = price_rows.poc(state, o + _ROWS)
    low, high = price_rows.value_area(state, o + _ROWS, state[o + _LOTS])
    out[_POC] = poc
    out[_LOW] = low
    out[_HIGH] = high
    out[_POC_DEV] = 1e4 * (price - poc) / poc
    out[_SHARE] = state[o + _CELLS + price_cells.BELOW] / state[o + _LOTS]
