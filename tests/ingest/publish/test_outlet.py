"""The outlet keeps trying while Redis is away, and nothing is counted before it is written."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import redis

from ingest.messages.decode import decode
from ingest.messages.kinds import Clock, OrderBook, SocialPost, Trade
from ingest.messages.refusal import Reason
from ingest.publish.outlet import LONGEST_S, Outlet, pauses
from ingest.publish.producer import Batch, Producer
from ingest.recordings.lines import Line, Parsed, Rejected
from ingest.settings import Settings, load
from ingest.streams import keys, move
from ingest.worker.partition import Partition

T0 = 1_700_000_000_000
SETTINGS = Settings(partitions=2)


def trade(n: int) -> Parsed:
    return Parsed("trade", Trade(T0 + n, "BTCUSDT", 100.0, 1.0, "buy", n))


def logged(client: redis.Redis, symbol: str) -> list[Trade]:
    found: Any = client.xrange(keys.events(keys.partition_of(symbol, 2)))
    return [decode(Trade, fields[b"data"]) for _, fields in found]


def test_pauses_double_to_half_a_minute_and_never_go_in_step() -> None:
    series = pauses(1.0)
    for step in (1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_S, LONGEST_S):
        assert step / 2 <= next(series) <= step


def test_messages_posts_and_refusals_go_where_they_belong(redis_client) -> None:
    outlet = Outlet(redis_client, SETTINGS, prefix="X:")
    line = Line("live", 7, 0, b"what came", False)
    post = Parsed("social", SocialPost(T0, "1", "up", "s"))
    outlet.write([trade(1), post, Rejected(line, Reason.UNDECODABLE, "no JSON")])

    assert [t.symbol for t in logged(redis_client, "X:BTCUSDT")] == ["X:BTCUSDT"]
    assert redis_client.xlen(keys.SOCIAL) == 1
    ((_, letter),) = redis_client.xrange(keys.DEAD_LETTER)
    assert (letter[b"reason"], letter[b"field:data"], letter[b"id"]) == (b"undecodable", b"what came", b"7")
    assert outlet.counts.published == {"trade": 1, "social": 1}
    assert outlet.counts.refused == {"undecodable": 1}
    (entry,) = redis_client.xrange(keys.events(keys.partition_of("X:BTCUSDT", 2)))
    assert b"recorded" not in entry[1], "live: the worker's clock counts"


def test_a_clock_goes_to_the_log_of_each_of_its_symbols_once_with_those_that_are_there(redis_client) -> None:
    names = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    Outlet(redis_client, SETTINGS, prefix="X:").write([Parsed("clock", Clock(T0, names, received=T0 + 5))])
    found = [
        [decode(Clock, fields[b"data"]) for _, fields in redis_client.xrange(keys.events(p))]
        for p in range(SETTINGS.partitions)
    ]
    assert all(len(of_log) == 1 for of_log in found), "these names are in both logs"
    for p, (clock,) in enumerate(found):
        assert clock.symbols == [
            f"X:{name}" for name in names if keys.partition_of(f"X:{name}", SETTINGS.partitions) == p
        ]
        assert (clock.timestamp, clock.received) == (T0, T0 + 5)


class Away(redis.Redis):
    """A client whose first pipelines fail."""

    failures = 0

    def pipeline(self, *args: Any, **options: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise redis.ConnectionError("away")
        return super().pipeline(*args, **options)


class Deaf(redis.Redis):
    """A client that loses the answers to its first writes, which arrive."""

    lost = 0

    def pipeline(self, *args: Any, **options: Any) -> Any:
        pipe = super().pipeline(*args, **options)
        execute = pipe.execute
        pipe.execute = lambda **options: self._lose(execute(**options))
        return pipe

    def _lose(self, answer: Any) -> Any:
        if self.lost:
            self.lost -= 1
            raise redis.ConnectionError("no answer")
        return answer


def test_a_lost_answer_doubles_nothing_also_where_messages_have_no_id(one_server, redis_client, redis_url) -> None:
    books = [Parsed("book", OrderBook(T0 + n, "BTCUSDT", [(99.0, 1.0)], [(101.0, 1.0)])) for n in range(3)]
    trades = [Parsed("trade", Trade(T0 + n, "BTCUSDT", 100.0, 1.0, "buy")) for n in range(3)]
    line = Rejected(Line("live", 7, 0, b"what came", False), Reason.UNDECODABLE, "no JSON")
    with Deaf.from_url(redis_url) as client:
        outlet = Outlet(client, SETTINGS, first_pause_s=0.001)
        for lost in (0, 1, 3):
            client.lost = lost
            outlet.write([*books, *trades, Parsed("social", SocialPost(T0, "1", "up", "s")), line])
    assert redis_client.xlen(keys.events(keys.partition_of("BTCUSDT", 2))) == 3 * 6
    assert redis_client.xlen(keys.SOCIAL) == redis_client.xlen(keys.DEAD_LETTER) == 3
    assert redis_client.hget(keys.counters(keys.EDGE), "refused.undecodable") == b"3"
    assert outlet.counts.published == {"book": 9, "trade": 9, "social": 3}
    markers = redis_client.keys("moved:*")
    assert len(markers) == 3
    assert all(0 < redis_client.ttl(marker) <= 86_400 for marker in markers)


def test_a_batch_that_was_given_up_takes_no_other_with_it(one_server, redis_client, redis_url) -> None:
    with Deaf.from_url(redis_url) as client:
        outlet = Outlet(client, SETTINGS, first_pause_s=0.001, attempts=1)
        outlet.write([trade(1)])
        for n in (2, 3):
            client.lost = 1
            with pytest.raises(redis.ConnectionError):
                outlet.write([trade(n)])
        outlet.write([trade(4)])
    assert [t.trade_id for t in logged(redis_client, "BTCUSDT")] == [1, 2, 3, 4]


def test_an_attempt_that_arrives_after_its_batch_was_written_changes_nothing(redis_client) -> None:
    producer, late = Producer(redis_client), Batch({0: [["data", "x"]]})
    producer.write(late)
    assert move.append(redis_client, [producer._of(0, late, 1, move.START)]) == [0]  # on a connection that was given up
    producer.write(Batch({0: [["data", "y"]]}))
    assert move.append(redis_client, [producer._of(0, late, 1, move.START)]) == [0]
    assert redis_client.xlen("events:{0}") == 2


class Past:
    """Puts Redis back to what it held a moment ago, as a failover does that lost the last writes."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._kept: dict[bytes, bytes] = {key: client.dump(key) for key in client.scan_iter()}

    def comes_back(self) -> None:
        self._client.flushall()
        for key, value in self._kept.items():
            self._client.restore(key, 0, value)


