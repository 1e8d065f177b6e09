"""SQL of a caller may end as people end it, and may hold whatever looks like an end."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from feast import FeatureStore
from psycopg import sql

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.join.entity_sql import bare

ENDS = [
    "",
    ";",
    " ;\n; ",
    "; -- comment",
    " -- comment",
    "\n-- a ; b\n;\n-- c",
    "/* a */",
    "; /* a ; /* nested */ -- b */ ;",
    "-- unfinished /*",
    ";/* -- */--",
]

BODIES = [
    "SELECT 1",
    "SELECT ';' AS a, '-- b' AS b, '/* c' AS c",
    "SELECT 'it''s; -- ' || E'\\'; -- ' AS a",
    'SELECT 1 AS "a; -- ""b"" /*"',
    "SELECT $$; -- $$ || $tag$ $$ ; /* $tag$ AS a",
    "SELECT /* within */ 1 -- and\n AS a, 2 /* ; */ AS b$c",
    "SELECT 5 -3 AS minus, 6 / 2 AS slash",
]


@pytest.mark.parametrize("body", BODIES)
def test_comments_and_semicolons_behind_a_query_go_and_those_within_stay(body: str) -> None:
    for end in ENDS:
        assert bare(f"  {body} {end}").strip() == body


@pytest.mark.parametrize("text", ["", " ; ", "-- nothing", "/* SELECT 1 */;"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="empty"):
        bare(text)


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT 1; -- a\n DROP TABLE x"])
def test_several_statements_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="several statements"):
        bare(text)


def test_postgresql_reads_the_same_query(database: psycopg.Connection[Any]) -> None:
    for body in BODIES:
        alone = database.execute(body).fetchall()  # type: ignore[call-overload]
        for end in ENDS:
            bracketed = sql.SQL("SELECT * FROM ({}\n) AS q").format(sql.SQL(bare(f"{body} {end}")))
            assert database.execute(bracketed).fetchall() == alone


def test_an_entity_frame_as_sql_may_end_as_people_end_it(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    query = "SELECT 'A' AS symbol, ';--' AS note, '2024-01-01 00:00:04Z'::timestamptz AS event_timestamp"
    for end in ENDS:
        job = store.get_historical_features(query + end, ["quick:a", "quick:n"])
        assert job.to_arrow()["a"].to_pylist() == [1.5]
        assert [row[-2:] for row in database.execute(job.to_sql()).fetchall()] == [(1.5, 10)]  # type: ignore[call-overload]
