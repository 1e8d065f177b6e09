"""Labels and weights by plain loops over every price, which follow the definitions and share no code with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import isnan, log, nan
from typing import Any

from feature_repo.training.definitions import Barriers, Label

Row = tuple[int, float, float]
"""Time, price to enter at, price to leave at; NaN is unknown."""


def label(
    definition: Label, rows: Sequence[Row], t: int, volatility: float, side: int, delay: int = 0, newest: int = -1
) -> tuple[Any, ...]:
    """Return value, return, end, touch and reason of a label.

    Prices are known `delay` after their time. `newest` is the time of the newest price that there is, by default of the rows.
    """
    longest = definition.longest_pause // timedelta(microseconds=1)
    end = t + definition.horizon // timedelta(microseconds=1)
    before = [row for row in rows if row[0] <= t - delay]
    if not before or isnan(before[-1][1]):
        return nan, nan, None, None, "no_price"
    if isinstance(definition, Barriers) and not volatility > 0:
        return nan, nan, None, None, "no_volatility"
    last_us, base, _ = before[-1]
    whole, came = True, None
    for t_us, _, leave in rows:
        if not before[-1][0] < t_us <= end:
            continue
        whole = whole and t_us - last_us <= longest and not isnan(leave)
        last_us = t_us
        if not whole:
            break
        if t_us <= t:  # it was there, and not known yet
            continue
        came = side * log(leave / base)
        if isinstance(definition, Barriers):
            if definition.profit and came > definition.profit * volatility:
                return 1.0, came, t_us, "profit", None
            if definition.loss and came < -definition.loss * volatility:
                return -1.0, came, t_us, "loss", None
    if whole and last_us < end:  # the price at the end is known only if the next one is near and known
        behind = [row for row in rows if row[0] > end]
        whole = bool(behind) and behind[0][0] - last_us <= longest and not isnan(behind[0][1])
    if not whole:
        newest = max(newest, *(row[0] for row in rows if not isnan(row[1])))
        return nan, nan, None, None, "end" if end > newest else "hole"
    if came is None:
        return nan, nan, None, None, "no_price"
    at_time = float((came > 0) - (came < 0)) if getattr(definition, "at_time", "") == "sign" else 0.0
    return at_time, came, end, "horizon", None


def weights(starts: Sequence[int], ends: Sequence[int | None]) -> list[float | None]:
    """Return the average uniqueness of the labels of a symbol (snippets 4.1 and 4.2 of the book), whose bars are their starts.

    A label that is null has no end and no weight.
    """
    given = [(start, end) for start, end in zip(starts, ends, strict=True) if end is not None]
    count = {bar: sum(start <= bar <= end for start, end in given) for bar in starts}
    found: list[float | None] = []
    for start, end in zip(starts, ends, strict=True):
        spanned = [] if end is None else [1 / count[bar] for bar in starts if start <= bar <= end]
        found.append(sum(spanned) / len(spanned) if spanned else None)
    return found
