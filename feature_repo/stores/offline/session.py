"""One transaction of the offline store, set up as its statements expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from feast.infra.utils.postgres.connection_utils import _get_conn
from psycopg import sql


@contextmanager
def snapshot(settings: Any, timeout: float | None = None, same: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    """Open a connection in a transaction that sees the database as it was at its start; commit at the end.

    `settings` are Feast's for PostgreSQL. `timeout` limits the seconds of each statement. With `same`, a name that
    `export` gave, the transaction sees the database as the exporting connection does.
    """
    with _get_conn(settings) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        if same is not None:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(same)))
        connection.execute("SET LOCAL TimeZone = 'UTC'")  # times without a zone are UTC
        connection.execute("SET LOCAL jit = off")  # to compile a plan takes longer than most look-ups
        connection.execute("SET LOCAL work_mem = '64MB'")  # a slice of a scan is packed in memory
        if timeout is not None:
            connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(int(timeout * 1000))))
        yield connection


def export(connection: psycopg.Connection[Any]) -> str:
    """Return the name of the connection's snapshot, valid for `snapshot` until its transaction ends."""
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    return str(row[0]) if row else ""
