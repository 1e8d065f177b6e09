"""Hashes of columns are those that a real server gives the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

from feature_repo.stores.offline.binary import hashes

EDGES = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 5e-324, 1e308, 1.0, -1.0]
WHOLES = [0, 1, -1, 2**31 - 1, -(2**31), 2**32, -(2**32) - 1, 2**63 - 1, -(2**63)]


def asked(database: psycopg.Connection[Any], query: str, values: list[Any]) -> list[int]:
    return [row[0] for row in database.execute(query, (values,))]


def test_each_kind_of_value_hashes_as_on_the_server(database: psycopg.Connection[Any]) -> None:
    rng = np.random.default_rng(1)
    doubles = np.array([*EDGES, *rng.normal(size=500), *rng.integers(0, 2**63, 500).view(np.float64)])
    wholes = np.array([*WHOLES, *rng.integers(-(2**63), 2**63 - 1, 500)])
    times = np.array([0, -1, 946_684_800_000_000, *rng.integers(0, 2**52, 500)])
    instant = "timestamptz '1970-01-01 00:00+00' + x * interval '1 us'"
    for given, of, add in (
        (doubles, "x FROM unnest(%s::float8[])", hashes.add_doubles),
        (wholes, "x FROM unnest(%s::bigint[])", hashes.add_wholes),
        (wholes[:4], "x FROM unnest(%s::integer[])", hashes.add_wholes),
        (times, f"{instant} FROM unnest(%s::bigint[])", hashes.add_times),
    ):
        value, source = of.split(" FROM ")
        query = f"SELECT hash_record_extended(ROW({value}), 0) FROM {source} WITH ORDINALITY AS of(x, n) ORDER BY n"  # noqa: S608
        found = np.zeros(len(given), np.uint64)
        add(found, given)
        assert found.view(np.int64).tolist() == asked(database, query, given.tolist())


def test_a_row_with_nulls_hashes_as_on_the_server(database: psycopg.Connection[Any]) -> None:
    texts = ["", "A", "BTC-USD", "a name that is longer than twelve bytes", "é" * 40]
    numbers = np.arange(5) - 2
    found = hashes.of_texts(database, texts)
    hashes.add_wholes(found, numbers, numbers != 1)
    hashes.add_doubles(found, numbers / 3, numbers != -2)
    query = (
        "SELECT hash_record_extended(ROW(x, nullif(n - 3, 1), nullif((n - 3) / 3.0::float8, -2 / 3.0::float8)), 0) "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS of(x, n) ORDER BY n"
    )
    assert found.view(np.int64).tolist() == asked(database, query, texts)


def test_a_server_that_hashes_otherwise_is_noticed_and_so_is_code_that_is_not_compiled(
    database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hashes.agree(database) == hashes.COMPILED
    monkeypatch.setattr(hashes.wire, "EPOCH_US", 0)
    assert not hashes.agree(database)
    monkeypatch.undo()
    monkeypatch.setattr(hashes, "COMPILED", False)
    assert not hashes.agree(database)
