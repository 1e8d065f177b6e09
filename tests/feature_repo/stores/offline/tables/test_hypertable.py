"""The same statements on TimescaleDB: hypertables, compressed chunks, policies. Needs ``TFS_TIMESCALE_URL``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.join import lookup, plan, retrieve
from feature_repo.stores.offline.join.spine import spine_of_frame
from feature_repo.stores.offline.tables import hypertable
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from tests.feature_repo.stores.offline.tables.minutes import T0, TABLE, VIEW, N, compress, fill
from transforms import catalog

REPACK = "SELECT compress_chunk(decompress_chunk(c)) FROM show_chunks('social') AS c"


def joined(connection: psycopg.Connection[Any], known: bool) -> pa.Table:
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {
            "symbol": rng.choice(["A", "B", "C"], 2_000),
            "event_timestamp": pd.to_datetime(T0 + rng.integers(0, N * 60_000_000, 2_000), unit="us", utc=True),
        }
    )
    asked = lookup.Lookup(
        source=TABLE.identifier,
        keys=(("symbol", "symbol"),),
        event="event_timestamp",
        created="created_timestamp",
        ttl=90_000_000,
        features=VIEW.names,
        names=VIEW.names,
        known=known,
    )
    with connection.transaction():
        connection.execute("SET LOCAL TimeZone = 'UTC'")
        return retrieve.join(connection, spine_of_frame(frame), [asked])


def test_a_table_becomes_a_hypertable_with_day_chunks_a_columnstore_and_its_policy(
    scaled: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        migrate(scaled, [TABLE])
    assert "plain tables" not in caplog.text
    assert scaled.execute("SELECT compression_enabled FROM timescaledb_information.hypertables").fetchall() == [(True,)]
    dimension = "SELECT column_name, time_interval FROM timescaledb_information.dimensions"
    assert scaled.execute(dimension).fetchall() == [("event_timestamp", timedelta(days=1))]
    settings = "SELECT segmentby, orderby FROM timescaledb_information.hypertable_columnstore_settings"
    ((segments, order),) = scaled.execute(settings).fetchall()
    assert (segments, order) == ("symbol", "event_timestamp DESC,created_timestamp DESC")
    jobs = "SELECT config ->> 'compress_after' FROM timescaledb_information.jobs WHERE hypertable_name = 'social'"
    assert scaled.execute(jobs).fetchall() == [("2 days",)]


def test_a_scan_of_packed_chunks_is_planned_by_the_rows_that_there_are(
    scaled: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def halves(step: plan.Scan) -> Any:
        raise AssertionError("the slice had more rows than were expected")

    migrate(scaled, [TABLE])
    fill(scaled)
    looked_up = joined(scaled, known=True)
    compress(scaled)
    scaled.execute("VACUUM ANALYZE social")
    monkeypatch.setattr(plan, "SLICE_CELLS", 2_000 * len(VIEW.names))
    monkeypatch.setattr(plan, "PACKED_COST", 0)  # a scan is the cheaper one
    monkeypatch.setattr(plan.Scan, "halves", halves)
    assert joined(scaled, known=True) == looked_up


def fresh(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Open another connection, which begins with the settings of its role."""
    return psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True)


def batches(connection: psycopg.Connection[Any]) -> list[tuple[str, int]]:
    """Return the version and the number of rows of each batch of the columnstore; one that is written again has a new version."""
    chunks = connection.execute(
        "SELECT format('%I.%I', p.schema_name, p.table_name) FROM _timescaledb_catalog.chunk AS c "
        "JOIN _timescaledb_catalog.chunk AS p ON p.id = c.compressed_chunk_id ORDER BY c.id"
    ).fetchall()
    rows = "SELECT tableoid || ' ' || ctid || ' ' || xmin, _ts_meta_count FROM "
    return [row for (chunk,) in chunks for row in connection.execute(rows + chunk).fetchall()]


def late(connection: psycopg.Connection[Any]) -> int:
    """Write a correction of a minute that has a row, and a row between two minutes, a day late."""
    event = np.array([T0 + 3_600_000_000, T0 + 50_430_500_000], np.int64)
    values = np.full((2, len(VIEW.features)), 7.0)
    return append_rows(connection, VIEW, ["A", "A"], event, event + 86_400_000_000, values)


def test_the_policy_packs_few_rows_together_for_the_sake_of_look_ups(scaled: psycopg.Connection[Any]) -> None:
    migrate(scaled, [TABLE])
    fill(scaled)
    with fresh(scaled) as job:  # a job begins as a session of the table's owner does
        (policy,) = job.execute(
            "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name = 'social'"
        ).fetchone() or (0,)
        job.execute("CALL run_job(%s)", (policy,))
    sizes = [rows for _, rows in batches(scaled)]
    assert max(sizes) == 220
    assert sum(sizes) == 2 * N


