"""``relative_volume``: volume of a 5-minute slot over the median of the same slot on the days before.

A slot includes its end and is stamped with it, as bars are: the rows of 12:05:00 to 12:09:59 have the volume of ``(12:00, 12:05]``, so
a whole slot is compared with whole slots. A slot without a trade is not known to have been quiet, so it is left out of the median and
has no value itself. The slot of the first trade seen has none either, because its beginning may be missing, and no
slot with a hole in its trades.

It is a kernel of its own, with the functions of the others: the slots of a month take 63 KB that change once in five minutes, and need
not be saved with every trade. ``state[:HEAD]`` changes with trades, the rest only when ``state[CLOSED]`` does.

Example: The slot ``(0:10, 0:15]`` has the volume 1 to 7 on seven days, median 4, and 8 on the next day:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.trade(60, price=100.0)
>>> for day in range(8):
...     feed.trade(86_400 * day + 700, price=100.0, size=day + 1.0)
>>> feed.value("relative_volume", at=86_400 * 7 + 900)
2.0
"""

from __future__ import annotations

import math

from transforms import window
from transforms.catalog import TECHNICAL
from transforms.instrument import Instrument
from transforms.kernel import MINUTE_US, NAN, Vector, jit, zeros
from transforms.lots import lots

RELATIVE_VOLUME = TECHNICAL.index["relative_volume"]
SLOT_US = 5 * MINUTE_US
SLOTS = 288
"""Slots of a day."""
DAYS = 28
READY = 7
"""Days with volume in a slot that a value needs."""

NEWEST, _SCALE, _OPEN, _LOTS, CLOSED, _RATIO, _PARTIAL, _HOLE_END = range(8)
HEAD = 8
"""Doubles that change with trades."""


def init(instrument: Instrument, bucket_us: int) -> Vector:
    """Return an empty state; ``bucket_us`` changes nothing here."""
    state = zeros(HEAD + SLOTS * DAYS)
    state[_SCALE] = 10.0**instrument.size_digits
    state[_RATIO] = NAN
    state[_HOLE_END] = -math.inf
    return state


@jit
def _median(state: Vector, row: int, known: int) -> float:
    """Return the median of the ``known`` days with volume in a slot, found by rank, without sorting."""
    lower = 0.0
    upper = 0.0
    for i in range(DAYS):
        x = state[row + i]
        if x == 0.0:
            continue
        less = 0
        equal = 0
        for j in range(DAYS):
            y = state[row + j]
            if 0.0 < y < x:
                less += 1
            elif y == x:
                equal += 1
        if less <= (known - 1) // 2 < less + equal:
            lower = x
        if less <= known // 2 < less + equal:
            upper = x
    return (lower + upper) / 2.0


@jit
def _place(slot: int) -> int:
    """Return where ``slot``, counted from the epoch, is kept: each slot of the day has a row of 28 days."""
    return HEAD + (slot - 1) % SLOTS * DAYS + (slot - 1) // SLOTS % DAYS


@jit
def _close(state: Vector, slot: int) -> None:
    """Close every slot up to ``slot``, itself included."""
    current = int(state[_OPEN])
    if current == 0 or slot < current:
        return
    row = HEAD + (current - 1) % SLOTS * DAYS
    volume = 0.0 if state[_PARTIAL] == 1.0 else state[_LOTS]
    known = 0
    for i in range(DAYS):
        if state[row + i] > 0.0:
            known += 1
    state[_RATIO] = volume / _median(state, row, known) if known >= READY and volume > 0.0 else NAN
    state[_place(current)] = volume
    for quiet in range(max(current + 1, slot - SLOTS * DAYS + 1), slot + 1):
        state[_place(quiet)] = 0.0
    if slot > current:
        state[_RATIO] = NAN
    state[CLOSED] = float(slot)
    state[_OPEN] = float(slot + 1)
    state[_LOTS] = 0.0
    state[_PARTIAL] = 1.0 if state[_HOLE_END] > slot * SLOT_US else 0.0


@jit
def step_trade(state: Vector, t_us: int, price: float, size: float) -> None:
    """Fold in a trade; the price is not needed."""
    slot = window.bucket(t_us, SLOT_US)
    if state[NEWEST] == 0.0:
        state[_OPEN] = float(slot)
        state[_PARTIAL] = 1.0
    elif slot > int(state[_OPEN]):
        _close(state, slot - 1)
    state[NEWEST] = float(t_us)
    state[_LOTS] += lots(size, state[_SCALE])


@jit
def lose_trades(state: Vector, since_us: int, until_us: int) -> None:
    """Note that trades from ``since_us`` until ``until_us`` may be missing: the slots that hold them are not known."""
    first = window.bucket(since_us, SLOT_US)
    _close(state, first - 1)
    state[_HOLE_END] = max(state[_HOLE_END], float(until_us))
    current = int(state[_OPEN])
    if current == 0:
        return
    for slot in range(max(first, current - SLOTS * DAYS), current):
        state[_place(slot)] = 0.0
        state[_RATIO] = NAN
    if until_us > (current - 1) * SLOT_US:
        state[_PARTIAL] = 1.0


@jit
def emit(state: Vector, t_us: int, out: Vector) -> None:
    """Write ``relative_volume`` of grid time ``t_us`` into the row ``out`` of the technical view."""
    _close(state, t_us // SLOT_US)
    out[RELATIVE_VOLUME] = state[_RATIO]
