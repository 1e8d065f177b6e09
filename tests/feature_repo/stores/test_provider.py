"""`feast apply` finds the servers, makes the offline tables and drops none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from feast import FeatureStore, FeatureView
from feast.types import Float64, Int64

from ingest.servers import embedded
from transforms import catalog

REPO = Path(__file__).parents[3] / "feature_repo"


def apply(repo: Path, data_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run `feast apply` as a user does who has set no address."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TFS_")} | {"TFS_DATA_DIR": str(data_dir)}
    command = [str(Path(sys.executable).with_name("feast")), "-c", str(repo), "apply"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A copy of the definitions, with a registry of its own."""
    copy = tmp_path / "feature_repo"
    shutil.copytree(REPO, copy, ignore=shutil.ignore_patterns("data", "stores", "__pycache__"))
    return copy


def test_apply_finds_the_embedded_servers_and_can_be_repeated(
    repo: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedded.running(data_dir, durable=False) as endpoints:
        done = apply(repo, data_dir)
        assert done.returncode == 0, done.stdout + done.stderr
        monkeypatch.setenv("TFS_DATA_DIR", str(data_dir))
        store = FeatureStore(repo_path=str(repo))
        store.apply([*store.list_entities(), *store.list_feature_views(), *store.list_feature_services()])
        with psycopg.connect(endpoints.postgres_url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert {view.name for view in store.list_feature_views()} == {view.name for view in catalog.VIEWS}
    assert {service.name for service in store.list_feature_services()} >= {"feature_vector_v1", "signal_v1"}
    assert {name for (name,) in tables} >= {view.name for view in catalog.VIEWS}


def test_apply_without_a_server_says_which_command_starts_one(repo: Path, data_dir: Path) -> None:
    done = apply(repo, data_dir)
    assert done.returncode == 1
    assert "python -m ingest servers up" in done.stdout + done.stderr
    assert not (data_dir / "servers.json").exists(), "apply starts no server"


def test_apply_puts_tables_into_the_schema_that_is_configured(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], view: Callable[..., FeatureView]
) -> None:
    open_store(view("desk_view", 5, {"a": Float64, "n": Int64}), db_schema="desk")
    found = database.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'desk_view'").fetchall()
    assert found == [("desk",)]


def test_a_view_that_is_no_longer_defined_keeps_its_table(
    open_store: Callable[..., FeatureStore],
    database: psycopg.Connection[Any],
    caplog: pytest.LogCaptureFixture,
    view: Callable[..., FeatureView],
) -> None:
    old = view("old", 5, {"a": Float64})
    store = open_store(old)
    store.apply([view("other", 5, {"a": Float64})], objects_to_delete=[old], partial=False)
    assert database.execute("SELECT to_regclass('old')").fetchone() == ("old",)
    assert "old is no longer defined; its offline table is kept with its rows" in caplog.text


VERSIONS = ("kernel_versions", "kernel_versions_id_seq", "kernel_versions_pkey", "kernel_versions_versions_key")
_TABLES = (
    "SELECT relname, relkind, attname, format_type(atttypid, atttypmod), attnotnull FROM pg_class "
    "JOIN pg_attribute ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace AND attnum > 0 "
    "ORDER BY relname, attnum"
)


def test_apply_and_teardown_leave_a_desks_own_tables_as_they_are(
    open_store: Callable[..., FeatureStore],
    database: psycopg.Connection[Any],
    view: Callable[..., FeatureView],
    desk_views: list[FeatureView],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = database.execute(_TABLES).fetchall()
    store = open_store(*desk_views)
    assert database.execute(_TABLES).fetchall() == before
    store.apply([view("ours", 5, {"a": Float64})])
    tables = {row[0] for row in database.execute(_TABLES).fetchall()}
    assert tables == {"desk_fills", "desk_prices", "ours", "ours_fact", *VERSIONS}
    store.apply([], objects_to_delete=desk_views, partial=False)
    store.teardown()
    assert [row for row in database.execute(_TABLES).fetchall() if not row[0].startswith(("ours", *VERSIONS))] == before
    assert database.execute("SELECT count(*) FROM desk_fills").fetchone() == (3,)
    assert "desk" not in caplog.text, "nothing is said of tables that are not ours"
