"""The kernel of the ``technical`` view, made of one module a feature; ``relative_volume`` is a kernel of its own.

State::

    | header | bars | values of the last bar | RSI | EMAs | MACD | Bollinger | ATR | ranges | volatility | volume profile | momentum |

Momentum is last because its size depends on the grid. At a grid of 1 s the state is 74 KB, two thirds of it the volume profile.
"""

from __future__ import annotations

import math

from transforms import holes, sessions, window
from transforms.catalog import TECHNICAL
from transforms.instrument import Instrument
from transforms.kernel import HOUR_US, MINUTE_US, NAN, SECOND_US, Vector, jit, zeros
from transforms.lots import lots
from transforms.technical import (
    atr,
    bars,
    bollinger,
    calendar,
    ema,
    momentum,
    range_volatility,
    rsi,
    volatility,
    volume_profile,
)

FEATURES = len(TECHNICAL.features)

NEWEST, _PRICE, _BUCKET, _SCALE, FUNDING, _FUNDING_EVERY, _BROKEN, _NEEDED, _HOLES = range(9)
"""Header: time of the newest trade, µs, 0 before the first; its price; width of a grid bucket, µs; lots in one unit of size; time of
the next settlement that the venue sent last, µs; time between two settlements, µs, 0 for none; first minute of a hole, infinite
once it has ended; bars until the indicators have forgotten the last hole; the holes."""
_HOLE_END = _HOLES + holes.UNTIL
BARS = _HOLES + holes.SIZE
VALUES = BARS + bars.SIZE
"""Values of the last bar: the features from ``parkinson_15m`` to ``natr_14``, in the catalogue's order."""

_PARKINSON, _GARMAN_KLASS, _ROGERS_SATCHELL, _YANG_ZHANG = TECHNICAL.slots(
    "parkinson_15m", "garman_klass_15m", "rogers_satchell_15m", "yang_zhang_15m"
)
FIRST_OF_BAR, LAST_OF_BAR = _PARKINSON, TECHNICAL.index["natr_14"]
_RSI_14, _EMA_12, _EMA_26, _EMA_DEV = TECHNICAL.slots("rsi_14", "ema_12", "ema_26", "ema_dev_bps")
_MACD_LINE, _MACD_SIGNAL, _MACD_HIST = TECHNICAL.slots("macd", "macd_signal", "macd_hist")
_TRADE_VALID = TECHNICAL.index["trade_valid_bars"]
_PCTB, _WIDTH, _ATR_14, _NATR_14 = TECHNICAL.slots("bollinger_pctb", "bollinger_width", "atr_14", "natr_14")

RSI = VALUES + _NATR_14 - _PARKINSON + 1
EMA12 = RSI + rsi.SIZE
EMA26 = EMA12 + ema.SIZE
MACD = EMA26 + ema.SIZE
BOLLINGER = MACD + ema.MACD_SIZE
ATR = BOLLINGER + bollinger.SIZE
RANGES = ATR + atr.SIZE
VOLATILITY = RANGES + range_volatility.SIZE
PROFILE = VOLATILITY + volatility.SIZE
MOMENTUM = PROFILE + volume_profile.SIZE
SESSION_START = PROFILE + sessions.START_US
SESSION_END = PROFILE + sessions.END_US


def init(instrument: Instrument, bucket_us: int) -> Vector:
    """Return an empty state for rows at multiples of ``bucket_us``.

    Raise ``ValueError`` if ``bucket_us`` does not divide a second, or the instrument's ``profile_row`` is not a finite positive number.
    """
    if bucket_us <= 0 or SECOND_US % bucket_us:
        raise ValueError(f"a grid bucket must divide a second; {bucket_us} µs does not")
    state = zeros(MOMENTUM + momentum.size(bucket_us))
    state[_BUCKET] = float(bucket_us)
    state[_SCALE] = 10.0**instrument.size_digits
    state[_FUNDING_EVERY] = float(instrument.funding_hours * HOUR_US)
    state[_BROKEN] = math.inf
    holes.init(state, _HOLES)
    volume_profile.configure(state, PROFILE, instrument.profile_row)
    for i in range(VALUES, RSI):
        state[i] = NAN
    return state


