"""All rows of a stretch of time, read once, by key.

Views of doubles and whole numbers come as one message for each key instead of one for each row: the server packs the
rows of a key into arrays. That costs it little more than sending them one by one, and costs this side next to nothing:
an array without nulls is a matrix of 12-byte cells (``int32 length`` 8, then the value), read as it is. A null is sent as
one NaN that no computation gives, so that it differs from a NaN that is stored. Views with any other type come row by row.

Source: PostgreSQL's ``array_send``: ``int32`` dimensions, flags, element type, then length and lower bound of each
dimension, then the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.binary.encode import EPOCH_US, SIGNATURE, TRAILER
from feature_repo.stores.offline.join.gather import Columns
from feature_repo.stores.offline.join.lookup import KEYS, Lookup, within

VOID: Final = np.array([0x7FF8_0054_4653_0001], np.uint64).view(np.float64)
"""A quiet NaN with a payload: what a null is sent as, from column ``void`` of `KEYS`."""

PACKED: Final = frozenset({701, 20})
"""Types that can be packed: double precision and bigint."""

_CELL: Final = {701: np.dtype([("size", ">i4"), ("value", ">f8")]), 20: np.dtype([("size", ">i4"), ("value", ">i8")])}
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one key in a stretch of time, sorted by event and created time.

    Attributes
    ----------
    key
        Number of the key in `KEYS`.
    event, created
        (n,) microseconds since 1970 UTC.
    put
        Called with `Columns`, the (m,) entity rows to fill in, and the (m,) positions of the rows here that hold.
    """

    key: int
    event: _Ints
    created: _Ints
    put: Callable[[Columns, _Ints, _Ints], None]


def read(
    connection: psycopg.Connection[Any], lookup: Lookup, types: Sequence[int], begin: int, end: int, *, limit: int
) -> list[Rows]:
    """The rows of the keys in `KEYS` with event time in ``[begin, end]``, at most `limit` of them, whichever they are."""
    rows, packed = statement(lookup, types, begin, end, limit=limit)
    return _packed(connection, packed, types) if PACKED.issuperset(types) else _plain(connection, rows, types)


def statement(
    lookup: Lookup, types: Sequence[int], begin: int, end: int, *, limit: int | None = None
) -> tuple[sql.Composed, sql.Composed]:
    """Statements for `KEYS`: the rows with event time in ``[begin, end]``, and the same packed by key.

    Rows are ``id, event, created`` and, where every type is in `PACKED`, arrays, else the features.

    Parameters
    ----------
    lookup
        The view.
    types
        Types of its features.
    begin, end
        Microseconds since 1970 UTC.
    limit
        Stop after so many rows, whichever they are.
    """
    event = sql.Identifier("r", lookup.event)
    created = sql.Identifier("r", lookup.created or lookup.event)
    on = [
        sql.SQL("{} = {}").format(sql.Identifier("r", own), sql.Identifier("k", f"k{i}"))
        for i, (_, own) in enumerate(lookup.keys)
    ]
    where = within(lookup, event, begin, end)
    if lookup.created:
        # What was created after the last moment of the stretch is known at none of them.
        where.append(
            within(lookup, created, None, end)[0] if lookup.known else sql.SQL("{} IS NOT NULL").format(created)
        )
    doubles, whole = [], []
    plain = [sql.Identifier("r", feature) for feature in lookup.features]
    can_pack = PACKED.issuperset(types)
    for column, kind in zip(plain, types, strict=True):
        if not can_pack:
            break
        if kind == 701:
            doubles.append(sql.SQL("COALESCE({}, k.void)").format(column))
        else:
            whole.append(sql.SQL("COALESCE({0}, 0), ({0} IS NULL)::integer::bigint").format(column))
    packed = [
        sql.SQL("ARRAY[{}]::{} AS {}").format(sql.SQL(", ").join(cells), sql.SQL(kind), sql.SQL(name))
        for cells, kind, name in ((doubles, "double precision[]", "d"), (whole, "bigint[]", "w"))
        if cells
    ]
    rows = sql.SQL("SELECT k.id, {} AS e, {} AS c, {} FROM {} AS k JOIN {} AS r ON {} WHERE {} LIMIT {}").format(
        event,
        created,
        sql.SQL(", ").join(packed if can_pack else plain),
        KEYS,
        lookup.source,
        sql.SQL(" AND ").join(on) if on else sql.SQL("TRUE"),
        sql.SQL(" AND ").join(where),
        sql.Literal(limit),
    )
    arrays = sql.SQL(", ").join(
        sql.SQL("array_agg({})").format(sql.SQL(name)) for name, cells in (("d", doubles), ("w", whole)) if cells
    )
    return rows, sql.SQL("SELECT id, array_agg(e), array_agg(c), {} FROM ({}) AS s GROUP BY id").format(arrays, rows)


