"""The statements that a retrieval shows, and those of a range of time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore
from psycopg import sql

from feature_repo.stores.offline.join.lookup import Lookup
from feature_repo.stores.offline.join.statement import moments_between, rows_between
from tests.feature_repo.stores.offline.two_views import FEATURES, T0, asked, at


def test_the_statement_of_a_retrieval_gives_the_same_when_run_by_hand(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    hostile = asked(("B", 4), ("A'); DROP TABLE quick; --", 4), ("A", 12), (None, 1), note=["x", "'", '"', None])
    for frame in (hostile, "SELECT symbol, event_timestamp, 'n' AS note FROM quick ORDER BY 2 DESC, 1"):
        job = store.get_historical_features(frame, FEATURES)
        with database.cursor() as cursor:
            cursor.execute(job.to_sql())
            rows = [tuple(r) for r in cursor.fetchall()]
        table = job.to_arrow()
        utc = table.set_column(1, "event_timestamp", table.column(1).cast(pa.timestamp("us", "UTC")))
        assert [list(r) for r in rows] == [list(r.values()) for r in utc.to_pylist()]


def test_a_range_reads_each_view_between_its_ends() -> None:
    lookup = Lookup(sql.Identifier("quick"), (("symbol", "sym"),), "t", "c", 0, ("a",), ("a_1",), False)
    period = (T0, at(10))
    assert rows_between(lookup, period).as_string(None) == (
        'SELECT "r"."t" AS "event_timestamp", "r"."c" AS "created_timestamp", "r"."sym" AS "symbol", "r"."a" AS "a_1" '
        'FROM "quick" AS r WHERE "r"."t" BETWEEN \'2024-01-01 00:00:00+00:00\'::timestamptz '
        "AND '2024-01-01 00:00:10+00:00'::timestamptz "
        'ORDER BY 1, "r"."sym"::text COLLATE "C", "r"."c"'
    )
    both = moments_between([lookup, lookup], period).as_string(None)
    assert both.count('SELECT "r"."t"') == 2
    assert both.endswith("ORDER BY event_timestamp")
    with pytest.raises(ValueError, match="same join keys"):
        moments_between([lookup, replace(lookup, keys=())], period)
