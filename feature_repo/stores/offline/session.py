"""One connection of the offline store, set up as its statements expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from feast.infra.utils.postgres.connection_utils import _get_conn
from psycopg import sql


@contextmanager
def snapshot(settings: Any, timeout: float | None = None, same: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    """A connection in one transaction that sees the database as it was when it began; committed at the end.

    Parameters
    ----------
    settings
        Feast's PostgreSQL configuration.
    timeout
        Seconds that one statement may take; None for the server's own limit.
    same
        See the database as another connection does: what `export` gave of it.
    """
    with _get_conn(settings) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        if same is not None:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(same)))
        # Times without a zone are UTC. Compiling a plan takes longer than most look-ups do.
        connection.execute("SET LOCAL TimeZone = 'UTC'")
        connection.execute("SET LOCAL jit = off")
        connection.execute("SET LOCAL work_mem = '64MB'")  # a slice of a scan is packed in memory
        if timeout is not None:
            connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(int(timeout * 1000))))
        yield connection


def export(connection: psycopg.Connection[Any]) -> str:
    """Name of the connection's snapshot, good for `snapshot` while its transaction lasts."""
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    return str(row[0]) if row else ""
