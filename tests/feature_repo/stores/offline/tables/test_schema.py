"""Apply makes the tables and keeps them in step; it never takes a row away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from feast import FeatureView
from feast.types import Array, Float64

from feature_repo.stores.offline.tables.hypertable import Policy
from feature_repo.stores.offline.tables.schema import (
    SchemaError,
    identifier_parts,
    migrate,
    table_of_feature_view,
    table_of_view,
)
from transforms import catalog

TABLE = table_of_view(catalog.SOCIAL)
NO_POLICY = Policy(columnstore_after=None)


def columns(connection: psycopg.Connection[Any], table: str) -> dict[str, str]:
    return dict(
        connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position",
            (table,),
        ).fetchall()
    )


def test_a_table_has_the_columns_of_the_catalogue_and_one_unique_index(database: psycopg.Connection[Any]) -> None:
    migrate(database, [TABLE])
    times = dict.fromkeys(("event_timestamp", "created_timestamp"), "timestamp with time zone")
    kinds = {"Float64": "double precision", "Int64": "bigint"}
    features = {f.name: kinds[f.dtype] for f in catalog.SOCIAL.features}
    told = {"feed_silence_ms": "integer", "kernels": "smallint", "recomputed": "boolean"}
    assert columns(database, "social") == {"symbol": "text", **times, **features, **told}
    (index,) = database.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'social'").fetchall()
    assert index[0].startswith("CREATE UNIQUE INDEX")
    assert index[0].endswith("(symbol, event_timestamp, created_timestamp, recomputed)")


def test_rows_from_before_rows_had_makers_are_served_ones_of_unknown_kernels_and_are_not_rewritten(
    database: psycopg.Connection[Any],
) -> None:
    migrate(database, [TABLE], NO_POLICY)
    database.execute(
        "ALTER TABLE social DROP COLUMN kernels, DROP COLUMN recomputed;"
        "CREATE UNIQUE INDEX social_row ON social (symbol, event_timestamp, created_timestamp);"
        "DROP TABLE kernel_versions;"
        "INSERT INTO social (symbol, event_timestamp, created_timestamp) "
        "SELECT 'A', t, t + interval '1 s' FROM generate_series('2024-01-01'::timestamptz, '2024-01-02', '1 h') AS t"
    )
    rows = "SELECT tableoid, ctid, * FROM social ORDER BY event_timestamp"  # where each row lies, and the row
    before = database.execute(rows).fetchall()
    for _ in range(2):
        migrate(database, [TABLE], NO_POLICY)
    assert database.execute(rows).fetchall() == [(*row, None, False) for row in before]
    indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'social'"
    assert database.execute(indexes).fetchall() == [("social_fact",)]
    database.execute("INSERT INTO kernel_versions (versions) VALUES ('{}')")


def test_a_second_time_changes_nothing(plain: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture) -> None:
    migrate(plain, [TABLE])
    caplog.clear()
    migrate(plain, [TABLE])
    assert [record.getMessage() for record in caplog.records] == [
        "PostgreSQL here has no TimescaleDB: the 1 offline tables are plain tables"
    ]


def test_a_new_feature_adds_a_column_and_one_that_is_gone_keeps_its_own(
    database: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = replace(TABLE, features={"kept": "double precision", "gone": "bigint"})
    migrate(database, [first])
    database.execute("INSERT INTO social VALUES ('A', now(), now(), 1.5, 2)")
    migrate(database, [replace(TABLE, features={"kept": "double precision", "new": "bigint"})])
    assert database.execute("SELECT kept, gone, new FROM social").fetchall() == [(1.5, 2, None)]
    messages = [record.getMessage() for record in caplog.records]
    assert "social: added new" in messages
    assert "social: no longer defined, kept with its rows: gone" in messages


def test_a_view_that_is_new_gets_its_table_beside_those_that_are_there(database: psycopg.Connection[Any]) -> None:
    before = [table_of_view(view) for view in catalog.VIEWS if view is not catalog.DERIVATIVES]
    migrate(database, before)
    database.execute("INSERT INTO social (symbol, event_timestamp, created_timestamp) VALUES ('A', now(), now())")
    migrate(database, [table_of_view(view) for view in catalog.VIEWS])
    assert columns(database, "derivatives").keys() > set(catalog.DERIVATIVES.names)
    assert database.execute("SELECT count(*) FROM social").fetchone() == (1,)


def test_a_feature_that_changed_its_type_is_refused_by_name(database: psycopg.Connection[Any]) -> None:
    migrate(database, [replace(TABLE, features={"n": "bigint"})])
    with pytest.raises(SchemaError, match="table social: n is bigint, not double precision"):
        migrate(database, [replace(TABLE, features={"n": "double precision"})])


def test_a_database_that_does_not_hold_every_symbol_is_refused_and_nothing_is_made(
    database: psycopg.Connection[Any], postgres_url: str
) -> None:
    base, _, options = postgres_url.partition("?")
    database.execute("CREATE DATABASE test_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(f"{base.rpartition('/')[0]}/test_ascii?{options}", autocommit=True) as ascii_only:
            with pytest.raises(SchemaError, match="holds text as SQL_ASCII"):
                migrate(ascii_only, [TABLE])
            assert columns(ascii_only, TABLE.name[-1]) == {}
    finally:
        database.execute("DROP DATABASE test_ascii WITH (FORCE)")


def test_hostile_names_are_quoted(database: psycopg.Connection[Any]) -> None:
    odd = 'x"; DROP TABLE social; --'
    migrate(database, [TABLE, replace(TABLE, name=(odd,), features={'f"(': "bigint"})])
    assert columns(database, odd)['f"('] == "bigint"
    assert columns(database, "social")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("microstructure", ("microstructure",)),
        ("Desk.Prices", ("desk", "prices")),
        ('"Desk"."a.b"', ("Desk", "a.b")),
        ('"say ""hi"""', ('say "hi"',)),
    ],
)
def test_a_table_name_is_split_as_sql_reads_it(name: str, parts: tuple[str, ...]) -> None:
    assert identifier_parts(name) == parts


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a.", ".a", "a..b", '"open', "(select 1)"])
def test_what_is_not_a_table_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a table name"):
        identifier_parts(name)


def test_a_view_over_a_query_has_no_table_and_an_array_no_column(view: Callable[..., FeatureView]) -> None:
    assert table_of_feature_view(view("v", 1, {"a": Float64}, table=None, query="SELECT 1")) is None
    with pytest.raises(SchemaError, match=r"v\.a: .* no column type for Array"):
        table_of_feature_view(view("v", 1, {"a": Array(Float64)}))
