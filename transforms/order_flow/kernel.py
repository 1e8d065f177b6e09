"""The kernel of the ``order_flow`` view, made of one module a feature.

With every trade its side is inferred where the venue gave none, and the trade is added to a bucket of each ring. With a book the mid is
set, and the seconds that have ended are closed. The rings are summed when a row is emitted.

Events come in the order of their times, books before trades at equal times. ``emit(t)`` comes after the last event at or before t and
before the first one after it. Prices and sizes are positive and finite, because other messages are refused before the kernels. Sums
of sizes are exact up to 2**53 lots, and rounded beyond.

State::

    0..8           header, below
    fixed size     HOLES LOST_BOOKS MIDS TICK RATE SESSION VOLUME_V VPIN KYLE AMIHUD
    by the grid    volume, roll, effective spread, realized spread; the header has their offsets
    last two       time of the first trade that volume and amihud have seen

At one bucket a second the state takes 62 kB, half of it for trades that wait for the mid of five seconds later. At ten buckets a
second it takes 247 kB, because the windows are exact at any width.
"""

from __future__ import annotations

import math

from transforms import holes, sessions, window
from transforms.catalog import ORDER_FLOW
from transforms.instrument import Instrument
from transforms.kernel import DAY_US, MINUTE_US, NAN, SECOND_US, Vector, jit, zeros
from transforms.lots import whole
from transforms.order_flow import (
    amihud,
    bucket_volume,
    effective_spread,
    kyle,
    lee_ready,
    mids,
    realized_spread,
    roll,
    session,
    trade_rate,
    volume,
    vpin,
    vpin_bvc,
)

FEATURES = len(ORDER_FLOW.features)

NEWEST_US, FIRST_US, PER_SECOND, SCALE, PRICE, ROLL_AT, EFFECTIVE_AT, REALIZED_AT, REFILL, HOLES = range(10)
"""The header: times of the newest trade (0 before the first) and of the first trade seen, µs; buckets a second; lots in one unit of
size, 10**size_digits; price of the newest trade, NaN before the first; offsets; 1 once a hole emptied the VPIN buckets. Behind it the
first part of fixed size.
"""
LOST_BOOKS = HOLES + holes.SIZE
MIDS = LOST_BOOKS + holes.SIZE
TICK = MIDS + mids.SIZE
RATE = TICK + lee_ready.SIZE
SESSION = RATE + trade_rate.SIZE
VOLUME_V = SESSION + session.SIZE
VPIN = VOLUME_V + bucket_volume.SIZE
KYLE = VPIN + vpin.SIZE
AMIHUD = KYLE + kyle.SIZE
VOLUME = AMIHUD + amihud.SIZE
VOLUME_FIRST, AMIHUD_FIRST = -2, -1
"""The same as ``FIRST_US``, unless their kernel began later."""

_MID = MIDS + mids.MID
MIDS_US = MIDS + mids.MID_US
SESSION_END = SESSION + sessions.END_US
"""End of the open session, µs, 0 before the first trade."""
SESSION_START = SESSION + sessions.START_US
_SESSION_DAY = SESSION + sessions.DAY
_SESSION_HEARD = SESSION + sessions.HEARD
_SESSION_LOTS = SESSION + session.LOTS
_SECOND_END = KYLE + kyle.END_US
_V = VOLUME_V + bucket_volume.V
_CONFIGURED = VOLUME_V + bucket_volume.CONFIGURED
_BVC_CLOSED = VPIN + vpin.BVC_CLOSED
_HOLE_END = HOLES + holes.UNTIL
BOOK_BACK = LOST_BOOKS + holes.UNTIL
"""When the last lost book was known again, µs, infinite while it is not."""
_TRADE_VALID = ORDER_FLOW.index["trade_valid"]


def init(instrument: Instrument, bucket_us: int) -> Vector:
    """Return the state of a symbol before its first trade.

    ``bucket_us`` is the width of a window's bucket, min(1 s, emit interval); rows are emitted at multiples of it. Raise ``ValueError`` if
    one second is not a whole number of buckets, or a VPIN bucket is less than a lot.
    """
    if bucket_us <= 0 or SECOND_US % bucket_us:
        raise ValueError(f"a second must be a whole number of buckets; {bucket_us} µs does not divide it")
    per_second = SECOND_US // bucket_us
    roll_at = VOLUME + volume.size(per_second)
    effective_at = roll_at + roll.size(per_second)
    realized_at = effective_at + effective_spread.size(per_second)
    state = zeros(realized_at + realized_spread.size(per_second) - VOLUME_FIRST)
    scale = 10.0**instrument.size_digits
    state[PER_SECOND] = float(per_second)
    state[SCALE] = scale
    state[PRICE] = NAN
    state[ROLL_AT] = float(roll_at)
    state[EFFECTIVE_AT] = float(effective_at)
    state[REALIZED_AT] = float(realized_at)
    holes.init(state, HOLES)
    holes.init(state, LOST_BOOKS)
    mids.init(state, MIDS)
    bucket_volume.init(state, VOLUME_V, instrument.vpin_bucket, scale)
    kyle.init(state, KYLE)
    roll.init(state, roll_at)
    realized_spread.init(state, realized_at)
    return state


