"""Feast's Redis online store with a ttl that holds and guarded writes: the class that Feast loads, and its settings.

Keys and values are Feast's own. What differs:

- A value older than its ``FeatureView.ttl`` is null with status ``OUTSIDE_MAX_AGE``, an absent entity is null with
  ``NOT_FOUND`` (https://github.com/feast-dev/feast/issues/6821). Event times are exact to the microsecond.
- The columns of a response have the order of the feature service or of the list of references
  (`feature_repo.stores.online.order`).
- A read sends one request per entity for all views, for one field per view: the whole row as a record, from which all
  rows are decoded at once (`feature_repo.stores.online.record`). Its response makes protobuf when that is asked for
  (`feature_repo.stores.online.response`).
- An older event never overwrites a newer one, whichever process writes it (`feature_repo.stores.online.write`).
- A sample of the answers may be kept in files (`feature_repo.stores.online.served`).
- A process may keep the replies of rows that do not change (`feature_repo.stores.online.cache`).
- Addresses are URLs, passwords may hold any characters, calls have timeouts and bounded retries
  (`feature_repo.stores.online.client`, `feature_repo.stores.online.attempt`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from feast.infra.online_stores import redis as stock
from feast.metrics import track_online_store_read
from feast.online_response import OnlineResponse
from pydantic import Field, NonNegativeInt, StrictStr, model_validator

from feature_repo.stores import endpoints
from feature_repo.stores.online.attempt import attempt, attempt_async
from feature_repo.stores.online.cache import ReplyCache
from feature_repo.stores.online.client import LOGINS, Address, address_of, connect, is_cluster, with_sentinels
from feature_repo.stores.online.cluster_cache import ClusterReplyCache
from feature_repo.stores.online.delete import delete_keys, delete_rows, keys_of
from feature_repo.stores.online.from_feast import script_calls_of_feast
from feature_repo.stores.online.order import request_of, requested
from feature_repo.stores.online.plans import PlannedRequest, Plans
from feature_repo.stores.online.request import Ask, Read, Request, check_rows, fetch, fetch_async, plan, plan_view
from feature_repo.stores.online.response import ColumnResponse, FeatureTypes, Row, fill, view_rows
from feature_repo.stores.online.shape import Reply, Table
from feature_repo.stores.online.write import send, send_async

log = logging.getLogger(__name__)


class RedisOnlineStoreConfig(stock.RedisOnlineStoreConfig):  # type: ignore[misc]
    """Settings of `RedisOnlineStore`, beside Feast's own ``redis_type``, ``sentinel_master`` and ``key_ttl_seconds``.

    Without ``url`` and ``connection_string`` the address is ``TFS_REDIS_URL``, else the embedded server's.
    """

    type: Literal["feature_repo.stores.redis.RedisOnlineStore"] = "feature_repo.stores.redis.RedisOnlineStore"
    # redis://user:password@host:port/db, rediss:// for TLS, unix://; secrets are percent-encoded.
    url: StrictStr | None = Field(default=None, repr=False)
    # Feast's form, host:port,host:port,option=value: the nodes of a cluster, or the sentinels.
    connection_string: StrictStr | None = Field(default=None, repr=False)
    # The ACL user and its password, of any characters; they override those in the address.
    username: StrictStr | None = None
    password: StrictStr | None = Field(default=None, repr=False)
    # For the sentinels themselves, if they ask for it.
    sentinel_username: StrictStr | None = None
    sentinel_password: StrictStr | None = Field(default=None, repr=False)
    # Write rows as records alone, which costs a fraction. Stock Feast then finds the time of a row and nulls.
    packed_only: bool = False
    # Replies that a process keeps while the server does not say that their rows changed; 0 keeps none.
    client_cache: NonNegativeInt = 0
    enforce_ttl: bool = True  # withhold a value older than its view's ttl
    # Attempts after the first, when the connection fails or the master moves. The pauses double from 50 ms up to 1 s.
    retries: NonNegativeInt = 3

    @model_validator(mode="after")
    def _refuse_unsafe_settings(self) -> RedisOnlineStoreConfig:
        if self.skip_dedup:
            raise ValueError("skip_dedup would let an older event overwrite a newer one; this store never does")
        if self.client != stock.RedisClient.redis:
            raise ValueError("client: glide is not supported by this store")
        if self.url is not None and self.connection_string is not None:
            raise ValueError("give url or connection_string, not both")
        return self

    def address(self) -> Address:
        """Return where the servers are and how to connect."""
        return address_of(self.connection_string, self.url, {name: getattr(self, name) for name in LOGINS})


class RedisOnlineStore(stock.RedisOnlineStore):  # type: ignore[misc]
    """Online store for Feast 0.67."""

    # Microseconds since the epoch; a view's ttl counts against it.
    clock: Callable[[], int] = staticmethod(lambda: time.time_ns() // 1_000)
    served: Any = None  # the log of what was served, a `ServedLog`, or None
    _address: Address | None = None
    _client: Any = None
    _client_async: Any = None
    _cache: ReplyCache | ClusterReplyCache | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(self) -> None:
        super().__init__()
        self._plans = Plans(self._build_feature_types)
        if (given := endpoints.served_log()) is not None:
            from feature_repo.stores.online.served import log_of  # Parquet is not loaded for nothing

            self.served = log_of(*given)

    def _where(self, settings: RedisOnlineStoreConfig) -> Address:
        if self._address is None:
            self._address = settings.address()
        return self._address

    def _get_client(self, settings: RedisOnlineStoreConfig) -> Any:
        """Return the client. Call this inside `attempt`: the client of a cluster connects when it is made."""
        if self._client is None:
            client = connect(self._where(settings), settings.redis_type.value, settings.sentinel_master)
            kind = ClusterReplyCache if is_cluster(client) else ReplyCache
            self._cache = kind(client, settings.client_cache) if settings.client_cache else None
            self._client = client
        return self._client

    async def _get_client_async(self, settings: RedisOnlineStoreConfig) -> Any:
        loop = asyncio.get_running_loop()
        if self._client_async is None or self._loop is not loop:  # a client belongs to the loop it was made on
            kind, master = settings.redis_type.value, settings.sentinel_master
            self._client_async = connect(self._where(settings), kind, master, on_loop=True)
            self._loop = loop
        return self._client_async

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._client_async is not None and self._loop is asyncio.get_running_loop():
            for client in with_sentinels(self._client_async):
                await client.aclose()
        if self._cache is not None:
            self._cache.close()
        if self._client is not None:
            for client in with_sentinels(self._client):
                client.close()
        self._client = self._client_async = self._cache = self._loop = self._address = None

    def get_online_features(
        self,
        config: Any,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Return what Feast returns, with the columns in the order of `features`, as a `ColumnResponse`."""
        check_rows(entity_rows)
        given = (features, entity_rows, registry, project, full_feature_names, include_feature_view_version_metadata)
        if (request := self._planned(config, *given)) is not None:
            begin = time.monotonic()
            (table,) = self._tables(config, [request])
            track_online_store_read(time.monotonic() - begin)
            return request.response(table)
        with request_of(registry, project, features, full_names=full_feature_names) as order:
            response = super().get_online_features(config, *given)
        order.put(response.proto)
        return ColumnResponse.of(response, order.names)

    async def get_online_features_async(
        self,
        config: Any,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Return what `get_online_features` returns."""
        check_rows(entity_rows)
        given = (features, entity_rows, registry, project, full_feature_names, include_feature_view_version_metadata)
        if (request := self._planned(config, *given)) is not None:
            begin = time.monotonic()
            (table,) = await self._tables_async(config, [request])
            track_online_store_read(time.monotonic() - begin)
            return request.response(table)
        with request_of(registry, project, features, full_names=full_feature_names) as order:
            response = await super().get_online_features_async(config, *given)
        order.put(response.proto)
        return ColumnResponse.of(response, order.names)

    def _planned(
        self, config: Any, features: Any, rows: Any, registry: Any, project: str, full_names: bool, versions: bool
    ) -> PlannedRequest | None:
        """Return the request, if it is one that needs nothing of Feast's."""
        plan = None if versions else self._plans.find(config, registry, project, features, full_names=full_names)
        return None if plan is None else plan.request(rows)

    @staticmethod
    def _build_feature_types(grouped_refs: list[Any]) -> FeatureTypes:
        names = (feature for _, features in grouped_refs for feature in features)
        return FeatureTypes(lambda: stock.RedisOnlineStore._build_feature_types(grouped_refs), names)

    def _read_features_per_fv(
        self, config: Any, refs: Any, key_values: Any, join_keys: Any, response: Any, full_names: bool, versions: bool
    ) -> None:
        requests = plan(config, requested().arrange(refs), key_values, join_keys)
        fill(response, requests, self._tables(config, requests), full_names, versions)

    async def _read_features_per_fv_async(
        self, config: Any, refs: Any, key_values: Any, join_keys: Any, response: Any, full_names: bool, versions: bool
    ) -> None:
        requests = plan(config, requested().arrange(refs), key_values, join_keys)
        fill(response, requests, await self._tables_async(config, requests), full_names, versions)

    def online_read(
        self, config: Any, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None
    ) -> list[Row]:
        """Return event time and values of each entity: ``(None, None)`` if absent, null values past the ttl."""
        (found,) = self._tables(config, [plan_view(config, table, entity_keys, requested_features)])
        return view_rows(found)

    async def online_read_async(
        self, config: Any, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None
    ) -> list[Row]:
        """Return what `online_read` returns."""
        (found,) = await self._tables_async(config, [plan_view(config, table, entity_keys, requested_features)])
        return view_rows(found)

    def _tables(self, config: Any, requests: Sequence[Request]) -> list[Table]:
        """Read; rows without a record are read again, field by field."""
        read = Read(requests)
        read.take(self._fetch(config.online_store, read.asks()))
        if asks := read.asks_again():
            read.take_again(self._fetch(config.online_store, asks))
        return self._answer(read, config)

    async def _tables_async(self, config: Any, requests: Sequence[Request]) -> list[Table]:
        read = Read(requests)
        read.take(await self._fetch_async(config.online_store, read.asks()))
        if asks := read.asks_again():
            read.take_again(await self._fetch_async(config.online_store, asks))
        return self._answer(read, config)

    def _answer(self, read: Read, config: Any) -> list[Table]:
        # Called when the replies are here: a value that grows stale on the way is withheld, too.
        now_us = self.clock() if config.online_store.enforce_ttl else None
        tables = read.tables(now_us)
        if self.served is not None:
            self.served.offer(read, tables, self.clock() if now_us is None else now_us)
        return tables

    def _fetch(self, settings: RedisOnlineStoreConfig, asks: Sequence[Ask]) -> list[Reply]:
        def read() -> list[Reply]:
            client = self._get_client(settings)
            return fetch(client, asks) if self._cache is None else self._cache.fetch(asks)

        kept = None if self._cache is None else self._cache.kept(asks)
        return kept if kept is not None else attempt(read, settings.retries, self._where(settings))

    async def _fetch_async(self, settings: RedisOnlineStoreConfig, asks: Sequence[Ask]) -> list[Reply]:
        if settings.client_cache:
            kept = None if self._cache is None else self._cache.kept(asks)
            return kept if kept is not None else await asyncio.to_thread(self._fetch, settings, asks)
        client = await self._get_client_async(settings)
        return await attempt_async(lambda: fetch_async(client, asks), settings.retries, self._where(settings))

    def online_write_batch(
        self, config: Any, table: Any, data: list[Any], progress: Callable[[int], Any] | None
    ) -> None:
        """Write Feast's rows; a row that is not newer than the stored one changes nothing."""
        settings, calls = config.online_store, script_calls_of_feast(config, table, data)
        attempt(lambda: send(self._get_client(settings), calls), settings.retries, self._where(settings))
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: Any, table: Any, data: list[Any], progress: Callable[[int], Any] | None
    ) -> None:
        """Write as `online_write_batch` does."""
        settings, calls = config.online_store, script_calls_of_feast(config, table, data)
        client = await self._get_client_async(settings)
        await attempt_async(lambda: send_async(client, calls), settings.retries, self._where(settings))
        if progress:
            progress(len(data))

    def delete_entity_values(self, config: Any, join_keys: list[str]) -> None:
        """Delete all entities of the project that have these join keys; Feast's ``teardown`` calls it."""
        client = self._get_client(config.online_store)
        keys = list(keys_of(client, config.project, join_keys))
        what = (len(keys), ", ".join(join_keys), config.project, self._address)
        log.warning("deleting %d entities (%s) of project %s from Redis at %s", *what)
        delete_keys(client, keys)

    def delete_table(self, config: Any, table: Any) -> None:
        """Delete the rows of a view; Feast calls it for a view that is no longer defined."""
        client, view = self._get_client(config.online_store), stock._versioned_fv_name(table, config)
        keys = list(keys_of(client, config.project, table.join_keys))
        n_rows = delete_rows(client, keys, view, [feature.name for feature in table.features])
        log.warning("deleted %d rows of %s, project %s, from Redis at %s", n_rows, view, config.project, self._address)
