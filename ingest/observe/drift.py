"""The drift of features from a reference day, measured by the population stability index.

    PSI = sum over bins of (a - e) ln(a / e)

a is the share of values in a bin now and e on the reference day; shares below 1e-4 count as 1e-4. There are ten bins between the
deciles of the reference day, right-closed, and one for null. Each symbol is binned by its own deciles, and the bins are then added
up over symbols, so that neither a symbol's price level nor the number of symbols matters. Rows of whole minutes are read; fewer
where that would be more than ``ROWS_MAX``.

The usual reading: below 0.1 the populations are alike, above 0.25 they differ. With n values a day, two days of one population differ
by about 20/n. Source: Siddiqi 2006, Credit Risk Scorecards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import psycopg
import redis
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.tables.schema import table_of_view
from transforms.catalog import VIEWS, View
from transforms.times import datetime_of_us

KEY = "tfs:drift_reference"
DAY_US = 86_400_000_000
MINUTE_US = 60_000_000
QUANTILES = np.arange(1, 10) / 10
BINS = 11
LEAST = 100  # rows that a symbol must have on the reference day, and a view in the last 24 hours
ROWS_MAX = 20_000
FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol on the reference day.

    Attributes
    ----------
    edges : ndarray of shape (k, 9)
        Deciles of its k features; NaN where all values were null.
    shares : ndarray of shape (k, 11)
        Shares of its values in the bins.
    """

    edges: NDArray[np.float64]
    shares: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference day.

    Attributes
    ----------
    start_us : int
        Its first microsecond.
    views : mapping
        By view: the names of the features, and the symbols.
    """

    start_us: int
    views: Mapping[str, tuple[tuple[str, ...], Mapping[str, Symbol]]]


def measure(values: NDArray[np.float64]) -> Symbol:
    """Return the deciles and shares of (n, k) values; NaN is null."""
    edges = np.full((values.shape[1], len(QUANTILES)), np.nan)
    for i, column in enumerate(values.T):
        known = column[~np.isnan(column)]
        if len(known):
            edges[i] = np.quantile(known, QUANTILES, method="inverted_cdf")
    return Symbol(edges, counts(values, edges) / len(values))


def counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many of (n, k) values lie in each bin, of shape (k, 11); the last bin is null.

    >>> counts(np.array([[0.0], [1.0], [2.5], [9.0], [math.nan]]), np.arange(1.0, 10.0)[None])
    array([[2., 0., 1., 0., 0., 0., 0., 0., 1., 0., 1.]])
    """
    found = np.zeros((values.shape[1], BINS))
    for i, column in enumerate(values.T):
        null = np.isnan(column)
        found[i] = np.bincount(np.where(null, BINS - 1, np.searchsorted(edges[i], column)), minlength=BINS)
    return found


def psi(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the index of each feature, of shape (k,), from shares of shape (k, 11)."""
    e, a = np.maximum(expected, FLOOR), np.maximum(actual, FLOOR)
    found: NDArray[np.float64] = ((a - e) * np.log(a / e)).sum(axis=1)
    return found


def read_rows(
    connection: psycopg.Connection[Any], view: View, symbols: Sequence[str], start_us: int, end_us: int, emit_us: int
) -> dict[str, NDArray[np.float64]]:
    """Return the (n, k) rows of each symbol on a grid of whole minutes in (start, end]; of rows of one time the served one created last."""
    table = table_of_view(view)
    steps = max(1, (end_us - start_us) // MINUTE_US * len(symbols) // ROWS_MAX)
    step_us = math.lcm(MINUTE_US * steps, emit_us)
    first_us = (start_us // step_us + 1) * step_us
    columns = sql.SQL(", ").join(sql.SQL("r.{}::float8").format(sql.Identifier(name)) for name in view.names)
    query = sql.SQL(
        "SELECT s.symbol, {columns} FROM unnest({symbols}::text[]) AS s(symbol) "
        "CROSS JOIN generate_series({first}::timestamptz, {last}::timestamptz, {step} * interval '1 microsecond') AS g(t) "
        "CROSS JOIN LATERAL (SELECT * FROM {table} r WHERE r.symbol = s.symbol AND r.event_timestamp = g.t "
        "ORDER BY r.recomputed, r.created_timestamp DESC LIMIT 1) AS r"
    ).format(
        columns=columns,
        symbols=sql.Literal(list(symbols)),
        first=sql.Literal(datetime_of_us(first_us)),
        last=sql.Literal(datetime_of_us(end_us)),
        step=sql.Literal(step_us),
        table=table.identifier,
    )
    rows = decode.read_table(connection, query)
    names = np.array(rows.column(0).to_pylist(), dtype=object)
    values = np.column_stack([rows.column(name).to_numpy() for name in view.names]) if len(names) else np.empty((0, 0))
    return {symbol: values[names == symbol] for symbol in dict.fromkeys(names)}


def reference(connection: psycopg.Connection[Any], symbols: Sequence[str], start_us: int, emit_us: int) -> Reference:
    """Measure the day that begins at ``start_us``; a symbol with fewer than ``LEAST`` rows of a view is left out of it."""
    views = {}
    for view in VIEWS:
        rows = read_rows(connection, view, symbols, start_us, start_us + DAY_US, emit_us)
        views[view.name] = view.names, {s: measure(values) for s, values in rows.items() if len(values) >= LEAST}
    return Reference(start_us, views)


def drift(
    connection: psycopg.Connection[Any], against: Reference, end_us: int, emit_us: int
) -> dict[tuple[str, str], float]:
    """Return the index of each feature over the 24 hours up to ``end_us``, by view and name.

    A view with fewer than ``LEAST`` rows of the reference's symbols, and a feature that the reference does not know, are left out.
    """
    found: dict[tuple[str, str], float] = {}
    for view in VIEWS:
        names, known = against.views.get(view.name, ((), {}))
        shared = [name for name in view.names if name in names]
        ours, theirs = [view.names.index(n) for n in shared], [names.index(n) for n in shared]
        rows = read_rows(connection, view, sorted(known), end_us - DAY_US, end_us, emit_us) if known else {}
        n = sum(map(len, rows.values()))
        if n < LEAST:
            continue
        expected, actual = np.zeros((len(shared), BINS)), np.zeros((len(shared), BINS))
        for symbol, values in rows.items():
            expected += known[symbol].shares[theirs] * len(values)
            actual += counts(values[:, ours], known[symbol].edges[theirs])
        for name, x in zip(shared, psi(expected / n, actual / n), strict=True):
            found[view.name, name] = float(x)
    return found


def store(client: redis.Redis, one: Reference) -> None:
    """Keep the reference day, in place of the one before."""
    views = {
        view: [names, {s: [of.edges.tobytes(), of.shares.tobytes()] for s, of in symbols.items()}]
        for view, (names, symbols) in one.views.items()
    }
    client.set(KEY, msgspec.msgpack.encode([one.start_us, views]))


def load(client: redis.Redis) -> Reference | None:
    """Return the reference day that is kept, or None."""
    data: Any = client.get(KEY)
    if data is None:
        return None
    start_us, stored = msgspec.msgpack.decode(data)
    views = {}
    for view, (names, symbols) in stored.items():
        k = len(names)
        views[view] = (
            tuple(names),
            {
                s: Symbol(np.frombuffer(edges).reshape(k, len(QUANTILES)), np.frombuffer(shares).reshape(k, BINS))
                for s, (edges, shares) in symbols.items()
            },
        )
    return Reference(start_us, views)
