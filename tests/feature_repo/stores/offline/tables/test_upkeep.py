"""The state of the tables is read, and jobs that failed are run again."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from feature_repo.stores.offline.tables import hypertable, upkeep
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from tests.feature_repo.stores.offline.tables.minutes import TABLE, N, compress, fill
from transforms import catalog


def test_the_state_of_a_hypertable_counts_its_chunks(scaled: psycopg.Connection[Any]) -> None:
    migrate(scaled, [TABLE])
    fill(scaled)
    scaled.execute("ANALYZE social")
    (state,) = upkeep.tables(scaled, [TABLE])
    assert (state.name, state.rows, state.chunks, state.compressed) == ("social", 2 * N, 3, 0)
    compress(scaled)
    (packed,) = upkeep.tables(scaled, [TABLE])
    assert (packed.chunks, packed.compressed) == (3, 3)
    assert 0 < packed.bytes < state.bytes


def test_a_policy_that_failed_is_run_in_the_foreground(scaled: psycopg.Connection[Any]) -> None:
    assert hypertable.version(scaled)
    scaled.execute("CREATE TABLE done (job int)")
    scaled.execute("CREATE TABLE trouble ()")
    scaled.execute(
        "CREATE PROCEDURE work(job_id int, config jsonb) LANGUAGE plpgsql AS $$ BEGIN "
        "IF to_regclass('trouble') IS NOT NULL THEN RAISE 'no luck'; END IF; INSERT INTO done VALUES (job_id); END $$"
    )
    (job,) = scaled.execute("SELECT add_job('work', '1 hour', initial_start => now())").fetchone() or (0,)

    def failed() -> list[tuple[str, str]]:
        # TimescaleDB's own jobs may fail too: on the newest releases some do.
        return [(f.procedure, f.message) for f in upkeep.failed_jobs(scaled) if f.id == job]

    deadline = time.monotonic() + 60
    while not failed() and time.monotonic() < deadline:
        scaled.execute("SELECT pg_sleep(0.05)")
    assert failed() == [("work", "no luck")]
    assert [(f.id, f.message) for f in upkeep.run_failed(scaled)] == [(job, "no luck")]
    scaled.execute("DROP TABLE trouble")
    assert upkeep.run_failed(scaled) == []
    assert (job,) in scaled.execute("SELECT job FROM done").fetchall()


def test_a_report_of_the_server_that_fails_is_no_failed_policy(scaled: psycopg.Connection[Any]) -> None:
    assert hypertable.version(scaled)
    # As the server notes it where its maker cannot be reached.
    scaled.execute(
        "INSERT INTO _timescaledb_internal.bgw_job_stat SELECT job_id, now(), now(), now() + '1 hour', '-infinity', "
        "false, 1, '0', '0', 0, 1, 0, 1, 0, 0 FROM timescaledb_information.jobs WHERE proc_name = 'policy_telemetry' "
        "ON CONFLICT (job_id) DO UPDATE SET last_run_success = false"
    )
    assert "policy_telemetry" not in [job.procedure for job in upkeep.failed_jobs(scaled)]


def test_a_plain_server_has_tables_without_chunks_and_no_jobs(plain: psycopg.Connection[Any]) -> None:
    migrate(plain, [TABLE])
    assert fill(plain) == 2 * N
    plain.execute("ANALYZE social")
    (state,) = upkeep.tables(plain, [TABLE, table_of_view(catalog.SENTIMENT)])
    assert (state.name, state.rows, state.chunks, state.compressed) == ("social", 2 * N, 0, 0)
    assert state.bytes > 0
    assert upkeep.run_failed(plain) == []
