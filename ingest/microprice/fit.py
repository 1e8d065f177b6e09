"""Fit the table of one symbol to rows before a given time, those of the offline store or of the tape, in bounded memory.

The rows are on the grid, so a step of the fit is one grid interval, and g is the expected move of the mid from row to row. Rows that
are farther apart have a gap between them, and no transition is counted. Of several rows of one time the one created last counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import psycopg

from feature_repo.stores.errors import UserError
from transforms.microstructure.microprice_fit import Fit, Floats
from transforms.times import us_of_datetime

Piece = tuple[Any, Floats, Floats, Floats]
"""Event times (µs), mids, imbalances and spreads of rows."""
PIECE = 50_000
"""Rows in memory at a time."""
_OFF_TICK = 0.01
"""A price that is farther from a multiple of the tick than this share of it is off the tick."""
_OFF_SHARE = 0.001
"""Share of the rows that may be off the tick."""

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
ORDER BY event_timestamp, recomputed, created_timestamp DESC"""


class FitError(UserError, ValueError):
    """No table can be fitted. The message says for which symbol, why, and what to do."""


def symbols(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the symbols that have rows; each look-up jumps to the next symbol in the index."""
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
    min_rows: int = 1000,
    min_count: int = 100,
    progress: Callable[[int], None] = lambda t_us: None,
) -> tuple[Floats, int]:
    """Fit the table to the rows from ``since`` on and before ``before``; return it (see ``microprice_fit.fit``) and its known rows.

    Parameters
    ----------
    connection : psycopg.Connection
        In autocommit mode; the rows are read in one transaction by a server-side cursor.
    grid_us : int
        The grid interval of the rows, µs.
    tick : float or None
        Price step. None takes the smallest spread. An error is raised if prices are not multiples of its half.
    min_rows : int
        Known rows that a fit needs.
    min_count : int
        Times that a cell must have been left to get a g.
    progress : callable or None
        Called with the event time (µs) of the newest row read.

    Raises
    ------
    FitError
        There are too few rows, no cell was left often enough, or the tick does not fit the prices.
    """
    of = {"symbol": symbol, "since": since, "before": before}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        step = tick or smallest_step(symbol, before, _smallest_spread(connection, of), "backfill its history first")
        pieces = _pieces(connection, of)
        return fit_rows(
            symbol, pieces, before, grid_us, step, min_rows=min_rows, min_count=min_count, progress=progress
        )


def fit_rows(
    symbol: str,
    pieces: Iterable[Piece],
    before: datetime,
    grid_us: int,
    step: float,
    *,
    min_rows: int,
    min_count: int,
    progress: Callable[[int], None],
) -> tuple[Floats, int]:
    """Fit the table to rows in order of time, given as pieces, with the tick ``step``; else as ``fit_symbol``."""
    counted = Fit(step, us_of_datetime(before), grid_us)
    off = 0
    for times_us, mid, imbalance, spread in pieces:
        counted.add(times_us, mid, imbalance, spread)
        off += int(np.count_nonzero(_is_off(mid * 2.0 / step) | _is_off(spread / step)))
        progress(int(times_us[-1]))
    if counted.books < min_rows:
        raise FitError(
            f"{symbol}: {counted.books:,} rows with a book before {before:%Y-%m-%d %H:%M}, {min_rows:,} are needed: "
            "take a later --before, give more history, or lower --min-rows"
        )
    if off > _OFF_SHARE * counted.books:
        raise FitError(
            f"{symbol}: a tick of {step:g} does not fit {off:,} of {counted.books:,} rows: give it with --tick {symbol}=STEP"
        )
    table = counted.table(min_count)
    if np.isnan(table[2:]).all():
        raise FitError(
            f"{symbol}: no state of the book was left {min_count} times and followed by a move of the mid "
            f"in {counted.books:,} rows: give more history, or lower --min-count"
        )
    return table, counted.books


def smallest_step(symbol: str, before: datetime, smallest_spread: float | None, advice: str) -> float:
    """Return the tick that the smallest spread tells; raise `FitError` with ``advice`` where there is none."""
    if smallest_spread is None:
        raise FitError(f"{symbol}: no row with a spread before {before:%Y-%m-%d %H:%M}; {advice}")
    return float(f"{smallest_spread:.6g}")  # the difference of two prices has a rounding error


def _smallest_spread(connection: psycopg.Connection[Any], of: dict[str, Any]) -> float | None:
    row = connection.execute(_SMALLEST, of).fetchone()
    return row[0] if row else None


def _pieces(connection: psycopg.Connection[Any], of: dict[str, Any]) -> Iterator[Piece]:
    with connection.cursor("microprice_history", binary=True) as cursor:
        cursor.execute(_ROWS, of)
        while rows := cursor.fetchmany(PIECE):
            times, *values = zip(*rows, strict=True)
            mid, imbalance, spread = (np.array(column, np.float64) for column in values)
            yield np.array(times, np.int64), mid, imbalance, spread


def _is_off(multiple: Floats) -> Any:
    """Return where a value is not a whole number, apart from rounding; NaN counts as whole."""
    return np.abs(multiple - np.round(multiple)) > _OFF_TICK
