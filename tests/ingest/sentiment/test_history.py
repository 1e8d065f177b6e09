"""The table of scores."""

from __future__ import annotations

import logging

import psycopg
import pytest

from ingest.sentiment.history import RETRY_S, History, Scored, text_hash


def row(
    name: str, text: str, positive: float | None = 0.5, model: str = "m", revision: str = "r", source: str = "x"
) -> Scored:
    rest = (None, None) if positive is None else (0.25, 0.25)
    return Scored(source, name, text_hash(text), model, revision, positive, *rest, 1_000, 2_500)


def test_scores_are_found_by_text_model_and_revision(postgres_url: str) -> None:
    history = History(postgres_url)
    history.add([row("1", "a"), row("2", "a"), row("3", "b", 0.25), row("4", "c", None)])
    hashes = [text_hash(t) for t in "abcd"]
    assert history.find(hashes, "m", "r") == {hashes[0]: (0.5, 0.25, 0.25), hashes[1]: (0.25, 0.25, 0.25)}
    assert history.find(hashes, "m", "other") == {}
    assert history.find(hashes, "other", "r") == {}
    assert history.find([], "m", "r") == {}
    history.close()


def test_a_row_is_written_once_and_never_changed(postgres_url: str) -> None:
    history = History(postgres_url)
    history.add([row("1", "a", 0.5)])
    history.add([row("1", "a", 0.75)])
    history.close()
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(
            "SELECT id, model, revision, positive, extract(epoch FROM posted_at), extract(epoch FROM scored_at)"
            " FROM social_scores"
        ).fetchall()
    assert [tuple(map(str, r)) for r in found] == [("1", "m", "r", "0.5", "1.000000", "2.500000")]


def test_two_sources_that_use_one_id_are_two_rows(postgres_url: str) -> None:
    history = History(postgres_url)
    history.add([row("1", "a", source="x"), row("1", "a", source="y"), row("1", "a", source="x")])
    history.close()
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT source, id FROM social_scores ORDER BY source").fetchall()
    assert found == [("x", "1"), ("y", "1")]


EARLIER = """
CREATE TABLE social_scores (
    id text NOT NULL, text_hash bytea NOT NULL, model text NOT NULL, revision text NOT NULL, positive double precision,
    negative double precision, neutral double precision, posted_at timestamptz NOT NULL, scored_at timestamptz NOT NULL,
    PRIMARY KEY (text_hash, model, revision, id)
);
INSERT INTO social_scores VALUES ('1', %s, 'm', 'r', 0.5, 0.25, 0.25, now(), now())"""


def test_a_table_of_an_earlier_version_is_migrated_and_keeps_its_scores(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(EARLIER.replace("%s", "'\\x" + text_hash("a").hex() + "'"))
    for history in (History(postgres_url), History(postgres_url)):  # the second finds it migrated
        assert history.find([text_hash("a")], "m", "r") == {text_hash("a"): (0.5, 0.25, 0.25)}
        history.add([row("1", "a", source="x"), row("1", "a", source="y")])
        history.close()
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT source, id FROM social_scores ORDER BY source").fetchall()
    assert found == [("", "1"), ("x", "1"), ("y", "1")]


def test_rows_wait_for_a_database_that_is_down(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    history = History("postgresql://nobody:secret@127.0.0.1:1/none", clock=lambda: now[0])
    with caplog.at_level(logging.WARNING):
        history.add([row("1", "a")])
        assert history.find([text_hash("a")], "m", "r") == {}
    assert "OperationalError" in caplog.text
    assert "secret" not in caplog.text
    assert len(caplog.records) == 1  # left alone until the time has come
    history._url = postgres_url  # it is back
    history.add([row("2", "b")])
    assert history.waiting == 2
    now[0] = RETRY_S
    history.add([])
    assert history.waiting == 0
    assert len(history.find([text_hash("a"), text_hash("b")], "m", "r")) == 2
    history.close()


def test_a_connection_that_breaks_is_made_again(postgres_url: str) -> None:
    now = [0.0]
    history = History(postgres_url, clock=lambda: now[0])
    history.add([row("1", "a")])
    assert history._connection is not None
    pid = history._connection.info.backend_pid
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    assert history.find([text_hash("a")], "m", "r") == {}
    history.add([row("2", "b")])
    now[0] = RETRY_S
    assert len(history.find([text_hash("a")], "m", "r")) == 1
    history.close()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM social_scores").fetchone() == (2,)


def test_without_an_address_nothing_is_kept() -> None:
    history = History(None)
    history.add([row("1", "a")])
    assert history.waiting == 0
    assert history.find([text_hash("a")], "m", "r") == {}
    history.close()
