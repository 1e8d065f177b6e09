"""Days are mended in compressed chunks as in plain tables. Needs ``TFS_TIMESCALE_URL``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ingest.backfill.days.run import backfill_from_tape
from ingest.messages.kinds import Trade
from ingest.settings import Settings
from tests.conftest import new_database
from tests.feature_repo.stores.offline.tables.minutes import compress
from tests.ingest.backfill.days.tapes import DAY, MIDNIGHT, SYMBOLS, market, put, settings, stored, worker_rows

_PACKED = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"

_LIMIT = (
    "timescaledb.max_tuples_decompressed_per_dml_transaction"  # 100,000 by default: a day of a symbol may have more
)


@pytest.fixture
def conf(tmp_path: Path) -> Settings:
    return settings(str(tmp_path / "tape"))


@pytest.fixture
def scaled(timescale_url: str) -> Iterator[psycopg.Connection]:
    """A connection to a database of TimescaleDB made for this test, in which a statement may touch few compressed rows."""
    with new_database(timescale_url) as url, psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET {} = 5").format(name, sql.SQL(_LIMIT)))
        yield connection


def test_rows_in_compressed_chunks_are_replaced(scaled: psycopg.Connection, conf: Settings, postgres_url: str) -> None:
    url = scaled.info.dsn
    for day in range(3):
        put(conf, market(day))
    backfill_from_tape(url, conf)
    assert compress(scaled) > 6 and scaled.execute(_PACKED).fetchone() == (compress(scaled),)
    put(conf, [("trade", Trade(MIDNIGHT + DAY - 11_500, SYMBOLS[0], 50_000.0, 3.0, "buy"))], tag=1)
    put(conf, market(3))
    found = backfill_from_tape(url, conf)
    assert (found.computed, found.passed) == (5, 3)
    assert stored(url) == worker_rows(conf)
    compress(scaled)
    assert backfill_from_tape(url, replace(conf, allowed_lateness_ms=100)).computed == 8
    backfill_from_tape(postgres_url, replace(conf, allowed_lateness_ms=100))
    assert stored(url) == stored(postgres_url)