def test_a_redis_that_came_back_older_is_given_again_what_it_lost_and_nothing_else(redis_client) -> None:
    outlet, calm = Outlet(redis_client, SETTINGS, feed="X:trade"), Outlet(redis_client, SETTINGS, prefix="CALM:")
    line = Rejected(Line("live", 7, 0, b"what came", False), Reason.UNDECODABLE, "no JSON")
    post = Parsed("social", SocialPost(T0, "1", "up", "s"))
    for n in range(3):
        outlet.write([trade(n)])
    past = Past(redis_client)
    calm.write([trade(70)])
    for n in range(3, 6):
        outlet.write([trade(n), post, line])
    past.comes_back()
    outlet.write([trade(6)])
    outlet.write([trade(7)])
    assert [t.trade_id for t in logged(redis_client, "BTCUSDT")] == list(range(8))
    assert redis_client.xlen(keys.SOCIAL) == redis_client.xlen(keys.DEAD_LETTER) == 3
    assert redis_client.hget(keys.counters(keys.EDGE), "refused.undecodable") == b"3"
    assert outlet.last_trades(["BTCUSDT"])["BTCUSDT"].id == 7
    assert outlet.counts.published == {"trade": 8, "social": 3}, "what is written again is counted once"

    past.comes_back()  # to before the batches that were written again
    calm.write([trade(71)])
    outlet.write([trade(8)])
    assert [t.trade_id for t in logged(redis_client, "BTCUSDT")] == list(range(9))
    assert [t.trade_id for t in logged(redis_client, "CALM:BTCUSDT")] == [70, 71]


