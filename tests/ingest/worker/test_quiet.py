"""Time that passes for quiet symbols refuses no message that is on its way; the schedules are stepped by hand."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import redis

from ingest import router, settings
from ingest.messages.decode import decode, encode
from ingest.messages.kinds import PLAIN_STREAM, Clock, Hold, OrderBook, Tick, Trade
from ingest.publish.outlet import Outlet, pauses
from ingest.publish.publisher import Publisher
from ingest.recordings.lines import Parsed
from ingest.streams import keys, membership, outage, read, replicas
from ingest.streams.backlog import counters
from ingest.streams.cluster import Cluster
from ingest.worker import kernels, worker
from ingest.worker.worker import Worker
from tests.integration.mortal import wait_until

CONF = settings.load({"TFS_PARTITIONS": "1"})
AHEAD_S = 5


def wall_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000_000


def book(ms: int, name: str = "SLOW") -> OrderBook:
    return OrderBook(ms, name, [(99.0, 1.0)], [(101.0, 1.0)], received=ms)


class Run:
    """A worker whose steady clock is moved by hand; Redis has the real time."""

    def __init__(self, client: redis.Redis, clock: Callable[[], int] | None = None) -> None:
        self.client = client
        self.s = 1000.0
        self.worker = Worker(client, CONF, clock, lambda: round(self.s * 1_000_000))
        self.worker.open()

    def wait(self, seconds: float) -> None:
        """Turn twice a second."""
        for _ in range(round(2 * seconds)):
            self.s += 0.5
            self.work()

    def work(self) -> None:
        while self.worker.step():
            pass

    def publish(self, *messages: OrderBook | Trade) -> None:
        with Publisher(self.client, 1) as publisher:
            for message in messages:
                publisher.publish("book" if isinstance(message, OrderBook) else "trade", message)

    def lost(self, name: str) -> list[bool]:
        """Whether each tick of a symbol says that its feed is lost."""
        found = (decode(Tick, f[b"data"]) for _, f in self.client.xrange(keys.events(0)) if f[b"kind"] == b"tick")
        return [tick.lost for tick in found if tick.symbol == name]

    def ticks(self) -> int:
        return [fields[b"kind"] for _, fields in self.client.xrange(keys.events(0))].count(b"tick")

    def refused(self) -> dict[str, int]:
        self.work()
        self.worker.flush()
        return {name: n for name, n in counters(self.client, 1).items() if name.startswith("refused")}


def let_be_well(client: redis.Redis, seconds: float) -> None:
    """Note that signs of life began so long ago, the last one now."""
    client.hset(keys.SIGNS_OF_LIFE, mapping={"last": wall_ms(), "since": wall_ms() - round(seconds * 1000)})


@pytest.fixture
def run(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A worker of a Redis that has been well for long."""
    monkeypatch.setattr(membership, "PAUSE_MS", 60_000)  # kernels are compiled at the first message
    let_be_well(redis_client, 3600)
    run = Run(redis_client)
    run.wait(2 * outage.WRITTEN_S)  # on a cluster no sign of life tells for how long a log's server has been well
    yield run
    run.worker.close()


def test_a_worker_whose_clock_is_ahead_refuses_no_slow_symbol(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + AHEAD_S * 1_000_000_000)
    run.publish(book(wall_ms() - 3000))
    run.wait(4)
    assert run.ticks()
    run.publish(book(wall_ms() - 1000))  # its feed needs a second
    assert run.refused() == {}


def test_what_a_feed_kept_while_redis_was_away_is_not_late(redis_client: redis.Redis, run: Run) -> None:
    run.publish(book(wall_ms() - 20_000))
    run.work()
    run.worker.open()  # what a worker does when Redis is back
    run.wait(outage.ANSWER_S + outage.LONGEST_PAUSE_S)  # the feed's last attempt hung, and its pause had just begun
    assert not run.ticks()
    kept = [Parsed("book", book(wall_ms() - ms)) for ms in range(10_000, 0, -1000)]
    Outlet(redis_client, CONF).write(kept)
    assert run.refused() == {}
    run.wait(10)
    assert run.ticks(), "then time passes again"


def test_a_feed_tries_redis_as_often_as_the_ticks_of_workers_allow() -> None:
    longest = pauses(1.0, outage.LONGEST_PAUSE_S)
    assert max(next(longest) for _ in range(20)) <= outage.LONGEST_PAUSE_S < outage.WRITTEN_S - outage.ANSWER_S


def test_what_a_feed_kept_while_redis_stood_still_is_not_late(run: Run) -> None:
    run.publish(book(wall_ms() - 20_000))
    run.work()
    run.s += outage.ANSWER_S - 1  # nobody sees an error: the answer comes in time
    run.work()
    run.wait(2)
    run.publish(*(book(wall_ms() - ms) for ms in range(6000, 0, -1000)))
    assert run.refused() == {}


