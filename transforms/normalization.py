"""The view ``normalized``: the feature vector, each value on a scale that does not depend on the symbol or the year.

Every element is kept as the newest row of its view gave it, and counts while that row is within the view's ttl. Once a row ``emit``
makes the vector of t: bounded features are rescaled, ``(x - c)/s`` with ``catalog.RESCALED``; the others become

    z = (x - M/W)/sqrt(S/W)        clipped to [-3, 3]

over the observations x_i before x, weighted with w_i = 2^(-(t - t_i)/1 h): W = sum w_i, M = sum w_i x_i,
S = sum w_i (x_i - M/W)^2. After that x is one of them. Mean and S are carried forward in the form of West 1979, which subtracts no two
large sums: with W' the weight decayed to t, and d = x - mean,

    W = W' + 1      mean += d/W      S = S' + d (x - mean)

Null rule: x is null (it is no observation then), fewer than 300 observations came before it, or they were all alike. After a silence of
4 h the count begins anew: of hours of observations, one a second, the weight of about 300 is left then (5194/2^4), and of fewer soon
so little that the first new value would be the mean, and the second one an extreme.

The state has ``_SLOTS`` doubles an element, in the vector's order.
"""

from __future__ import annotations

from math import exp, isnan, log, sqrt

from transforms.catalog import FEATURE_VECTOR_V1, NORMALIZED, RAW_VIEWS, RESCALED, view_of
from transforms.kernel import HOUR_US, NAN, SECOND_US, Vector, jit, zeros

VERSION = 1
READY = 300
"""Observations before a z-score."""
HALF_LIFE_US = HOUR_US
FORGET_US = 4 * HOUR_US

_RATE = log(2.0) / HALF_LIFE_US
_SIZE = len(FEATURE_VECTOR_V1)
_VIEW = tuple(RAW_VIEWS.index(view_of(name)) for name in FEATURE_VECTOR_V1)
_SLOT = tuple(view_of(name).index[name] for name in FEATURE_VECTOR_V1)
_TTL_US = tuple(view_of(name).ttl_s * SECOND_US for name in FEATURE_VECTOR_V1)
_SCORED = tuple(name not in RESCALED for name in FEATURE_VECTOR_V1)
_CENTRE = tuple(float(RESCALED.get(name, (0, 1))[0]) for name in FEATURE_VECTOR_V1)
_SCALE = tuple(float(RESCALED.get(name, (0, 1))[1]) for name in FEATURE_VECTOR_V1)
_LOW = tuple(float(feature.low) for feature in NORMALIZED.features)
_HIGH = tuple(float(feature.high) for feature in NORMALIZED.features)

_RAW, _ROW_US, _COUNT, _LAST_US, _WEIGHT, _MEAN, _SQUARES = range(7)
_SLOTS = 7


def init() -> Vector:
    """An empty state."""
    return zeros(_SIZE * _SLOTS)


@jit
def take_row(state: Vector, t_us: int, view: int, row: Vector) -> None:
    """Take the row of ``t_us`` that the raw view number ``view`` gave, NaN for null."""
    for i in range(_SIZE):
        if _VIEW[i] == view:
            state[i * _SLOTS + _RAW] = row[_SLOT[i]]
            state[i * _SLOTS + _ROW_US] = float(t_us)


@jit
def _score(state: Vector, at: int, t_us: int, x: float) -> float:
    """z of ``x`` from the observations before it, unclipped; ``x`` is one of them afterwards."""
    silence = t_us - state[at + _LAST_US]
    if silence > FORGET_US:
        state[at + _COUNT] = 0.0
        state[at + _WEIGHT] = 0.0
        state[at + _MEAN] = 0.0
        state[at + _SQUARES] = 0.0
    mean = state[at + _MEAN]
    difference = x - mean
    z = NAN
    if state[at + _COUNT] >= READY:
        variance = state[at + _SQUARES] / state[at + _WEIGHT]
        if variance > 0.0:
            z = difference / sqrt(variance)
    decay = exp(-_RATE * silence)
    weight = decay * state[at + _WEIGHT] + 1.0
    mean += difference / weight
    state[at + _SQUARES] = decay * state[at + _SQUARES] + difference * (x - mean)
    state[at + _MEAN] = mean
    state[at + _WEIGHT] = weight
    state[at + _COUNT] += 1.0
    state[at + _LAST_US] = float(t_us)
    return z


@jit
def emit(state: Vector, t_us: int, out: Vector) -> None:
    """Write the normalised vector of ``t_us``, NaN for null, and count its values as observed.

    To be called once a second of the grid, in order of time, after ``take_row`` of its rows.
    """
    for i in range(_SIZE):
        at = i * _SLOTS
        x = state[at + _RAW]
        if t_us - state[at + _ROW_US] > _TTL_US[i] or isnan(x):
            out[i] = NAN
            continue
        y = _score(state, at, t_us, x) if _SCORED[i] else (x - _CENTRE[i]) / _SCALE[i]
        if y < _LOW[i]:
            y = _LOW[i]
        elif y > _HIGH[i]:
            y = _HIGH[i]
        out[i] = y
