"""A whole retrieval as one SQL statement that can be read and run: for `to_sql`, and where there is no entity frame."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from psycopg import sql

from feature_repo.stores.offline.binary.encode import column_type
from feature_repo.stores.offline.join.lookup import Lookup, holding
from feature_repo.stores.offline.join.spine import Spine
from feature_repo.stores.offline.tables.schema import column_definitions


def joined(spine: Spine, lookups: Sequence[Lookup], frame: str | None) -> sql.Composed:
    """Return the SELECT of the spine's columns and every feature, in the order of the entity rows.

    `frame` is the SQL that gives the entity rows; without it they are written into the statement as one JSON literal.
    """
    names = spine.table.column_names
    columns: list[sql.Composable] = [sql.Identifier("e", name) for name in names]
    rows = sql.SQL("SELECT row_number() OVER () AS entity_row, q.* FROM ({}) AS q").format(
        sql.SQL(frame) if frame is not None else _literal(spine)
    )
    joins = []
    for i, lookup in enumerate(lookups):
        alias = f"f{i}"
        columns += [
            sql.SQL("{} AS {}").format(sql.Identifier(alias, feature), sql.Identifier(name))
            for feature, name in zip(lookup.features, lookup.names, strict=True)
        ]
        inner = holding(lookup, "e", lookup.key_names, spine.event, None)
        joins.append(sql.SQL("LEFT JOIN LATERAL ({}) AS {} ON TRUE").format(inner, sql.Identifier(alias)))
    return sql.SQL("WITH e AS ({}) SELECT {} FROM e {} ORDER BY e.entity_row").format(
        rows, sql.SQL(", ").join(columns), sql.SQL(" ").join(joins)
    )


def rows_between(lookup: Lookup, period: tuple[datetime, datetime]) -> sql.Composed:
    """Return the SELECT of every row of one view in a range of event time (ends included), oldest first.

    Rows of one event time come by key, in the order of its bytes, then by created time, whatever the plan and wherever they are read.
    """
    created = [("created_timestamp", lookup.created)] if lookup.created else []
    columns = [*created, *lookup.keys, *zip(lookup.names, lookup.features, strict=True)]
    keys = [sql.SQL('{}::text COLLATE "C"').format(sql.Identifier("r", own)) for _, own in lookup.keys]
    order = [sql.SQL("1"), *keys, *([sql.Identifier("r", lookup.created)] if lookup.created else [])]
    return _between(lookup, period, columns) + sql.SQL(" ORDER BY {}").format(sql.SQL(", ").join(order))


def moments_between(lookups: Sequence[Lookup], period: tuple[datetime, datetime]) -> sql.Composed:
    """Return the SELECT of every moment and key with a row of one of the views in a range of event time, oldest first."""
    if len({lookup.key_names for lookup in lookups}) != 1:
        raise ValueError("without an entity frame all views must have the same join keys")
    each = sql.SQL(" UNION ").join(_between(lookup, period, lookup.keys) for lookup in lookups)
    return sql.SQL("SELECT * FROM ({}) AS moments ORDER BY event_timestamp").format(each)


def _between(lookup: Lookup, period: tuple[datetime, datetime], columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Return the SELECT of event time and `columns`, pairs of a name and the source's own, in a range of event time."""
    selected = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(sql.Identifier("r", own), sql.Identifier(name))
        for name, own in [("event_timestamp", lookup.event), *columns]
    )
    between = sql.SQL("{} BETWEEN {} AND {}").format(sql.Identifier("r", lookup.event), *map(sql.Literal, period))
    where = sql.SQL(" AND ").join([between, *lookup.counting()])
    return sql.SQL("SELECT {} FROM {} AS r WHERE {}").format(selected, lookup.source, where)


def _literal(spine: Spine) -> sql.Composed:
    typed = column_definitions({field.name: _kind(field) for field in spine.table.schema})
    rows = [{name: _cell(value) for name, value in row.items()} for row in spine.table.to_pylist()]
    return sql.SQL("SELECT * FROM json_to_recordset({}) AS given({})").format(sql.Literal(json.dumps(rows)), typed)


def _kind(field: pa.Field) -> str:
    """Return the type of a column in the statement, where dates and decimals are possible too."""
    if pa.types.is_date(field.type):
        return "date"
    if pa.types.is_decimal(field.type):
        return "numeric"
    try:
        return column_type(field.type)
    except TypeError as error:
        raise TypeError(f"column {field.name!r}: {error}") from None


def _cell(value: Any) -> Any:
    """Return a value as JSON that PostgreSQL reads as the same value of its column's type."""
    if isinstance(value, datetime):
        return f"{value.isoformat()}+00:00"
    if isinstance(value, date | Decimal):
        return str(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
