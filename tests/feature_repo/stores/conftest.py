"""Offline stores over one database: this project's and Feast's own, with the same definitions."""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Array, Float32, Float64, Int32, Int64, Json, String
from psycopg import sql

from feature_repo.stores.endpoints import postgres_parameters
from feature_repo.stores.offline.tables import hypertable
from feature_repo.stores.offline.tables.schema import MANAGED
from tests.feature_repo.stores.offline.two_views import put

TIMESCALE = os.environ.get("TFS_TIMESCALE_URL")
REPO = Path(__file__).parents[3] / "feature_repo"
SYMBOL = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)


def make_view(name: str, ttl_s: int, features: dict[str, Any], **source: Any) -> FeatureView:
    """A managed view over the table of its name."""
    return FeatureView(
        name=name,
        entities=[SYMBOL],
        ttl=timedelta(seconds=ttl_s),
        schema=[Field(name="symbol", dtype=String), *(Field(name=n, dtype=t) for n, t in features.items())],
        source=PostgreSQLSource(
            **{
                "name": f"{name}_table",
                "table": name,
                "timestamp_field": "event_timestamp",
                "created_timestamp_column": "created_timestamp",
            }
            | source,
        ),
        tags=dict(MANAGED),
    )


@pytest.fixture
def view() -> Callable[..., FeatureView]:
    """Make a managed view over the table of its name: ``view(name, ttl_s, {feature: type}, **source)``."""
    return make_view


@pytest.fixture
def desk_views(database: psycopg.Connection[Any]) -> list[FeatureView]:
    """Views over a desk's own tables and over a SQL view of one, none of which looks as this project's tables do."""
    database.execute(
        "CREATE TABLE desk_fills (symbol varchar(12), at timestamp, price numeric(18, 6), size real, lots integer, "
        "tags text[], note jsonb);"
        "INSERT INTO desk_fills SELECT s, '2024-01-01 00:00:10', 101.25, 0.5, 7, '{x,NULL}', '{\"k\": 1}' "
        "FROM unnest(ARRAY['A', 'A', 'B']) AS s;"  # the row of A is there twice
        "CREATE VIEW desk_prices AS SELECT symbol, at AT TIME ZONE 'UTC' AS at, price FROM desk_fills"
    )
    types = {"price": Float64, "size": Float32, "lots": Int32, "tags": Array(String), "note": Json}

    def over(table: str, features: list[str]) -> FeatureView:
        wanted = {f"{table}_{name}": types[name] for name in features}
        mapping = {name: f"{table}_{name}" for name in features}
        where = {"timestamp_field": "at", "created_timestamp_column": "", "field_mapping": mapping}
        made = make_view(table, 60, wanted, **where)
        made.tags = {}
        return made

    return [over("desk_fills", list(types)), over("desk_prices", ["price"])]


@dataclass(frozen=True)
class Pair:
    """Two stores over one database."""

    ours: FeatureStore
    stock: FeatureStore
    connection: psycopg.Connection[Any]


@pytest.fixture(params=["plain", "timescale"] if TIMESCALE else None)
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database made for this test: on the server of ``TEST_POSTGRES_URL``, of any release, else on the tests' own.

    Where ``TFS_TIMESCALE_URL`` names a server, every test runs once more on that.
    """
    server = os.environ.get("TEST_POSTGRES_URL") or request.getfixturevalue("servers").postgres_url
    if getattr(request, "param", "plain") == "timescale":
        assert TIMESCALE
        server = TIMESCALE
    name = f"test_{uuid.uuid4().hex}"
    base, _, options = server.partition("?")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield f"{base.rpartition('/')[0]}/{name}?{options}"
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to an empty database; every statement is its own transaction."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def plain(database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """`database`, on a server that does not load TimescaleDB."""
    if hypertable.version(database):
        pytest.skip("of a server without TimescaleDB")
    return database


@pytest.fixture
def open_store(postgres_url: str, tmp_path: Path) -> Callable[..., FeatureStore]:
    """Open a store on the database of this test, with the definitions given applied."""

    def open_(*objects: Any, stock: bool = False, **offline: Any) -> FeatureStore:
        kind = "postgres" if stock else "feature_repo.stores.timescale.TimescaleOfflineStore"
        parameters = postgres_parameters(postgres_url)
        settings = {k: parameters[k] for k in ("host", "port", "database", "user", "password", "sslmode")}
        config = RepoConfig(
            project="offline",
            provider="local" if stock else "feature_repo.stores.provider.TradingProvider",
            registry={"path": str(tmp_path / f"registry_{stock}.db"), "cache_ttl_seconds": 3_600},
            online_store={"type": "sqlite", "path": str(tmp_path / f"online_{stock}.db")},
            offline_store={"type": kind, **settings, **offline},
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        store.apply([SYMBOL, *objects])
        return store

    return open_


@pytest.fixture
def pair(open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any]) -> Pair:
    """Both stores with a view of 5 s and one without a ttl, over empty tables."""
    views = [make_view("quick", 5, {"a": Float64, "n": Int64}), make_view("slow", 0, {"b": Float64})]
    return Pair(open_store(*views), open_store(*views, stock=True), database)


@pytest.fixture(scope="session")
def definitions() -> Iterator[list[Any]]:
    """The project's own definitions, imported as Feast imports them: by bare name."""
    names = ["entities", "data_sources", "feature_views", "feature_services"]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPO))
        modules = [importlib.import_module(name) for name in names]
        yield [
            modules[0].symbol,
            *modules[2].VIEWS.values(),
            modules[3].feature_vector_v1,
            modules[3].signal_v1,
            modules[3].feature_vector_v2,
            modules[3].signal_v2,
        ]
        for name in names:
            sys.modules.pop(name, None)  # the folders that share this fixture have one each


@pytest.fixture
def store(pair: Any) -> FeatureStore:
    ours: FeatureStore = pair.ours
    put(ours, "quick", [("A", 0, 0, 1.5, 10), ("A", 10, 10, 2.5, None), ("B", 0, 0, None, 20)])
    put(ours, "slow", [("A", 0, 0, 7.0), ("B", 5, 5, 8.0)])
    return ours
