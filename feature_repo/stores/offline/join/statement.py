"""A whole retrieval as one SQL statement, for `to_sql`: what the join does, in a form that can be read and run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from psycopg import sql

from feature_repo.stores.offline.join.lookup import Lookup, holding
from feature_repo.stores.offline.join.spine import Spine, column_type


def whole(spine: Spine, lookups: Sequence[Lookup], frame: str | None) -> sql.Composed:
    """SELECT of the spine's columns and every feature, in the order of the entity rows.

    Parameters
    ----------
    spine
        The entity rows.
    lookups
        The views.
    frame
        SQL that gives the entity rows; None to write them into the statement as one JSON literal.
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
    """Every row of one view in a range of event time (ends included), oldest first."""
    pairs = [(lookup.event, "event_timestamp"), *([(lookup.created, "created_timestamp")] if lookup.created else [])]
    pairs += [(own, name) for name, own in lookup.keys]
    pairs += zip(lookup.features, lookup.names, strict=True)
    return sql.SQL("SELECT {} FROM {} AS r WHERE {} ORDER BY 1").format(
        _named(pairs), lookup.source, _between(lookup, period)
    )


def moments_between(lookups: Sequence[Lookup], period: tuple[datetime, datetime]) -> sql.Composed:
    """Every moment and key at which one of the views has a row in a range of event time, oldest first.

    Raises
    ------
    ValueError
        The views do not have the same keys.
    """
    if len({lookup.key_names for lookup in lookups}) != 1:
        raise ValueError("without an entity frame all views must have the same join keys")
    each = [
        sql.SQL("SELECT {} FROM {} AS r WHERE {}").format(
            _named([(lookup.event, "event_timestamp"), *((own, name) for name, own in lookup.keys)]),
            lookup.source,
            _between(lookup, period),
        )
        for lookup in lookups
    ]
    return sql.SQL("SELECT * FROM ({}) AS moments ORDER BY event_timestamp").format(sql.SQL(" UNION ").join(each))


def text(query: sql.Composable) -> str:
    """The statement as text, without a connection: it has only identifiers and times in it."""
    return query.as_string(None)


def _named(pairs: Sequence[tuple[str, str]]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(sql.Identifier("r", own), sql.Identifier(name)) for own, name in pairs
    )


def _between(lookup: Lookup, period: tuple[datetime, datetime]) -> sql.Composed:
    return sql.SQL("{} BETWEEN {} AND {}").format(
        sql.Identifier("r", lookup.event), sql.Literal(period[0]), sql.Literal(period[1])
    )


def _literal(spine: Spine) -> sql.Composed:
    kinds = {field.name: _kind(field) for field in spine.table.schema}
    typed = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in kinds.items()
    )
    rows = [{name: _cell(value) for name, value in row.items()} for row in spine.table.to_pylist()]
    return sql.SQL("SELECT * FROM json_to_recordset({}) AS given({})").format(sql.Literal(json.dumps(rows)), typed)


def _kind(field: pa.Field) -> str:
    """The type of a column in the statement: there more are possible than in a table of ours."""
    if pa.types.is_date(field.type):
        return "date"
    if pa.types.is_decimal(field.type):
        return "numeric"
    try:
        return column_type(field.type)
    except TypeError as error:
        raise TypeError(f"column {field.name!r}: {error}") from None


def _cell(value: Any) -> Any:
    """A value as JSON that PostgreSQL reads as the same value of its column's type."""
    if isinstance(value, datetime):
        return f"{value.isoformat()}+00:00"
    if isinstance(value, date | Decimal):
        return str(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