@jit
def start_session(state: Vector, start_us: int, end_us: int, day: int) -> None:
    """Begin a session, and its V where that comes from the days before; ``day`` is its date as days since the epoch.

    Call it before an event or a row of a new session, if sessions are not UTC days; those begin by themselves.
    """
    if _whole_session(state):
        bucket_volume.close_day(state, VOLUME_V, int(state[_SESSION_DAY]), state[_SESSION_LOTS])
    if state[_CONFIGURED] == 0.0:
        bucket_volume.open_day(state, VOLUME_V, day)
        if state[_HOLE_END] >= start_us:
            state[_V] = 0.0
        vpin.drop_open(state, VPIN)
    elif state[_HOLE_END] <= start_us - DAY_US:
        state[_V] = state[_CONFIGURED]
    session.start(state, SESSION, start_us, end_us, day, state[NEWEST_US])


@jit
def _whole_session(state: Vector) -> bool:
    """Return whether the open session was heard from its beginning, without a hole so far."""
    return bool(state[_SESSION_HEARD] == 1.0 and state[_HOLE_END] < state[SESSION_START])


@jit
def lose_trades(state: Vector, since_us: int, until_us: int) -> None:
    """Note that trades from ``since_us`` until ``until_us`` may be missing; the newest trade is not after ``until_us``.

    How much volume is missing is not known, so VPIN has no buckets until their edges are known again (``vpin``).
    """
    if since_us >= state[SESSION_END]:
        _start_utc_day(state, since_us)
    holes.lose(state, HOLES, since_us, until_us)
    if state[_V] > 0.0:
        state[REFILL] = 1.0
        state[_V] = 0.0
    vpin.empty(state, VPIN)
    lee_ready.forget(state, TICK)
    roll.forget(state, int(state[ROLL_AT]))
    if since_us < state[SESSION_START]:
        bucket_volume.forget(state, VOLUME_V, int(state[_SESSION_DAY]), state[SESSION_START] - since_us)


@jit
def step_quote(state: Vector, t_us: int, bid: float, ask: float) -> None:
    """Fold in the best bid and the best ask of a valid book of time ``t_us``."""
    _pass_time(state, t_us)
    if state[BOOK_BACK] == math.inf:
        state[BOOK_BACK] = float(t_us)
    mids.set_mid(state, MIDS, t_us, (bid + ask) / 2.0)


@jit
def step_quote_invalid(state: Vector, t_us: int) -> None:
    """Mark the book, and so the mid, as unknown from ``t_us`` until the next valid book."""
    _pass_time(state, t_us)
    mids.set_mid(state, MIDS, t_us, NAN)


@jit
def lose_book(state: Vector, t_us: int) -> None:
    """Note that books may be missing from the newest one until the next valid one; the feed tells it at ``t_us``.

    The mids of that time were not heard, so no window of trades that were held against mids may contain it.
    """
    step_quote_invalid(state, t_us)
    heard_us = int(state[MIDS + mids.EARLIER_US])
    holes.lose(state, LOST_BOOKS, heard_us if heard_us > 0 else t_us, math.inf)


