"""The router: each entry of the plain streams once into its log, whatever dies and however many routers there are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import redis

from ingest import router
from ingest.messages.decode import decode_entry, encode
from ingest.messages.kinds import Trade
from ingest.streams import keys, read
from ingest.streams.membership import FencedError
from tests.integration.market import PARTITIONS, SYMBOLS, T0


def entry(symbol: str, at_ms: int) -> dict[str, bytes]:
    return {"data": encode(Trade(at_ms, symbol, 1.0, 1.0, "buy", received=at_ms))}


def in_logs(client: redis.Redis) -> int:
    return sum(client.xlen(keys.events(p)) for p in range(PARTITIONS))


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_routers_with_the_same_batch_move_each_entry_once(redis_client: redis.Redis) -> None:
    for i in range(50):
        redis_client.xadd("market_data", entry(SYMBOLS[i % 12], T0 + i))
    batch = read.entries_after(redis_client, {"market_data": read.START}, 100, 1)
    one, other = (router.Router(redis_client, PARTITIONS) for _ in range(2))
    assert one.move(batch[:30]) == 30
    assert other.move(batch) == 20
    assert one.move(batch) == 0
    assert in_logs(redis_client) == 50
    assert redis_client.xlen("market_data") == 0


def test_what_was_read_from_a_redis_that_was_replaced_is_not_moved(one_server: None, redis_client: redis.Redis) -> None:
    redis_client.xadd("market_data", entry("A", T0))
    batch = read.entries_after(redis_client, {"market_data": read.START}, 100, 1)
    with pytest.raises(FencedError):
        router.Router(redis_client, PARTITIONS).move(batch, "0" * 40)
    assert (in_logs(redis_client), redis_client.xlen("market_data")) == (0, 1)


def test_a_router_that_died_before_it_deleted_what_it_moved_doubles_nothing(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        redis_client.xadd("market_data", entry(SYMBOLS[i % 12], T0 + i))
    batch = read.entries_after(redis_client, {"market_data": read.START}, 100, 1)
    with monkeypatch.context() as patch:
        patch.setattr(type(redis_client.pipeline()), "xdel", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            router.Router(redis_client, PARTITIONS).move(batch)
    assert (in_logs(redis_client), redis_client.xlen("market_data")) == (20, 20)
    redis_client.xadd("market_data", entry("A", T0 + 20))
    again = read.entries_after(redis_client, {"market_data": read.START}, 100, 1)
    assert router.Router(redis_client, PARTITIONS).move(again) == 1
    assert (in_logs(redis_client), redis_client.xlen("market_data")) == (21, 0)


def test_a_log_that_came_back_older_is_told_of_and_goes_on(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    mover = router.Router(redis_client, 1)

    def move(*streams: str) -> None:
        for stream in streams:
            redis_client.xadd(stream, entry("A", T0))
        mover.move(read.entries_after(redis_client, dict.fromkeys(("market_data", "liquidation"), read.START), 100, 1))

    move("market_data", "liquidation")
    kept = {
        name: redis_client.dump(name)
        for name in (keys.events(0), *(keys.moved(0, s) for s in ("market_data", "liquidation")))
    }
    move("market_data", "market_data", "liquidation")
    move("market_data")
    for name, value in kept.items():
        redis_client.restore(name, 0, value, replace=True)  # type: ignore[arg-type]
    for _ in range(3):
        move("market_data")
    move("liquidation")
    [told] = [r.message for r in caplog.records if r.levelname == "ERROR"]
    assert told.startswith(
        "events:{0} came back older: 3 entries of market_data, 1 entries of liquidation that were moved there are lost"
    )
    assert in_logs(redis_client) == 6


def test_after_a_pause_of_the_router_no_trade_overtakes_a_book(redis_client: redis.Redis) -> None:
    """Ten seconds of 100 books and 5 trades a second wait; a read gives seconds of trades and a part of a second of books."""
    now_ms = time.time_ns() // 1_000_000
    for ms in range(0, 10_000, 10):
        redis_client.xadd("order_book", entry("A", T0 + ms), id=f"{now_ms + ms}-0")
        if ms % 200 == 0:
            redis_client.xadd("market_data", entry("A", T0 + ms), id=f"{now_ms + ms}-1")
    stop = threading.Event()
    thread = threading.Thread(target=router.run, args=(redis_client, 1, stop))
    thread.start()
    try:
        wait_until(lambda: redis_client.xlen(keys.events(0)) == 1050)
    finally:
        stop.set()
        thread.join()
    times = [decode_entry(Trade, fields).timestamp for _, fields in redis_client.xrange(keys.events(0))]
    assert times == sorted(times)


def test_what_a_producer_appends_within_one_millisecond_goes_by_event_time() -> None:
    """A producer that kept messages while Redis was away appends seconds of them in a millisecond, to two streams."""
    books = [("order_book", b"7-%d" % n, {b"data": encode(Trade(T0 + 10 * n, "A", 1.0, 1.0))}) for n in range(200)]
    trades = [("market_data", b"7-%d" % n, {b"data": encode(Trade(T0 + 200 * n, "A", 1.0, 1.0))}) for n in range(10)]
    later = [("market_data", b"8-0", {b"data": encode(Trade(T0 + 1950, "A", 1.0, 1.0))})]
    found = read.by_time(read.in_order(books + trades + later, 1000, 1000), router._time_us)
    times = [decode_entry(Trade, fields).timestamp for _, _, fields in found]
    assert len(times) == 211
    assert times[:-1] == sorted(times[:-1])
    assert read.in_order(books[:16] + trades, 16, 1000) == []  # more of that millisecond may be there
    assert len(read.in_order(books[:16] + trades, 16, 16)) == 26


def test_two_routers_run_and_when_one_goes_the_other_moves_on(redis_client: redis.Redis) -> None:
    stops = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=router.run, args=(redis_client, PARTITIONS, stop)) for stop in stops]
    try:
        for i, thread in enumerate(threads):
            thread.start()
            for n in range(100):
                redis_client.xadd("order_book" if n % 2 else "market_data", entry(SYMBOLS[n % 12], T0 + n))
            wait_until(lambda i=i: in_logs(redis_client) == 100 * (i + 1))
        stops[0].set()
        threads[0].join()
        redis_client.xadd("market_data", entry("A", T0))
        wait_until(lambda: in_logs(redis_client) == 201)
    finally:
        for stop, thread in zip(stops, threads, strict=True):
            stop.set()
            thread.join()
    assert redis_client.xlen("order_book") == redis_client.xlen("market_data") == 0
