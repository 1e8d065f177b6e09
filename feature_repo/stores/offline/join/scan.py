"""All rows of a stretch of time, read once, by key.

A view of doubles and whole numbers comes as one message for each key, not one for each row: the server packs the rows of
a key into arrays. That costs the server little more than sending rows, and decoding costs next to nothing: an array
without nulls is a matrix of 12-byte cells (``int32 length`` 8, then the value). A null is sent as `VOID`, so that it
differs from a stored NaN. A view with any other type comes row by row.

Source: PostgreSQL's ``array_send``: ``int32`` dimensions, flags, element type, then length and lower bound of each
dimension, then the elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import prod
from struct import Struct
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.binary import format as wire
from feature_repo.stores.offline.histories import is_other
from feature_repo.stores.offline.join.gather import Columns
from feature_repo.stores.offline.join.lookup import Lookup, not_after, within
from feature_repo.stores.offline.join.spine import KEYS, VOID, key_columns

_Ints = NDArray[np.int64]

_PACKED: Final = {wire.FLOAT8: "ARRAY[{}]::double precision[] AS doubles", wire.INT8: "ARRAY[{}]::bigint[] AS wholes"}
"""Types that are packed, and the array of the features of one."""
_AGGREGATED: Final = {wire.FLOAT8: "array_agg(doubles)", wire.INT8: "array_agg(wholes)"}
_ELEMENTS: Final = {wire.FLOAT8: "COALESCE({0}, k.void)", wire.INT8: "COALESCE({0}, 0), ({0} IS NULL)::integer::bigint"}
_CELL: Final = {
    kind: np.dtype([("length", ">i4"), ("value", value)])
    for kind, value in {wire.FLOAT8: ">f8", wire.INT8: ">i8", wire.INT4: ">i4", wire.TIMESTAMPTZ: ">i8"}.items()
}
_KEY: Final = Struct(">hiq")  # number of fields; length and value of the first, which is the number of the key
_ARRAY: Final = Struct(">iiii")  # length of the field, dimensions, flags, element type
_DIMENSION: Final = Struct(">ii")  # length, lower bound


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one key (its number in `KEYS`) in a stretch of time, sorted by event and created time.

    ``told`` is the column ``s`` of `statement`, or None where there is none; `counting` makes silences in microseconds of it.
    ``put`` is called with `Columns`, (m,) entity rows to fill in, and the (m,) positions of the rows here that hold.
    """

    key: int
    event: _Ints
    created: _Ints
    put: Callable[[Columns, _Ints, _Ints], None]
    told: _Ints | None = None


def can_pack(types: Sequence[int]) -> bool:
    """Return whether a view of these types is sent as arrays."""
    return _PACKED.keys() >= set(types)


def read_rows(
    connection: psycopg.Connection[Any], lookup: Lookup, types: Sequence[int], begin: int, end: int, *, limit: int
) -> list[Rows]:
    """Return the rows of the keys in `KEYS` with event time in ``[begin, end]``, but no more than `limit` of them."""
    rows = statement(lookup, types, begin, end, limit=limit)
    read = _read_packed if can_pack(types) else _read_plain
    return read(connection, rows, types, told=_tells(lookup))


def counting(rows: Rows) -> Rows:
    """Return the rows that count in the history that is read, with their silences in microseconds.

    Rows of the other history count at event times at which the one that is read has no row.
    """
    if rows.told is None:
        return rows
    is_another = rows.told < 0
    silence = np.where(is_another, ~rows.told, rows.told) * 1_000
    if not is_another.any():
        return replace(rows, told=silence)
    first = np.flatnonzero(np.diff(rows.event, prepend=rows.event[0] - 1))  # of each event time
    has_own = np.logical_or.reduceat(~is_another, first)
    kept = np.flatnonzero(~is_another | ~np.repeat(has_own, np.diff(first, append=len(rows.event))))
    put = rows.put
    return Rows(
        rows.key,
        rows.event[kept],
        rows.created[kept],
        lambda into, entity_rows, at: put(into, entity_rows, kept[at]),
        silence[kept],
    )


def statement(lookup: Lookup, types: Sequence[int], begin: int, end: int, *, limit: int | None = None) -> sql.Composed:
    """Return the statement for the rows of the keys in `KEYS` with event time in ``[begin, end]``, in any order.

    Columns are ``id, e, c``, ``s`` where the look-up tells silences or has a history, and the features; where `can_pack` is true of
    their types, one array for each type. ``s`` is the silence, or its complement, which is negative, in a row of the other history.
    """
    event = sql.Identifier("r", lookup.event)
    created = sql.Identifier("r", lookup.created or lookup.event)
    on = lookup.same_key("k", key_columns(len(lookup.keys)))
    where = within(lookup, event, begin, end)
    if lookup.created and lookup.history is None:
        # A row created after the last moment of the stretch is known at none of its moments. It says all the same which history counts.
        where.append(not_after(created, end) if lookup.known else sql.SQL("{} IS NOT NULL").format(created))
    selected = lookup.columns
    if can_pack(types):
        selected = [_array(kind, selected, types) for kind in _kinds(types)]
    if _tells(lookup):
        silence = sql.SQL("COALESCE({}, 0)").format(sql.Identifier("r", lookup.silence) if lookup.silence else sql.NULL)
        if lookup.history is not None:
            is_another = is_other("r", lookup.history)
            silence = sql.SQL("CASE WHEN {0} THEN ~{1} ELSE {1} END").format(is_another, silence)
        selected = [sql.SQL("{} AS s").format(silence), *selected]
    return sql.SQL(
        "SELECT k.id, {}::timestamptz AS e, {}::timestamptz AS c, {} FROM {} AS k JOIN {} AS r ON {} WHERE {} LIMIT {}"
    ).format(
        event,
        created,
        sql.SQL(", ").join(selected),
        KEYS,
        lookup.source,
        sql.SQL(" AND ").join(on) if on else sql.SQL("TRUE"),
        sql.SQL(" AND ").join(where),
        sql.Literal(limit),
    )


