"""The point-in-time join: which plan, in which slices of time, and the result put together in the caller's order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores import asof, decode, encode, scan
from feature_repo.stores.lookup import ASKED, KEYS, Lookup, look_up
from feature_repo.stores.schema import TYPES
from feature_repo.stores.spine import Keys, Spine, column_type, keys
from feature_repo.stores.write import column_of

SLICE_CELLS: Final = 4_000_000
"""Feature values that a scan should hold at a time: what bounds its memory."""

FEW: Final = 100
"""Entity rows that are looked up without asking what a scan would cost."""

SAMPLE: Final = 10_000
"""Entity rows by which the cost of looking up all is estimated."""

_PACKED: Final = 0.6
"""What packing and sending a row of a scan costs, in the planner's units. Measured: a row scanned takes 1.25 µs in all and
is put at 0.23 without this; a look-up takes 12 µs and is put at 8."""

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Entity rows of one view that can have a row: sorted by moment."""

    row: _Ints
    moment: _Ints
    code: _Ints

    @property
    def begin(self) -> int:
        return int(self.moment[0])

    @property
    def end(self) -> int:
        return int(self.moment[-1])

    def part(self, chosen: Any) -> _Asked:
        return _Asked(self.row[chosen], self.moment[chosen], self.code[chosen])


def join(connections: Sequence[psycopg.Connection[Any]], spine: Spine, lookups: Sequence[Lookup]) -> pa.Table:
    """The entity rows with the features of each view, every row once and in order.

    Parameters
    ----------
    connections
        Each in a transaction, all with one snapshot; as many views are read at a time. Temporary tables are made in
        them, and dropped at their end.
    spine
        The entity rows.
    lookups
        The views. Names of their features differ from each other and from the spine's columns.

    Raises
    ------
    ValueError
        Two columns of the result would have one name.
    decode.UnsupportedTypeError
        A feature has a type that is not decoded.
    """
    names = [*spine.table.column_names, *(name for lookup in lookups for name in lookup.names)]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{', '.join(twice)}: columns of the result would share a name; ask for full_feature_names")
    distinct = {names: keys(spine, names) for names in {lookup.key_names for lookup in lookups}}
    free: SimpleQueue[psycopg.Connection[Any]] = SimpleQueue()
    for connection in connections:
        free.put(connection)

    def read(lookup: Lookup) -> list[pa.Array]:
        connection = free.get()
        try:
            return list(_features(connection, spine, lookup, distinct[lookup.key_names]))
        finally:
            free.put(connection)

    result = spine.table
    with ThreadPoolExecutor(len(connections)) as pool:
        for lookup, columns in zip(lookups, pool.map(read, lookups), strict=True):
            for name, column in zip(lookup.names, columns, strict=True):
                result = result.append_column(name, column)
    return result


def _features(connection: psycopg.Connection[Any], spine: Spine, lookup: Lookup, key: Keys) -> Iterator[pa.Array]:
    types = _types(connection, lookup)
    rows = np.flatnonzero(spine.present & (key.codes >= 0))
    rows = rows[np.argsort(spine.moments[rows], kind="stable")]
    asked = _Asked(rows, spine.moments[rows], key.codes[rows])
    found: list[_Ints] = []
    parts: list[list[pa.Array]] = []
    for numbers, columns in _plan(connection, lookup, key, asked, types):
        found.append(numbers)
        parts.append(columns)
    # Where in the concatenation the row of each entity row lies; null where there is none.
    position = np.full(spine.table.num_rows, asof.NONE, np.int64)
    if found:
        numbers = np.concatenate(found)
        position[numbers] = np.arange(len(numbers))
    taken = pa.array(position, pa.int64(), mask=position == asof.NONE)
    for i, kind in enumerate(types):
        arrow = decode.arrow_type(kind)
        yield pa.concat_arrays([part[i] for part in parts] or [pa.array([], arrow)]).take(taken)
        for part in parts:
            part[i] = None


def _types(connection: psycopg.Connection[Any], lookup: Lookup) -> list[int]:
    columns = sql.SQL(", ").join(sql.Identifier("r", feature) for feature in lookup.features)
    described = decode.describe(connection, sql.SQL("SELECT {} FROM {} AS r").format(columns, lookup.source))
    types = [kind for _, kind in described]
    for kind in types:
        decode.arrow_type(kind)
    return types


_Found = Iterator[tuple[_Ints, list[pa.Array]]]


