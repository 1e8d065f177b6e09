"""Kafka as a source, on librdkafka's own mock cluster: every record once, in order, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec import msgpack

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed; it comes with the extra kafka")
from confluent_kafka import KafkaError, KafkaException, Producer

from ingest.cli import main
from ingest.feeds.kafka import command as kafka_command
from ingest.feeds.kafka import feed as kafka
from ingest.feeds.kafka import reader as kafka_reader
from ingest.feeds.kafka.feed import OffsetsError, Source
from ingest.feeds.kafka.move import move, offsets
from ingest.feeds.kafka.reader import Reader
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, SocialPost, Trade
from ingest.publish.counts import Counts
from ingest.streams import keys
from ingest.streams.membership import FencedError, Member
from ingest.streams.move import OffsetsChangedError

PARTITIONS = 2
T0 = 1_700_000_000_000
SYMBOLS = [f"S{i}" for i in range(6)]
QUICK = {"socket.timeout.ms": "1000", "reconnect.backoff.ms": "20", "reconnect.backoff.max.ms": "100"}
BROKER = """
import sys
from confluent_kafka import Producer
cluster = Producer({"bootstrap.servers": "mock:1", "test.mock.num.brokers": 1, "log_level": 0})
print(",".join(f"{b.host}:{b.port}" for b in cluster.list_topics(timeout=10).brokers.values()), flush=True)
sys.stdin.read()
"""


class Cluster:
    """A cluster in a process of its own, so that it can be frozen."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.address = self.process.stdout.readline().decode().strip()
        assert self.address
        self.producer = Producer({"bootstrap.servers": self.address, "log_level": 0})

    def send(self, topic: str, value: bytes | None, **options: Any) -> None:
        self.producer.produce(topic, value, **options)

    def flush(self) -> None:
        assert self.producer.flush(15) == 0

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.end()


def trade(n: int, symbol: str = "S0") -> bytes:
    return encode(Trade(T0 + n, symbol, 100.0, 1.0, "buy", trade_id=n))


def until(done: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Feed:
    """The feed in a thread; leaving the block stops it and shows what it raised."""

    def __init__(self, client: redis.Redis, source: Source) -> None:
        self.stop = threading.Event()
        self.counts: Counts | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(client, source))

    def _run(self, client: redis.Redis, source: Source) -> None:
        try:
            self.counts = kafka.run(client, source, PARTITIONS, self.stop)
        except Exception as error:
            self.error = error

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


def waiting(client: redis.Redis) -> int:
    return sum(client.xlen(keys.events(p)) for p in range(PARTITIONS))  # type: ignore[misc]


def trades(client: redis.Redis) -> list[int]:
    """Ids of the trades in the logs, partition by partition."""
    found = []
    for p in range(PARTITIONS):
        for _, fields in client.xrange(keys.events(p)):
            assert fields[b"kind"] == b"trade"
            found.append(msgpack.decode(fields[b"data"])["trade_id"])
    return found


def only_trades(address: str, **more: Any) -> Source:
    return Source(address, {"market_data": "market_data"}, options=QUICK, **more)


