"""Two Feast stores on one server: this project's online store and Feast's own, with the same definitions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
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
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)

from feature_repo.project import project
from feature_repo.stores.endpoints import Endpoints
from feature_repo.stores.online.write import OnlineWriter
from tests.feature_repo.stores.feast_rows import SYMBOLS, TOGETHER
from tests.feature_repo.stores.redis_servers import Servers

PROJECT = project()
NOW_US = 1_700_000_000_123_456


class Clock:
    """A clock that a test sets."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


@dataclass
class Stores:
    """This project's store, Feast's own, and the clock of the first."""

    ours: FeatureStore
    stock: FeatureStore
    clock: Clock
    project: str = PROJECT
    now_us: int = NOW_US

    @property
    def online(self) -> Any:
        """The online store under test."""
        return self.ours._get_provider().online_store

    @staticmethod
    def columns(response: Any) -> dict[str, Any]:
        """A response's protobuf columns by name."""
        return dict(zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True))

    def read(self, which: str, features: Any, rows: list[dict[str, Any]], **options: Any) -> Any:
        store: FeatureStore = getattr(self, which)
        chosen = store.get_feature_service(features) if isinstance(features, str) else features
        return store.get_online_features(chosen, rows, **options)

    def both(self, *args: Any, **options: Any) -> tuple[Any, Any]:
        """Read from this project's store and from Feast's own."""
        return self.read("ours", *args, **options), self.read("stock", *args, **options)


def connection_string(url: str) -> str:
    """Feast's own form of a Redis address."""
    parts = urlsplit(url)
    password = f",password={unquote(parts.password)}" if parts.password else ""
    return f"{parts.hostname}:{parts.port}{password}"


EVERY_TYPE = {
    "a_bool": Bool,
    "a_text": String,
    "some_bytes": Bytes,
    "a_small": Int32,
    "a_long": Int64,
    "a_single": Float32,
    "a_double": Float64,
    "a_time": UnixTimestamp,
    "doubles": Array(Float64),
    "longs": Array(Int64),
    "texts": Array(String),
    "flags": Array(Bool),
    "times": Array(UnixTimestamp),
    "singles": Array(Float32),
    "smalls": Array(Int32),
    "blobs": Array(Bytes),
    "a_set": Set(String),
    "a_map": Map,
    "a_json": Json,
    "a_uuid": Uuid,
    "a_decimal": Decimal,
    "a_zoned": ZonedTimestamp,
    "a_struct": Struct({"x": Float64}),
}


def definitions(folder: Path) -> list[Any]:
    """The catalogue's views, a view of every dtype, one of two keys, one of a number as key, and one on demand."""

    def source(name: str) -> PushSource:
        table = FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")
        return PushSource(name=f"{name}_push", batch_source=table)

    def view(name: str, keys: list[Entity], fields: dict[str, Any], ttl_s: int) -> FeatureView:
        key_types = {"symbol": String, "venue": String, "account": Int64}
        schema = [Field(name=e.join_key, dtype=key_types[e.join_key]) for e in keys]
        schema += [Field(name=n, dtype=t) for n, t in fields.items()]
        return FeatureView(name=name, entities=keys, ttl=timedelta(seconds=ttl_s), schema=schema, source=source(name))

    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    venue = Entity(name="venue", join_keys=["venue"], value_type=ValueType.STRING)
    account = Entity(name="account", join_keys=["account"], value_type=ValueType.INT64)
    types = {"Float64": Float64, "Int64": Int64}
    signal = {v.name: view(v.name, [symbol], {f.name: types[f.dtype] for f in v.features}, v.ttl_s) for v in TOGETHER}
    every = view("every_type", [symbol], EVERY_TYPE, 0)
    fees = view("fees", [symbol, venue], {"maker_bps": Float64, "tier": Int64}, 0)
    limits = view("limits", [account], {"leverage": Float64}, 0)

    @on_demand_feature_view(
        sources=[signal["microstructure"]], schema=[Field(name="half_spread", dtype=Float64)], mode="python"
    )
    def halved(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"half_spread": [None if s is None else s / 2 for s in inputs["spread"]]}

    return [
        symbol,
        venue,
        account,
        *signal.values(),
        every,
        fees,
        limits,
        halved,
        FeatureService(name="signal_v1", features=list(signal.values())),
        FeatureService(name="with_demand", features=[signal["microstructure"][["spread", "mid_price"]], halved]),
        FeatureService(name="demand_first", features=[halved, signal["microstructure"][["mid_price"]]]),
        FeatureService(
            name="chosen",
            features=[signal["order_flow"][["vpin"]], signal["microstructure"][["spread", "mid_price", "ofi_1s"]]],
        ),
        FeatureService(name="renamed", features=[signal["social"].with_name("crowd")]),
        FeatureService(
            name="of_the_pair", features=[signal["social"].with_join_key_map({"symbol": "hedge"}), signal["sentiment"]]
        ),
    ]


@pytest.fixture(scope="session")
def both_stores(servers: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    folder = tmp_path_factory.mktemp("feast")

    def make(name: str, online: dict[str, Any]) -> FeatureStore:
        config = RepoConfig(
            project=PROJECT,
            provider="local",
            registry={"path": str(folder / f"{name}.db"), "cache_ttl_seconds": 0},
            online_store=online,
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "On demand feature view is an experimental feature", RuntimeWarning)
            store.apply(definitions(folder))
        return store

    ours = make("ours", {"type": "feature_repo.stores.redis.RedisOnlineStore", "url": servers.redis_url})
    stock = make("stock", {"type": "redis", "connection_string": connection_string(servers.redis_url)})
    return Stores(ours, stock, Clock(NOW_US))


@pytest.fixture
def stores(both_stores: Stores, redis_client: redis.Redis) -> Iterator[Stores]:
    """Both stores on an empty server; the clock of ours stands at ``NOW_US``."""
    both_stores.clock.now_us = NOW_US
    both_stores.online.clock = both_stores.clock
    yield both_stores
    both_stores.ours.config.online_store.enforce_ttl = True


@pytest.fixture
def filled(stores: Any, redis_client: redis.Redis) -> Any:
    """The views of the catalogue for 60 symbols, rows a microsecond old, one value in eight null, some columns whole."""
    rng = np.random.default_rng(7)
    for view in TOGETHER:
        values = rng.normal(size=(len(SYMBOLS), len(view.names)))
        for i, feature in enumerate(view.features):
            if feature.dtype == "Int64":
                values[:, i] = rng.integers(-5, 1_000_000, len(SYMBOLS))
        values[:, ::2][rng.random(values[:, ::2].shape) < 0.25] = np.nan
        values[:, 2] = np.nan
        OnlineWriter(redis_client, stores.project, view).write(SYMBOLS, np.full(60, stores.now_us - 1), values)
    return stores


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Servers]:
    """Redis servers of one test; those that still run are ended with it."""
    servers = Servers(tmp_path)
    yield servers
    for port in list(servers.running):
        servers.kill(port)
