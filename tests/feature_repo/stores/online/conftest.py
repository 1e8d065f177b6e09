"""Caches of the server, and stores that keep replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from feature_repo.stores.online.cache import ReplyCache
from feature_repo.stores.online.client import address_of_url, connect


@pytest.fixture
def kept(redis_client: redis.Redis, servers: Any) -> Iterator[Callable[..., ReplyCache]]:
    """Make caches of the server; they are closed after the test."""
    made: list[ReplyCache] = []

    def make(most: int = 100, **given: Any) -> ReplyCache:
        made.append(ReplyCache(connect(address_of_url(servers.redis_url), "redis"), most, **given))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def caching(stores: Any) -> Iterator[Any]:
    """The stores of a test; ours keeps up to a thousand replies."""
    asyncio.run(stores.online.close())
    stores.ours.config.online_store.client_cache = 1_000
    yield stores
    stores.ours.config.online_store.client_cache = 0
    asyncio.run(stores.online.close())
