"""The technical view: all of its features but relative_volume, which is a kernel of its own, composed of one module each.

State::

    | header | bars | values of the last bar | RSI | EMAs | MACD | Bollinger | ATR | ranges | volatility | volume profile | momentum |

Momentum is last because its size depends on the grid. At a grid of 1 s the state is 74 KB, two thirds of it the
volume profile's.
"""

from __future__ import annotations

import math

from transforms import window
from transforms.catalog import TECHNICAL
from transforms.instrument import Instrument
from transforms.kernel import MINUTE_US, NAN, SECOND_US, Vector, jit, zeros
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

VERSION = 3
FEATURES = len(TECHNICAL.features)

NEWEST, _PRICE, _BUCKET, _SCALE, _FUNDING = 0, 1, 2, 3, 4
_BARS = 8
_VALUES = _BARS + bars.SIZE

_SLOT = TECHNICAL.index
_MOMENTUM_1M = _SLOT["price_momentum_1m"]
_VOLATILITY_1M = _SLOT["volatility_1m"]
_PARKINSON = _SLOT["parkinson_15m"]
_GARMAN_KLASS = _SLOT["garman_klass_15m"]
_ROGERS_SATCHELL = _SLOT["rogers_satchell_15m"]
_YANG_ZHANG = _SLOT["yang_zhang_15m"]
_RSI_14 = _SLOT["rsi_14"]
_EMA_12 = _SLOT["ema_12"]
_EMA_26 = _SLOT["ema_26"]
_EMA_DEV = _SLOT["ema_dev_bps"]
_MACD_LINE = _SLOT["macd"]
_MACD_SIGNAL = _SLOT["macd_signal"]
_MACD_HIST = _SLOT["macd_hist"]
_PCTB = _SLOT["bollinger_pctb"]
_WIDTH = _SLOT["bollinger_width"]
_ATR_14 = _SLOT["atr_14"]
_NATR_14 = _SLOT["natr_14"]
_POC = _SLOT["poc"]
_RELATIVE_VOLUME = _SLOT["relative_volume"]
_MARKET_HOUR = _SLOT["market_hour"]
_DAY_OF_WEEK = _SLOT["day_of_week"]
_HOUR_SIN = _SLOT["hour_sin"]
_HOUR_COS = _SLOT["hour_cos"]
_WEEKDAY_SIN = _SLOT["weekday_sin"]
_WEEKDAY_COS = _SLOT["weekday_cos"]
_IS_WEEKEND = _SLOT["is_weekend"]
_TO_FUNDING = _SLOT["minutes_to_funding"]

_RSI = _VALUES + _NATR_14 - _PARKINSON + 1
_EMA12 = _RSI + rsi.SIZE
_EMA26 = _EMA12 + ema.SIZE
_MACD = _EMA26 + ema.SIZE
_BOLLINGER = _MACD + ema.MACD_SIZE
_ATR = _BOLLINGER + bollinger.SIZE
_RANGES = _ATR + atr.SIZE
_VOLATILITY = _RANGES + range_volatility.SIZE
_PROFILE = _VOLATILITY + volatility.SIZE
_MOMENTUM = _PROFILE + volume_profile.SIZE


def init(instrument: Instrument, bucket_us: int) -> Vector:
    """An empty state for rows on a grid of multiples of ``bucket_us``, which divides a second.

    Raises
    ------
    ValueError
        ``bucket_us`` does not divide a second, or the instrument's ``profile_row`` is no height.
    """
    if bucket_us <= 0 or SECOND_US % bucket_us:
        raise ValueError(f"a grid bucket must divide a second, {bucket_us} us does not")
    state = zeros(_MOMENTUM + momentum.size(bucket_us))
    state[_BUCKET] = float(bucket_us)
    state[_SCALE] = 10.0**instrument.size_digits
    volume_profile.configure(state, _PROFILE, instrument.profile_row)
    for i in range(_VALUES, _RSI):
        state[i] = NAN
    return state


