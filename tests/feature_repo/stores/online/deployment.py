"""A store of this project on servers that ask for a password, written and read in the forms and ways that a test names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from feast import FeatureStore, RepoConfig

from feature_repo.stores.online.client import connect, is_cluster, with_sentinels
from feature_repo.stores.online.write import OnlineWriter
from tests.feature_repo.stores.feast_rows import (
    on_a_loop,
    rows_of,
    settings,
    without_records,
)
from tests.feature_repo.stores.redis_servers import wait_until
from transforms.catalog import SOCIAL, View

SECRET = 'p,a=s"s:w@rd/#?%&é 0\\'
FORMS = ("packed", "plain", "mixed")
MIXED = ("packed", "plain", "alone")
SYMBOLS = [f"S{i}" for i in range(12)]
REFS = [f"social:{name}" for name in SOCIAL.names]
US = np.int64


class Deployment:
    """Servers, a store on them, and its clock; each row is written and read as the test's parameters say."""

    form = way = ""

    def __init__(self, both: Any, **online: Any) -> None:
        self.settings = settings(password=SECRET, retries=10, **online)
        self.client = connect(self.settings.address(), self.settings.redis_type.value)
        self.store = FeatureStore(
            config=RepoConfig(
                project=both.project,
                provider="local",
                registry=both.ours.config.registry,
                online_store={"password": SECRET, "retries": 10, **online},
                offline_store={"type": "dask"},
                entity_key_serialization_version=3,
            )
        )
        self.online, self.project, self.now_us = self.store._get_provider().online_store, both.project, both.now_us
        self.online.clock = lambda: self.now_us

    def begin(self, form: str, way: str) -> None:
        """Empty the servers, and write and read as told from now on."""
        self.client.flushall()
        self.form, self.way = form, way
        asyncio.run(self.online.close())
        self.store.config.online_store.client_cache = 100 if way == "cached" else 0

    def write(self, view: View, symbols: Sequence[str], event_us: Any, values: Any, *more: Any) -> int:
        """Write columns in the form of the test; return how many rows were newer."""
        columns = [np.broadcast_to(np.asarray(c), len(symbols)) for c in (event_us, *more)]
        stored = 0
        for i, symbol in enumerate(symbols):
            form = MIXED[i % 3] if self.form == "mixed" else self.form
            writer = OnlineWriter(self.client, self.project, view, packed_only=form == "alone")
            mine = [column[i : i + 1].astype(US) for column in columns]
            newer = writer.write([symbol], mine[0], values[i : i + 1], *mine[1:])
            stored += newer
            if newer and form == "plain":
                without_records(self.client, [symbol])
        return stored

    def read(self, refs: Any, *symbols: str) -> Any:
        """Read in the way of the test."""
        if self.way == "on a loop":
            return on_a_loop(self.online, lambda: self.store.get_online_features_async(refs, rows_of(*symbols)))
        response = self.store.get_online_features(refs, rows_of(*symbols))
        if self.way == "cached":
            response = self.store.get_online_features(refs, rows_of(*symbols))
            assert len(self.online._cache) > 0
        return response

    def told(self, name: str, *symbols: str) -> list[tuple[Any, int, int]]:
        """Return value, status and event time in microseconds of a feature of the view ``social``."""
        response = self.read([f"social:{name}"], *symbols)
        column = response.proto.results[1]
        times = [t.ToMicroseconds() for t in column.event_timestamps]
        return list(zip(response.to_dict()[name], column.statuses, times, strict=True))

    def expect(self, what: Callable[[], Any], expected: Any) -> None:
        """Compare; with a cache, the message that a row has changed may still be on its way."""
        if self.way == "cached":
            wait_until(lambda: what() == expected)
        else:
            assert what() == expected

    def primaries(self) -> list[Any]:
        """Return a client for each server that takes writes."""
        if is_cluster(self.client):
            return [self.client.get_redis_connection(node) for node in self.client.get_primaries()]
        return [self.client]

    def close(self) -> None:
        asyncio.run(self.online.close())
        for client in with_sentinels(self.client):
            client.close()