def test_every_topic_reaches_its_stream_byte_for_byte_under_any_name(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    book = OrderBook(T0, "BTCUSDT", [(100.0, 1.0)], [(101.0, 2.0)])
    as_json = b'{"timestamp": 1700000000000, "symbol": "ETHUSDT", "price": "3.5", "size": 1, "side": null}'
    post = encode(SocialPost(T0, "p1", "$BTC up", "x"))
    cluster.send("books.v1", encode(book))
    cluster.send("market_data", as_json)
    cluster.send("social_data", post)
    cluster.flush()
    topics = {"books.v1": "order_book", "market_data": "market_data", "social_data": "social_data"}
    with Feed(redis_client, Source(cluster.address, topics)) as feed:
        until(lambda: waiting(redis_client) == 2 and redis_client.xlen(keys.SOCIAL) == 1)
    entries = {
        symbol: redis_client.xrange(keys.events(keys.partition_of(symbol, 2))) for symbol in ("BTCUSDT", "ETHUSDT")
    }
    assert {b"kind": b"book", b"data": encode(book)} in [fields for _, fields in entries["BTCUSDT"]]
    assert {b"kind": b"trade", b"data": as_json} in [fields for _, fields in entries["ETHUSDT"]]
    assert [fields for _, fields in redis_client.xrange(keys.SOCIAL)] == [{b"data": post}]
    assert feed.counts is not None
    assert feed.counts.published == {"book": 1, "trade": 1, "social": 1}
    kept = redis_client.hgetall(offsets("kafka"))
    assert sum(int(offset) for name, offset in kept.items() if name != b"cluster") == 3
    assert redis_client.keys("own:*") + redis_client.keys("members:*") == []


def test_a_refused_record_is_kept_with_its_topic_partition_and_offset(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    cluster.send("market_data", trade(1), partition=3)
    bad = [b"\x00garbage", b'{"symbol": "A B"}', b'{"timestamp": 1}', None]
    for value in bad:
        cluster.send("market_data", value, partition=3, key="k", headers={"price": b"1"})
    cluster.send("market_data", trade(2), partition=3)
    cluster.flush()
    with Feed(redis_client, only_trades(cluster.address)) as feed:
        until(lambda: waiting(redis_client) == 2 and redis_client.xlen(keys.DEAD_LETTER) == 4)
    letters = [fields for _, fields in redis_client.xrange(keys.DEAD_LETTER)]
    assert [fields[b"reason"] for fields in letters] == [
        b"undecodable", b"bad_symbol", b"missing_field", b"undecodable"
    ]  # fmt: skip
    assert [(fields[b"source"], fields[b"id"]) for fields in letters] == [
        (b"kafka:market_data/3", b"%d" % offset) for offset in (1, 2, 3, 4)
    ]
    assert [fields.get(b"field:data") for fields in letters] == bad
    assert {fields[b"field:key"] for fields in letters} == {b"k"}
    assert feed.counts is not None
    assert feed.counts.refused == {"undecodable": 2, "bad_symbol": 1, "missing_field": 1}
    assert redis_client.hgetall(keys.counters(keys.EDGE)) == {
        b"refused.undecodable": b"2", b"refused.bad_symbol": b"1", b"refused.missing_field": b"1"
    }  # fmt: skip


def test_a_killed_feed_is_followed_by_one_that_goes_on_without_loss_or_repeat(
    cluster: Cluster, redis_client: redis.Redis, redis_url: str
) -> None:
    for n in range(30_000):
        cluster.send("market_data", trade(n, SYMBOLS[n % 6]), key=SYMBOLS[n % 6])
        if n % 10_000 == 0:
            cluster.flush()
    cluster.flush()
    command = [sys.executable, "-m", "ingest", "feed", "kafka", "market_data", "--brokers", cluster.address]
    environ = {**os.environ, "TFS_REDIS_URL": redis_url, "TFS_PARTITIONS": str(PARTITIONS)}
    killed_at = []
    for _ in range(2):
        before = waiting(redis_client)
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
        until(lambda before=before: waiting(redis_client) > before)  # type: ignore[misc]
        process.kill()
        process.wait()
        killed_at.append(waiting(redis_client))
    assert killed_at[0] < 30_000, "it was done before it was killed"
    with Feed(redis_client, only_trades(cluster.address)):
        until(lambda: waiting(redis_client) >= 30_000)
    found = trades(redis_client)
    assert sorted(found) == list(range(30_000))
    for i in range(6):  # records of one key keep their order
        own = [n for n in found if n % 6 == i]
        assert own == sorted(own)


def test_the_command_stops_in_order_and_prints_its_counts(
    cluster: Cluster, redis_client: redis.Redis, redis_url: str
) -> None:
    cluster.send("market_data", trade(7))
    cluster.send("market_data", b"?")
    cluster.flush()
    command = [sys.executable, "-m", "ingest", "feed", "kafka", "--brokers", cluster.address, "--json"]
    environ = {**os.environ, "TFS_REDIS_URL": redis_url, "TFS_PARTITIONS": str(PARTITIONS)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)
    until(lambda: waiting(redis_client) == 1 and redis_client.xlen(keys.DEAD_LETTER) == 1)
    process.terminate()
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    counts = json.loads(out)
    assert (counts["published"], counts["refused"]) == ({"trade": 1}, {"undecodable": 1})


class Flaky:
    """A client whose script runs and whose answer is lost, now and then."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.losses = 0

    def eval(self, script: str, *rest: Any) -> Any:
        reply = self._client.eval(script, *rest)
        if "OFFSETS CHANGED" in script and self.losses < 3:
            self.losses += 1
            raise redis.ConnectionError("the answer was lost")
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_a_move_whose_answer_is_lost_is_not_made_twice(cluster: Cluster, redis_client: redis.Redis) -> None:
    for n in range(5000):
        cluster.send("market_data", trade(n), partition=0)
    cluster.flush()
    flaky: Any = Flaky(redis_client)
    with Feed(flaky, only_trades(cluster.address)):
        until(lambda: waiting(redis_client) >= 5000)
    assert flaky.losses == 3
    assert trades(redis_client) == list(range(5000))


def test_a_broker_that_freezes_is_waited_for(
    cluster: Cluster, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(10):
        cluster.send("market_data", trade(n), partition=0)
    cluster.flush()
    with Feed(redis_client, only_trades(cluster.address)):
        until(lambda: waiting(redis_client) == 10)
        caplog.clear()
        cluster.process.send_signal(signal.SIGSTOP)
        until(lambda: "Kafka does not answer and is asked again" in caplog.text)
        cluster.process.send_signal(signal.SIGCONT)
        for n in range(10, 20):
            cluster.send("market_data", trade(n), partition=0)
        cluster.flush()
        until(lambda: waiting(redis_client) >= 20)
    assert trades(redis_client) == list(range(20))


def test_brokers_that_are_away_are_asked_again_and_told_of_once(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "ASK_S", 0.2)
    with Feed(redis_client, only_trades("127.0.0.1:1")) as feed:
        until(lambda: "the Kafka feed cannot go on and tries again until it can" in caplog.text)
        assert feed.error is None
    told = [r for r in caplog.records if r.name == "ingest.streams.outage"]
    assert len(told) == 1
    assert feed.counts is not None


def test_offsets_that_went_back_with_a_restored_redis_bring_the_records_again(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    for n in range(100):
        cluster.send("market_data", trade(n), partition=0)
    cluster.flush()
    with Feed(redis_client, only_trades(cluster.address)):
        until(lambda: waiting(redis_client) == 100)
        with redis_client.pipeline(transaction=True) as pipe:  # as a Redis that lost its last seconds
            newest = redis_client.xrevrange(keys.events(keys.partition_of("S0", 2)), count=40)
            pipe.xdel(keys.events(keys.partition_of("S0", 2)), *(entry_id for entry_id, _ in newest))
            pipe.hset(offsets("kafka"), "market_data/0", 60)
            pipe.execute()
        cluster.send("market_data", trade(100), partition=0)
        cluster.flush()
        until(lambda: waiting(redis_client) >= 101)
    assert trades(redis_client) == list(range(101))


def test_a_second_feed_stands_by_until_the_first_leaves(cluster: Cluster, redis_client: redis.Redis) -> None:
    source = only_trades(cluster.address)
    cluster.producer.list_topics("market_data", timeout=5)  # makes it
    with Feed(redis_client, source) as first:
        until(lambda: redis_client.exists(keys.owner("kafka")) == 1)
        owner = redis_client.get(keys.owner("kafka"))
        with Feed(redis_client, source):
            until(lambda: redis_client.zcard(keys.members("kafka")) == 2)
            cluster.send("market_data", trade(0))
            cluster.flush()
            until(lambda: waiting(redis_client) == 1)
            assert redis_client.get(keys.owner("kafka")) == owner
            first.stop.set()
            until(lambda: redis_client.get(keys.owner("kafka")) not in (None, owner))
            cluster.send("market_data", trade(1))
            cluster.flush()
            until(lambda: waiting(redis_client) >= 2)
    assert sorted(trades(redis_client)) == [0, 1]


def test_from_the_end_takes_only_what_comes_afterwards_and_a_topic_may_come_later(
    cluster: Cluster, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "LOOK_S", 0.1)
    cluster.send("market_data", trade(0), partition=0)
    cluster.flush()
    topics = {"market_data": "market_data", "later": "market_data"}
    with Feed(redis_client, Source(cluster.address, topics, from_end=True, options=QUICK)):
        until(lambda: redis_client.hexists(offsets("kafka"), "market_data/3"))  # all are noted, oldest first
        until(lambda: redis_client.hget(offsets("kafka"), "market_data/0") == b"1")
        cluster.send("market_data", trade(1), partition=0)
        cluster.flush()
        until(lambda: waiting(redis_client) == 1)
        assert trades(redis_client) == [1]
        cluster.producer.list_topics("later", timeout=5)
        cluster.send("later", trade(2), partition=0)
        cluster.flush()
        until(lambda: redis_client.hexists(offsets("kafka"), "later/0"))
        cluster.send("later", trade(3), partition=0)
        cluster.flush()
        until(lambda: 3 in trades(redis_client))
    assert trades(redis_client)[-1] == 3


def test_offsets_of_another_cluster_or_past_the_end_are_an_error_that_tells_what_to_do(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    cluster.send("market_data", trade(0), partition=0)
    cluster.flush()
    redis_client.hset(offsets("kafka"), "market_data/0", 5)
    with (
        pytest.raises(
            OffsetsError, match="market_data/0 ends at 1 and was read up to 5: the topic was made anew; HDEL"
        ),
        Feed(redis_client, only_trades(cluster.address)) as feed,
    ):
        until(lambda: feed.error is not None)
    redis_client.hset(offsets("kafka"), "cluster", "another")
    with (
        pytest.raises(OffsetsError, match="of another Kafka cluster; give this one another name"),
        Feed(redis_client, only_trades(cluster.address)) as feed,
    ):
        until(lambda: feed.error is not None)


# The order of the records, and the move, on records of hand.


class Record:
    """What ``confluent_kafka.Message`` tells."""

    def __init__(
        self, topic: str, partition: int, offset: int, at_ms: int, value: bytes = b"", error: Any = None
    ) -> None:
        self._about = topic, partition, offset, value, error
        self._at_ms = at_ms

    def topic(self) -> str:
        return self._about[0]

    def partition(self) -> int:
        return self._about[1]

    def offset(self) -> int:
        return self._about[2]

    def value(self) -> bytes:
        return self._about[3]

    def key(self) -> None:
        return None

    def error(self) -> Any:
        return self._about[4]

    def timestamp(self) -> tuple[int, int]:
        return 1, self._at_ms


class Tape:
    """A consumer that gives what it is told to."""

    def __init__(self, ends: dict[tuple[str, int], int]) -> None:
        self.come: list[Record] = []
        self.paused: list[tuple[str, int]] = []
        self._ends = ends

    def assign(self, places: list[Any]) -> None:
        self.assigned = {(p.topic, p.partition): p.offset for p in places}

    def consume(self, most: int, timeout_s: float) -> list[Record]:
        come, self.come = self.come, []
        return come

    def get_watermark_offsets(self, place: Any, *, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, self._ends[place.topic, place.partition]

    def pause(self, places: list[Any]) -> None:
        self.paused += [(p.topic, p.partition) for p in places]

    def resume(self, places: list[Any]) -> None:
        for p in places:
            self.paused.remove((p.topic, p.partition))


A, B = ("a", 0), ("b", 0)


def read(reader: Reader, tape: Tape, *records: Record) -> list[tuple[str, int]]:
    tape.come = list(records)
    reader.poll(0)
    return [(record.topic(), record.offset()) for record in reader.batch()]


def test_records_of_several_topics_are_given_by_their_times() -> None:
    tape = Tape({A: 3, B: 2})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: 0.0)
    assert tape.assigned == {A: 0, B: 0}
    assert (
        read(reader, tape, Record("a", 0, 0, 10), Record("a", 0, 1, 20), Record("a", 0, 2, 30)) == []
    )  # b may be older
    assert read(reader, tape, Record("b", 0, 0, 25)) == [("a", 0), ("a", 1), ("b", 0)]  # b's next may be before 30
    assert read(reader, tape, Record("b", 0, 1, 29)) == [("b", 1), ("a", 2)]  # both are at their ends


def test_a_partition_at_its_end_holds_nobody() -> None:
    tape = Tape({A: 1, B: 0})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: 0.0)
    assert read(reader, tape, Record("a", 0, 0, 10)) == []
    end: Any = KafkaError(KafkaError._PARTITION_EOF)
    assert read(reader, tape, Record("b", 0, 0, 0, error=end)) == [("a", 0)]


def test_a_partition_that_is_not_heard_of_holds_the_others_for_so_long_only(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    tape = Tape({A: 9, B: 9})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: now)
    assert read(reader, tape, Record("a", 0, 0, 10)) == []
    now = kafka_reader.HOLD_S
    assert read(reader, tape) == [("a", 0)]
    assert "nothing is heard of b/0 for 1 s" in caplog.text
    assert read(reader, tape, Record("a", 0, 1, 11)) == [("a", 1)]  # and no longer
    assert read(reader, tape, Record("b", 0, 0, 5), Record("a", 0, 2, 12)) == [("b", 0)]  # back: its next is waited for


def test_a_partition_far_ahead_is_not_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_reader, "HAND_BYTES", 1000)
    tape = Tape({A: 20, B: 2})
    reader = Reader(tape, {A: 0, B: 0}, clock=lambda: 0.0)
    assert read(reader, tape, *(Record("a", 0, n, n) for n in range(11))) == []  # 11 of 100 bytes
    assert tape.paused == [A]
    # of the same time 4, a is before b
    assert read(reader, tape, Record("b", 0, 0, 4)) == [*(("a", n) for n in range(5)), ("b", 0)]
    assert tape.paused == [A]  # 600 bytes are held
    assert read(reader, tape, Record("b", 0, 1, 99)) == [("a", n) for n in range(5, 11)]
    assert tape.paused == []


def test_an_error_of_a_partition_is_raised_unless_it_passes() -> None:
    reader, tape = Reader(tape := Tape({A: 1}), {A: 0}), tape
    tape.come = [Record("a", 0, 0, 0, error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))]
    with pytest.raises(KafkaException):
        reader.poll(0)


def test_a_move_without_the_seat_or_from_other_offsets_changes_nothing(redis_client: redis.Redis) -> None:
    member = Member(redis_client, "kafka", ["kafka"])
    token = member.sit()
    assert token is not None
    source = only_trades("unused:1")
    redis_client.hset(offsets("kafka"), "market_data/0", 0)
    batch = [Record("market_data", 0, n, n, trade(n)) for n in range(3)]
    with pytest.raises(FencedError):
        move(redis_client, source, PARTITIONS, batch, {("market_data", 0): 0}, "1:another", {})
    with pytest.raises(OffsetsChangedError):
        move(redis_client, source, PARTITIONS, batch, {("market_data", 0): 1}, token, {})
    assert waiting(redis_client) == 0
    at = {("market_data", 0): 0}
    assert move(redis_client, source, PARTITIONS, batch, at, token, {}) == {"trade": 3}
    assert at == {("market_data", 0): 3}
    with pytest.raises(OffsetsChangedError):
        move(redis_client, source, PARTITIONS, batch, {("market_data", 0): 0}, token, {})
    assert trades(redis_client) == [0, 1, 2]


def test_a_full_redis_refuses_a_move_whole(redis_client: redis.Redis) -> None:
    token = Member(redis_client, "kafka", ["kafka"]).sit()
    assert token is not None
    redis_client.hset(offsets("kafka"), "market_data/0", 0)
    batch = [Record("market_data", 0, 0, 0, trade(0))]
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            move(redis_client, only_trades("unused:1"), PARTITIONS, batch, {("market_data", 0): 0}, token, {})
    finally:
        redis_client.config_set("maxmemory", 0)
    assert redis_client.hget(offsets("kafka"), "market_data/0") == b"0"
    assert waiting(redis_client) == 0


def test_records_that_kafka_deleted_before_they_were_read_are_told_of(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    class About:
        cluster_id = "c"

    class Shortened:
        def list_topics(self, timeout: float) -> About:
            return About()

        def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
            return 40, 90

    redis_client.hset(offsets("kafka"), "market_data/0", 10)
    place = ("market_data", 0)
    at, first = kafka._begin(redis_client, Shortened(), only_trades("unused:1"), [place])
    assert (at, first) == ({place: 10}, {place: 40})
    assert "30 records of market_data/0 were deleted by Kafka before they were read" in caplog.text


# The command line.


def test_without_the_library_the_command_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    for name in [name for name in sys.modules if name.startswith("ingest.feeds.kafka.feed") and "command" not in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["ingest.feeds"], "kafka", raising=False)
    assert main(["feed", "kafka", "--brokers", "a:1"]) == 2
    assert "confluent_kafka is not installed; it comes with the extra `kafka`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name the brokers"),
        (["orders=x", "--brokers", "a:1"], "no stream orders; streams are order_book, market_data, social_data"),
        (["--brokers", "a:1", "--name", "a b"], "the name must be 1 to 64 letters"),
        (["--brokers", "a:1", "--config", "nowhere"], "No such file"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_read(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    assert main(["feed", "kafka", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_the_file_of_options_may_not_change_what_exactly_once_depends_on_and_no_secret_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    file = tmp_path / "client.properties"
    file.write_text("sasl.password=hunter2\nenable.auto.commit=true\n")
    assert main(["feed", "kafka", "--brokers", "a:1", "--config", str(file)]) == 2
    assert "enable.auto.commit cannot be configured" in capsys.readouterr().err
    file.write_text("sasl.password hunter2\n")
    assert main(["feed", "kafka", "--brokers", "a:1", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert "line 1 is not KEY=VALUE" in said
    assert "hunter2" not in said
    assert "hunter2" not in repr(Source("a:1", options={"sasl.password": "hunter2"}))
    assert kafka_command.options_of("# no\n\n a = b=c \n") == {"a": "b=c"}
