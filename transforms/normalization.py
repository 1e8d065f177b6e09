"""The view ``normalized``: the feature vector, each value on a scale that does not depend on the symbol or the year.

Every element keeps the value of the newest row of its view, and counts while that row is within the view's ttl. Each second ``emit``
makes the vector of t. Bounded features are rescaled, ``(x - c)/s`` with c and s of ``catalog.RESCALED``. The others become

    z = (x - M/W)/sqrt(S/W)        clipped to [-3, 3]

over the observations x_i before x, weighted with w_i = 2^(-(t - t_i)/1 h): W = sum w_i, M = sum w_i x_i,
S = sum w_i (x_i - M/W)^2. An observation is a change of the raw value: a value that stays is one observation, however many rows repeat
it, and keeps the z that it had when it came. So an illiquid symbol does not fill its observations with repeats.

Observations of the open hour and of the 24 hours before it count, hours of the clock that include their end. Older ones, whose weight is
below 2^-24, are forgotten: from 25 hours on a value does not depend on when the process started, to the last bit. Without that limit
the start would fade, but how fast would depend on the data: an hour of tenfold volatility is seen for 30 hours.

Null: x is null, fewer than 300 observations came before it, or they were all alike. After 4 h without an observation the count starts
again at 0. After hours of one observation a second, 4 h of silence leave a weight of about 300 (5194/2^4). After fewer observations they
leave so little that the first new value would become the mean and the second an extreme.

Mean and S of an hour are updated in the form of West 1979, which never subtracts two large sums: with W' the weight decayed to t, S'
likewise, and d = x - mean,

    W = W' + 1      mean += d/W      S = S' + d (x - mean)

and those of two hours are merged in the form of Chan, Golub and LeVeque 1979.

State: ``| raw value and time of its row, for each element |``, then for each z-score ``| value, time and z of the newest observation | hour
that is open | its sums | sums of the 24 hours before it | sums of each of them, hour h at h % 24 |``.

Example: 300 observations, by turns 1 and 3, have nearly the mean 2 and the deviation 1. So 3.5 lies 1.5 deviations above the mean:

>>> state = init()
>>> for second in range(1, 301):
...     z = _score(state, _SCORES, second * SECOND_US, 2.0 + (-1.0) ** second)
>>> round(_score(state, _SCORES, 301 * SECOND_US, 3.5), 2)
1.5
"""

from __future__ import annotations

from math import exp, isnan, log, sqrt

from transforms import window
from transforms.catalog import FEATURE_VECTOR_V1, NORMALIZED, RAW_VIEWS, RESCALED, view_of
from transforms.kernel import HOUR_US, NAN, SECOND_US, Vector, jit, zeros

READY = 300
"""Observations that a z-score needs before it."""
HALF_LIFE_US = HOUR_US
FORGET_US = 4 * HOUR_US
HOURS = 24
"""Whole hours that count, besides the open one."""

_RATE = log(2.0) / HALF_LIFE_US
_SIZE = len(FEATURE_VECTOR_V1)
_VIEW = tuple(RAW_VIEWS.index(view_of(name)) for name in FEATURE_VECTOR_V1)
_SLOT = tuple(view_of(name).index[name] for name in FEATURE_VECTOR_V1)
_TTL_US = tuple(view_of(name).ttl_s * SECOND_US for name in FEATURE_VECTOR_V1)
SCORED = tuple(name not in RESCALED for name in FEATURE_VECTOR_V1)
_CENTRE = tuple(float(RESCALED.get(name, (0, 1))[0]) for name in FEATURE_VECTOR_V1)
_SCALE = tuple(float(RESCALED.get(name, (0, 1))[1]) for name in FEATURE_VECTOR_V1)
_LOW = tuple(float(feature.low) for feature in NORMALIZED.features)
_HIGH = tuple(float(feature.high) for feature in NORMALIZED.features)

_RAW, _ROW_US, KEPT = range(3)
_SCORES = _SIZE * KEPT
"""The first z-score stands behind what is kept of every element."""
_COUNT, _WEIGHT, _MEAN, _SQUARES, _AT_US, _SUMS = range(6)
"""Sums of some observations: number, W, M/W, S, and the time to which the weights have decayed, µs; and how many slots they take."""
_X, _X_US, _Z, _HOUR, _OPEN = range(5)
_BEFORE = _OPEN + _SUMS
_RING = _BEFORE + _SUMS
SCORE = _RING + HOURS * _SUMS


def init() -> Vector:
    """Return an empty state."""
    return zeros(_SCORES + sum(SCORED) * SCORE)


@jit
def keep_row(state: Vector, t_us: int, view: int, row: Vector) -> None:
    """Keep the row that the raw view number ``view`` gave at ``t_us``, NaN for null."""
    for i in range(_SIZE):
        if _VIEW[i] == view:
            state[i * KEPT + _RAW] = row[_SLOT[i]]
            state[i * KEPT + _ROW_US] = float(t_us)