def test_messages_that_wait_for_a_router_that_is_away_are_not_late(run: Run) -> None:
    run.publish(book(wall_ms() - 20_000))
    run.work()
    for ms in range(10_000, 0, -1000):
        at = wall_ms() - ms
        run.client.xadd("order_book", {"data": encode(book(at - 100))}, id=f"{at}-0")
    run.wait(6)
    assert run.ticks(), "time passes up to the oldest message that waits"
    waiting = dict.fromkeys(["order_book", "market_data"], read.START)
    found = read.entries_after(run.client, waiting, 1000, 1)
    router.Router(run.client, 1).move(read.in_order(found, 1000, 1000))
    assert run.refused() == {}


@pytest.mark.parametrize("said", ["clock", "hold"])
def test_no_tick_passes_a_symbol_whose_feed_makes_time_pass_until_that_feed_is_lost(run: Run, said: str) -> None:
    def append(name: str, arrived_ms: int) -> None:
        at = arrived_ms - 5000
        messages = {
            "book": book(at, name),
            "clock": Clock(at + 1000, [name]),
            "hold": Hold(arrived_ms, name, arrived_ms),
        }
        for kind in ("book", said):
            run.client.xadd(keys.events(0), {"kind": kind, "data": encode(messages[kind])}, id=f"{arrived_ms}-*")

    append("LOST", wall_ms() - (CONF.recover_s + 1) * 1000)
    append("SLOW", wall_ms())
    run.wait(6)
    assert run.lost("LOST") and all(run.lost("LOST"))
    assert not run.lost("SLOW")
    run.publish(book(wall_ms(), "LOST"))  # the feed is back, or another one that has no clock
    run.wait(3)
    assert not run.lost("LOST")[-1], "then its silence is that of the market"


def test_right_after_an_outage_of_redis_no_time_passes(
    one_server: None, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        membership, "BEAT_S", 60.0
    )  # the first sign of life is the only one: the clocks of both sides differ here
    monkeypatch.setattr(worker, "SETTLE_S", 60.0)
    monkeypatch.setattr(membership, "PAUSE_MS", 60_000)
    kernels.warm_up()  # takes seconds, the first time
    let_be_well(redis_client, 1)
    run = Run(redis_client)
    run.publish(book(wall_ms() - 20_000))
    run.wait(outage.WRITTEN_S - 4)  # a slow machine takes seconds to begin
    assert not run.ticks()
    let_be_well(redis_client, outage.WRITTEN_S)
    run.wait(4)
    assert run.ticks()
    run.worker.close()


def test_where_redis_stands_still_before_it_answers_no_time_passes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.publish(book(wall_ms() - 20_000))
    asked = read.moved_until

    def late(*args: Any) -> tuple[int, int]:
        run.s += CONF.idle_after_ms / 1000  # messages that were sent meanwhile arrive behind the answer
        return asked(*args)

    monkeypatch.setattr(read, "moved_until", late)
    run.wait(5)
    assert not run.ticks()


def test_no_tick_that_was_decided_before_a_failover_enters_the_redis_of_a_moment_ago(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.publish(book(wall_ms() - 3000))
    asked = read.moved_until

    def loses_its_tail(*args: Any) -> tuple[int, int]:
        found = asked(*args)
        run.client.set(keys.owner(0), "7:another:" + "0" * 40, px=membership.LEASE_MS)
        return found

    monkeypatch.setattr(read, "moved_until", loses_its_tail)
    run.wait(5)
    assert not run.ticks()


def test_while_another_server_lacks_its_replica_no_time_passes(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed that waits for it keeps messages of this log too, as it writes one batch after the other."""
    monkeypatch.setattr(membership, "PAUSE_MS", 60_000)
    with outage.open_redis(cluster_url, 1) as client:
        run = Run(client)
        slots = cast(Cluster, client).nodes_manager.slots_cache
        of_log, *others = (
            slots[cast(Cluster, client).determine_slot("GET", key)] for key in (keys.events(0), *PLAIN_STREAM)
        )
        [other, *_] = [replica for master, replica in others if master != of_log[0]]

        def passes_time() -> bool:
            before = run.ticks()
            run.wait(1)
            return run.ticks() > before

        run.publish(book(wall_ms()))
        wait_until(passes_time)
        before = run.ticks()
        with redis.Redis(port=other.port) as replica:
            about: Any = replica.info("server")
        os.kill(about["process_id"], signal.SIGSTOP)
        try:
            run.publish(book(wall_ms()))
            run.wait(AHEAD_S)
        finally:
            os.kill(about["process_id"], signal.SIGCONT)
        assert run.ticks() == before
        run.wait(1.0)
        wait_until(lambda: replicas.are_well(client, cast(Cluster, client).one_each(PLAIN_STREAM)))
        run.wait(outage.WRITTEN_S - 1.5)
        assert run.ticks() == before
        wait_until(passes_time)
        run.worker.close()