@jit
def step_bar(state: Vector, minute: int, open_: float, high: float, low: float, close: float) -> None:
    """Fold a closed one-minute bar into the indicators; ``minute`` counts from the epoch and is the bar's end."""
    rsi.step(state, RSI, close)
    ema.step(state, EMA12, ema.FAST, close)
    ema.step(state, EMA26, ema.SLOW, close)
    ema.step_macd(state, MACD, EMA26, close)
    bollinger.step(state, BOLLINGER, close)
    atr.step(state, ATR, high, low, close)
    range_volatility.step(state, RANGES, minute, open_, high, low, close)

    v = VALUES - _PARKINSON
    unbroken = range_volatility.bars(state, RANGES, minute) >= range_volatility.BARS
    state[v + _PARKINSON] = range_volatility.parkinson(state, RANGES) if unbroken else NAN
    state[v + _GARMAN_KLASS] = range_volatility.garman_klass(state, RANGES) if unbroken else NAN
    state[v + _ROGERS_SATCHELL] = range_volatility.rogers_satchell(state, RANGES) if unbroken else NAN
    state[v + _YANG_ZHANG] = range_volatility.yang_zhang(state, RANGES) if unbroken else NAN
    state[v + _PCTB] = bollinger.percent_b(state, BOLLINGER)
    state[v + _WIDTH] = bollinger.width(state, BOLLINGER)
    state[v + _RSI_14] = rsi.value(state, RSI, bars.READY)
    state[v + _ATR_14] = atr.value(state, ATR, bars.READY)
    state[v + _NATR_14] = atr.normalised(state, ATR, bars.READY)
    if int(state[EMA26 + ema.VALUES]) >= bars.READY:
        macd = ema.macd(state, MACD, EMA26)
        signal = ema.macd_signal(state, MACD)
        state[v + _EMA_12] = state[EMA12 + ema.AVERAGE]
        state[v + _EMA_26] = state[EMA26 + ema.AVERAGE]
        state[v + _MACD_LINE] = macd
        state[v + _MACD_SIGNAL] = signal
        state[v + _MACD_HIST] = macd - signal


@jit
def _close_bar(state: Vector, minute: int) -> None:
    """Close the open bar if ``minute`` has ended it; one with a hole in its trades is dropped."""
    if bars.over(state, BARS, minute):
        closed = int(state[BARS + bars.MINUTE])
        if state[_HOLE_END] <= (closed - 1) * MINUTE_US:
            step_bar(
                state,
                closed,
                state[BARS + bars.OPEN],
                state[BARS + bars.HIGH],
                state[BARS + bars.LOW],
                state[BARS + bars.CLOSE],
            )
            if state[_NEEDED] > 0.0:
                state[_NEEDED] -= 1.0
        state[BARS + bars.MINUTE] = 0.0
    if minute >= state[_BROKEN]:
        bollinger.forget(state, BOLLINGER)
        state[VALUES + _PCTB - _PARKINSON] = NAN
        state[VALUES + _WIDTH - _PARKINSON] = NAN
        state[_BROKEN] = math.inf


@jit
def lose_trades(state: Vector, since_us: int, until_us: int) -> None:
    """Note that trades from ``since_us`` until ``until_us`` may be missing; the newest trade is not after ``until_us``."""
    minute = window.bucket(since_us, MINUTE_US)
    _close_bar(state, minute - 1)
    volatility.lose(state, VOLATILITY, since_us, _heard(state))
    bucket_us = int(state[_BUCKET])
    momentum.lose(state, MOMENTUM, momentum.buckets(bucket_us), bucket_us, since_us)
    range_volatility.lose(state, RANGES, minute)
    state[_BROKEN] = min(state[_BROKEN], float(minute))
    state[_NEEDED] = float(bars.READY)
    holes.lose(state, _HOLES, since_us, until_us)


