"""Labels from prices: forward returns and triple barriers, for many moments of one symbol at once.

A label starts at the price that was known at its moment t. Prices with times in (t, t + horizon] decide it, and nothing else. It is null
where it would be made of prices that are not there; `Labelled.missing` says which of `definitions.MISSING` it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.training.definitions import MISSING, Barriers, Label
from feature_repo.training.prices import Bools, Floats, Ints, Prices, first_above
from transforms.times import us_of_duration

GIVEN: Final = -1
"""In `Labelled.missing`: the label is not null."""
TOUCHES: Final = ("horizon", "profit", "loss")
"""What ended a label; a forward return always ends at its horizon."""
_NO_PRICE, _NO_VOLATILITY, _HOLE, _END = range(len(MISSING))


@dataclass(frozen=True, slots=True)
class Known:
    """What was known of one symbol at each moment.

    Attributes
    ----------
    t_us : numpy.ndarray
        (m,) the moments.
    price : numpy.ndarray
        (m,) the price at which one begins, NaN where none was known.
    price_us : numpy.ndarray
        (m,) its time, at or before the moment.
    """

    t_us: Ints
    price: Floats
    price_us: Ints


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label at each moment.

    Attributes
    ----------
    returns : numpy.ndarray
        (m,) log returns, NaN where the label is null.
    end_us : numpy.ndarray
        (m,) when the label is known: the time of the touch, or t + horizon. Without meaning where the label is null.
    touch : numpy.ndarray
        (m,) positions in `TOUCHES`.
    missing : numpy.ndarray
        (m,) positions in `definitions.MISSING`, or `GIVEN`.
    """

    returns: Floats
    end_us: Ints
    touch: NDArray[np.int8]
    missing: NDArray[np.int8]


def label(
    definition: Label, prices: Prices, known: Known, newest_us: int, volatility: Floats | None = None
) -> Labelled:
    """Return a label at each moment.

    Parameters
    ----------
    definition : Label
        What is computed.
    prices : Prices
        From before each price that was known, until after each horizon: a hole more, to tell that there is none.
    known : Known
        Moments and their prices.
    newest_us : int
        Time of the newest price that there is of the symbol: horizons behind it are beyond the end.
    volatility : numpy.ndarray, optional
        (m,) the unit of the widths of `Barriers`, as known at the moments.
    """
    end_us = known.t_us + us_of_duration(definition.horizon)
    first = prices.at(known.t_us) + 1  # the first price after the moment
    last = prices.at(end_us)
    part = _part(prices, prices.at(known.price_us))
    is_whole = prices.covers(last, end_us) & (part == _part(prices, last))
    touch = np.zeros(len(end_us), np.int8)
    if isinstance(definition, Barriers):
        touched, touch = _touch(definition, prices, known, first, volatility)
        # What comes behind the touch does not matter: a hole there, or the end.
        early = (touched <= last) & (part == _part(prices, touched))
        touch[~early] = 0
        last = np.where(early, touched, last)
        end_us = np.where(early, _time(prices, touched), end_us)
        is_whole |= early
    starts = np.isfinite(known.price) & (part >= 0)
    missing = np.full(len(end_us), GIVEN, np.int8)
    missing[last < first] = _NO_PRICE
    missing[~is_whole] = _HOLE
    missing[~is_whole & (end_us > newest_us)] = _END
    if isinstance(definition, Barriers):
        missing[~_is_volatile(volatility, len(missing))] = _NO_VOLATILITY
    missing[~starts] = _NO_PRICE
    given = missing == GIVEN
    returns = np.full(len(end_us), np.nan)
    returns[given] = prices.side * np.log(prices.leave[last[given]] / known.price[given])
    return Labelled(returns, end_us, touch, missing)


def sign(definition: Barriers, labelled: Labelled) -> Floats:
    """Return the label of `Barriers`: -1, 0 or 1, NaN where it is null."""
    touched = np.select([labelled.touch == 1, labelled.touch == 2], [1.0, -1.0], 0.0)
    at_time = np.sign(labelled.returns) if definition.at_time == "sign" else np.zeros(len(touched))
    bins = np.where(labelled.touch == 0, at_time, touched)
    return np.where(labelled.missing == GIVEN, bins, np.nan)


def _touch(
    definition: Barriers, prices: Prices, known: Known, first: Ints, volatility: Floats | None
) -> tuple[Ints, NDArray[np.int8]]:
    """Return the position of the first price after each moment that is beyond a barrier, and which one it is."""
    n = len(prices.t_us)
    gained = prices.side * np.log(prices.leave)
    begun = prices.side * np.log(np.where(np.isfinite(known.price), known.price, 1.0))
    is_volatile = _is_volatile(volatility, len(begun))
    unit = np.zeros(len(begun)) if volatility is None else np.where(is_volatile, volatility, np.inf)
    found = np.full(len(begun), n)
    touch = np.zeros(len(begun), np.int8)
    for width, values, start, which in ((definition.profit, gained, begun, 1), (definition.loss, -gained, -begun, 2)):
        if width:
            at = first_above(values, first, start + width * unit)
            touch[at < found] = which
            found = np.minimum(found, at)
    return found, touch


def _is_volatile(volatility: Floats | None, n: int) -> Bools:
    if volatility is None:
        return np.zeros(n, np.bool_)
    return np.isfinite(volatility) & (volatility > 0.0)


def _part(prices: Prices, at: Ints) -> Ints:
    """Return the part of each position, -1 where there is no price."""
    return _taken(prices.part, at)


def _time(prices: Prices, at: Ints) -> Ints:
    return _taken(prices.t_us, at)


def _taken(values: Ints, at: Ints) -> Ints:
    there = (at >= 0) & (at < len(values))
    taken = np.full(len(at), -1)
    taken[there] = values[at[there]]
    return taken