def _plan(connection: psycopg.Connection[Any], lookup: Lookup, key: Keys, asked: _Asked, types: list[int]) -> _Found:
    if not len(asked.row):
        return
    # A plan is chosen by a sample; where that is all, it is uploaded already.
    step = -(-len(asked.row) // SAMPLE)
    _upload_asked(connection, key, asked.part(slice(None, None, step)))
    looked_up = len(asked.row) <= FEW or not scan.PACKED.issuperset(types)
    rows = 0.0
    if not looked_up:
        _upload_keys(connection, key)
        scanned, rows = _cost(connection, scan.statement(lookup, types, asked.begin - lookup.ttl, asked.end)[0])
        each, _ = _cost(connection, look_up(lookup, asked.begin, asked.end))
        looked_up = each * step <= scanned + _PACKED * rows
    if looked_up:
        if step > 1:
            _upload_asked(connection, key, asked)
        yield from _look_up(connection, lookup, asked, types)
        return
    span = max(1, int((asked.end - asked.begin) * min(1.0, SLICE_CELLS / (1 + rows * len(types)))))
    start = 0
    while start < len(asked.row):
        stop = int(np.searchsorted(asked.moment, asked.moment[start] + span, side="right"))
        yield from _scan(connection, lookup, key, asked.part(slice(start, stop)), types, span)
        start = stop


def _look_up(connection: psycopg.Connection[Any], lookup: Lookup, asked: _Asked, types: list[int]) -> _Found:
    for number, *columns in decode.read(connection, look_up(lookup, asked.begin, asked.end), [_BIGINT, *types]):
        yield number.to_numpy(), columns


def _scan(
    connection: psycopg.Connection[Any], lookup: Lookup, key: Keys, asked: _Asked, types: list[int], span: int
) -> _Found:
    # Rows before the slice may hold in it. Past a slice's width they are looked up instead of read again and again.
    back = lookup.ttl if 0 < lookup.ttl <= span else span
    most = 4 * SLICE_CELLS // len(types)
    _, packed = scan.statement(lookup, types, asked.begin - back, asked.end, limit=most + 1)
    rows = scan.read(connection, packed, types)
    if len(rows.key) > most:
        # The planner knew less than there is: halves, until a slice fits or is one moment.
        del rows
        middle = int(np.searchsorted(asked.moment, (asked.begin + asked.end) // 2, side="right"))
        if asked.begin == asked.end:
            _upload_asked(connection, key, asked)
            yield from _look_up(connection, lookup, asked, types)
        else:
            for half in (slice(0, middle), slice(middle, None)):
                yield from _scan(connection, lookup, key, asked.part(half), types, max(1, span // 2))
        return
    at = asof.latest(asked.code, asked.moment, rows.key, rows.event, rows.created, lookup.ttl, known=lookup.known)
    hit = at != asof.NONE
    if hit.any():
        yield asked.row[hit], rows.take(at[hit])
    del rows
    if back != lookup.ttl:
        rest = asked.part(~hit)
        if len(rest.row):
            _upload_asked(connection, key, rest)
            yield from _look_up(connection, lookup, rest, types)


def _cost(connection: psycopg.Connection[Any], query: sql.Composable) -> tuple[float, float]:
    """The planner's cost of a statement and its estimate of the rows."""
    row = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query)).fetchone()
    plan = row[0] if row else "[]"
    top = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return float(top["Total Cost"]), float(top["Plan Rows"])


def _upload_asked(connection: psycopg.Connection[Any], key: Keys, asked: _Asked) -> None:
    codes = pa.array(asked.code)
    columns: list[tuple[str, str, encode.Column]] = [
        ("n", TYPES["Int64"], encode.integers(asked.row)),
        ("t", TYPES["UnixTimestamp"], encode.times(asked.moment)),
    ]
    for i, part in enumerate(key.columns):
        columns.append((f"k{i}", column_type(part.type), column_of(part.take(codes), column_type(part.type))))
    _upload(connection, ASKED, columns)


def _upload_keys(connection: psycopg.Connection[Any], key: Keys) -> None:
    count = len(key.columns[0]) if key.columns else 1
    columns: list[tuple[str, str, encode.Column]] = [
        ("id", TYPES["Int64"], encode.integers(np.arange(count))),
        ("void", TYPES["Float64"], encode.Fixed(np.repeat(scan.VOID, count).astype(">f8"))),
    ]
    for i, part in enumerate(key.columns):
        columns.append((f"k{i}", column_type(part.type), column_of(part, column_type(part.type))))
    _upload(connection, KEYS, columns)


def _upload(
    connection: psycopg.Connection[Any], table: sql.Identifier, columns: Sequence[tuple[str, str, encode.Column]]
) -> None:
    """Make a temporary table by binary COPY, with statistics: the planner chooses by them."""
    body = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind, _ in columns)
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        cursor.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(table, body))
        with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)) as copy:
            for block in encode.encode([column for _, _, column in columns]):
                copy.write(block)
        cursor.execute(sql.SQL("ANALYZE {}").format(table))


_BIGINT: Final = 20
