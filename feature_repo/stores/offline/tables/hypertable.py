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
_BATCH_ROWS: Final = 220
"""Rows that a chunk of the columnstore packs together, 1,000 by default. A look-up unpacks one batch for one row (docs/columnstore.md)."""

_BATCH_SETTING: Final = "timescaledb.compression_batch_size_limit"
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
    connection: psycopg.Connection[Any],
    table: sql.Identifier,
    times: tuple[str, ...],
    keys: tuple[str, ...],
    policy: Policy,
) -> None:
    """Make `table` a hypertable on the first column of `times` with `policy`, unless it is one. Its rows go into chunks.

    `connection` is in a transaction. `keys` are the segment columns of the columnstore, and `times` its order, newest first: the event
    time, and the created time if there is one. That is the order of a look-up, which so ends at the first row that holds.
    """
    name = table.as_string(connection)
    connection.execute(
        "SELECT create_hypertable(%s::regclass, by_range(%s, %s::interval), "
        "create_default_indexes => false, if_not_exists => true, migrate_data => true)",
        (name, times[0], policy.chunk),
    )
    if policy.columnstore_after is not None and version(connection) >= _FIRST_WITH_COLUMNSTORE:
        _columnstore(connection, table, times, keys, policy.columnstore_after)
    if policy.retain is not None:
        connection.execute(
            "SELECT add_retention_policy(%s::regclass, drop_after => %s::interval, if_not_exists => true)",
            (name, policy.retain),
        )


def _columnstore(
    connection: psycopg.Connection[Any],
    table: sql.Identifier,
    times: tuple[str, ...],
    keys: tuple[str, ...],
    after: timedelta,
) -> None:
    name = table.as_string(connection)
    order = sql.SQL(", ").join(sql.SQL("{} DESC").format(sql.Identifier(time)) for time in times).as_string(connection)
    segments = sql.SQL(", ").join(map(sql.Identifier, keys)).as_string(connection)
    former = times[0] if len(times) > 1 else None  # the column that an earlier release ordered by alone
    row = connection.execute(
        "SELECT h.compression_enabled, s.orderby = quote_ident(%s) || ' DESC' FROM timescaledb_information.hypertables AS h "
        "JOIN timescaledb_information.hypertable_columnstore_settings AS s "
        "ON s.hypertable = format('%%I.%%I', h.hypertable_schema, h.hypertable_name)::regclass WHERE s.hypertable = %s::regclass",
        (former, name),
    ).fetchone()
    enabled, is_former = row or (False, False)
    try:
        with connection.transaction():
            if is_former or not enabled:  # what somebody chose for this table stays
                connection.execute(_ENABLE.format(table, segments, order))
            connection.execute(
                "CALL add_columnstore_policy(%s::regclass, after => %s::interval, if_not_exists => true)", (name, after)
            )
    except psycopg.errors.FeatureNotSupported as error:
        log.warning("%s: no columnstore on this server: %s", name, error.diag.message_primary)
        return
    _limit_batches(connection, name)
    (old,) = connection.execute(
        "SELECT count(*) FROM timescaledb_information.chunk_columnstore_settings "
        "WHERE hypertable = %s::regclass AND orderby = quote_ident(%s) || ' DESC'",
        (name, former),
    ).fetchone() or (0,)
    if old:
        log.warning(
            "%s: %d chunks are in the order of an earlier release; docs/columnstore.md says how to pack them anew",
            name,
            old,
        )


def _limit_batches(connection: psycopg.Connection[Any], name: str) -> None:
    """Let the jobs of the table's owner pack `_BATCH_ROWS` rows together, unless the server or the owner has another setting.

    A job begins with the settings of its owner in the database. TimescaleDB has no such setting for one table.
    """
    row = connection.execute(
        "SELECT pg_get_userbyid(relowner) FROM pg_class, pg_settings s "
        "WHERE oid = %s::regclass AND s.name = %s AND s.setting = s.boot_val",
        (name, _BATCH_SETTING),
    ).fetchone()
    if row is None:
        return
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(row[0]), sql.Identifier(connection.info.dbname), sql.SQL(_BATCH_SETTING), _BATCH_ROWS
                )
            )
    except psycopg.errors.InsufficientPrivilege:
        log.warning("%s: only its owner %s can set %s = %d for itself", name, row[0], _BATCH_SETTING, _BATCH_ROWS)