@jit
def _heard(state: Vector) -> float:
    """Return the last price, NaN where a later one may be missing."""
    return float(state[_PRICE] if state[NEWEST] >= state[_HOLE_END] else NAN)


@jit
def last_price(state: Vector, t_us: int, for_us: int) -> float:
    """Return the price of the last trade, NaN where that is older than ``for_us`` at ``t_us`` or a later one may be missing."""
    return _heard(state) if state[NEWEST] > 0.0 and t_us - state[NEWEST] <= for_us else NAN


@jit
def start_session(state: Vector, start_us: int, end_us: int, day: int) -> None:
    """Begin a session, as ``order_flow.kernel.start_session`` does."""
    volume_profile.start(state, PROFILE, start_us, end_us, day, state[NEWEST])


@jit
def _start_utc_day(state: Vector, t_us: int) -> None:
    """Begin the UTC day of ``t_us``: the session of a symbol whose instrument names none."""
    start_us, end_us, day = sessions.utc_day(t_us)
    start_session(state, start_us, end_us, day)


@jit
def step_trade(state: Vector, t_us: int, price: float, size: float) -> None:
    """Fold in a trade, in order of time."""
    if t_us >= state[SESSION_END]:
        _start_utc_day(state, t_us)
    bucket_us = int(state[_BUCKET])
    minute = window.bucket(t_us, MINUTE_US)
    _close_bar(state, minute - 1)
    bars.add(state, BARS, minute, price)
    volatility.step(state, VOLATILITY, t_us, _heard(state))
    known = price if t_us >= state[_HOLE_END] else NAN
    momentum.step(state, MOMENTUM, momentum.buckets(bucket_us), bucket_us, t_us, known)
    volume_profile.step(state, PROFILE, t_us, price, lots(size, state[_SCALE]))
    state[NEWEST] = float(t_us)
    state[_PRICE] = price


@jit
def step_funding(state: Vector, at_us: int) -> None:
    """Set the time at which the venue settles funding next."""
    state[FUNDING] = float(at_us)


@jit
def minutes_to_funding(state: Vector, t_us: int) -> float:
    """Return the minutes to the next settlement of funding, NaN where it is not known."""
    return calendar.minutes_to_funding(t_us, int(state[FUNDING]), int(state[_FUNDING_EVERY]))


@jit
def emit(state: Vector, t_us: int, out: Vector) -> None:
    """Write the row of grid time ``t_us``, from all trades at or before it; ``relative_volume`` stays null for its own kernel."""
    for i in range(FEATURES):
        out[i] = NAN
    calendar.emit(t_us, int(state[FUNDING]), int(state[_FUNDING_EVERY]), out)
    if state[NEWEST] == 0.0:
        return
    if t_us >= state[SESSION_END]:
        _start_utc_day(state, t_us)
    price = _heard(state)
    bucket_us = int(state[_BUCKET])
    momentum.emit(state, MOMENTUM, momentum.buckets(bucket_us), bucket_us, t_us, price, out)
    volatility.emit(state, VOLATILITY, t_us, price, out)

    minute = t_us // MINUTE_US
    _close_bar(state, minute)
    recent = range_volatility.bars(state, RANGES, minute) > 0
    for i in range(_PARKINSON if recent else _RSI_14, _NATR_14 + 1):
        out[i] = state[VALUES + i - _PARKINSON]
    ema_26 = out[_EMA_26]
    out[_EMA_DEV] = 1e4 * (price - ema_26) / ema_26
    whole_session = state[_HOLE_END] < state[SESSION_START]
    if whole_session:
        volume_profile.emit(state, PROFILE, price, out)
    out[_TRADE_VALID] = 1.0 if whole_session and state[_NEEDED] == 0.0 else 0.0
