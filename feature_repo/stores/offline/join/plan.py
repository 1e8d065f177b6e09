"""The point-in-time join: which plan, in which slices of time, and the result put together in the caller's order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import decode, encode
from feature_repo.stores.offline.binary.from_arrow import column_of
from feature_repo.stores.offline.join import asof, scan
from feature_repo.stores.offline.join.gather import Columns
from feature_repo.stores.offline.join.lookup import ASKED, KEYS, Lookup, look_up
from feature_repo.stores.offline.join.spine import Keys, Spine, column_type, keys
from feature_repo.stores.offline.tables.schema import TYPES

SLICE_CELLS: Final = 4_000_000
"""Feature values that a scan should hold at a time: what bounds its memory."""

FEW: Final = 100
"""Entity rows that are looked up without asking what a scan would cost."""

SAMPLE: Final = 10_000
"""Entity rows by which the cost of looking up all is estimated."""

_PACKED: Final = 0.6
"""What packing and sending a row of a scan costs, in the planner's units. Measured: a row scanned takes 1.25 µs in all and
is put at 0.23 without this; a look-up takes 12 µs and is put at 8."""

_UNPACKED: Final = 1.2
"""The same of a row that is sent by itself."""

PART: Final = 25_000
"""Entity rows that are looked up at a time."""

_Ints = NDArray[np.int64]
_T = TypeVar("_T")


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


@dataclass(frozen=True, slots=True)
class _View:
    """What is asked of one view, and where the answer goes."""

    lookup: Lookup
    types: list[int]
    key: Keys
    asked: _Asked
    columns: Columns


_Task = Callable[[psycopg.Connection[Any]], None]


def join(connections: Sequence[psycopg.Connection[Any]], spine: Spine, lookups: Sequence[Lookup]) -> pa.Table:
    """The entity rows with the features of each view, every row once and in order.

    Parameters
    ----------
    connections
        Each in a transaction, all with one snapshot; as many parts of the result are read at a time. Temporary tables
        are made in them, and dropped at their end.
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
    asked = {names: _asked(spine, names) for names in {lookup.key_names for lookup in lookups}}
    free: SimpleQueue[psycopg.Connection[Any]] = SimpleQueue()
    for connection in connections:
        free.put(connection)

    def with_a_connection(work: Callable[[psycopg.Connection[Any]], _T]) -> _T:
        connection = free.get()
        try:
            return work(connection)
        finally:
            free.put(connection)

    with ThreadPoolExecutor(len(connections)) as pool:
        planned = list(
            pool.map(with_a_connection, [partial(_plan, spine, lookup, asked[lookup.key_names]) for lookup in lookups])
        )
        for _ in pool.map(with_a_connection, [task for _, tasks in planned for task in tasks]):
            pass
    result = spine.table
    for lookup, (columns, _) in zip(lookups, planned, strict=True):
        for i, name in enumerate(lookup.names):
            result = result.append_column(name, columns.finish(i))
    return result


def _asked(spine: Spine, names: Sequence[str]) -> tuple[Keys, _Asked]:
    key = keys(spine, names)
    rows = np.flatnonzero(spine.present & (key.codes >= 0))
    rows = rows[np.argsort(spine.moments[rows], kind="stable")]
    return key, _Asked(rows, spine.moments[rows], key.codes[rows])


def _types(connection: psycopg.Connection[Any], lookup: Lookup) -> list[int]:
    columns = sql.SQL(", ").join(sql.Identifier("r", feature) for feature in lookup.features)
    described = decode.describe(connection, sql.SQL("SELECT {} FROM {} AS r").format(columns, lookup.source))
    return [kind for _, kind in described]


def _plan(
    spine: Spine, lookup: Lookup, wanted: tuple[Keys, _Asked], connection: psycopg.Connection[Any]
) -> tuple[Columns, list[_Task]]:
    """Choose how a view is read. What is quick to look up is read at once; else the parts are returned."""
    types = _types(connection, lookup)
    columns = Columns(types, spine.table.num_rows)
    key, asked = wanted
    if not len(asked.row):
        return columns, []
    view = _View(lookup, types, key, asked, columns)
    # A plan is chosen by a sample; where that is all, it is uploaded already.
    step = -(-len(asked.row) // SAMPLE)
    _upload_asked(connection, key, asked.part(slice(None, None, step)))
    if len(asked.row) > FEW:
        _upload_keys(connection, key)
        scanned, rows = _cost(connection, scan.statement(lookup, types, asked.begin - lookup.ttl, asked.end)[0])
        each, _ = _cost(connection, look_up(lookup, asked.begin, asked.end))
        if each * step > scanned + (_PACKED if scan.PACKED.issuperset(types) else _UNPACKED) * rows:
            return columns, _slices(view, rows)
    if step == 1:
        _look_up(view, asked, connection, uploaded=True)
        return columns, []
    parts = (asked.part(slice(i, i + PART)) for i in range(0, len(asked.row), PART))
    return columns, [partial(_look_up, view, part) for part in parts]


def _slices(view: _View, rows: float) -> list[_Task]:
    asked, tasks, start = view.asked, list[_Task](), 0
    span = max(1, int((asked.end - asked.begin) * min(1.0, SLICE_CELLS / (1 + rows * len(view.types)))))
    while start < len(asked.row):
        stop = int(np.searchsorted(asked.moment, asked.moment[start] + span, side="right"))
        tasks.append(partial(_scan, view, asked.part(slice(start, stop)), span))
        start = stop
    return tasks


def _look_up(view: _View, asked: _Asked, connection: psycopg.Connection[Any], *, uploaded: bool = False) -> None:
    if not uploaded:
        _upload_asked(connection, view.key, asked)
    query = look_up(view.lookup, asked.begin, asked.end)
    for number, *columns in decode.read(connection, query, [_BIGINT, *view.types]):
        view.columns.put(number.to_numpy(), columns)


def _scan(view: _View, asked: _Asked, span: int, connection: psycopg.Connection[Any]) -> None:
    lookup, types = view.lookup, view.types
    # Rows before the slice may hold in it. Past a slice's width they are looked up instead of read again and again.
    back = lookup.ttl if 0 < lookup.ttl <= span else span
    most = 4 * SLICE_CELLS // len(types)
    _upload_keys(connection, view.key)
    found = scan.read(connection, lookup, types, asked.begin - back, asked.end, limit=most + 1)
    if sum(len(rows.event) for rows in found) > most:
        # The planner knew less than there is: halves, until a slice fits or is one moment.
        del found
        middle = int(np.searchsorted(asked.moment, (asked.begin + asked.end) // 2, side="right"))
        if asked.begin == asked.end:
            _look_up(view, asked, connection)
        else:
            for half in (slice(0, middle), slice(middle, None)):
                _scan(view, asked.part(half), max(1, span // 2), connection)
        return
    hit = np.zeros(len(asked.row), np.bool_)
    by_key = np.argsort(asked.code, kind="stable")
    code = asked.code[by_key]
    found.reverse()
    while found:
        rows = found.pop()  # and gone, once it is put
        mine = by_key[slice(*np.searchsorted(code, (rows.key, rows.key + 1)))]
        at = asof.latest(asked.moment[mine], rows.event, rows.created, lookup.ttl, known=lookup.known)
        holds = at != asof.NONE
        mine = mine[holds]
        hit[mine] = True
        rows.put(view.columns, asked.row[mine], at[holds])
    if back != lookup.ttl:
        rest = asked.part(~hit)
        if len(rest.row):
            _look_up(view, rest, connection)


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