@jit
def step_bar(state: Vector, minute: int, open_: float, high: float, low: float, close: float) -> None:
    """Fold a closed one-minute bar into the indicators; ``minute`` counts from the epoch and is the bar's end."""
    rsi.step(state, _RSI, close)
    ema.step(state, _EMA12, ema.FAST, close)
    ema.step(state, _EMA26, ema.SLOW, close)
    ema.step_macd(state, _MACD, _EMA26, close)
    bollinger.step(state, _BOLLINGER, close)
    atr.step(state, _ATR, high, low, close)
    range_volatility.step(state, _RANGES, minute, open_, high, low, close)

    v = _VALUES - _PARKINSON
    unbroken = range_volatility.bars(state, _RANGES, minute) >= range_volatility.BARS
    state[v + _PARKINSON] = range_volatility.parkinson(state, _RANGES) if unbroken else NAN
    state[v + _GARMAN_KLASS] = range_volatility.garman_klass(state, _RANGES) if unbroken else NAN
    state[v + _ROGERS_SATCHELL] = range_volatility.rogers_satchell(state, _RANGES) if unbroken else NAN
    state[v + _YANG_ZHANG] = range_volatility.yang_zhang(state, _RANGES) if unbroken else NAN
    state[v + _PCTB] = bollinger.percent_b(state, _BOLLINGER)
    state[v + _WIDTH] = bollinger.width(state, _BOLLINGER)
    state[v + _RSI_14] = rsi.value(state, _RSI, bars.READY)
    state[v + _ATR_14] = atr.value(state, _ATR, bars.READY)
    state[v + _NATR_14] = atr.normalised(state, _ATR, bars.READY)
    if int(state[_EMA26]) >= bars.READY:
        macd = ema.macd(state, _MACD, _EMA26)
        signal = ema.macd_signal(state, _MACD)
        state[v + _EMA_12] = state[_EMA12 + 1]
        state[v + _EMA_26] = state[_EMA26 + 1]
        state[v + _MACD_LINE] = macd
        state[v + _MACD_SIGNAL] = signal
        state[v + _MACD_HIST] = macd - signal


@jit
def _close_bar(state: Vector, minute: int) -> None:
    """Close the open bar where ``minute`` has ended it."""
    if bars.over(state, _BARS, minute):
        step_bar(
            state,
            int(state[_BARS + bars.MINUTE]),
            state[_BARS + bars.OPEN],
            state[_BARS + bars.HIGH],
            state[_BARS + bars.LOW],
            state[_BARS + bars.CLOSE],
        )
        state[_BARS + bars.MINUTE] = 0.0


@jit
def step_trade(state: Vector, t_us: int, price: float, size: float) -> None:
    """Fold in a trade, in order of time."""
    bucket_us = int(state[_BUCKET])
    minute = window.bucket(t_us, MINUTE_US)
    _close_bar(state, minute - 1)
    bars.add(state, _BARS, minute, price)
    volatility.step(state, _VOLATILITY, t_us, state[_PRICE])
    momentum.step(state, _MOMENTUM, momentum.buckets(bucket_us), bucket_us, t_us, price)
    volume_profile.step(state, _PROFILE, t_us, price, lots(size, state[_SCALE]))
    state[NEWEST] = float(t_us)
    state[_PRICE] = price


@jit
def step_funding(state: Vector, at_us: int) -> None:
    """The venue settles funding at ``at_us`` next."""
    state[_FUNDING] = float(at_us)


@jit
def _emit_calendar(t_us: int, funding_us: int, out: Vector) -> None:
    """Write the functions of time."""
    hour = calendar.hour_angle(t_us)
    weekday = calendar.weekday_angle(t_us)
    out[_MARKET_HOUR] = float(calendar.market_hour(t_us))
    out[_DAY_OF_WEEK] = float(calendar.day_of_week(t_us))
    out[_HOUR_SIN] = math.sin(hour)
    out[_HOUR_COS] = math.cos(hour)
    out[_WEEKDAY_SIN] = math.sin(weekday)
    out[_WEEKDAY_COS] = math.cos(weekday)
    out[_IS_WEEKEND] = calendar.is_weekend(t_us)
    out[_TO_FUNDING] = calendar.minutes_to_funding(t_us, funding_us)


@jit
def emit(state: Vector, t_us: int, out: Vector) -> None:
    """Write the row of grid time ``t_us``, from all trades at or before it; relative_volume is left null for its own kernel."""
    for i in range(_MARKET_HOUR):
        out[i] = NAN
    _emit_calendar(t_us, int(state[_FUNDING]), out)
    if state[NEWEST] == 0.0:
        return
    price = state[_PRICE]
    bucket_us = int(state[_BUCKET])
    n = momentum.buckets(bucket_us)
    momentum.advance(state, _MOMENTUM, n, bucket_us, t_us)
    out[_MOMENTUM_1M] = momentum.value(state, _MOMENTUM, n, bucket_us, t_us, MINUTE_US, price)
    out[_MOMENTUM_1M + 1] = momentum.value(state, _MOMENTUM, n, bucket_us, t_us, 5 * MINUTE_US, price)
    out[_MOMENTUM_1M + 2] = momentum.value(state, _MOMENTUM, n, bucket_us, t_us, 15 * MINUTE_US, price)
    volatility.emit(state, _VOLATILITY, t_us, price, out, _VOLATILITY_1M)

    minute = t_us // MINUTE_US
    _close_bar(state, minute)
    recent = range_volatility.bars(state, _RANGES, minute) > 0
    for i in range(_PARKINSON if recent else _RSI_14, _NATR_14 + 1):
        out[i] = state[_VALUES + i - _PARKINSON]
    ema_26 = out[_EMA_26]
    out[_EMA_DEV] = 1e4 * (price - ema_26) / ema_26
    volume_profile.emit(state, _PROFILE, t_us, price, out, _POC)
