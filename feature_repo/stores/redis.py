"""Feast's Redis online store, never stale and several times faster; the same keys and values.

What it changes
---------------
- ``FeatureView.ttl`` holds at read: an older value is null with status ``OUTSIDE_MAX_AGE``, an absent entity null with
  ``NOT_FOUND`` (https://github.com/feast-dev/feast/issues/6821). Event times are exact to the microsecond.
- One request an entity for all views, the response assembled as bytes (`feature_repo.stores.online.response`).
- An older event never overwrites a newer one, whoever else writes (`feature_repo.stores.online.write`).
- Connections: addresses as URLs, passwords of any characters, timeouts and bounded retries
  (`feature_repo.stores.online.client`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from feast import utils
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores import redis as stock
from feast.infra.online_stores.redis import RedisType, _versioned_fv_name
from feast.metrics import track_feature_statuses
from feast.online_response import OnlineResponse
from feast.protos.feast.types.Value_pb2 import Value
from pydantic import Field, NonNegativeInt, StrictStr, model_validator

from feature_repo.stores import endpoints
from feature_repo.stores.online.attempt import attempt, attempt_async
from feature_repo.stores.online.client import (
    Address,
    address_of_connection_string,
    address_of_url,
    connect,
    connect_async,
    with_watchers,
)
from feature_repo.stores.online.fetch import Wanted, fetch, fetch_async
from feature_repo.stores.online.format import decode_time, without_silence
from feature_repo.stores.online.pack import packed_row
from feature_repo.stores.online.request import Fields, Reply, Request, plan, request_fields, ttl_us
from feature_repo.stores.online.response import ColumnResponse, FeatureTypes, fill
from feature_repo.stores.online.write import ROWS_A_SCRIPT, script_calls
from transforms.times import datetime_of_us, us_of_datetime


class RedisOnlineStoreConfig(stock.RedisOnlineStoreConfig):  # type: ignore[misc]
    """Settings of `RedisOnlineStore`, beside Feast's own ``redis_type``, ``sentinel_master`` and ``key_ttl_seconds``.

    Without ``url`` and ``connection_string`` the address is ``TFS_REDIS_URL``, else the embedded server's.
    """

    type: Literal["feature_repo.stores.redis.RedisOnlineStore"] = "feature_repo.stores.redis.RedisOnlineStore"
    """Selects this store."""

    url: StrictStr | None = Field(default=None, repr=False)
    """``redis://user:password@host:port/db``, ``rediss://`` for TLS, ``unix://``; secrets are percent-encoded."""

    connection_string: StrictStr | None = Field(default=None, repr=False)
    """Feast's form, ``host:port,host:port,option=value``: the nodes of a cluster, or the sentinels."""

    username: StrictStr | None = None
    """ACL user; stands above the one in the address."""

    password: StrictStr | None = Field(default=None, repr=False)
    """Any characters; stands above the one in the address."""

    sentinel_username: StrictStr | None = None
    sentinel_password: StrictStr | None = Field(default=None, repr=False)
    """For the sentinels themselves, where they ask for it."""

    enforce_ttl: bool = True
    """Whether a value older than its view's ttl is withheld."""

    retries: NonNegativeInt = 3
    """Attempts after the first when the connection fails or the master moves; pauses 50 ms, doubled up to 1 s."""

    @model_validator(mode="after")
    def _refuse_what_would_break_a_promise(self) -> RedisOnlineStoreConfig:
        if self.skip_dedup:
            raise ValueError("skip_dedup would let an older event overwrite a newer one; this store never does")
        if self.client != stock.RedisClient.redis:
            raise ValueError("client: glide is not supported by this store")
        if self.url is not None and self.connection_string is not None:
            raise ValueError("give url or connection_string, not both")
        return self

    def address(self) -> Address:
        """Return where the servers are and how to connect."""
        if self.connection_string is not None:
            address = address_of_connection_string(self.connection_string)
        else:
            address = address_of_url(self.url if self.url is not None else endpoints.redis_url())
        own = {
            name: value
            for name in ("username", "password", "sentinel_username", "sentinel_password")
            if (value := getattr(self, name)) is not None
        }
        return Address(address.nodes, address.options | own)