def _tells(lookup: Lookup) -> bool:
    """Return whether the statement has a column of silences, which also says of which history a row is."""
    return lookup.tells_silence or lookup.history is not None


def _kinds(types: Sequence[int]) -> list[int]:
    """Return the types that have an array, in the order of the arrays."""
    return [kind for kind in _PACKED if kind in types]


def _array(kind: int, columns: Sequence[sql.Composable], types: Sequence[int]) -> sql.Composed:
    elements = [sql.SQL(_ELEMENTS[kind]).format(c) for c, own in zip(columns, types, strict=True) if own == kind]
    return sql.SQL(_PACKED[kind]).format(sql.SQL(", ").join(elements))


def _read_packed(
    connection: psycopg.Connection[Any], rows: sql.Composable, types: Sequence[int], *, told: bool
) -> list[Rows]:
    kinds = _kinds(types)
    head = ["array_agg(e)", "array_agg(c)", *(["array_agg(s)"] if told else [])]
    arrays = sql.SQL(", ").join(map(sql.SQL, [*head, *(_AGGREGATED[kind] for kind in kinds)]))
    query = sql.SQL("SELECT id, {} FROM ({}) AS given GROUP BY id").format(arrays, rows)
    found = []
    # The limit hides from the planner that there are few keys: it would sort the rows by key.
    connection.execute("SET LOCAL enable_sort = off")
    with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)) as copy:
        at = len(wire.SIGNATURE)
        for message in copy:
            if len(message) - at > len(wire.TRAILER):
                key, (event, created, *cells) = _parse(message, at)
                times = [column["value"].astype(np.int64) + wire.EPOCH_US for column in (event, created)]
                silent = cells.pop(0)["value"].astype(np.int64) if told else None
                put = partial(_put_cells, dict(zip(kinds, cells, strict=True)), types)
                found.append(_sorted(Rows(key, times[0], times[1], put, silent)))
            at = 0
    connection.execute("SET LOCAL enable_sort = on")
    return found


def _parse(message: bytes | bytearray | memoryview, at: int) -> tuple[int, list[NDArray[Any]]]:
    """Return the number of the key and the arrays of one message."""
    *_, key = _KEY.unpack_from(message, at)
    at += _KEY.size
    arrays = []
    while at < len(message):
        length, dimensions, _, element = _ARRAY.unpack_from(message, at)
        first = at + _ARRAY.size
        elements = first + dimensions * _DIMENSION.size
        shape = [size for size, _ in _DIMENSION.iter_unpack(message[first:elements])]
        arrays.append(np.frombuffer(message, _CELL[element], prod(shape), elements).reshape(shape))
        at += wire.LENGTH_BYTES + length
    return key, arrays


def _put_cells(
    cells: Mapping[int, NDArray[Any]], types: Sequence[int], into: Columns, rows: _Ints, positions: _Ints
) -> None:
    values = {
        kind: matrix[positions]["value"].astype(matrix["value"].dtype.newbyteorder("="))
        for kind, matrix in cells.items()
    }
    void = VOID.view(np.uint64)[0]
    used: Counter[int] = Counter()
    for i, kind in enumerate(types):
        column = used[kind]
        if kind == wire.FLOAT8:
            value = values[wire.FLOAT8][:, column]
            into.put_values(i, rows, value, np.ascontiguousarray(value).view(np.uint64) != void)
            used[kind] += 1
        else:  # each whole number has two elements: the value, and 1 where it is null
            into.put_values(i, rows, values[wire.INT8][:, column], values[wire.INT8][:, column + 1] == 0)
            used[kind] += 2


def _read_plain(
    connection: psycopg.Connection[Any], rows: sql.Composable, types: Sequence[int], *, told: bool
) -> list[Rows]:
    head = [wire.INT8, wire.TIMESTAMPTZ, wire.TIMESTAMPTZ, *([wire.INT4] if told else [])]
    batches = list(decode.read_columns(connection, rows, [*head, *types]))
    if not batches:
        return []
    columns = [pa.concat_arrays(parts) for parts in zip(*batches, strict=True)]
    del batches
    key, event, created = (column.view(pa.int64()).to_numpy() for column in columns[:3])
    features = columns[len(head) :]
    order = np.lexsort((created, event, key))
    key, event, created = key[order], event[order], created[order]
    silent = columns[3].to_numpy()[order].astype(np.int64) if told else None
    edges = np.flatnonzero(np.diff(key, prepend=-1, append=-1))

    def put(begin: int, into: Columns, entity_rows: _Ints, positions: _Ints) -> None:
        at = pa.array(order[begin + positions])
        into.put(entity_rows, [column.take(at) for column in features])

    return [
        Rows(
            int(key[begin]),
            event[begin:end],
            created[begin:end],
            partial(put, begin),
            None if silent is None else silent[begin:end],
        )
        for begin, end in pairwise(edges.tolist())
    ]


def _sorted(rows: Rows) -> Rows:
    """Return rows in order of time. `put` gets their positions in the order in which they came."""
    event, created, put = rows.event, rows.created, rows.put
    later = event[1:] > event[:-1]
    if np.all(later | ((event[1:] == event[:-1]) & (created[1:] >= created[:-1]))):
        return rows
    order = np.lexsort((created, event))
    told = None if rows.told is None else rows.told[order]
    return Rows(
        rows.key, event[order], created[order], lambda into, entity_rows, at: put(into, entity_rows, order[at]), told
    )
