"""Append rows to an offline table: binary COPY into a staging table, then an insert of what is new (``facts.py`` has the rule).

Rows are facts and the insert never changes one. It inserts in the order of the unique index, so that two writers of overlapping
rows wait for each other and cannot deadlock. For the same reason a transaction that appends to several views should follow the
order of ``catalog.VIEWS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline import facts
from feature_repo.stores.offline.binary import encode
from feature_repo.stores.offline.binary.format import EPOCH_US
from feature_repo.stores.offline.kernels import Versions, number_of
from feature_repo.stores.offline.tables.schema import Table, table_of_view
from transforms import catalog
from transforms.times import datetime_of_us, us_of_datetime

# Rows of one transaction of `append_table`: a large backfill does not hold locks for long, and fails in part only.
SLICE: Final = 50_000
_UNSTAGE: Final = sql.SQL("DROP TABLE {}").format(facts.STAGING)
_ENCODERS: Final = {"Float64": encode.doubles, "Int64": encode.whole_doubles}


def append_rows(
    connection: psycopg.Connection[Any],
    view: catalog.View,
    symbols: Sequence[str],
    event_us: NDArray[np.int64],
    created_us: NDArray[np.int64],
    values: NDArray[np.float64],
    silent_us: NDArray[np.int64] | None = None,
    versions: Versions | None = None,
) -> int:
    """Append rows of a view to its table as served rows, and return how many of them are new.

    Parameters
    ----------
    connection : psycopg.Connection
        Where it is in a transaction, the append is part of that, and the caller commits. Else the append commits.
    view : catalog.View
        The table has its name and its features.
    symbols : sequence of str
        n symbols.
    event_us, created_us : numpy.ndarray
        (n,) microseconds since 1970 UTC.
    values : numpy.ndarray
        (n, k), columns in the order of ``view.names``. NaN is null; Int64 features are whole doubles.
    silent_us : numpy.ndarray, optional
        (n,) microseconds for which the view's feed had been silent at the event times; stored in whole milliseconds, as
        online. None is unknown, which is null.
    versions : mapping, optional
        Of the kernels that made the rows. None is unknown.

    Raises
    ------
    ValueError
        Shapes do not agree, or a count is not a whole number.
    """
    columns = encoded_rows(view, symbols, event_us, created_us, values, silent_us)
    return append_columns(connection, table_of_view(view), columns, versions)


def encoded_rows(
    view: catalog.View,
    symbols: Sequence[str],
    event_us: NDArray[np.int64],
    created_us: NDArray[np.int64],
    values: NDArray[np.float64],
    silent_us: NDArray[np.int64] | None = None,
) -> list[encode.Column]:
    """Return rows of a view in the form of the table's columns; arguments and errors as of `append_rows`."""
    n, k = len(symbols), len(view.features)
    silent = np.zeros(n, np.int64) if silent_us is None else silent_us
    if not event_us.shape == created_us.shape == silent.shape == (n,) or values.shape != (n, k):
        shapes = f"times {event_us.shape} {created_us.shape}, silences {silent.shape}, values {values.shape}"
        raise ValueError(f"{view.name}: {n} symbols, {k} features, but {shapes}")
    features = [_ENCODERS[feature.dtype](values[:, i]) for i, feature in enumerate(view.features)]
    silence = encode.small_integers(silent // 1000, np.ones(n, np.bool_) if silent_us is None else None)
    times = [encode.times(event_us), encode.times(created_us)]
    return [encode.texts(symbols), *times, *features, silence]


def append_columns(
    connection: psycopg.Connection[Any],
    table: Table,
    columns: Sequence[encode.Column],
    versions: Versions | None = None,
) -> int:
    """Append encoded columns, in the order of ``table.columns``; transaction and result as in `append_rows`."""
    if not len(columns[0]):
        return 0
    try:
        return _append(connection, table, columns, versions, compare=False)
    except psycopg.errors.UniqueViolation:  # another writer appended the same rows at the same time
        return _append(connection, table, columns, versions, compare=True)


def _append(
    connection: psycopg.Connection[Any],
    table: Table,
    columns: Sequence[encode.Column],
    versions: Versions | None,
    *,
    compare: bool,
) -> int:
    """Append columns; ``compare`` says that some of their rows are stored, else that is found out."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(facts.stage(table, number_of(connection, versions)))
        encode.copy_in(cursor, facts.STAGING, columns, table.columns)
        inserted = _insert(cursor, table, columns[len(table.keys)], compare)
        cursor.execute(_UNSTAGE)  # a caller's longer transaction may append again
    return inserted


def _insert(cursor: psycopg.Cursor[Any], table: Table, event: encode.Column, compare: bool) -> int:
    if not table.managed:
        return cursor.execute(facts.statement(facts.NEW_KEYS, table), ()).rowcount
    assert isinstance(event, encode.Fixed)  # noqa: S101 - a column of times
    between = {"first": _time(event.values.min(), "-infinity"), "last": _time(event.values.max(), "infinity")}

    def run(form: LiteralString) -> psycopg.Cursor[Any]:
        statement = facts.statement(form, table)
        return cursor.execute(statement, between, prepare=False)  # a plan for these times, not for all

    if compare or run(facts.MET).fetchone() == (True,):
        return run(facts.NEW_FACTS).rowcount if run(facts.OTHER_KEYS).fetchone() == (True,) else 0
    inserted = run(facts.NEW_MOMENTS).rowcount
    return inserted + run(facts.NEW_FACTS).rowcount if inserted < len(event) else inserted


def _time(encoded: np.int64, beyond: str) -> datetime | str:
    try:
        return datetime_of_us(int(encoded) + EPOCH_US)
    except OverflowError:  # a year that PostgreSQL has and Python has not
        return beyond


def append_table(
    connection: psycopg.Connection[Any],
    table: Table,
    data: pa.Table,
    now: datetime,
    progress: Callable[[int], Any] | None = None,
) -> int:
    """Append an Arrow table in transactions of `SLICE` rows, and return how many rows are new.

    `connection` is not in a transaction, so that every slice has its own. Columns go by name, in any order; an absent
    feature is null, and so is NaN; times without a zone are UTC. `progress` gets the number of rows of each slice.

    A row without ``created_timestamp`` gets `now`, or its event time where that is later, because a row is never
    available before it happened. Such a row written twice is one row in a managed table, and two in another.

    Raise ValueError where a column is unknown, a key or an event time is missing or null, or values do not fit the type.
    """
    data = data.drop_columns([name for name in data.column_names if name.startswith("__index_level_")])
    unknown = sorted(set(data.column_names) - set(table.columns))
    required = (*table.keys, table.event)
    missing = [name for name in required if name not in data.column_names or data.column(name).null_count]
    if unknown or missing:
        raise ValueError(f"{'.'.join(table.name)}: unknown columns {unknown}, missing or null {missing}")
    inserted = 0
    for start in range(0, data.num_rows, SLICE):
        piece = data.slice(start, SLICE)
        inserted += _append_slice(connection, table, _with_created(table, piece, now))
        if progress is not None:
            progress(piece.num_rows)
    return inserted


def _with_created(table: Table, data: pa.Table, now: datetime) -> pa.Table:
    if not table.created:
        return data
    given = data.column(table.created).combine_chunks() if table.created in data.column_names else None
    if given is not None and not given.null_count:
        return data
    event = encode.microseconds(data.column(table.event).combine_chunks())
    created = np.maximum(event, us_of_datetime(now))
    if given is not None:
        created = np.where(given.is_null().to_numpy(zero_copy_only=False), created, encode.microseconds(given))
        data = data.drop_columns([table.created])
    return data.append_column(table.created, pa.array(created, pa.int64()).cast(pa.timestamp("us", "UTC")))


def _append_slice(connection: psycopg.Connection[Any], table: Table, data: pa.Table) -> int:
    """Append one slice. TimescaleDB limits how many compressed rows a statement may touch: past it, append in halves."""
    try:
        inserted = append_columns(connection, table, _encoded(table, data))
        connection.commit()
    except psycopg.errors.ConfigurationLimitExceeded:
        connection.rollback()
        if data.num_rows == 1:
            raise
        half = data.num_rows // 2
        return sum(_append_slice(connection, table, part) for part in (data.slice(0, half), data.slice(half)))
    return inserted


def _encoded(table: Table, data: pa.Table) -> list[encode.Column]:
    encoded = []
    for name, kind in table.columns.items():
        column = data.column(name).combine_chunks() if name in data.column_names else pa.nulls(data.num_rows)
        try:
            encoded.append(encode.column_of(column, kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"{'.'.join(table.name)}.{name}: {error}") from error
    return encoded
