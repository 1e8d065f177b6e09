"""Three days of minutes in one table, to fill a hypertable with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg

from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.tables.schema import table_of_view
from transforms import catalog

VIEW = catalog.SOCIAL

TABLE = table_of_view(VIEW)

T0 = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

N = 3 * 24 * 60
"""One row a minute for three days."""


def fill(connection: psycopg.Connection[Any], delay_us: int = 0, seed: int = 7) -> int:
    rng = np.random.default_rng(seed)
    values = np.floor(rng.normal(size=(2 * N, len(VIEW.features))) * 100)
    values[rng.random(values.shape) < 0.2] = np.nan
    event = T0 + np.repeat(np.arange(N, dtype=np.int64), 2) * 60_000_000
    return append_rows(connection, VIEW, ["A", "B"] * N, event, event + 1_000_000 + delay_us, values)


def compress(connection: psycopg.Connection[Any]) -> int:
    chunks = connection.execute("SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks")
    names = [name for (name,) in chunks.fetchall()]
    for name in names:
        connection.execute("SELECT compress_chunk(%s::regclass)", (name,))
    return len(names)
