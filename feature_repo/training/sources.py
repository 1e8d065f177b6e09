"""The prices that labels are made of: as they are stored, as they were known at a moment, and as they are in hindsight.

They come from rows of the book (``books``) or from trades given by a reader.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from feature_repo.stores.offline.join.latest import NONE, latest
from feature_repo.training.definitions import Label
from feature_repo.training.labels import Known
from feature_repo.training.prices import Floats, Ints, Prices, parts
from transforms.times import us_of_duration


def _no_holes() -> Ints:
    return np.zeros((0, 2), np.int64)


@dataclass(frozen=True, slots=True)
class Rows:
    """Prices of one symbol as they are stored, sorted by event time, then by the time from which they were known.

    Attributes
    ----------
    t_us, created_us : numpy.ndarray
        (n,) event time, and when the row was made. A later row of an event time is a correction.
    price : numpy.ndarray
        (n,) the mid, or the price of a trade; NaN where it was not known.
    spread : numpy.ndarray
        (n,) ask less bid; 0 for trades.
    silence_us : numpy.ndarray
        (n,) for how long the feed had been silent.
    ttl_us : int
        A price is used for so long after the last word of its feed.
    holes : numpy.ndarray
        (m, 2) begin and end of holes that a feed told of.
    """

    t_us: Ints
    created_us: Ints
    price: Floats
    spread: Floats
    silence_us: Ints
    ttl_us: int
    holes: Ints = field(default_factory=_no_holes)
    are_corrected: bool = True  # several rows of one time are corrections, and not trades of one time


class Source(Protocol):
    """Where prices come from."""

    ttl_us: int

    def reading(self) -> AbstractContextManager[object]:
        """Let the reads inside be of one state of the source."""

    def newest_us(self, symbol: str) -> int:
        """Return the event time of the newest price of a symbol, -1 where it has none."""

    def read(self, symbol: str, begin_us: int, end_us: int) -> Rows:
        """Return the prices with event times from ``begin_us`` to ``end_us``, both included."""


def known_at(rows: Rows, definition: Label, t_us: Ints) -> Known:
    """Return the price at which one begins at each moment: the newest that was known then, and not too old."""
    at = latest(t_us, rows.t_us, rows.created_us, rows.ttl_us, known=True)
    price, price_us = np.full(len(t_us), np.nan), np.full(len(t_us), NONE)
    there = at != NONE
    there[there] = (rows.t_us - rows.silence_us)[at[there]] >= t_us[there] - rows.ttl_us
    entry, _, _ = _sides(rows, definition)
    price[there], price_us[there] = entry[at[there]], rows.t_us[at[there]]
    return Known(t_us, price, price_us)


def prices_of(rows: Rows, definition: Label) -> Prices:
    """Return the prices of a label in hindsight: the last correction of each."""
    is_last = np.ones(len(rows.t_us), np.bool_)
    if rows.are_corrected:
        is_last[:-1] = rows.t_us[1:] != rows.t_us[:-1]
    entry, leave, side = _sides(rows, definition)
    entry, leave, t_us = entry[is_last], leave[is_last], rows.t_us[is_last]
    known = np.isfinite(leave) & (leave > 0) & (rows.silence_us[is_last] <= rows.ttl_us)
    part = parts(t_us, known, us_of_duration(definition.longest_pause), rows.holes)
    return Prices(t_us[known], entry[known], leave[known], part[known], side)


def _sides(rows: Rows, definition: Label) -> tuple[Floats, Floats, int]:
    """Return the prices at which one begins and ends, and the sign of a gain."""
    if definition.price not in ("long", "short"):
        return rows.price, rows.price, 1
    half = rows.spread / 2.0
    ask, bid = _as_quoted(rows.price + half), _as_quoted(rows.price - half)
    return (ask, bid, 1) if definition.price == "long" else (bid, ask, -1)


def _as_quoted(price: Floats) -> Floats:
    """Return prices without the rounding errors of mid and spread: quotes have at most twelve digits.

    Else a price that came back to the same quote would be a gain or a loss of 1e-16, and its label 1 or -1 in place of 0.

    >>> 2809.37 + 0.34 / 2, _as_quoted(np.array([2809.37 + 0.34 / 2, 0.1 + 0.2, np.nan])).tolist()
    (2809.54, [2809.54, 0.3, nan])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        digits = 12 - np.ceil(np.log10(price))
        # a power of ten up to 22 is exact, so the quotient is the double that is nearest to the decimal number
        scale = 10.0 ** np.clip(np.nan_to_num(digits, nan=0.0, posinf=0.0, neginf=0.0), 0, 22)
        return np.asarray(np.round(price * scale) / scale, np.float64)
