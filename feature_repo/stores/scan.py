"""All rows of a stretch of time, read once: one message for each key instead of one for each row.

The server packs the rows of a key into arrays. That costs it no more than sending them one by one, and costs this side
next to nothing: an array without nulls is a matrix of 12-byte cells (``int32 length`` 8, then the value), read as it is.
A null is sent as one NaN that no computation gives, so that it differs from a NaN that is stored.

Source: PostgreSQL's ``array_send``: ``int32`` dimensions, flags, element type, then length and lower bound of each
dimension, then the elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.encode import EPOCH_US, SIGNATURE, TRAILER
from feature_repo.stores.lookup import KEYS, Lookup, within

VOID: Final = np.array([0x7FF8_0054_4653_0001], np.uint64).view(np.float64)
"""A quiet NaN with a payload: what a null is sent as, from column ``void`` of `KEYS`."""

PACKED: Final = frozenset({701, 20})
"""Types that can be packed: double precision and bigint."""

_CELL: Final = {701: np.dtype([("size", ">i4"), ("value", ">f8")]), 20: np.dtype([("size", ">i4"), ("value", ">i8")])}
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a stretch of time, sorted by key, event and created time.

    Attributes
    ----------
    key, event, created
        (n,); times in microseconds since 1970 UTC.
    """

    key: _Ints
    event: _Ints
    created: _Ints
    _order: _Ints
    _doubles: NDArray[Any]
    _whole: NDArray[Any]
    _types: Sequence[int]

    def take(self, positions: _Ints) -> list[pa.Array]:
        """The features of the rows at `positions`, a column each."""
        at = self._order[positions]
        doubles = np.ascontiguousarray(self._doubles[at]["value"].T.astype(np.float64))
        whole = np.ascontiguousarray(self._whole[at]["value"].T.astype(np.int64))
        void = VOID.view(np.uint64)[0]
        columns = []
        used = {701: 0, 20: 0}
        for kind in self._types:
            i = used[kind]
            used[kind] += 1
            if kind == 701:
                columns.append(pa.array(doubles[i], mask=doubles[i].view(np.uint64) == void))
            else:
                columns.append(pa.array(whole[2 * i], mask=whole[2 * i + 1] != 0))
        return columns


def statement(
    lookup: Lookup, types: Sequence[int], begin: int, end: int, *, limit: int | None = None
) -> tuple[sql.Composed, sql.Composed]:
    """Statements for `KEYS`: the rows with event time in ``[begin, end]``, and the same packed by key.

    Parameters
    ----------
    lookup
        The view; every type is in `PACKED`.
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
    for feature, kind in zip(lookup.features, types, strict=True):
        column = sql.Identifier("r", feature)
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
        sql.SQL(", ").join(packed),
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


def read(connection: psycopg.Connection[Any], packed: sql.Composable, types: Sequence[int]) -> Rows:
    """Run a packed statement and sort its rows."""
    parts: list[tuple[int, list[NDArray[Any]]]] = []
    # The planner cannot see behind the limit that there are few keys, and would sort by them.
    connection.execute("SET LOCAL enable_sort = off")
    with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(packed)) as copy:
        first = True
        for message in copy:
            at, first = (len(SIGNATURE), False) if first else (0, first)
            if len(message) - at > len(TRAILER):
                parts.append(_fields(bytes(message), at))
    connection.execute("SET LOCAL enable_sort = on")
    kinds = [20, 20, *(kind for kind in (701, 20) if kind in types)]
    columns = [
        np.concatenate([fields[i] for _, fields in parts] or [np.empty((0,), _CELL[kind])])
        for i, kind in enumerate(kinds)
    ]
    sizes = [len(fields[0]) for _, fields in parts]
    key = np.repeat(np.array([number for number, _ in parts], np.int64), np.array(sizes, np.int64))
    event, created = (column["value"].astype(np.int64) + EPOCH_US for column in columns[:2])
    order = np.lexsort((created, event, key))
    by_kind = dict(zip(kinds[2:], columns[2:], strict=True))
    nothing = np.empty((len(key), 0))
    return Rows(
        key[order],
        event[order],
        created[order],
        order,
        by_kind.get(701, nothing.astype(_CELL[701])),
        by_kind.get(20, nothing.astype(_CELL[20])),
        types,
    )


def _fields(message: bytes, at: int) -> tuple[int, list[NDArray[Any]]]:
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
