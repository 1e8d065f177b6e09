"""TimescaleDB's part of an offline table: chunks, columnstore, retention.

The statements are those of TimescaleDB 2.18 and later. An older or an Apache-licensed server gets hypertables without the
columnstore.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import psycopg
from psycopg import sql

log = logging.getLogger(__name__)

_FIRST_WITH_COLUMNSTORE: Final = (2, 18)
_ENABLE: Final = sql.SQL(
    "ALTER TABLE {} SET (timescaledb.enable_columnstore, timescaledb.segmentby = {}, timescaledb.orderby = {})"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a hypertable is kept: width of a chunk, and ages at which one goes to the columnstore and is DELETED.

    None leaves chunks in rows, or keeps them. They are kept by default, because replayed history is old when it arrives.
    """

    chunk: timedelta = timedelta(days=1)  # a look-up is four times faster than with chunks of an hour
    columnstore_after: timedelta | None = timedelta(days=2)
    retain: timedelta | None = None


DEFAULT: Final = Policy()


def installed(connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
    """Return the row with the extension's version, or None where this database does not have it."""
    return connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchone()


def version(connection: psycopg.Connection[Any]) -> tuple[int, ...]:
    """Return the version of TimescaleDB in this database, () without it. Install it where the server has loaded it.

    An extension that is on disk but not preloaded is left alone: to create it would end the connection.
    """
    loaded = "SELECT 1 FROM pg_settings WHERE name = 'shared_preload_libraries' AND setting LIKE '%timescaledb%'"
    row = installed(connection)
    if row is None and connection.execute(loaded).fetchone():
        try:
            with connection.transaction():
                connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except psycopg.Error as error:
            problem = error.diag.message_primary
            log.warning("TimescaleDB is loaded but could not be created in this database: %s", problem)
        row = installed(connection)
    return tuple(int(part) for part in str(row[0]).split("-")[0].split(".")) if row else ()


def convert(
    connection: psycopg.Connection[Any], table: sql.Identifier, event: str, keys: tuple[str, ...], policy: Policy
) -> None:
    """Make `table` a hypertable on its time column `event` with `policy`, unless it is one. Its rows go into chunks.

    `connection` is in a transaction. `keys` are the segment columns of the columnstore.
    """
    name = table.as_string(connection)
    connection.execute(
        "SELECT create_hypertable(%s::regclass, by_range(%s, %s::interval), "
        "create_default_indexes => false, if_not_exists => true, migrate_data => true)",
        (name, event, policy.chunk),
    )
    if policy.columnstore_after is not None and version(connection) >= _FIRST_WITH_COLUMNSTORE:
        _columnstore(connection, table, event, keys, policy.columnstore_after)
    if policy.retain is not None:
        connection.execute(
            "SELECT add_retention_policy(%s::regclass, drop_after => %s::interval, if_not_exists => true)",
            (name, policy.retain),
        )


def _columnstore(
    connection: psycopg.Connection[Any], table: sql.Identifier, event: str, keys: tuple[str, ...], after: timedelta
) -> None:
    name = table.as_string(connection)
    enabled = connection.execute(
        "SELECT compression_enabled FROM timescaledb_information.hypertables h "
        "WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %s::regclass",
        (name,),
    ).fetchone()
    try:
        with connection.transaction():
            if not (enabled and enabled[0]):
                order, *segments = (sql.Identifier(column).as_string(connection) for column in (event, *keys))
                connection.execute(_ENABLE.format(table, ", ".join(segments), f"{order} DESC"))
            connection.execute(
                "CALL add_columnstore_policy(%s::regclass, after => %s::interval, if_not_exists => true)", (name, after)
            )
    except psycopg.errors.FeatureNotSupported as error:
        log.warning("%s: no columnstore on this server: %s", name, error.diag.message_primary)