@jit
def step_trade(state: Vector, t_us: int, price: float, size: float, side: int) -> None:
    """Fold in a trade of time ``t_us``; ``side`` is 1 where a buyer was the aggressor, -1 a seller, 0 unknown."""
    _pass_time(state, t_us)
    if state[FIRST_US] == 0.0:
        state[FIRST_US] = state[VOLUME_FIRST] = state[AMIHUD_FIRST] = float(t_us)
    if t_us >= state[SESSION_END]:
        _start_utc_day(state, t_us)
    sessions.hear(state, SESSION, t_us)
    per_second = int(state[PER_SECOND])
    roll_at = int(state[ROLL_AT])
    b = window.bucket(t_us, SECOND_US // per_second)
    _advance(state, per_second, roll_at, b)

    newest_us = state[NEWEST_US]
    last_price = state[PRICE]
    since_us = t_us - newest_us if newest_us > 0.0 else 0.0
    tick_price = last_price
    if holes.before_trade(state, HOLES, t_us, newest_us):
        since_us = math.inf
        tick_price = NAN
    lots = whole(size * state[SCALE])
    mid = mids.before(state, MIDS, t_us)
    lee_ready.tick(state, TICK, price, tick_price)
    s = float(side) if side != 0 else lee_ready.infer(state, TICK, price, mid)
    if s != s:  # the last change of price is in a hole: so the side is missing, as if the trade were
        lose_trades(state, t_us, t_us)
        s = 0.0

    volume.add(state, VOLUME, per_second, b, price, lots, s, side == 0 and s != 0.0)
    trade_rate.add(state, RATE, since_us)
    session.add(state, SESSION, price, lots, s)
    vpin.add(state, VPIN, state[_V], lots, s, price, last_price, since_us)
    kyle.add(state, KYLE, s * lots)
    amihud.add(state, AMIHUD, t_us, price, lots)
    roll.add(state, roll_at, per_second, b, price, last_price, since_us)
    if mid == mid and s != 0.0:
        effective_spread.add(state, int(state[EFFECTIVE_AT]), per_second, b, price, lots, s, mid)
        realized_spread.add(state, int(state[REALIZED_AT]), t_us, price, lots, s, mid)
    state[PRICE] = price
    state[NEWEST_US] = float(t_us)


@jit
def emit(state: Vector, t_us: int, out: Vector) -> None:
    """Write the row of time ``t_us``: a double per feature of the view, in the catalogue's order, NaN where null.

    Before the first trade all features are null.
    """
    for i in range(FEATURES):
        out[i] = NAN
    if state[FIRST_US] == 0.0:
        return
    _pass_time(state, t_us + 1)
    if t_us >= state[SESSION_END]:
        _start_utc_day(state, t_us)
    per_second = int(state[PER_SECOND])
    roll_at = int(state[ROLL_AT])
    scale = state[SCALE]
    whole_us = t_us - state[_HOLE_END]
    b = t_us // (SECOND_US // per_second)
    _advance(state, per_second, roll_at, b)

    volume.emit(state, VOLUME, per_second, b, scale, min(t_us - state[VOLUME_FIRST], whole_us), out)
    if whole_us >= trade_rate.FORGOTTEN_US:
        trade_rate.emit(state, RATE, t_us - state[NEWEST_US], out)
    session.emit(state, SESSION, scale, state[PRICE], _whole_session(state), out)
    if state[_V] > 0.0:
        vpin.emit(state, VPIN, out)
    second = t_us // SECOND_US
    end_us = second * SECOND_US
    lost_us = max(holes.until(state, HOLES, end_us), holes.until(state, LOST_BOOKS, end_us))
    if lost_us <= end_us - kyle.SECONDS * SECOND_US:
        kyle.emit(state, KYLE, second, scale, out)
    minute = t_us // MINUTE_US
    before_us = (minute - amihud.BARS - 1) * MINUTE_US  # the first return is from the bar before the window
    if holes.until(state, HOLES, minute * MINUTE_US) <= before_us:
        amihud.emit(state, AMIHUD, t_us, scale, int(state[AMIHUD_FIRST]), out)
    if whole_us >= roll.SECONDS * SECOND_US:
        roll.emit(state, roll_at, per_second, b, out)
    with_books_us = t_us - state[BOOK_BACK]
    if min(whole_us, with_books_us) >= effective_spread.SECONDS * SECOND_US:
        effective_spread.emit(state, int(state[EFFECTIVE_AT]), per_second, b, out)
    settled_us = t_us - realized_spread.HORIZON_US
    settled_whole_us = min(settled_us - holes.until(state, HOLES, settled_us), settled_us - state[BOOK_BACK])
    if settled_whole_us >= realized_spread.SECONDS * SECOND_US:
        realized_spread.emit(state, int(state[REALIZED_AT]), per_second, t_us, b, out)
    full = state[REFILL] == 0.0 or state[_BVC_CLOSED] >= vpin_bvc.READY
    valid = full and state[_HOLE_END] < state[SESSION_START] and state[_HOLE_END] <= before_us
    out[_TRADE_VALID] = 1.0 if valid else 0.0


@jit
def _pass_time(state: Vector, t_us: int) -> None:
    """Close the seconds and settle the five-second horizons that ended before ``t_us``."""
    if t_us > state[_SECOND_END]:
        kyle.advance(state, KYLE, window.bucket(t_us, SECOND_US), state[_MID], state[MIDS_US])
    realized_at = int(state[REALIZED_AT])
    if t_us > state[realized_at + realized_spread.NEXT_US]:
        realized_spread.settle(state, realized_at, int(state[PER_SECOND]), t_us, state[_MID])


@jit
def _advance(state: Vector, per_second: int, roll_at: int, b: int) -> None:
    """Make ``b`` the newest bucket of the rings that trades go into."""
    if b > state[VOLUME]:
        volume.advance(state, VOLUME, per_second, b)
        roll.advance(state, roll_at, per_second, b)
        effective_spread.advance(state, int(state[EFFECTIVE_AT]), per_second, b)


@jit
def _start_utc_day(state: Vector, t_us: int) -> None:
    """Begin the UTC day of ``t_us``: the session of a symbol whose instrument names none."""
    start_us, end_us, day = sessions.utc_day(t_us)
    start_session(state, start_us, end_us, day)
