"""The point-in-time join: each view read as its plan says, and its features put into the caller's rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.binary.format import (
    BPCHAR,
    FLOAT4,
    FLOAT8,
    INT2,
    INT4,
    INT8,
    NUMERIC,
    TEXT,
    UUID,
    VARCHAR,
)
from feature_repo.stores.offline.join import from_lake, plan, scan
from feature_repo.stores.offline.join.gather import Columns
from feature_repo.stores.offline.join.latest import NONE, latest
from feature_repo.stores.offline.join.lookup import Lookup, look_up
from feature_repo.stores.offline.join.spine import Asked, Spine, asked_of_spine, upload_asked, upload_keys
from feature_repo.stores.offline.lake import read

MANY: Final = 20_000  # from this many entity rows on, several connections with one snapshot read at the same time

_NUMBERS: Final = frozenset({INT2, INT4, INT8, FLOAT4, FLOAT8, NUMERIC})
_TEXTS: Final = frozenset({TEXT, VARCHAR, BPCHAR, UUID})

_Ints = NDArray[np.int64]
_Connection = psycopg.Connection[Any]
_T = TypeVar("_T")


class KeyTypeError(UserError, TypeError):
    """A key column of the entity frame has another kind of values than that of the view's table."""


class _View:
    """One view, the type ids of its features, and where they go."""

    def __init__(self, lookup: Lookup, types: list[int], rows: int) -> None:
        self.lookup = lookup
        self.types = types
        self.columns = Columns(types, rows)


def join(
    connection: _Connection,
    spine: Spine,
    lookups: Sequence[Lookup],
    more: Callable[[], Sequence[_Connection]] = tuple,
) -> pa.Table:
    """Return the entity rows with the features of each view, every row once and in order.

    What the lake has as the database does is read from there (``from_lake``), and the rest from the database. `connection` and those that
    `more` opens, where many entity rows or a long time is left for the database, are each in a transaction, all with one snapshot. As many
    steps run at a time, each with temporary tables that end with the transaction. Raise ``decode.UnsupportedTypeError`` for a feature of
    another type.
    """
    names = [*spine.table.column_names, *(name for lookup in lookups for name in lookup.names)]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{', '.join(twice)}: columns of the result would share a name; ask for full_feature_names")
    asked = {names: asked_of_spine(spine, names) for names in {lookup.key_names for lookup in lookups}}
    views = [_View(*_typed(lookup, asked[lookup.key_names], connection), spine.table.num_rows) for lookup in lookups]
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        lakes = [from_lake.view_of(connection, view.lookup, view.types) for view in views]
        rests = _from_lakes(pool, asked, views, lakes)
    if any(len(rest.row) for rest in rests):
        are_many = any(len(rest.row) >= MANY or plan.is_long(rest) for rest in rests)
        _from_database([connection, *(more() if are_many else ())], views, rests)
    result = spine.table
    for view in views:
        for i, name in enumerate(view.lookup.names):
            result = result.append_column(name, view.columns.finish(i))
    return result


def _from_lakes(
    pool: ThreadPoolExecutor,
    asked: Mapping[tuple[str, ...], Asked],
    views: Sequence[_View],
    lakes: Sequence[read.View | None],
) -> list[Asked]:
    """Put what the lake has; return the other entity rows of each view."""
    names = {view.lookup.key_names for view, lake in zip(views, lakes, strict=True) if lake is not None}
    ordered = {name: from_lake.by_day(asked[name]) for name in names}

    def begun(view: _View, lake: read.View | None) -> Callable[[], Asked]:
        mine = asked[view.lookup.key_names]
        if lake is None:
            return lambda: mine
        return from_lake.fill(lake, view.lookup, mine, ordered[view.lookup.key_names], view.columns, pool)

    return [rest() for rest in list(pool.map(begun, views, lakes))]


def _from_database(connections: Sequence[_Connection], views: Sequence[_View], asked: Sequence[Asked]) -> None:
    """Read entity rows of each view, as many steps at a time as there are connections."""
    free: SimpleQueue[_Connection] = SimpleQueue()
    for connection in connections:
        free.put(connection)

    def with_connection(run: Callable[[_Connection], _T]) -> _T:
        connection = free.get()
        try:
            return run(connection)
        finally:
            free.put(connection)

    with ThreadPoolExecutor(len(connections)) as pool:
        starts = [partial(_start, view, mine) for view, mine in zip(views, asked, strict=True)]
        started = list(pool.map(with_connection, starts))
        steps = [partial(_run, view, step) for view, steps in zip(views, started, strict=True) for step in steps]
        for _ in pool.map(with_connection, steps):
            pass