def _packed(connection: psycopg.Connection[Any], packed: sql.Composable, types: Sequence[int]) -> list[Rows]:
    found = []
    # The planner cannot see behind the limit that there are few keys, and would sort by them.
    connection.execute("SET LOCAL enable_sort = off")
    with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(packed)) as copy:
        at = len(SIGNATURE)
        for message in copy:
            if len(message) - at > len(TRAILER):
                key, (event, created, *cells) = _fields(message, at)
                when, known = (column["value"].astype(np.int64) + EPOCH_US for column in (event, created))
                by_kind = dict(zip([kind for kind in (701, 20) if kind in types], cells, strict=True))
                found.append(_sorted(key, when, known, partial(_put_cells, by_kind, types)))
            at = 0
    connection.execute("SET LOCAL enable_sort = on")
    return found


def _put_cells(
    cells: dict[int, NDArray[Any]], types: Sequence[int], into: Columns, rows: _Ints, positions: _Ints
) -> None:
    values = {
        kind: matrix[positions]["value"].astype(matrix["value"].dtype.newbyteorder("="))
        for kind, matrix in cells.items()
    }
    void = VOID.view(np.uint64)[0]
    used = {701: 0, 20: 0}
    for i, kind in enumerate(types):
        column = used[kind]
        used[kind] += 1
        if kind == 701:
            one = values[701][:, column]
            into.put_values(i, rows, one, np.ascontiguousarray(one).view(np.uint64) != void)
        else:
            into.put_values(i, rows, values[20][:, 2 * column], values[20][:, 2 * column + 1] == 0)


def _plain(connection: psycopg.Connection[Any], query: sql.Composable, types: Sequence[int]) -> list[Rows]:
    batches = list(decode.read(connection, query, [20, 1184, 1184, *types]))
    if not batches:
        return []
    columns = [pa.concat_arrays([batch[i] for batch in batches]) for i in range(3 + len(types))]
    del batches
    key, event, created = (column.view(pa.int64()).to_numpy() for column in columns[:3])
    order = np.lexsort((created, event, key))
    key, event, created = key[order], event[order], created[order]
    edges = np.flatnonzero(np.diff(key, prepend=-1, append=-1))

    def put(begin: int, into: Columns, rows: _Ints, positions: _Ints) -> None:
        at = pa.array(order[begin + positions])
        into.put(rows, [column.take(at) for column in columns[3:]])

    return [
        Rows(int(key[begin]), event[begin:end], created[begin:end], partial(put, begin))
        for begin, end in pairwise(edges.tolist())
    ]


def _sorted(key: int, event: _Ints, created: _Ints, put: Callable[[Columns, _Ints, _Ints], None]) -> Rows:
    """Rows in order; where they came in another one, their positions are mapped back."""
    later = event[1:] > event[:-1]
    if np.all(later | ((event[1:] == event[:-1]) & (created[1:] >= created[:-1]))):
        return Rows(key, event, created, put)
    order = np.lexsort((created, event))
    return Rows(key, event[order], created[order], lambda into, rows, at: put(into, rows, order[at]))


def _fields(message: bytes | bytearray | memoryview, at: int) -> tuple[int, list[NDArray[Any]]]:
    """The key's number and the arrays of one message."""
    at += 2
    number = int.from_bytes(message[at + 4 : at + 12], "big")
    at += 12
    arrays = []
    while at < len(message):
        size, dimensions, _, element = np.frombuffer(message, ">i4", 4, at).tolist()
        shape = np.frombuffer(message, ">i4", 2 * dimensions, at + 16)[::2].tolist()
        cell = _CELL[701 if element == 701 else 20]
        arrays.append(np.frombuffer(message, cell, int(np.prod(shape)), at + 16 + 8 * dimensions).reshape(shape))
        at += 4 + size
    return number, arrays
