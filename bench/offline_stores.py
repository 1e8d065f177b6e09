"""A PostgreSQL server with one-second rows on it, and on it this project's offline store and Feast's own."""

from __future__ import annotations

import contextlib
import json
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Float64, String
from psycopg import sql

from feature_repo.stores.endpoints import postgres_parameters
from feature_repo.stores.offline.tables.schema import MANAGED, Table, migrate, table_of_feature_view
from ingest.servers import embedded

START = pd.Timestamp("2024-01-01T00:00:00Z")
SYMBOLS = 20
SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Bench:
    """The two stores over the same tables."""

    ours: FeatureStore
    stock: FeatureStore
    url: str


@contextlib.contextmanager
def bench(views: int, features: int) -> Iterator[Bench]:
    """Open both stores over empty tables `view0` ... of `features` columns, ttl 5 minutes, in a database of their own."""
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the servers may run as another user
        with embedded.running(folder / "servers", durable=False) as endpoints, database(endpoints.postgres_url) as url:
            made = [view_of(i, features) for i in range(views)]
            stores: list[FeatureStore] = []
            for kind in ("feature_repo.stores.timescale.TimescaleOfflineStore", "postgres"):
                config = RepoConfig(
                    project="bench_offline",
                    provider="local",
                    registry={"path": str(folder / f"{len(stores)}.db"), "cache_ttl_seconds": 3_600},
                    online_store={"type": "sqlite", "path": str(folder / "online.db")},
                    offline_store={"type": kind, **settings(url)},
                    entity_key_serialization_version=3,
                )
                store = FeatureStore(config=config)
                store.apply([symbol_entity(), *made])
                stores.append(store)
            with psycopg.connect(url) as connection:
                migrate(connection, [table for table in map(table_of_feature_view, made) if table is not None])
            yield Bench(stores[0], stores[1], url)


def fill(store: Bench, days: int = 1) -> None:
    """One row a second and symbol for some days in every table, all known at once, in order of time as they would arrive."""
    with psycopg.connect(store.url, autocommit=True) as connection:
        for view in store.ours.list_feature_views():
            table = table_of_feature_view(view)
            assert isinstance(table, Table)
            names = [field.name for field in view.features]
            columns = ["symbol", "event_timestamp", "created_timestamp", *names]
            randoms = sql.SQL(", ").join(sql.SQL("random()") for _ in names)
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} ({}) SELECT 'SYM' || s, t, t, {} FROM generate_series(0, {} - 1) AS i, "
                    "generate_series(1, {}) AS s, LATERAL (SELECT {}::timestamptz + i * interval '1 s' AS t) AS times"
                ).format(
                    table.identifier,
                    sql.SQL(", ").join(map(sql.Identifier, columns)),
                    randoms,
                    SECONDS * days,
                    SYMBOLS,
                    START.isoformat(),
                )
            )
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table.identifier))


def references(store: Bench) -> list[str]:
    """Every feature of every view."""
    return [f"{view.name}:{field.name}" for view in store.ours.list_feature_views() for field in view.features]


def report(name: str, size: int, ours: float, peer_name: str, peer: float, unit: str) -> None:
    """Print one result. The ratio is above 1 where ours is better: peer over ours of times, ours over peer of rates."""
    ratio = ours / peer if unit.endswith("/s") else peer / ours
    rounded = {key: float(f"{value:.4g}") for key, value in {"ours": ours, "peer": peer, "ratio": ratio}.items()}
    print(json.dumps({"bench": name, "size": size, "peer_name": peer_name, "unit": unit} | rounded), flush=True)


def symbol_entity() -> Entity:
    """The entity of the views."""
    return Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)


def view_of(number: int, features: int) -> FeatureView:
    """A view over the table of its name."""
    fields = [Field(name=f"f{number}_{i}", dtype=Float64) for i in range(features)]
    return FeatureView(
        name=f"view{number}",
        entities=[symbol_entity()],
        ttl=timedelta(minutes=5),
        schema=[Field(name="symbol", dtype=String), *fields],
        tags=dict(MANAGED),  # a table as the catalogue's are, with the silence of the feed
        source=PostgreSQLSource(
            name=f"view{number}_table",
            table=f"view{number}",
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )


def settings(url: str) -> dict[str, Any]:
    """How Feast names the parts of an address."""
    parameters = postgres_parameters(url)
    return {key: parameters[key] for key in ("host", "port", "database", "user", "password", "sslmode")}


@contextlib.contextmanager
def database(url: str) -> Iterator[str]:
    """Make a database on a server for a while."""
    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            base, _, options = url.partition("?")
            yield f"{base.rpartition('/')[0]}/{name}?{options}"
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
