"""Which staged rows of an offline table are new facts, and the statements that insert them.

The rule. Of the rows of one moment, which is one entity and one ``event_timestamp``, in the order of ``created_timestamp``, a row is
a fact only if it says something else than the row before it: another value of a feature, a null for a value, or another silence of
the feed. So of rows that follow each other and say the same, one is kept:

1. the stored one, whether it was created earlier or later, because an insert changes and deletes nothing;
2. else that of the batch which was created first.

A worker that makes a row again, because Redis came back without the end of its data, makes the same values with a later
``created_timestamp``: nothing is added. A correction A, B, A stays as three rows. A row that comes out with other values, because
messages were lost, is a later fact beside the first.

The rule counts for the tables that this project makes, and for everything that is written to them but the rows of a backfill, which
are a history of their own (``recomputed.py``) and are not compared. A desk's own table has its own keys: there only a row that breaks
one of them is left out.

Two transactions that run at once do not see each other's rows. One offline writer works at a time
(``ingest/streams/deployment.py``), and rows of other sources have times of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, LiteralString

from psycopg import sql

from feature_repo.stores.offline.tables.schema import Table, column_definitions, makers

STAGING: Final = sql.Identifier("pg_temp", "staged_rows")


# The stored rows near the staged ones, for a FROM. OFFSET 0 keeps one look-up by the index for each five minutes of an entity, whatever the
# planner believes of a table that grows, and a compressed chunk is not unpacked for each row.
_STORED: Final = """(
    SELECT {keys}, min({event}) AS lo, max({event}) AS hi FROM {staging} GROUP BY {keys}, date_bin('5 minutes', {event}, 'epoch')
) AS s CROSS JOIN LATERAL (
    SELECT {columns} FROM {table} AS t
    WHERE {same_keys} AND t.{event} BETWEEN s.lo AND s.hi AND t.{event} BETWEEN %(first)s AND %(last)s AND NOT t.recomputed OFFSET 0
) AS found"""

MET: Final = "SELECT EXISTS (SELECT FROM {stored_keys})"
"""Whether there are served rows stored at the times of the staged ones; of live rows there are none.

The parameters ``first`` and ``last`` are the first and the last event time that is staged, so that TimescaleDB looks into chunks of that
time only. `OTHER_KEYS` and `NEW_FACTS` have them too. The table must be managed, but for `NEW_KEYS`.
"""

OTHER_KEYS: Final = "SELECT EXISTS (SELECT {unique} FROM {staging} EXCEPT SELECT found.* FROM {stored_keys})"
"""Whether a staged row is not stored with the same key."""

NEW_MOMENTS: Final = (
    "INSERT INTO {table} ({columns}) SELECT DISTINCT ON ({keys}, {event}) {columns} FROM {staging} ORDER BY {unique}"
)
"""Insert the first row of each moment, where none of the moments has a stored row."""

NEW_FACTS: Final = """
WITH met AS (
    SELECT {columns}, false AS _stored FROM {staging} UNION ALL SELECT found.*, true FROM {stored}
), single AS (
    SELECT DISTINCT ON ({unique}) * FROM met ORDER BY {unique}, _stored DESC
), compared AS (
    SELECT *, ROW({values}) IS NOT DISTINCT FROM lag(ROW({values})) OVER moment AS _again
    FROM single WINDOW moment AS (PARTITION BY {keys}, {event} ORDER BY {created})
), runs AS (
    SELECT *, count(*) FILTER (WHERE NOT _again) OVER moment AS _run
    FROM compared WINDOW moment AS (PARTITION BY {keys}, {event} ORDER BY {created})
), kept AS (
    SELECT DISTINCT ON ({keys}, {event}, _run) * FROM runs ORDER BY {keys}, {event}, _run, _stored DESC, {created}
)
INSERT INTO {table} ({columns}) SELECT {columns} FROM kept WHERE NOT _stored ORDER BY {unique} ON CONFLICT DO NOTHING"""
"""Insert what is new by the rule. A run is rows of one moment that follow each other and say the same.

Everything is sorted and nothing joined, because a join may take the product of both sides where the planner expects few rows.
"""

NEW_KEYS: Final = (
    "INSERT INTO {table} ({columns}) SELECT {columns} FROM {staging} ORDER BY {unique} ON CONFLICT DO NOTHING"
)
"""Insert the rows that no unique index of the table refuses."""


@lru_cache
def stage(table: Table, kernels: int | None) -> bytes:
    """Return the statement that makes the staging table, which lasts until the end of the transaction.

    Its columns have our types: the insert converts them where a desk's own table has others, numeric for example. Its rows get their
    makers by default: to add them in the insert would take 7 % longer, because every row would be put together once more.
    """
    definitions = column_definitions(table.all_columns, defaults=makers(kernels, recomputed=False))
    return sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(STAGING, definitions).as_bytes(None)


@lru_cache
def statement(form: LiteralString, table: Table) -> bytes:
    """Return one of the statements above for a table."""
    names = {
        "table": _name(*table.name),
        "staging": STAGING,
        "keys": _listed(table.keys),
        "event": _name(table.event),
        "same_keys": sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(_name(key)) for key in table.keys),
    }
    columns, unique = _listed(table.all_columns), _listed(table.unique)
    filled = sql.SQL(form).format(
        **names,
        columns=columns,
        unique=unique,
        created=_name(table.created or table.event),
        values=_listed((*table.features, table.silence)),
        stored=sql.SQL(_STORED).format(**names, columns=columns),
        stored_keys=sql.SQL(_STORED).format(**names, columns=unique),
    )
    return filled.as_bytes(None)


def _listed(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(_name, names))


def _name(*parts: str) -> sql.SQL:
    """Return a quoted name for a statement with parameters, where a percent sign is written twice."""
    return sql.SQL(sql.Identifier(*parts).as_string(None).replace("%", "%%"))