def _start(view: _View, asked: Asked, connection: _Connection) -> Sequence[plan.LookUp | plan.Scan]:
    """Plan a view. Run what is uploaded already; return the other steps."""
    steps = plan.choose(connection, view.lookup, view.types, asked)
    uploaded = [step for step in steps if isinstance(step, plan.LookUp) and step.uploaded]
    for step in uploaded:
        _look_up(view, step, connection)
    return [] if uploaded else steps


def _typed(lookup: Lookup, asked: Asked, connection: _Connection) -> tuple[Lookup, list[int]]:
    """Return the look-up with the casts that its source's types need, and the type ids of its features as they arrive.

    Raise `KeyTypeError` where the source has numbers for a key and the entity frame texts, or the other way round.
    """
    own = [sql.Identifier("r", name) for _, name in lookup.keys]
    selected = sql.SQL(", ").join([*own, *(sql.Identifier("r", name) for name in lookup.features)])
    described = decode.describe(connection, sql.SQL("SELECT {} FROM {} AS r").format(selected, lookup.source))
    keys, features = described[: len(own)], described[len(own) :]
    for (name, _), (column, kind), part in zip(lookup.keys, keys, asked.keys, strict=True):
        given_text = pa.types.is_string(part.type) or pa.types.is_large_string(part.type)
        if len(part) and kind in (_NUMBERS if given_text else _TEXTS):
            raise KeyTypeError(
                f"{lookup.view}: its key column {column} holds {'numbers' if given_text else 'texts'}, and column {name} of "
                f"the entity frame {part.type}; convert the frame's column"
            )
    casts, types = decode.sent_as(connection, lookup.view, features)
    key_casts = tuple("uuid" if kind == UUID else "" for _, kind in keys)
    return replace(lookup, casts=tuple(casts), key_casts=key_casts), types


def _run(view: _View, step: plan.LookUp | plan.Scan, connection: _Connection) -> None:
    if isinstance(step, plan.LookUp):
        _look_up(view, step, connection)
    else:
        _scan(view, step, connection)


def _look_up(view: _View, step: plan.LookUp, connection: _Connection) -> None:
    if not step.uploaded:
        upload_asked(connection, step.asked)
    for begin, end in step.stretches():
        for number, *columns in decode.read_columns(connection, look_up(view.lookup, begin, end), [INT8, *view.types]):
            view.columns.put(number.to_numpy(), columns)


def _scan(view: _View, step: plan.Scan, connection: _Connection) -> None:
    lookup, asked = view.lookup, step.asked
    # Rows before the slice may hold in it. Those further back than its width are looked up: a scan would read them
    # again for every slice.
    back = lookup.ttl if 0 < lookup.ttl <= step.span else step.span
    upload_keys(connection, asked)
    begin, end = asked.begin - back, asked.end
    found = scan.read_rows(connection, lookup, view.types, begin, end, limit=step.limit + 1)
    if sum(len(rows.event) for rows in found) > step.limit:
        # There are more rows than the planner knew: halve the slice until it fits or is one moment.
        del found
        if asked.begin == asked.end:
            _look_up(view, plan.LookUp(asked), connection)
        else:
            for half in step.halves():
                _scan(view, half, connection)
        return
    hit = _merge(view, asked, found)
    if back != lookup.ttl and not hit.all():
        _look_up(view, plan.LookUp(asked.part(~hit)), connection)


def _merge(view: _View, asked: Asked, found: list[scan.Rows]) -> NDArray[np.bool_]:
    """Put the rows that hold into the result, and return which of `asked` have one. Empties `found` on the way."""
    hit = np.zeros(len(asked.row), np.bool_)
    by_key = np.argsort(asked.code, kind="stable")
    code = asked.code[by_key]
    found.reverse()
    while found:
        rows = scan.counting(found.pop())  # its memory is free once it is put
        mine = by_key[slice(*np.searchsorted(code, (rows.key, rows.key + 1)))]
        at = latest(asked.moment[mine], rows.event, rows.created, view.lookup.ttl, known=view.lookup.known)
        holds = at != NONE
        hit[mine[holds]] = True
        if rows.told is not None and view.lookup.tells_silence:
            holds &= rows.event[at] - rows.told[at] >= asked.moment[mine] - view.lookup.heard
        rows.put(view.columns, asked.row[mine[holds]], at[holds])
    return hit