@jit
def _score(state: Vector, o: int, t_us: int, x: float) -> float:
    """Return the unclipped z of ``x`` from the observations before it, then add ``x`` to them if it is a new value."""
    silence = t_us - state[o + _X_US]
    if state[o + _X_US] > 0.0 and x == state[o + _X]:
        return float(state[o + _Z]) if silence <= FORGET_US else NAN
    hour = window.bucket(t_us, HOUR_US)
    if silence > FORGET_US:
        _clear(state, o + _OPEN, SCORE - _OPEN)
        state[o + _HOUR] = float(hour)
    elif hour != int(state[o + _HOUR]):
        _open_hour(state, o, hour)
    z = _z(state, o + _BEFORE, o + _OPEN, t_us, x)
    _observe(state, o + _OPEN, t_us, x)
    state[o + _X] = x
    state[o + _X_US] = float(t_us)
    state[o + _Z] = z
    return z


@jit
def _z(state: Vector, before: int, now: int, t_us: int, x: float) -> float:
    """Return the z of ``x`` from the sums at ``before`` and ``now``, NaN with too few observations or if they were all alike."""
    if state[before + _COUNT] + state[now + _COUNT] < READY:
        return NAN
    decay = exp(-_RATE * (t_us - state[before + _AT_US]))
    decay_now = exp(-_RATE * (t_us - state[now + _AT_US]))
    older = decay * state[before + _WEIGHT]
    newer = decay_now * state[now + _WEIGHT]
    weight = older + newer
    apart = state[now + _MEAN] - state[before + _MEAN]
    mean = state[before + _MEAN] + apart * (newer / weight)
    squares = (
        decay * state[before + _SQUARES]
        + decay_now * state[now + _SQUARES]
        + apart * apart * (older * (newer / weight))
    )
    return float((x - mean) / sqrt(squares / weight)) if squares > 0.0 else NAN


@jit
def _observe(state: Vector, sums: int, t_us: int, x: float) -> None:
    """Add ``x`` to the sums of the open hour."""
    decay = exp(-_RATE * (t_us - state[sums + _AT_US]))
    difference = x - state[sums + _MEAN]
    weight = decay * state[sums + _WEIGHT] + 1.0
    mean = state[sums + _MEAN] + difference / weight
    state[sums + _SQUARES] = decay * state[sums + _SQUARES] + difference * (x - mean)
    state[sums + _MEAN] = mean
    state[sums + _WEIGHT] = weight
    state[sums + _COUNT] += 1.0
    state[sums + _AT_US] = float(t_us)


@jit
def _open_hour(state: Vector, o: int, hour: int) -> None:
    """Close the open hour, open ``hour``, and merge the 24 hours before it, oldest first."""
    closed = int(state[o + _HOUR])
    ring = o + _RING
    for i in range(_SUMS):
        state[ring + closed % HOURS * _SUMS + i] = state[o + _OPEN + i]
    for h in range(max(closed + 1, hour - HOURS), hour):
        _clear(state, ring + h % HOURS * _SUMS, _SUMS)
    _clear(state, o + _OPEN, 2 * _SUMS)
    for h in range(hour - HOURS, hour):
        if state[ring + h % HOURS * _SUMS + _COUNT] > 0.0:
            _merge(state, o + _BEFORE, ring + h % HOURS * _SUMS)
    state[o + _HOUR] = float(hour)


@jit
def _merge(state: Vector, into: int, newer: int) -> None:
    """Merge the sums at ``newer``, of later observations, into those at ``into``."""
    decay = exp(-_RATE * (state[newer + _AT_US] - state[into + _AT_US]))
    older = decay * state[into + _WEIGHT]
    weight = older + state[newer + _WEIGHT]
    apart = state[newer + _MEAN] - state[into + _MEAN]
    share = state[newer + _WEIGHT] / weight
    state[into + _SQUARES] = decay * state[into + _SQUARES] + state[newer + _SQUARES] + apart * apart * (older * share)
    state[into + _MEAN] += apart * share
    state[into + _WEIGHT] = weight
    state[into + _COUNT] += state[newer + _COUNT]
    state[into + _AT_US] = state[newer + _AT_US]


@jit
def _clear(state: Vector, at: int, slots: int) -> None:
    for i in range(at, at + slots):
        state[i] = 0.0


@jit
def emit(state: Vector, t_us: int, out: Vector) -> None:
    """Write the normalised vector of ``t_us``, NaN for null, and add its new values to the observations.

    Call it once for each second of the grid, in order of time, after ``keep_row`` of the rows of that second.
    """
    score = _SCORES
    for i in range(_SIZE):
        at = i * KEPT
        x = state[at + _RAW]
        if t_us - state[at + _ROW_US] > _TTL_US[i] or isnan(x):
            y = NAN
        elif SCORED[i]:
            y = _score(state, score, t_us, x)
        else:
            y = (x - _CENTRE[i]) / _SCALE[i]
        if y < _LOW[i]:
            y = _LOW[i]
        elif y > _HIGH[i]:
            y = _HIGH[i]
        out[i] = y
        if SCORED[i]:
            score += SCORE
