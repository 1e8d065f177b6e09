"""State of the offline tables: sizes, chunks, compression, and jobs of TimescaleDB that failed.

On the newest PostgreSQL releases a job can fail in the background and succeed in the foreground: see `run_failed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from feature_repo.stores.offline.tables import hypertable
from feature_repo.stores.offline.tables.schema import Table


@dataclass(frozen=True, slots=True)
class TableState:
    """One offline table: the server's estimate of its ``rows``, and its ``bytes`` on disk with indexes.

    ``chunks`` and ``compressed`` (how many of the chunks are) belong to a hypertable; they are 0 for a plain table.
    """

    name: str
    rows: int
    bytes: int
    chunks: int = 0
    compressed: int = 0


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A policy whose last run failed: its id, its procedure, its table, and the server's message."""

    id: int
    procedure: str
    table: str
    message: str


def tables(connection: psycopg.Connection[Any], wanted: Sequence[Table]) -> list[TableState]:
    """Return the state of each table of `wanted` that exists."""
    hyper = hypertable.installed(connection)
    states = []
    for table in wanted:
        name = table.identifier.as_string(connection)
        if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,):
            continue
        chunks = (0, 0)
        if hyper:
            chunks = _row(
                connection,
                "SELECT count(*), count(*) FILTER (WHERE is_compressed) FROM timescaledb_information.chunks "
                "WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %s::regclass",
                name,
            )
        if chunks[0]:
            size = "SELECT greatest(approximate_row_count(%s::regclass), 0), hypertable_size(%s::regclass)"
        else:
            size = (
                "SELECT greatest(reltuples, 0)::bigint, pg_total_relation_size(%s::regclass) "
                "FROM pg_class WHERE oid = %s::regclass"
            )
        rows, used = _row(connection, size, name, name)
        states.append(TableState(".".join(table.name), int(rows), int(used or 0), *map(int, chunks)))
    return states


def failed_jobs(connection: psycopg.Connection[Any]) -> list[FailedJob]:
    """Return the policies whose last run failed; none on plain PostgreSQL.

    The server's report to its maker is left out: it touches no row, and fails on every server without the internet.
    """
    if not hypertable.installed(connection):
        return []
    rows = connection.execute(
        "SELECT j.job_id, j.proc_name, coalesce(j.hypertable_name, ''), coalesce(e.err_message, '') "
        "FROM timescaledb_information.jobs j JOIN timescaledb_information.job_stats s USING (job_id) "
        "LEFT JOIN LATERAL (SELECT err_message FROM timescaledb_information.job_errors x WHERE x.job_id = j.job_id "
        "ORDER BY finish_time DESC LIMIT 1) e ON TRUE WHERE s.last_run_status = 'Failed' "
        "AND j.proc_name <> 'policy_telemetry' ORDER BY 1"
    ).fetchall()
    return [FailedJob(*row) for row in rows]


def run_failed(connection: psycopg.Connection[Any]) -> list[FailedJob]:
    """Run every failed policy in the foreground, and return those that failed again.

    `connection` is in autocommit mode, because a policy commits as it goes.
    """
    again = []
    for job in failed_jobs(connection):
        try:
            connection.execute("CALL run_job(%s)", (job.id,))
        except psycopg.Error as error:
            again.append(FailedJob(job.id, job.procedure, job.table, error.diag.message_primary or ""))
    return again


def _row(connection: psycopg.Connection[Any], query: str, *parameters: str) -> tuple[Any, ...]:
    row = connection.execute(query, parameters).fetchone()
    return tuple(row) if row is not None else (0, 0)
