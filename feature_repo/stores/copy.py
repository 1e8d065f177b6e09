"""Append rows to an offline table: binary COPY into a staging table, then an insert that leaves out what is there.

Rows are facts. The insert never changes one: a repeat of ``(symbol, event_timestamp, created_timestamp)`` is ignored.
It goes in the order of the unique index, so that two writers of overlapping rows wait for each other and never form a
circle; for the same reason a transaction that appends to several views should take them in the order of
``catalog.VIEWS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores import encode
from feature_repo.stores.schema import Table, table_of_view
from transforms import catalog

_STAGING: Final = sql.Identifier("pg_temp", "staged_rows")


def append_rows(
    connection: psycopg.Connection[Any],
    view: catalog.View,
    symbols: Sequence[str],
    event_us: NDArray[np.int64],
    created_us: NDArray[np.int64],
    values: NDArray[np.float64],
) -> int:
    """Append rows of a view to its offline table.

    Where the connection is in a transaction, this is part of it and the caller commits; elsewhere it is a transaction
    of its own, committed on return.

    Parameters
    ----------
    connection
        To the database whose tables ``feast apply`` made.
    view
        The table has its name and its features.
    symbols
        n symbols.
    event_us, created_us
        (n,) microseconds since 1970 UTC.
    values
        (n, k), columns in the order of ``view.names``; NaN is null; Int64 features are whole doubles.

    Returns
    -------
    int
        Rows that were not there before.

    Raises
    ------
    ValueError
        Shapes do not agree, or a count is not a whole number.
    """
    n, k = len(symbols), len(view.features)
    if event_us.shape != (n,) or created_us.shape != (n,) or values.shape != (n, k):
        shapes = f"times {event_us.shape} {created_us.shape}, values {values.shape}"
        raise ValueError(f"{view.name}: {n} symbols, {k} features, but {shapes}")
    of = {"Float64": encode.doubles, "Int64": encode.whole_doubles}
    features = [of[feature.dtype](values[:, i]) for i, feature in enumerate(view.features)]
    columns: list[encode.Column] = [encode.texts(symbols), encode.times(event_us), encode.times(created_us), *features]
    return append_columns(connection, table_of_view(view), columns)


def append_columns(connection: psycopg.Connection[Any], table: Table, columns: Sequence[encode.Column]) -> int:
    """Append encoded columns, in the order of ``table.columns``; transaction and result as in `append_rows`."""
    if not encode.length(columns):
        return 0
    names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                _STAGING, names, table.identifier
            )
        )
        with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(_STAGING)) as copy:
            for block in encode.encode(columns):
                copy.write(block)
        cursor.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY {} ON CONFLICT DO NOTHING").format(
                table.identifier, names, names, _STAGING, sql.SQL(", ").join(map(sql.Identifier, table.unique))
            )
        )
        inserted = cursor.rowcount
        # Dropped here already, so that a caller's longer transaction may append again.
        cursor.execute(sql.SQL("DROP TABLE {}").format(_STAGING))
    return inserted
