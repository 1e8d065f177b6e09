"""Fits the table of one symbol from the rows of the offline store strictly before a moment, in bounded memory.

The rows stand on the grid: so a step of the fit is one interval of it, and g is what the mid is expected to move from row to row on.
Rows farther apart than that have a hole between them, over which nothing is counted. Of two rows of one time the one created last counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import psycopg

from transforms.microstructure.microprice_fit import Fit, Floats
from transforms.times import us_of_datetime

PIECE = 50_000
"""Rows in memory at a time."""
MIN_ROWS = 1000
MIN_COUNT = 100
_OFF_GRID = 0.01
_ODD_SHARE = 0.001

Progress = Callable[[int], None]

_SYMBOLS = """
WITH RECURSIVE found AS (
    (SELECT symbol FROM microstructure ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT m.symbol FROM microstructure m WHERE m.symbol > found.symbol ORDER BY m.symbol LIMIT 1)
    FROM found WHERE found.symbol IS NOT NULL
) SELECT symbol FROM found WHERE symbol IS NOT NULL"""
_SMALLEST = """
SELECT min(spread) FROM microstructure
WHERE symbol = %(symbol)s AND event_timestamp >= %(since)s AND event_timestamp < %(before)s AND spread > 0"""
_ROWS = """
SELECT DISTINCT ON (event_timestamp) (extract(epoch FROM event_timestamp) * 1000000)::bigint,
    coalesce(mid_price, 'NaN'), coalesce(imbalance_l1, 'NaN'), coalesce(spread, 'NaN')
FROM microstructure WHERE symbol = %(symbol)s AND event_timestamp >= %(since)s AND event_timestamp < %(before)s
ORDER BY event_timestamp, created_timestamp DESC"""


class FitError(ValueError):
    """No table can be fitted; the message says of which symbol, why, and what to do."""


def symbols(connection: psycopg.Connection[Any]) -> list[str]:
    """The symbols that have rows, found by steps over the index."""
    if connection.execute("SELECT to_regclass('microstructure')").fetchone() == (None,):
        return []
    return [symbol for (symbol,) in connection.execute(_SYMBOLS)]


def fit_symbol(
    connection: psycopg.Connection[Any],
    symbol: str,
    since: datetime,
    before: datetime,
    grid_us: int,
    *,
    tick: float | None = None,
    min_rows: int = MIN_ROWS,
    min_count: int = MIN_COUNT,
    progress: Progress | None = None,
) -> tuple[Floats, int]:
    """Fit from the rows of [since, before).

    Parameters
    ----------
    connection:
        Autocommit; the rows are read in one transaction, by a cursor of the server.
    grid_us:
        The grid interval of the rows, µs.
    tick:
        Price step; None takes the smallest spread, and makes sure that all mids and spreads are multiples of its half.
    min_rows, min_count:
        Known rows that a fit needs, and times that a cell must have been left to have a g.
    progress:
        Called with the event time (µs) of the newest row read.

    Returns
    -------
    table, rows
        What ``microprice_fit.fit`` returns, and the known rows that it was made from.

    Raises
    ------
    FitError
        Too few rows, no cell that was left often enough, or no tick that fits the prices.
    """
    of = {"symbol": symbol, "since": since, "before": before}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        step = tick or _smallest_spread(connection, of)
        counted = Fit(step, us_of_datetime(before), grid_us)
        odd = 0
        for times_us, mid, imbalance, spread in _pieces(connection, of):
            counted.add(times_us, mid, imbalance, spread)
            odd += int(np.count_nonzero(_odd(mid * 2.0 / step) | _odd(spread / step)))
            if progress is not None:
                progress(int(times_us[-1]))
    if counted.books < min_rows:
        raise FitError(
            f"{symbol}: {counted.books:,} rows with a book before {before:%Y-%m-%d %H:%M}, {min_rows:,} are needed: "
            "take a later --before, backfill more history, or lower --min-rows"
        )
    if odd > _ODD_SHARE * counted.books:
        raise FitError(
            f"{symbol}: a tick of {step:g} does not fit {odd:,} of {counted.books:,} rows: give it with --tick {symbol}=STEP"
        )
    table = counted.table(min_count)
    if np.isnan(table[2:]).all():
        raise FitError(
            f"{symbol}: no state of the book was left {min_count} times and followed by a move of the mid in {counted.books:,} rows: "
            "give more history, or lower --min-count"
        )
    return table, counted.books


def _smallest_spread(connection: psycopg.Connection[Any], of: dict[str, Any]) -> float:
    row = connection.execute(_SMALLEST, of).fetchone()
    if row is None or row[0] is None:
        raise FitError(
            f"{of['symbol']}: no row with a spread before {of['before']:%Y-%m-%d %H:%M}; backfill its history first"
        )
    return float(f"{row[0]:.6g}")  # a difference of two prices carries their rounding


def _pieces(connection: psycopg.Connection[Any], of: dict[str, Any]) -> Iterator[tuple[Any, Floats, Floats, Floats]]:
    with connection.cursor("microprice_history", binary=True) as cursor:
        cursor.execute(_ROWS, of)
        while rows := cursor.fetchmany(PIECE):
            times, *values = zip(*rows, strict=True)
            mid, imbalance, spread = (np.array(column, np.float64) for column in values)
            yield np.array(times, np.int64), mid, imbalance, spread


def _odd(multiple: Floats) -> Any:
    """Where a value is no whole number, rounding aside; an unknown one is not odd."""
    return np.abs(multiple - np.round(multiple)) > _OFF_GRID