def test_a_table_of_an_earlier_release_gets_the_order_and_keeps_its_chunks_until_they_are_packed_anew(
    scaled: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    migrate(scaled, [TABLE])
    scaled.execute("ALTER TABLE social SET (timescaledb.orderby = 'event_timestamp DESC')")
    fill(scaled)
    fill(scaled, delay_us=30_000_000, seed=8)
    rows = joined(scaled, known=True)
    assert compress(scaled) == 3
    before = batches(scaled)
    migrate(scaled, [TABLE])
    assert "social: 3 chunks are in the order of an earlier release" in caplog.text.replace('"', "")
    assert batches(scaled) == before
    assert joined(scaled, known=True) == rows
    with fresh(scaled) as owner:
        assert late(owner) == 2
        rows = joined(owner, known=False)
        compress(owner)  # as the policy does: the late rows go into batches of both orders
        assert joined(owner, known=False) == rows
        owner.execute(REPACK)
    order = "SELECT DISTINCT orderby FROM timescaledb_information.chunk_columnstore_settings"
    assert scaled.execute(order).fetchall() == [("event_timestamp DESC,created_timestamp DESC",)]
    assert max(count for _, count in batches(scaled)) == 220
    assert joined(scaled, known=False) == rows
    caplog.clear()
    migrate(scaled, [TABLE])
    assert not caplog.records


def test_what_somebody_chose_for_the_columnstore_stays(scaled: psycopg.Connection[Any]) -> None:
    migrate(scaled, [TABLE])
    scaled.execute("ALTER TABLE social SET (timescaledb.orderby = 'event_timestamp, kernels')")
    (role,) = scaled.execute("SELECT current_user").fetchone() or ("",)
    where = sql.SQL("ALTER ROLE {} IN DATABASE {} SET timescaledb.compression_batch_size_limit = 900").format(
        sql.Identifier(role), sql.Identifier(scaled.info.dbname)
    )
    scaled.execute(where)
    with fresh(scaled) as again:
        migrate(again, [TABLE])
    with fresh(scaled) as again:
        assert again.execute("SHOW timescaledb.compression_batch_size_limit").fetchone() == ("900",)
    order = "SELECT orderby FROM timescaledb_information.hypertable_columnstore_settings"
    assert scaled.execute(order).fetchall() == [("event_timestamp,kernels",)]


def test_late_rows_and_corrections_change_the_batches_of_their_time_alone(scaled: psycopg.Connection[Any]) -> None:
    migrate(scaled, [TABLE])
    fill(scaled)
    with fresh(scaled) as owner:
        compress(owner)
        packed = set(batches(owner))
        assert late(owner) == 2
        assert set(batches(owner)) == packed  # the rows lie beside the batches
        rows = joined(owner, known=False)
        compress(owner)  # as the policy does
        assert len(packed - set(batches(owner))) == 2
        assert joined(owner, known=False) == rows
    assert scaled.execute("SELECT count(*) FROM social").fetchone() == (2 * N + 2,)


def test_nothing_is_deleted_unless_retention_is_asked_for(scaled: psycopg.Connection[Any]) -> None:
    migrate(scaled, [TABLE], hypertable.Policy(retain=timedelta(days=30), columnstore_after=None))
    jobs = (
        "SELECT proc_name, config ->> 'drop_after' FROM timescaledb_information.jobs WHERE hypertable_name = 'social'"
    )
    assert scaled.execute(jobs).fetchall() == [("policy_retention", "30 days")]


def test_a_plain_table_with_rows_is_converted_with_its_rows(scaled: psycopg.Connection[Any]) -> None:
    scaled.execute("DROP EXTENSION IF EXISTS timescaledb CASCADE")
    body = ", ".join(f"{name} {kind}" for name, kind in TABLE.columns.items())
    scaled.execute(f"CREATE TABLE social ({body})")
    scaled.execute("INSERT INTO social (symbol, event_timestamp, created_timestamp) VALUES ('A', now(), now())")
    with fresh(scaled) as other:
        migrate(other, [TABLE])
        assert other.execute("SELECT count(*) FROM timescaledb_information.chunks").fetchone() == (1,)
        assert other.execute("SELECT count(*) FROM social").fetchone() == (1,)


def test_a_new_feature_is_added_to_a_hypertable_that_has_compressed_chunks(scaled: psycopg.Connection[Any]) -> None:
    short = table_of_view(catalog.View("social", "post", 3600, "", VIEW.features[:-1]))
    migrate(scaled, [short])
    scaled.execute("INSERT INTO social (symbol, event_timestamp, created_timestamp) VALUES ('A', '2024-01-01Z', now())")
    assert compress(scaled) == 1
    migrate(scaled, [TABLE])
    assert fill(scaled) == 2 * N
    assert scaled.execute("SELECT count(*) FROM social").fetchone() == (2 * N + 1,)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("packed", [1e12, -1e12], ids=["look-up", "scan"])
def test_a_join_gives_the_same_on_compressed_chunks(
    scaled: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, known: bool, packed: float
) -> None:
    monkeypatch.setattr(plan, "PACKED_COST", packed)
    migrate(scaled, [TABLE])
    fill(scaled)
    fill(scaled, delay_us=30_000_000, seed=8)
    rows = joined(scaled, known)
    assert rows.column("social_volume_5m").null_count < 1_500
    assert compress(scaled) == 3
    assert joined(scaled, known) == rows


def test_repeats_into_compressed_chunks_are_ignored_and_corrections_added(scaled: psycopg.Connection[Any]) -> None:
    migrate(scaled, [TABLE])
    assert fill(scaled) == 2 * N
    compress(scaled)
    assert fill(scaled) == 0
    assert fill(scaled, delay_us=1) == 0  # made again, with the same values
    assert fill(scaled, delay_us=2, seed=8) == 2 * N
    assert scaled.execute("SELECT count(*) FROM social").fetchone() == (4 * N,)


def test_a_server_without_the_extension_is_left_as_it_is(plain: psycopg.Connection[Any]) -> None:
    assert hypertable.version(plain) == ()
