"""The view ``normalized``: the feature vector, each value on a scale that does not depend on the symbol or the year.

Every element keeps the value of the newest row of its view, and counts while that row is within the view's ttl. Each second ``emit``
makes the vector of t. Bounded features are rescaled, ``(x - c)/s`` with c and s of ``catalog.RESCALED``. The others become

    z = (x - M/W)/sqrt(S/W)        clipped to [-3, 3]

over the observations x_i before x, weighted with w_i = 2^(-(t - t_i)/1 h): W = sum w_i, M = sum w_i x_i,
S = sum w_i (x_i - M/W)^2. After that x becomes an observation itself. Mean and S are updated in the form of West 1979, which never
subtracts two large sums: with W' the weight decayed to t, S' likewise, and d = x - mean,

    W = W' + 1      mean += d/W      S = S' + d (x - mean)

Null: x is null (it is then no observation), fewer than 300 observations came before it, or they were all alike. After 4 h without an
observation the count starts again at 0. After hours of one observation a second, 4 h of silence leave a weight of about 300 (5194/2^4).
After fewer observations they leave so little that the first new value would become the mean and the second an extreme.

State: ``_SLOTS`` doubles an element, in the order of the vector.

Example: 300 observations, by turns 1 and 3, have nearly the mean 2 and the deviation 1. So 3.5 lies 1.5 deviations above the mean:

>>> state = zeros(_SLOTS)
>>> for second in range(1, 301):
...     z = _score(state, 0, second * SECOND_US, 2.0 + (-1.0) ** second)
>>> round(_score(state, 0, 301 * SECOND_US, 3.5), 2)
1.5
"""

from __future__ import annotations

from math import exp, isnan, log, sqrt

from transforms.catalog import FEATURE_VECTOR_V1, NORMALIZED, RAW_VIEWS, RESCALED, view_of
from transforms.kernel import HOUR_US, NAN, SECOND_US, Vector, jit, zeros

VERSION = 1
READY = 300
"""Observations that a z-score needs before it."""
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
    """Return an empty state."""
    return zeros(_SIZE * _SLOTS)


@jit
def keep_row(state: Vector, t_us: int, view: int, row: Vector) -> None:
    """Keep the row that the raw view number ``view`` gave at ``t_us``, NaN for null."""
    for i in range(_SIZE):
        if _VIEW[i] == view:
            state[i * _SLOTS + _RAW] = row[_SLOT[i]]
            state[i * _SLOTS + _ROW_US] = float(t_us)


@jit
def _score(state: Vector, at: int, t_us: int, x: float) -> float:
    """Return the unclipped z of ``x`` from the observations before it, then add ``x`` to them."""
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
    """Write the normalised vector of ``t_us``, NaN for null, and add its values to the observations.

    Call it once for each second of the grid, in order of time, after ``keep_row`` of the rows of that second.
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
