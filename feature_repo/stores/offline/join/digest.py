"""What rows of a table are: how many, the newest ``created_timestamp`` and a digest, by who made them.

The digest is the sum of the hashes that the database gives the rows, modulo 2**64, so it does not depend on their order. Days that the lake
has as the database does are read from the lake, and hash there to the same numbers (``stores.offline.binary.hashes``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import hashes
from feature_repo.stores.offline.join import from_lake, period
from feature_repo.stores.offline.lake import read
from feature_repo.stores.offline.lake.sources import Group
from feature_repo.stores.offline.lake.tables import CREATED, EVENT, KEY, fits
from feature_repo.stores.offline.tables.schema import KERNELS, RECOMPUTED, SILENCE, Table
from transforms.times import datetime_of_us, us_of_datetime

log = logging.getLogger(__name__)

Maker = tuple[int | None, bool]
"""Who made a row: the number of its kernels, None where nobody knows, and whether it was recomputed."""
_TOGETHER: Final = 8  # row groups that are hashed at a time: the bound of the memory


@dataclass(frozen=True, slots=True)
class Digest:
    """Of the rows of one maker: how many, the newest created time, and the sum of their hashes, from 0 to 2**64 - 1."""

    rows: int
    newest: datetime | None
    total: int


def digests(
    connection: psycopg.Connection[Any],
    table: Table,
    features: Sequence[str],
    symbols: Sequence[str],
    span: tuple[datetime | None, datetime],
) -> dict[Maker, Digest]:
    """Return the digests of the rows of symbols in a span of event time, both ends included; its begin may be open.

    A row is its key, its times, the silence of its feed and `features`.
    """
    asked = partial(_of_database, connection, table, features, symbols)
    view = from_lake.days_of(connection, table.name) if fits(table) else None
    if view is None or not hashes.agree(connection):
        return asked(span)
    begin = us_of_datetime(span[0]) if span[0] else -(2**62)
    end = us_of_datetime(span[1])

    def between(first: int, last: int) -> dict[Maker, Digest]:
        return asked((span[0] if first == begin else datetime_of_us(first), datetime_of_us(last)))

    of_symbols = dict(zip(symbols, hashes.of_texts(connection, symbols), strict=True))
    of_day = partial(_of_day, view, features, of_symbols, (begin, end))
    try:
        return _together(period.days(view, begin, end, of_day, between))
    except (OSError, pa.ArrowException) as error:
        log.warning("%s is read from the database: %.300s", table.name[-1], error)
        read.forget(view)
        return asked(span)


def _together(parts: Iterable[dict[Maker, Digest]]) -> dict[Maker, Digest]:
    found: dict[Maker, Digest] = {}
    for part in parts:
        for maker, new in part.items():
            old = found.get(maker, Digest(0, None, 0))
            newest = max((at for at in (old.newest, new.newest) if at is not None), default=None)
            found[maker] = Digest(old.rows + new.rows, newest, (old.total + new.total) % 2**64)
    return found


def _of_database(
    connection: psycopg.Connection[Any],
    table: Table,
    features: Sequence[str],
    symbols: Sequence[str],
    span: tuple[datetime | None, datetime],
) -> dict[Maker, Digest]:
    names = [*table.keys, table.event, *filter(None, (table.created, table.silence)), *features]
    maker = (
        [sql.Identifier(KERNELS), sql.Identifier(RECOMPUTED)]
        if table.managed
        else [sql.SQL("NULL::smallint"), sql.SQL("false")]
    )
    event = sql.Identifier(table.event)
    since = [sql.SQL("{} >= {}").format(event, span[0])] if span[0] else []
    where = [
        sql.SQL("{} = ANY({})").format(sql.Identifier(*table.keys), list(symbols)),
        *since,
        sql.SQL("{} <= {}").format(event, span[1]),
    ]
    query = sql.SQL(
        "SELECT {maker}, count(*), max({created}), sum(hash_record_extended(ROW({columns}), 0)::numeric) FROM {table} "
        "WHERE {where} GROUP BY 1, 2"
    ).format(
        maker=sql.SQL(", ").join(maker),
        created=sql.Identifier(table.created or table.event),
        columns=sql.SQL(", ").join(map(sql.Identifier, names)),
        table=table.identifier,
        where=sql.SQL(" AND ").join(where),
    )
    return {
        (kernels, recomputed): Digest(rows, newest, int(total) % 2**64)
        for kernels, recomputed, rows, newest, total in connection.execute(query)
    }


def _of_day(
    view: read.View, features: Sequence[str], of_symbols: dict[str, np.uint64], between: tuple[int, int], day: int
) -> dict[Maker, Digest]:
    groups = [
        group
        for group in view.groups(day)
        if group.events[0] <= between[1]
        and group.events[1] >= between[0]
        and any(group.symbols[0] <= symbol <= group.symbols[1] for symbol in of_symbols)
    ]
    parts = [groups[i : i + _TOGETHER] for i in range(0, len(groups), _TOGETHER)]
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        return _together(pool.map(partial(_of_groups, view, features, of_symbols, between), parts))


def _of_groups(
    view: read.View,
    features: Sequence[str],
    of_symbols: dict[str, np.uint64],
    between: tuple[int, int],
    groups: Sequence[Group],
) -> dict[Maker, Digest]:
    told = view.read(groups, [KEY, EVENT, CREATED, SILENCE, KERNELS, RECOMPUTED])
    symbol, event, created = told.column(KEY).combine_chunks(), _us(told.column(EVENT)), _us(told.column(CREATED))
    names = symbol.dictionary.to_pylist()
    hashed = np.array([of_symbols.get(name, 0) for name in names], np.uint64)[symbol.indices]
    hashes.add_times(hashed, event)
    hashes.add_times(hashed, created)
    silence, is_told = read.numbers_of(told.column(SILENCE))
    hashes.add_wholes(hashed, silence.astype(np.int64), is_told)
    for values, is_valid in _columns(view, groups, features):
        add = hashes.add_doubles if values.dtype == np.float64 else hashes.add_wholes
        add(hashed, values, is_valid)
    is_asked = np.array([name in of_symbols for name in names])[symbol.indices]
    is_asked &= (event >= between[0]) & (event <= between[1])
    kernels, is_known = read.numbers_of(told.column(KERNELS))
    makers = kernels.astype(np.int64) * 4 + is_known * 2 + told.column(RECOMPUTED).to_numpy()
    found: dict[Maker, Digest] = {}
    for number in np.unique(makers[is_asked]).tolist():
        mine = is_asked & (makers == number)
        maker = (number // 4 if number % 4 >= 2 else None, number % 2 == 1)
        newest = datetime_of_us(int(created[mine].max()))
        found[maker] = Digest(int(mine.sum()), newest, int(hashed[mine].sum(dtype=np.uint64)))
    return found


def _columns(
    view: read.View, groups: Sequence[Group], features: Sequence[str]
) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_] | None]]:
    if view.is_far:
        rows = view.read(groups, features)
        yield from (read.numbers_of(rows.column(name)) for name in features)
    else:
        buffer = np.empty(sum(group.rows for group in groups))
        yield from (view.column(groups, name, buffer) for name in features)


def _us(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks().view(pa.int64()).to_numpy()
