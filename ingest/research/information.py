"""The information coefficient of each feature: its rank correlation with the coming return, period by period.

For each symbol and period (a UTC day, or less in a short frame) Spearman's correlation of the feature with the return
over a horizon is taken; a period's coefficient is the mean over symbols, weighted by rows. Rows whose return ends after
their period are left out, so the returns of two periods have no price in common, and mean, deviation and t over periods
are those of values that do not overlap.

The textbook coefficient centres values and returns by their means in the period, and these know the period's end. On a
random walk it is negative for every feature that follows the price (Stambaugh 1999, Predictive regressions): of a price
level over ten periods its t is -5 or so, and tells nothing. `Coefficients.causal` has no such bias and decides: each
value is placed among those of the same symbol in the period before, from -1 to 1, and the places are averaged with the
ranks of the returns' sizes, with their signs, as weights (as in Wilcoxon 1945).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from ingest.research.frame import Floats, Frame, Ints, ResearchError
from ingest.research.ranks import centred, cosine, ranks, z_of_t

LEAST: Final = 20
"""Rows that a symbol needs in a period."""
PERIODS: Final = 20
"""Periods that a frame should have: of ten, a signal that 20,000 rows show clearly was chosen in 13 % of frames, and of
30 in 77 %."""
ENOUGH: Final = 5
"""Periods in which a coefficient must be known to decide."""
HORIZONS: Final = 5
"""A period must be so many horizons long to decide. In a shorter one all returns are nearly one return: the coefficient
of a trend is near 1 or -1, t is not that of Student, and among five periods of two horizons a t that chance gives once
in 100,000 frames is there once in 500."""
_LENGTHS_US: Final = tuple(seconds * 1_000_000 for seconds in (86_400, 14_400, 3600, 1800, 600, 300, 60))


@dataclass(frozen=True, slots=True)
class Summary:
    """A coefficient over the periods in which it is known.

    Attributes
    ----------
    mean, deviation, t : float
        The standard deviation is that of a sample, and t that of the mean; NaN with fewer than two periods.
    same_sign : float
        Share of periods in which it has the sign of its mean.
    periods : int
    """

    mean: float
    deviation: float
    t: float
    same_sign: float
    periods: int

    @property
    def z(self) -> float:
        """As unlikely a value of the normal distribution; 0 where t is unknown."""
        return z_of_t(self.t, self.periods - 1) if math.isfinite(self.t) else 0.0


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of every feature at one horizon, by period: shape (periods, k), NaN where unknown."""

    textbook: Floats
    causal: Floats


def period_of(frame: Frame) -> int:
    """Return the longest of some lengths, from a day to a minute, of which the frame has `PERIODS`, in microseconds.

    Where that is too short for the longest horizon, return the shortest that is not, if the frame has `ENOUGH` of these.
    """
    counts = {length: len(np.unique(frame.t_us // length)) for length in _LENGTHS_US}
    chosen = next((length for length in _LENGTHS_US if counts[length] >= PERIODS), _LENGTHS_US[-1])
    least = HORIZONS * max(frame.returns, default=0)
    longer = [length for length in _LENGTHS_US if length >= max(least, chosen) and counts[length] >= ENOUGH]
    return min(longer, default=chosen)


def undecided(one: Summary, period: int, horizon: int) -> str:
    """Return why a coefficient decides nothing; empty where it does."""
    if period < HORIZONS * horizon:
        return f"periods of {period / 1e6:g} s are shorter than {HORIZONS} times the horizon"
    return f"it is known in {one.periods} periods of {ENOUGH} at least" if one.periods < ENOUGH else ""


def coefficients(frame: Frame, horizon: int, period: int) -> Coefficients:
    """Return the coefficients of each period between the frame's first and last one.

    Raises
    ------
    ResearchError
        The frame has far too many periods.
    """
    numbers = frame.t_us // period
    start, count = int(numbers.min()), int(numbers.max() - numbers.min()) + 1
    if count > 100_000:
        raise ResearchError(f"{count:,} periods are too many; choose a longer one with --by")
    sums = np.zeros((2, count, len(frame.names)))
    weights = np.zeros_like(sums)
    for symbol in frame.symbols:
        before: tuple[int, Floats] | None = None
        for number, rows in _periods(numbers, symbol):
            x = frame.x[rows]
            y = frame.returns[horizon][rows].copy()
            y[frame.t_us[rows] + horizon > (number + 1) * period] = np.nan
            reference = before[1] if before and before[0] == number - 1 else None
            for i in range(x.shape[1]):
                known = ~(np.isnan(x[:, i]) | np.isnan(y))
                n = int(known.sum())
                if n < LEAST:
                    continue
                values, returns = x[known, i], y[known]
                found = cosine(centred(ranks(values)), centred(ranks(returns))), math.nan
                if reference is not None:
                    found = found[0], _causal(_place(values, reference[:, i]), returns)
                for which, value in enumerate(found):
                    if not math.isnan(value):
                        sums[which, number - start, i] += n * value
                        weights[which, number - start, i] += n
            before = number, x
    with np.errstate(invalid="ignore"):
        textbook, causal = sums / weights
    return Coefficients(textbook, causal)


def summary(values: Floats) -> Summary:
    """Summarise a coefficient by period.

    >>> one = summary(np.array([0.1, math.nan, 0.3]))
    >>> round(one.mean, 3), round(one.deviation, 3), round(one.t, 3), one.same_sign, one.periods
    (0.2, 0.141, 2.0, 1.0, 2)
    """
    known = values[~np.isnan(values)]
    n = len(known)
    if not n:
        return Summary(math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    deviation = float(known.std(ddof=1)) if n > 1 else math.nan
    t = mean / deviation * math.sqrt(n) if n > 1 and deviation > 0 else math.nan
    return Summary(mean, deviation, t, float((np.sign(known) == np.sign(mean)).mean()), n)


def _periods(numbers: Ints, symbol: slice) -> Iterator[tuple[int, slice]]:
    own = numbers[symbol]
    edges = [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
    for a, b in pairwise(edges):
        yield int(own[a]), slice(symbol.start + a, symbol.start + b)


def _place(values: Floats, reference: Floats) -> Floats:
    """Return where values stand among those of the reference, from -1 (below all) to 1 (above all); zeros where it
    has too few."""
    ordered = np.sort(reference[~np.isnan(reference)])
    if len(ordered) < LEAST:
        return np.zeros(len(values))
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(below / len(ordered) - 1.0, np.float64)


def _causal(place: Floats, returns: Floats) -> float:
    """Return the mean of the places, weighted by the ranks of the returns' sizes with their signs; NaN where all
    returns are 0.

    The weights are not scaled by the places, which are larger where a price has moved on than where it has come back.
    """
    sizes = ranks(np.abs(returns)) * (returns != 0)
    total = float(sizes.sum())
    return float(place @ (np.sign(returns) * sizes)) / total if total else math.nan
