"""All rows of one view in a range of event time: days that the lake has as the database does from there, the others from the database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import psycopg
import pyarrow as pa

from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.join import from_lake, statement
from feature_repo.stores.offline.join.from_lake import DAY_US
from feature_repo.stores.offline.join.lookup import Lookup
from feature_repo.stores.offline.lake import read
from feature_repo.stores.offline.lake.tables import CREATED, EVENT, KEY
from feature_repo.stores.offline.tables.schema import RECOMPUTED
from transforms.times import datetime_of_us, us_of_datetime

log = logging.getLogger(__name__)

_T = TypeVar("_T")


def rows(connection: psycopg.Connection[Any], lookup: Lookup, period: tuple[datetime, datetime]) -> pa.Table:
    """Return what ``statement.rows_between`` asks for, in its order."""
    query = statement.rows_between(lookup, period)
    described = decode.describe(connection, query)
    kinds = dict(described)
    lake = from_lake.view_of(connection, lookup, [kinds[name] for name in lookup.names])
    if lake is None:
        return decode.read_table(connection, query)
    try:
        begin, end = map(us_of_datetime, period)

        def asked(first: int, last: int) -> pa.Table:
            between = (datetime_of_us(first), datetime_of_us(last))
            return decode.read_table(connection, statement.rows_between(lookup, between))

        parts = list(days(lake, begin, end, lambda day: _of_day(lake, lookup, day, begin, end), asked))
        return pa.concat_tables(parts) if parts else decode.read_table(connection, query)
    except (OSError, pa.ArrowException) as error:
        log.warning("%s is read from the database: %.300s", lookup.view, error)
        read.forget(lake)
        return decode.read_table(connection, query)


def days(
    lake: read.View, begin: int, end: int, of_day: Callable[[int], _T | None], asked: Callable[[int, int], _T]
) -> Iterator[_T]:
    """Yield what there is from `begin` to `end`, both included, oldest first.

    `of_day` reads a day of the lake, None where it has nothing; `asked` reads from the database what lies between these, by its first and
    last microsecond.
    """
    at = begin
    for day in sorted(day for day in lake.files if begin // DAY_US <= day <= end // DAY_US):
        if at < day * DAY_US:
            yield asked(at, day * DAY_US - 1)
        at = (day + 1) * DAY_US
        if (found := of_day(day)) is not None:
            yield found
    if at <= end:
        yield asked(at, end)


def _of_day(lake: read.View, lookup: Lookup, day: int, begin: int, end: int) -> pa.Table | None:
    groups = [group for group in lake.groups(day) if group.events[0] <= end and group.events[1] >= begin]
    if not groups:
        return None
    found = lake.read(groups, [KEY, EVENT, CREATED, RECOMPUTED, *lookup.features])
    names = [EVENT, CREATED, *lookup.key_names, *lookup.names]
    event, created = (found.column(name).combine_chunks().view(pa.int64()).to_numpy() for name in (EVENT, CREATED))
    index = found.column(KEY).combine_chunks().indices.to_numpy()
    rank = np.cumsum(np.diff(index, prepend=index[0]) != 0)
    kept = from_lake.counting(found, lookup.history, rank, event)
    kept = np.arange(len(event)) if kept is None else kept
    kept = kept[(event[kept] >= begin) & (event[kept] <= end)]
    order = pa.array(kept[np.lexsort((created[kept], rank[kept], event[kept]))])
    sorted_rows = found.select([EVENT, CREATED, KEY, *lookup.features]).combine_chunks().take(order)
    columns = sorted_rows.columns
    # UTC without a zone, as rows of the database are decoded.
    times = [column.cast(pa.timestamp("us")) for column in columns[:2]]
    return pa.table([*times, columns[2].cast(pa.string()), *columns[3:]], names=names)
