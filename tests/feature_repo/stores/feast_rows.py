"""Rows, keys and settings as Feast gives them to an online store, and rows as they lie in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import redis
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.stores.online.format import (
    SymbolKeys,
    decode_time,
    encode_time,
    event_and_silence,
    feature_field,
    time_field,
)
from feature_repo.stores.online.from_feast import EntityRowsError
from feature_repo.stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from transforms.catalog import DERIVATIVES, SOCIAL, VIEWS, View
from transforms.times import datetime_of_us

T_US = 1_700_000_000_000_000
SYMBOLS = [f"SYM{i}USDT" for i in range(60)]
TOGETHER = tuple(view for view in VIEWS if view is not DERIVATIVES)
"""The views that can be read together: `derivatives` and `technical` share a name, and Feast refuses a name twice."""


def rows_of(*symbols: str) -> list[dict[str, str]]:
    return [{"symbol": s} for s in symbols]


def entity(symbol: str) -> EntityKey:
    return EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=symbol)])


def key_of(symbol: str) -> bytes:
    return SymbolKeys("trading", "symbol").keys([symbol])[0]


def stored(client: redis.Redis, symbol: str, view: View) -> tuple[int, dict[str, Value]]:
    """A row as it stands in Redis, read without this project's or Feast's store."""
    raw = client.hgetall(key_of(symbol))
    values = {name: Value.FromString(raw[feature_field(view.name, name)]) for name in view.names}
    return Timestamp.FromString(raw[time_field(view.name)]).ToMicroseconds(), values


def settings(**given: Any) -> RedisOnlineStoreConfig:
    return RedisOnlineStoreConfig(**given)


class Config:
    """The parts of Feast's RepoConfig that an online store uses."""

    project = "trading"
    entity_key_serialization_version = 3
    registry = SimpleNamespace(enable_online_feature_view_versioning=False)

    def __init__(self, online_store: RedisOnlineStoreConfig) -> None:
        self.online_store = online_store


def on_a_loop(store: RedisOnlineStore, call: Callable[[], Any]) -> Any:
    """Await `call()` on an event loop of its own and close what the store opened there."""

    async def run() -> Any:
        try:
            return await call()
        finally:
            await store.close()

    return asyncio.run(run())


def serve(stores: Any, body: Any) -> tuple[int, Any]:
    """Ask Feast's feature server for online features; return the status and the answer."""
    from feast.feature_server import get_app

    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    async def ask() -> None:
        app = get_app(stores.ours)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/get-online-features",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "app": app,
        }
        with contextlib.suppress(EntityRowsError):  # the server's framework raises an error again once it has answered
            await app(scope, receive, send)
        await stores.online.close()

    asyncio.run(ask())
    return messages[0]["status"], json.loads(b"".join(m.get("body", b"") for m in messages))


def write_and_read(store: RedisOnlineStore, config: Any, stores: Any, value: float, symbols: int = 5) -> list[Any]:
    """Write one value for some symbols and read it back: rows with a record blocking, then without one on an event loop."""
    table, wanted = stores.ours.get_feature_view("social"), ["author_ratio_1h", "unique_authors_1h"]
    event = datetime_of_us(T_US + 2 * int(value))
    keys = [entity(f"S{i}") for i in range(symbols)]
    whole = {f.name: Value(double_val=value) for f in SOCIAL.features}
    whole |= {f.name: Value(int64_val=int(value)) for f in SOCIAL.features if f.dtype == "Int64"}
    store.online_write_batch(config, table, [(k, whole, event, None) for k in keys], None)
    store.clock = lambda: T_US
    blocking = store.online_read(config, table, keys, wanted)

    async def later() -> Any:
        older = [(k, {"author_ratio_1h": Value(double_val=-1.0)}, event, None) for k in keys]
        await store.online_write_batch_async(config, table, older, None)
        assert await store.online_read_async(config, table, keys, wanted) == blocking
        some, later = {"author_ratio_1h": whole["author_ratio_1h"]}, event + timedelta(microseconds=1)
        await store.online_write_batch_async(config, table, [(k, some, later, None) for k in keys], None)
        return await store.online_read_async(config, table, keys, wanted)

    found = [values for _, values in blocking]
    assert [values for _, values in on_a_loop(store, later)] == found
    return [values["author_ratio_1h"].double_val for values in found if values]


def without_records(client: redis.Redis, symbols: Sequence[str]) -> None:
    """Take the records out of the rows of some symbols: they look as if an earlier release had written them."""
    for key in SymbolKeys("trading", "symbol").keys(symbols):
        for name, raw in client.hgetall(key).items():
            if name.startswith(time_field("")):
                stamp, _ = event_and_silence(raw)
                client.hset(key, name, raw[: -len(stamp)] + encode_time(decode_time(stamp)))
