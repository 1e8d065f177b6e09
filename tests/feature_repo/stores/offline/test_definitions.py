"""The definitions say what the catalogue says, and `feast apply` finds the servers by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from feast import FeatureStore

from feature_repo.stores.timescale import TimescaleOfflineStoreConfig
from ingest.servers import embedded
from transforms import catalog

REPO = Path(__file__).parents[4] / "feature_repo"


def named(definitions: list[Any], name: str) -> Any:
    (found,) = [d for d in definitions if d.name == name]
    return found


@pytest.mark.parametrize("view", catalog.VIEWS, ids=lambda view: view.name)
def test_a_view_has_the_features_ttl_and_sources_of_the_catalogue(definitions: list[Any], view: catalog.View) -> None:
    defined = named(definitions, view.name)
    assert [(f.name, str(f.dtype)) for f in defined.features] == [(f.name, f.dtype) for f in view.features]
    assert [(f.name, str(f.dtype)) for f in defined.entity_columns] == [("symbol", "String")]
    assert defined.ttl == timedelta(seconds=view.ttl_s)
    assert defined.stream_source.name == f"{view.name}_push_source"
    assert defined.batch_source.get_table_query_string() == view.name
    assert defined.batch_source.timestamp_field == "event_timestamp"
    assert defined.batch_source.created_timestamp_column == "created_timestamp"
    assert defined.description
    assert defined.owner
    assert all(field.description for field in defined.features)


def features(service: Any) -> list[str]:
    return [f.name for projection in service.feature_view_projections for f in projection.features]


def test_the_vector_is_in_its_order_and_the_signal_has_everything(definitions: list[Any]) -> None:
    assert features(named(definitions, "feature_vector_v1")) == list(catalog.FEATURE_VECTOR_V1)
    raw = [view for view in catalog.VIEWS if view.feed in ("book", "trade", "post")]
    assert features(named(definitions, "signal_v1")) == [name for view in raw for name in view.names]


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


def test_apply_finds_the_embedded_servers_and_can_be_repeated(repo: Path, data_dir: Path) -> None:
    with embedded.running(data_dir, durable=False) as endpoints:
        for _ in range(2):
            done = apply(repo, data_dir)
            assert done.returncode == 0, done.stdout + done.stderr
        with psycopg.connect(endpoints.postgres_url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    store = FeatureStore(repo_path=str(repo))
    assert {view.name for view in store.list_feature_views()} == {view.name for view in catalog.VIEWS}
    assert {service.name for service in store.list_feature_services()} >= {"feature_vector_v1", "signal_v1"}
    assert {name for (name,) in tables} >= {view.name for view in catalog.VIEWS}


def test_apply_without_a_server_says_which_command_starts_one(repo: Path, data_dir: Path) -> None:
    done = apply(repo, data_dir)
    assert done.returncode == 1
    assert "python -m ingest servers up" in done.stdout + done.stderr
    assert not (data_dir / "servers.json").exists(), "apply starts no server"


def test_the_server_is_looked_up_when_a_connection_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TimescaleOfflineStoreConfig()
    for port in (5433, 5434):
        monkeypatch.setenv(
            "TFS_POSTGRES_URL", f"postgresql://desk:s3cret@db:{port}/features?sslmode=verify-full&sslrootcert=ca"
        )
        assert (config.host, config.port, config.user, config.password) == ("db", port, "desk", "s3cret")
        assert (config.database, config.sslmode, config.sslrootcert_path) == ("features", "verify-full", "ca")
    assert "s3cret" not in repr(config)


def test_a_host_in_the_yaml_brings_feasts_own_rules() -> None:
    given = TimescaleOfflineStoreConfig(host="db", database="d", user="u", password="p")
    assert (given.port, given.sslmode) == (5432, "require")
    with pytest.raises(ValueError, match="a host but no database, password"):
        TimescaleOfflineStoreConfig(host="db", user="u")
    with pytest.raises(ValueError, match="port but no host"):
        TimescaleOfflineStoreConfig(port=5432)