def test_a_redis_that_came_back_empty_is_given_again_what_is_kept(redis_client) -> None:
    outlet = Outlet(redis_client, SETTINGS, first_pause_s=0.001)
    outlet.write([trade(1)])
    outlet.write([trade(2)])
    redis_client.flushall()
    outlet.write([trade(3)])
    outlet.write([trade(4)])
    assert [t.trade_id for t in logged(redis_client, "BTCUSDT")] == [1, 2, 3, 4]


def test_a_feed_that_has_nothing_new_gives_again_what_redis_has_lost(redis_client) -> None:
    outlet = Outlet(redis_client, SETTINGS)
    outlet.write([trade(1)])
    past = Past(redis_client)
    outlet.write([trade(2)])
    for _ in range(2):
        past.comes_back()
        outlet.look()
        outlet.look()
        assert [t.trade_id for t in logged(redis_client, "BTCUSDT")] == [1, 2]


def test_a_redis_that_dies_while_it_is_given_what_it_lost_has_each_message_once(
    one_server, redis_client, redis_url
) -> None:
    with Deaf.from_url(redis_url) as client:
        outlet = Outlet(client, SETTINGS, first_pause_s=0.001)
        outlet.write([trade(0)])
        past = Past(redis_client)
        for n in range(1, 5):
            outlet.write([trade(n)])
        for lost in range(1, 9):
            past.comes_back()
            client.lost = lost
            outlet.write([trade(4 + lost)])
            assert [t.trade_id for t in logged(redis_client, "BTCUSDT")] == list(range(5 + lost))


def test_an_attempt_that_arrives_after_its_batch_was_written_again_changes_nothing(redis_client) -> None:
    producer, batches = Producer(redis_client), [Batch({0: [["data", x]]}) for x in "abc"]
    producer.write(batches[0])
    past = Past(redis_client)
    producer.write(batches[1])
    past.comes_back()
    producer.write(batches[2])
    assert move.append(redis_client, [producer._of(0, batches[1], 2, (1, 0))]) == [0]
    assert redis_client.xlen("events:{0}") == 3


def test_an_attempt_that_would_leave_a_hole_behind_it_changes_nothing(redis_client) -> None:
    producer, batches = Producer(redis_client), [Batch({0: [["data", x]]}) for x in "abc"]
    producer.write(batches[0])
    past = Past(redis_client)
    producer.write(batches[1])
    late = producer._of(0, batches[2], 3, (2, 0))
    past.comes_back()
    assert move.append(redis_client, [late]) == [move.Behind((1, 0))]
    producer.write(batches[2])
    assert [fields[b"data"] for _, fields in redis_client.xrange("events:{0}")] == [b"a", b"b", b"c"]


def test_a_place_that_comes_back_older_alone_is_given_what_it_lost_and_no_other_anything(redis_client) -> None:
    outlet = Outlet(redis_client, SETTINGS)
    names = ["BTCUSDT", "ETHUSDT"]
    assert {keys.partition_of(name, 2) for name in names} == {0, 1}
    kept = {}
    for n in range(4):
        outlet.write([Parsed("trade", Trade(T0 + n, name, 100.0, 1.0, "buy", n)) for name in names])
        if n == 1:
            kept = {key: redis_client.dump(key) for key in redis_client.keys("*{1}*")}
    for key, value in kept.items():
        redis_client.restore(key, 0, value, replace=True)
    outlet._producer._looked[1] -= 2.0
    outlet.write([Parsed("trade", Trade(T0 + 4, next(n for n in names if keys.partition_of(n, 2) == 0), 1.0, 1.0))])
    assert [redis_client.xlen(keys.events(p)) for p in range(2)] == [5, 4]


