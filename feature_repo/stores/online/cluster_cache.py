"""Kept replies of a cluster: a `ReplyCache` for each node that holds slots.

A node tells the readers of a key when the key changes, and also when the key moves with its slot to another node. What a
node does not answer, because it is gone or a slot has moved, is read by the client of the library, which finds the node that
holds the slot now; the next read goes there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.exceptions import AskError

from feature_repo.stores.online.attempt import PASSING
from feature_repo.stores.online.cache import ReplyCache
from feature_repo.stores.online.request import Ask, fetch
from feature_repo.stores.online.shape import Reply

_ELSEWHERE: Final = (*PASSING, AskError)  # also MovedError

Found = dict[tuple[bytes, bytes], Reply]
"""Replies by key and list of fields."""


class ClusterReplyCache:
    """Reads through one connection a node, one node after the other, and keeps the replies.

    Parameters
    ----------
    client : redis.RedisCluster
        Knows which node holds a key.
    most : int
        How many replies to keep, in equal parts for the nodes.
    steady : callable
        Seconds of a clock that is never set.
    """

    def __init__(self, client: Any, most: int, steady: Callable[[], float] = time.monotonic) -> None:
        self._client, self._most, self._steady = client, most, steady
        self._caches: dict[str, ReplyCache] = {}  # by the name of the node

    def __len__(self) -> int:
        return sum(map(len, self._caches.values()))

    def kept(self, asks: Sequence[Ask]) -> list[Reply] | None:
        """Return the replies if all of them are kept, else None. This waits for no one."""
        found: Found = {}
        for node, part in self._by_node(asks):
            cache = self._caches.get(node.name)
            replies = None if cache is None else cache.kept(part)
            if replies is None:
                return None
            found |= _by_key(part, replies)
        return _in_order(asks, found)

    def fetch(self, asks: Sequence[Ask]) -> list[Reply]:
        """Return one reply per key, in the order of `asks`; those that are not kept are read in one round trip a node."""
        found: Found = {}
        for node, part in self._by_node(asks):
            try:
                replies = self._cache(node).fetch(part)
            except _ELSEWHERE:
                replies = fetch(self._client, part)
            found |= _by_key(part, replies)
        return _in_order(asks, found)

    def close(self) -> None:
        """Close the connections, and forget everything."""
        for cache in self._caches.values():
            cache.close()

    def _by_node(self, asks: Sequence[Ask]) -> list[tuple[Any, list[Ask]]]:
        """Return what to ask of each node."""
        parts: dict[str, tuple[Any, list[Ask]]] = {}
        for keys, fields in asks:
            of_node: dict[str, list[bytes]] = {}
            for key in keys:
                node = self._client.get_node_from_key(key)
                if node.name not in of_node:
                    of_node[node.name] = []
                    parts.setdefault(node.name, (node, []))[1].append((of_node[node.name], fields))
                of_node[node.name].append(key)
        return list(parts.values())

    def _cache(self, node: Any) -> ReplyCache:
        if (cache := self._caches.get(node.name)) is None:
            nodes = {primary.name for primary in self._client.get_primaries()} | {node.name}
            most = max(1, self._most // len(nodes))
            cache = ReplyCache(self._client.get_redis_connection(node), most, self._steady)
            caches = {name: one for name, one in self._caches.items() if name in nodes}
            for name, one in self._caches.items():
                if name in nodes:
                    one.most = most
                else:
                    one.close()
            # Another thread may do the same: then one of the two caches is lost, and what it kept is read once more.
            self._caches = {**caches, node.name: cache}
        return cache


def _by_key(asks: Sequence[Ask], replies: Sequence[Reply]) -> Found:
    names = ((key, fields.wire) for keys, fields in asks for key in keys)
    return dict(zip(names, replies, strict=True))


def _in_order(asks: Sequence[Ask], found: Found) -> list[Reply]:
    return [found[key, fields.wire] for keys, fields in asks for key in keys]
