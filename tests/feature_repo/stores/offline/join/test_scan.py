"""A scan gives the values that are stored, by both of its ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore
from psycopg import sql

from feature_repo.stores.offline.binary.format import FLOAT8, INT8, TEXT
from feature_repo.stores.offline.join import plan
from feature_repo.stores.offline.join.gather import Columns
from feature_repo.stores.offline.join.lookup import Lookup
from feature_repo.stores.offline.join.scan import read_rows
from feature_repo.stores.offline.join.spine import Asked, upload_keys
from tests.feature_repo.stores.offline.two_views import T0, asked


def test_a_stored_nan_stays_a_nan_and_a_null_a_null(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, database: psycopg.Connection[Any]
) -> None:
    database.execute("INSERT INTO slow VALUES ('N', %s, %s, 'NaN'), ('M', %s, %s, NULL)", (T0, T0, T0, T0))
    for packed in (1e12, -1e12):
        monkeypatch.setattr(plan, "FEW", 0)
        monkeypatch.setattr(plan, "PACKED_COST", packed)
        column = store.get_historical_features(asked(("N", 1), ("M", 1)), ["slow:b"]).to_arrow().column("b")
        assert column.null_count == 1
        assert np.isnan(column[0].as_py())


@pytest.mark.parametrize("types", [[FLOAT8, INT8], [FLOAT8, INT8, TEXT]], ids=["packed", "row by row"])
def test_rows_come_by_key_in_order_of_time(database: psycopg.Connection[Any], types: list[int]) -> None:
    database.execute("CREATE TABLE rows (symbol text, t timestamptz, c timestamptz, a float8, n int8, s text)")
    database.execute(
        "INSERT INTO rows VALUES ('B', 'epoch', 'epoch', 'NaN', NULL, 'x'), "
        "('A', '1970-01-01Z'::timestamptz + interval '2 s', '1970-01-01 00:00:09Z', NULL, -5, 'y'), "
        "('A', 'epoch', '1970-01-01 00:00:03Z', 2, 2, 'z'), ('A', 'epoch', '1970-01-01 00:00:01Z', 1, 1, NULL)"
    )
    names = ("a", "n", "s")[: len(types)]
    lookup = Lookup(sql.Identifier("rows"), (("symbol", "symbol"),), "t", "c", 0, names, names, False)
    zero = np.zeros(2, np.int64)
    with database.transaction():
        upload_keys(database, Asked((pa.array(["A", "B"]),), np.arange(2), zero, np.arange(2)))
        found = {rows.key: rows for rows in read_rows(database, lookup, types, 0, 2_000_000, limit=10)}
    assert found[0].event.tolist() == [0, 0, 2_000_000]
    assert found[0].created.tolist() == [1_000_000, 3_000_000, 9_000_000]
    columns = Columns(types, 4)
    found[0].put(columns, np.array([3, 0, 1]), np.array([0, 1, 2]))
    found[1].put(columns, np.array([2]), np.array([0]))
    doubles = columns.finish(0)
    assert doubles.is_null().to_pylist() == [False, True, False, False]
    assert repr(doubles.to_pylist()) == "[2.0, None, nan, 1.0]"
    assert columns.finish(1).to_pylist() == [2, -5, None, 1]
    if TEXT in types:
        assert columns.finish(2).to_pylist() == ["z", "y", "x", None]
