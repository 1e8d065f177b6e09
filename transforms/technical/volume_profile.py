"""``volume_profile``, ``poc``, ``value_area_low``, ``value_area_high``, ``poc_dev_bps``: at which prices the session's volume was traded.

All are null until a session was heard from its beginning (``sessions``). ``volume_profile`` counts by exact price up to 3071 distinct
prices, beyond that as ``price_cells`` says. The others count by rows of ``Instrument.profile_row`` (``price_rows``), and leave out prints
far from all others (``price_band``).

State, from offset ``o``: ``| session | trades | lots | configured row height: num, 0 none; den | band | rows | cells |``

Example: Of 100 trades 60 were at 100 and 40 at 110, the last of them at 100. In rows of 1, the row of 100 reaches to 101:

>>> from transforms.example import HandFeed
>>> feed = HandFeed(profile_row=1.0)
>>> for price in [110.0] * 40 + [100.0] * 60:
...     feed.trade(1, price)
>>> feed.value("volume_profile", at=1), feed.value("poc", at=1)
(0.6, 100.5)
"""

from __future__ import annotations

from transforms import sessions
from transforms.catalog import TECHNICAL
from transforms.kernel import Vector, jit
from transforms.technical import price_band, price_cells, price_rows
from transforms.technical.price_grid import fraction

READY = 100
"""Trades that a session needs."""
_TRADES, _LOTS, _NUM, _DEN, _BAND = range(sessions.SIZE, sessions.SIZE + 5)
_ROWS = _BAND + price_band.SIZE
_CELLS = _ROWS + price_rows.SIZE
SIZE = _CELLS + price_cells.SIZE

_POC, _LOW, _HIGH = TECHNICAL.slots("poc", "value_area_low", "value_area_high")
_POC_DEV, _SHARE = TECHNICAL.slots("poc_dev_bps", "volume_profile")


def configure(state: Vector, o: int, profile_row: float | None) -> None:
    """Set the height of a row in a state of zeros; raise ``ValueError`` as ``price_grid.fraction`` does."""
    if profile_row is not None:
        state[o + _NUM], state[o + _DEN] = fraction(profile_row)


@jit
def start(state: Vector, o: int, start_us: int, end_us: int, day: int, newest_us: float) -> None:
    """Begin a session, as ``sessions.start`` does; its first trade empties the tables."""
    sessions.start(state, o, start_us, end_us, day, newest_us)
    state[o + _TRADES] = 0.0
    state[o + _LOTS] = 0.0


@jit
def step(state: Vector, o: int, t_us: int, price: float, lots: float) -> None:
    """Fold in a trade of the open session."""
    sessions.hear(state, o, t_us)
    if state[o + _TRADES] == 0.0:
        price_band.reset(state, o + _BAND)
        price_cells.reset(state, o + _CELLS)
    state[o + _TRADES] += 1.0
    state[o + _LOTS] += lots
    price_band.add(state, o + _BAND, o + _ROWS, price, lots, state[o + _TRADES], state[o + _NUM], state[o + _DEN])
    num = state[o + _ROWS + price_rows.NUM]
    price_cells.add(state, o + _CELLS, price, lots, num, state[o + _ROWS + price_rows.DEN])


@jit
def ready(state: Vector, o: int) -> bool:
    """Return whether the session was heard from its beginning, and has 100 trades and volume."""
    return bool(state[o + sessions.HEARD] == 1.0 and state[o + _TRADES] >= READY and state[o + _LOTS] > 0.0)


@jit
def emit(state: Vector, o: int, price: float, out: Vector) -> None:
    """Write the features of this module into a row of NaN; ``price`` is the last one."""
    if not ready(state, o):
        return
    poc = price_rows.poc(state, o + _ROWS)
    low, high = price_rows.value_area(state, o + _ROWS, state[o + _LOTS] - state[o + _BAND + price_band.LOTS_APART])
    out[_POC] = poc
    out[_LOW] = low
    out[_HIGH] = high
    out[_POC_DEV] = 1e4 * (price - poc) / poc
    out[_SHARE] = state[o + _CELLS + price_cells.BELOW] / state[o + _LOTS]