def rows(client: redis.Redis, view: str) -> dict[int, dict[str, float]]:
    """The rows that the log of BTCUSDT gives, by second."""
    partition = Partition(0, load({"TFS_PARTITIONS": "1", "TFS_MAX_AGE_MS": str(10**11)}))
    found: Any = client.xrange(keys.events(keys.partition_of("BTCUSDT", 2)))
    for entry_id, fields in found:
        partition.process(entry_id, fields, now_us=0)
    assert not partition.pending.dead
    columns = partition.pending.batches[view].columns()
    seconds = (columns.event_us // 1_000_000 - T0 // 1000).tolist()
    named = (dict(zip(columns.view.names, values, strict=True)) for values in columns.values.tolist())
    return dict(zip(seconds, named, strict=True))


@pytest.mark.parametrize("bound", ["KEPT_S", "KEPT_BYTES"])
def test_where_redis_has_lost_more_than_is_kept_what_that_was_is_unknown(redis_client, monkeypatch, bound: str) -> None:
    def second(s: int) -> list[Parsed]:
        book = Parsed("book", OrderBook(T0 + s * 1000, "BTCUSDT", [(99.0, 1.0)], [(101.0, 1.0)], s))
        return [book, trade(s * 1000 + 400), trade(s * 1000 + 600)]

    outlet = Outlet(redis_client, SETTINGS)
    for s in range(5):
        outlet.write(second(s))
    past = Past(redis_client)
    for s in range(5, 80):
        with monkeypatch.context() as patch:
            if s == 7:
                patch.setattr(f"ingest.publish.producer.{bound}", -1)  # forgets what is kept
            outlet.write(second(s))
    past.comes_back()
    outlet.write(second(80))
    books, flow = rows(redis_client, "microstructure"), rows(redis_client, "order_flow")
    assert [s for s, row in books.items() if not row["book_valid"]] == [5, 6, 7]
    assert [s for s, row in flow.items() if row["trade_valid"]] == [1, 2, 3, 4]
    # the first one before the first trade; of the second up to 9 a trade may be missing that came out of order
    assert [s for s, row in flow.items() if math.isnan(row["delta_volume_1s"])] == [1, 5, 6, 7, 8, 9]
    assert [s for s, row in flow.items() if row["trade_count_1m"] == 120] == list(range(69, 81))


@pytest.fixture
def away(one_server, redis_url) -> Any:
    with Away.from_url(redis_url) as client:
        client.flushall()
        yield client


def test_a_batch_is_written_once_redis_is_back_and_counted_once(away, caplog) -> None:
    away.failures = 3
    outlet = Outlet(away, SETTINGS, first_pause_s=0.001)
    outlet.write([trade(1), trade(2)])
    assert [t.trade_id for t in logged(away, "BTCUSDT")] == [1, 2]
    assert outlet.counts.published == {"trade": 2}
    assert len([r for r in caplog.records if "redis takes no messages" in r.message]) == 3


def test_the_first_new_attempts_come_soon(away) -> None:
    """A worker that had nothing to write does not notice an outage of 0.2 s, and its ticks go on."""
    paused: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            paused.append(timeout or 0.0)
            return False

    away.failures = 7
    Outlet(away, SETTINGS, stop=Stop()).write([trade(1)])
    assert len(paused) == 7
    assert sum(paused[:3]) <= 0.35
    assert 0.5 <= paused[-1] <= 1.0


def test_a_stopped_feed_gives_up(away) -> None:
    away.failures = 99
    stop = threading.Event()
    stop.set()
    outlet = Outlet(away, SETTINGS, stop=stop)
    with pytest.raises(redis.ConnectionError):
        outlet.write([trade(1)])
    assert outlet.counts.published == {}


def test_attempts_may_be_bounded(away) -> None:
    away.failures = 2
    outlet = Outlet(away, SETTINGS, first_pause_s=0.001, attempts=2)
    with pytest.raises(redis.ConnectionError):
        outlet.write([trade(1)])
    outlet.write([trade(1)])
    assert outlet.counts.published == {"trade": 1}


def test_the_feed_waits_while_too_much_waits_for_a_worker(redis_client, monkeypatch) -> None:
    from ingest.publish import readers as module

    monkeypatch.setattr(module, "WAITING_MAX", 3)
    monkeypatch.setattr(module, "CHECK_EVERY", 4)
    written = threading.Event()

    def write() -> None:
        Outlet(redis_client, SETTINGS).write([trade(n) for n in range(5)])
        written.set()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    assert not written.wait(0.3)
    redis_client.delete(keys.events(0), keys.events(1))
    assert written.wait(10)
    thread.join()
