"""Two feeds of one market: the second is refused, and takes over where the first was killed or froze."""

from __future__ import annotations

import threading

import pytest
import redis

from ingest.feeds import sole_feed
from ingest.feeds.sole_feed import OtherFeedError, SoleFeed
from ingest.streams import keys, membership
from tests.integration.mortal import wait_until

NAMES = ("BTCUSDT", "ETHUSDT")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sole_feed, "RENEW_S", 0.01)
    monkeypatch.setattr(sole_feed, "LOOK_S", 0.01)
    monkeypatch.setattr(sole_feed, "WAIT_S", 0.3)


def test_a_second_feed_of_a_symbol_is_refused_and_one_of_other_symbols_is_not(redis_client: redis.Redis) -> None:
    with SoleFeed(redis_client, NAMES):
        with pytest.raises(OtherFeedError, match="another feed writes ETHUSDT into this Redis"):
            SoleFeed(redis_client, ("SOLUSDT", "ETHUSDT")).__enter__()
        with SoleFeed(redis_client, ("SOLUSDT", "BINANCE-US:BTCUSDT")):
            pass
    assert not redis_client.keys(keys.owner("feed *").replace("{", "*").replace("}", "*")), "all are given back"
    with SoleFeed(redis_client, NAMES):
        pass


def test_a_feed_holds_its_symbols_for_longer_than_a_lease(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "LEASE_MS", 60)
    with SoleFeed(redis_client, NAMES), pytest.raises(OtherFeedError):
        SoleFeed(redis_client, NAMES).__enter__()


def test_the_symbols_of_a_feed_that_was_killed_are_free_after_a_lease(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "LEASE_MS", 100)
    killed = SoleFeed(redis_client, NAMES)
    killed._renew()
    with SoleFeed(redis_client, NAMES):
        pass


def test_a_feed_that_froze_ends_once_it_sees_that_another_has_its_symbols(redis_client: redis.Redis) -> None:
    lost = threading.Event()
    first = SoleFeed(redis_client, NAMES)
    first.__enter__()
    redis_client.set(keys.owner("feed BTCUSDT"), "other", px=60_000)
    first.on_lost(lost.set)
    assert lost.wait(5)
    with pytest.raises(OtherFeedError, match="BTCUSDT"):
        first.__exit__(None, None, None)
    assert redis_client.get(keys.owner("feed BTCUSDT")) == b"other"
    assert not redis_client.exists(keys.owner("feed ETHUSDT"))


def test_a_redis_that_came_back_empty_gets_the_leases_again(redis_client: redis.Redis) -> None:
    with SoleFeed(redis_client, NAMES) as sole:
        redis_client.flushall()
        wait_until(lambda: redis_client.exists(*(keys.owner(f"feed {name}") for name in NAMES)) == 2)
    assert sole._taken == []


def test_a_stopped_feed_does_not_wait_for_a_symbol(redis_client: redis.Redis) -> None:
    stop = threading.Event()
    stop.set()
    with SoleFeed(redis_client, NAMES), SoleFeed(redis_client, NAMES, stop):
        pass