class RedisOnlineStore(stock.RedisOnlineStore):  # type: ignore[misc]
    """Online store for Feast 0.67; see the module.

    Attributes
    ----------
    clock
        Returns microseconds since the epoch; a view's ttl counts against it.
    """

    clock: Callable[[], int]
    _address: Address
    _client: Any = None
    _client_async: Any = None
    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(self) -> None:
        super().__init__()
        self.clock = lambda: time.time_ns() // 1_000

    # -- connections ----------------------------------------------------------------------------------------------

    def _get_client(self, online_store_config: RedisOnlineStoreConfig) -> Any:
        if self._client is None:
            self._address = online_store_config.address()
            self._client = connect(
                self._address, online_store_config.redis_type.value, online_store_config.sentinel_master
            )
        return self._client

    async def _get_client_async(self, online_store_config: RedisOnlineStoreConfig) -> Any:
        loop = asyncio.get_running_loop()
        if self._client_async is None or self._loop is not loop:  # a client belongs to the loop it was made on
            self._address = online_store_config.address()
            self._client_async = connect_async(
                self._address, online_store_config.redis_type.value, online_store_config.sentinel_master
            )
            self._loop = loop
        return self._client_async

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._client_async is not None and self._loop is asyncio.get_running_loop():
            for client in with_watchers(self._client_async):
                await client.aclose()
        if self._client is not None:
            for client in with_watchers(self._client):
                client.close()
        self._client = self._client_async = self._loop = None

    # -- reads ----------------------------------------------------------------------------------------------------

    def get_online_features(self, *args: Any, **kwargs: Any) -> OnlineResponse:
        """As Feast's; the response decodes columns at once."""
        return ColumnResponse.of(super().get_online_features(*args, **kwargs))

    async def get_online_features_async(self, *args: Any, **kwargs: Any) -> OnlineResponse:
        """As Feast's; the response decodes columns at once."""
        return ColumnResponse.of(await super().get_online_features_async(*args, **kwargs))

    @staticmethod
    def _build_feature_types(grouped_refs: list[Any]) -> FeatureTypes:
        names = (feature for _, features in grouped_refs for feature in features)
        return FeatureTypes(lambda: stock.RedisOnlineStore._build_feature_types(grouped_refs), names)

    def _read_features_per_fv(
        self,
        config: Any,
        grouped_refs: Any,
        join_key_values: Any,
        entity_name_to_join_key_map: Any,
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        requests = plan(config, grouped_refs, join_key_values, entity_name_to_join_key_map)
        replies = self._fetch(config.online_store, [(r.keys, r.fields) for r in requests])
        self._fill(
            config,
            requests,
            replies,
            online_features_response,
            full_feature_names,
            include_feature_view_version_metadata,
        )

    async def _read_features_per_fv_async(
        self,
        config: Any,
        grouped_refs: Any,
        join_key_values: Any,
        entity_name_to_join_key_map: Any,
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        requests = plan(config, grouped_refs, join_key_values, entity_name_to_join_key_map)
        replies = await self._fetch_async(config.online_store, [(r.keys, r.fields) for r in requests])
        self._fill(
            config,
            requests,
            replies,
            online_features_response,
            full_feature_names,
            include_feature_view_version_metadata,
        )

    def _fill(
        self, config: Any, requests: list[Request], replies: list[Reply], response: Any, full: bool, versions: bool
    ) -> None:
        answers, first = [], 0
        for request in requests:
            answers.append((request, replies[first : first + len(request.keys)]))
            first += len(request.keys)
        # The clock is read after the replies are here: a value cannot grow stale on the way unseen.
        now_us = self.clock() if config.online_store.enforce_ttl else None
        fill(response, answers, now_us, full, versions, track_feature_statuses)

    def online_read(
        self, config: Any, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """Return event time and values of each entity: ``(None, None)`` where absent, null values past the ttl."""
        keys, features, fields = self._one_view(config, table, entity_keys, requested_features)
        return self._rows(config, table, features, self._fetch(config.online_store, [(keys, fields)]))

    async def online_read_async(
        self, config: Any, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """As `online_read`."""
        keys, features, fields = self._one_view(config, table, entity_keys, requested_features)
        return self._rows(config, table, features, await self._fetch_async(config.online_store, [(keys, fields)]))

    def _one_view(
        self, config: Any, table: Any, entity_keys: list[Any], requested: list[str] | None
    ) -> tuple[list[bytes], list[str], Fields]:
        features = list(requested) if requested else [f.name for f in table.features]
        keys = self._generate_redis_keys_for_entities(config, entity_keys)
        return keys, features, request_fields(((_versioned_fv_name(table, config), tuple(features)),))

    def _rows(
        self, config: Any, table: Any, features: list[str], replies: list[Reply]
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        now_us = self.clock()
        ttl = ttl_us(table) if config.online_store.enforce_ttl else 0
        rows: list[tuple[datetime | None, dict[str, Any] | None]] = []
        for *values, stamp in replies:
            if stamp is None:
                rows.append((None, None))
                continue
            at, silent_us = without_silence(stamp)
            event_us = decode_time(at)
            withheld = ttl and now_us - event_us + silent_us > ttl
            found = {n: Value.FromString(b"" if withheld else v or b"") for n, v in zip(features, values, strict=True)}
            rows.append((datetime_of_us(event_us), found))
        return rows

    def _fetch(self, settings: RedisOnlineStoreConfig, wanted: list[Wanted]) -> list[Reply]:
        client = self._get_client(settings)
        return attempt(lambda: fetch(client, wanted), settings.retries, self._address)

    async def _fetch_async(self, settings: RedisOnlineStoreConfig, wanted: list[Wanted]) -> list[Reply]:
        client = await self._get_client_async(settings)
        return await attempt_async(lambda: fetch_async(client, wanted), settings.retries, self._address)

    # -- writes ---------------------------------------------------------------------------------------------------

    def online_write_batch(
        self, config: Any, table: Any, data: list[Any], progress: Callable[[int], Any] | None
    ) -> None:
        """Write rows from Feast's callers; a row that is not newer than the stored one changes nothing."""
        settings, client = config.online_store, self._get_client(config.online_store)
        calls = _calls(config, table, data)

        def write() -> None:
            with client.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.execute_command(*call)
                pipe.execute()

        attempt(write, settings.retries, self._address)
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: Any, table: Any, data: list[Any], progress: Callable[[int], Any] | None
    ) -> None:
        """As `online_write_batch`."""
        settings, client = config.online_store, await self._get_client_async(config.online_store)
        calls = _calls(config, table, data)

        async def write() -> None:
            async with client.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.execute_command(*call)
                await pipe.execute()

        await attempt_async(write, settings.retries, self._address)
        if progress:
            progress(len(data))


def _calls(config: Any, table: Any, data: Sequence[Any]) -> list[tuple[Any, ...]]:
    view, project = _versioned_fv_name(table, config), config.project.encode()
    version, settings = config.entity_key_serialization_version, config.online_store
    keys = [serialize_entity_key(entity, version) + project for entity, _, _, _ in data]
    rows = [
        packed_row(
            view,
            us_of_datetime(utils.make_tzaware(event)),
            {name: value.SerializeToString() for name, value in values.items()},
        )
        for _, values, event, _ in data
    ]
    a_script = 1 if settings.redis_type == RedisType.redis_cluster else ROWS_A_SCRIPT
    return list(script_calls(keys, rows, settings.key_ttl_seconds or 0, a_script))
