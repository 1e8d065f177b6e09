"""A Redis server, and on it this project's online store and Feast's own with the same definitions."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.types import Float64, Int64, String

from feature_repo.stores.online.client import address_of_url, connect
from ingest.servers import embedded
from transforms import catalog

PROJECT = "bench_online"
PLAIN = "bench_plain"  # the project of Feast's own store


@dataclass(frozen=True, slots=True)
class Bench:
    """The two stores, each with a project of its own, and a client of their server."""

    ours: FeatureStore
    stock: FeatureStore
    client: redis.Redis


@contextlib.contextmanager
def bench(**settings: Any) -> Iterator[Bench]:
    """Open both stores on the server of ``TFS_REDIS_URL``, else on an embedded one; the keys written are removed.

    `settings` are added to those of this project's store.
    """
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the servers may run as another user
        with embedded.running(folder / "servers", durable=False) as endpoints:
            url = endpoints.redis_url
            client = connect(address_of_url(url), "redis")
            parts = urlsplit(url)
            secret = f",password={unquote(parts.password)}" if parts.password else ""
            stock = {"type": "redis", "connection_string": f"{parts.hostname}:{parts.port}{secret}"}
            ours = {"type": "feature_repo.stores.redis.RedisOnlineStore", "url": url, **settings}
            try:
                yield Bench(_store(folder, PROJECT, ours), _store(folder, PLAIN, stock), client)
            finally:
                for project in (PROJECT, PLAIN):
                    for key in client.scan_iter(f"*{project}"):
                        client.delete(key)
                client.close()


def _store(folder: Path, project: str, online: dict[str, Any]) -> FeatureStore:
    config = RepoConfig(
        project=project,
        provider="local",
        registry={"path": str(folder / f"{project}.db"), "cache_ttl_seconds": 3_600},
        online_store=online,
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    types = {"Float64": Float64, "Int64": Int64}
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    views = []
    for view in catalog.SIGNAL_V1:
        table = FileSource(path=str(folder / f"{view.name}.parquet"), timestamp_field="event_timestamp")
        fields = [Field(name=f.name, dtype=types[f.dtype]) for f in view.features]
        views.append(
            FeatureView(
                name=view.name,
                entities=[symbol],
                ttl=timedelta(seconds=view.ttl_s),
                schema=[Field(name="symbol", dtype=String), *fields],
                source=PushSource(name=f"{view.name}_push_source", batch_source=table),
            )
        )
    store.apply([symbol, *views, FeatureService(name="signal_v1", features=views)])
    return store


def report(
    name: str, size: int, ours: float, peer_name: str, peer: float, ratio: float, unit: str, target: float | None = None
) -> None:
    """Print one result; a ratio above 1 says that ours is better, and `target` which ratio is wanted, if one is."""
    rounded = {"ours": ours, "peer": peer, "ratio": ratio} | ({} if target is None else {"target": target})
    line = {k: float(f"{v:.4g}") for k, v in rounded.items()}
    print(json.dumps({"bench": name, "size": size, "peer_name": peer_name, "unit": unit} | line), flush=True)
