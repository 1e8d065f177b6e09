"""Hash fields read in one round trip."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores.online.format import SymbolKeys
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import SYMBOLS, Config, entity, on_a_loop, rows_of, settings, write_and_read


def test_all_views_of_fifty_symbols_are_read_in_one_round_trip_of_fifty_commands(
    filled: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.read("ours", "signal_v1", rows_of(*SYMBOLS[:50]))
    sent: list[int] = []
    send = redis.Connection.send_packed_command
    monkeypatch.setattr(
        redis.Connection, "send_packed_command", lambda self, *a, **k: (sent.append(1), send(self, *a, **k))[1]
    )
    redis_client.config_resetstat()
    sent.clear()
    filled.read("ours", "signal_v1", rows_of(*SYMBOLS[:50]))
    assert len(sent) == 1
    assert redis_client.info("commandstats")["cmdstat_hmget"]["calls"] == 50


def test_a_reader_that_was_interrupted_leaves_no_reply_to_the_next(stores: Any, servers: Any) -> None:
    """A value of another type makes one command of a request fail; the replies after it must not be read later."""
    store, config = RedisOnlineStore(), Config(settings(url=servers.redis_url))
    assert write_and_read(store, config, stores, 1.0) == [1.0] * 5
    with redis.Redis.from_url(servers.redis_url) as client:
        client.set(SymbolKeys("trading", "symbol").keys(["BROKEN"])[0], "text")
    table = stores.ours.get_feature_view("social")
    keys = [entity(s) for s in ("BROKEN", "S0", "S1")]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        store.online_read(config, table, keys, ["author_ratio_1h"])
    ((_, found),) = store.online_read(config, table, keys[1:2], ["author_ratio_1h"])
    assert found == {"author_ratio_1h": Value(double_val=1.0)}

    async def interrupted() -> Any:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            await store.online_read_async(config, table, keys, ["author_ratio_1h"])
        return await store.online_read_async(config, table, keys[1:2], ["author_ratio_1h"])

    ((_, found),) = on_a_loop(store, interrupted)
    assert found == {"author_ratio_1h": Value(double_val=1.0)}
