"""volume_profile, poc, value_area_low, value_area_high, poc_dev_bps: where the session's volume was traded.

The session is the UTC day, or its part since the first trade seen. ``volume_profile`` is the share of its volume
traded at or below the last price: by exact price up to 3071 distinct prices, then as ``price_cells`` says. The
others go by rows of ``Instrument.profile_row`` or, where it is None, of the largest of 1, 2, 5 times a power of ten
that is at most 1 bp of the session's first price (``price_rows``).

Null rule: fewer than 100 trades in the session.

State, from offset ``o``: ``| day, -1 none | trades | lots | configured row height: num, 0 none; den | rows | cells |``
"""

from __future__ import annotations

from transforms.kernel import DAY_US, NAN, Vector, jit
from transforms.technical import price_cells, price_rows
from transforms.technical.price_grid import default_height, fraction

READY = 100
_DAY, _TRADES, _LOTS, _NUM, _DEN, _ROWS = 0, 1, 2, 3, 4, 5
_CELLS = _ROWS + price_rows.SIZE
SIZE = _CELLS + price_cells.SIZE


def configure(state: Vector, o: int, profile_row: float | None) -> None:
    """Set up a zeroed state.

    Raises
    ------
    ValueError
        ``profile_row`` is neither None nor a finite positive number.
    """
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
    """Whether the session of ``t_us`` has 100 trades, and volume."""
    return t_us // DAY_US == int(state[o + _DAY]) and state[o + _TRADES] >= READY and state[o + _LOTS] > 0.0


@jit
def share(state: Vector, o: int) -> float:
    """volume_profile; once ``ready``."""
    return float(state[o + _CELLS + price_cells.BELOW] / state[o + _LOTS])


@jit
def emit(state: Vector, o: int, t_us: int, price: float, out: Vector, at: int) -> None:
    """Write poc, value_area_low, value_area_high, poc_dev_bps and volume_profile from ``out[at]`` on; ``price`` is the last one."""
    if not ready(state, o, t_us):
        for i in range(5):
            out[at + i] = NAN
        return
    poc = price_rows.poc(state, o + _ROWS)
    low, high = price_rows.value_area(state, o + _ROWS, state[o + _LOTS])
    out[at] = poc
    out[at + 1] = low
    out[at + 2] = high
    out[at + 3] = 1e4 * (price - poc) / poc
    out[at + 4] = share(state, o)
