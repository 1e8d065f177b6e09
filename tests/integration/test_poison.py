"""What no message should be, in every place that messages pass: it is kept with its reason, and those behind it go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
from msgspec import msgpack

from ingest import offline_writer, router, settings
from ingest.messages.decode import encode
from ingest.messages.kinds import Trade
from ingest.streams import keys, read
from ingest.streams.backlog import backlog, counters
from ingest.streams.dead_letters import kept, newest, retry
from ingest.worker import rows
from ingest.worker.worker import Worker
from tests.integration.test_recovery import PARTITIONS, SYMBOLS, entries, publish, wait_until
from transforms.catalog import VIEWS

T0 = 1_700_000_000_000
CONF = settings.load({"TFS_PARTITIONS": str(PARTITIONS)})
LARGE = 100
"""Entries of 100 kB, more together than the server holds for its clients in these tests."""


@pytest.fixture
def strict(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A server that closes the connection of whom it sends, or who sends it, more than a few MB at once."""
    monkeypatch.setattr(read, "PART_BYTES", 300_000)
    redis_client.config_set("maxmemory-clients", 4 << 20)
    try:
        with pytest.raises(redis.ConnectionError):
            redis_client.mset({f"large {{x}} {i}": b"x" * 100_000 for i in range(LARGE)})
        yield redis_client
    finally:
        redis_client.config_set("maxmemory-clients", 0)


def large(client: redis.Redis, stream: str, **more: str) -> None:
    """Append large entries that are refused, and a good one behind them."""
    for i in range(LARGE):
        append(client, stream, {**more, "data": b'{"symbol": 5}' + b" " * 100_000, "n": i})
    trade = Trade(T0, SYMBOLS[0], 100.0, 1.0, "buy", received=T0)
    append(client, stream, {**more, "data": encode(trade)})


def append(client: redis.Redis, stream: str, fields: dict[Any, Any]) -> None:
    client.xadd(stream, fields)


def until_done(work: Any, done: Any) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        wait_until(done)
    finally:
        stop.set()
        thread.join()


def test_large_entries_do_not_stop_a_log(strict: redis.Redis) -> None:
    large(strict, keys.events(keys.partition_of(SYMBOLS[0], PARTITIONS)), kind="trade")
    until_done(Worker(strict, CONF).run, lambda: counters(strict, PARTITIONS).get("accepted.trade") == 1)
    assert counters(strict, PARTITIONS)["refused.wrong_type"] == LARGE == kept(strict, PARTITIONS)
    strict.config_set("maxmemory-clients", 0)  # the letters are read here at once
    assert [letter.fields[-1] for letter in newest(strict, PARTITIONS)] == [
        (b"n", b"%d" % i) for i in reversed(range(LARGE))
    ]


def test_large_entries_do_not_stop_the_router(strict: redis.Redis) -> None:
    large(strict, "market_data")
    until_done(lambda stop: router.run(strict, PARTITIONS, stop), lambda: strict.xlen("market_data") == 0)
    assert strict.xlen(keys.DEAD_LETTER) == LARGE
    assert strict.xlen(keys.events(keys.partition_of(SYMBOLS[0], PARTITIONS))) == 1


def test_a_batch_that_holds_no_rows_is_kept_and_the_writer_goes_on(pipeline: Any) -> None:
    client = pipeline.client
    whole = {"rows": rows.encode(rows.Batch(VIEWS[0]).columns())}
    gone = msgpack.encode(["a view that is gone", [], [], b"", b"", b""])
    crooked = msgpack.encode(["microstructure", [], ["A"], b"", b"", b""])
    for fields in ({"rows": b"\xc1"}, {"row": b""}, {"rows": gone}, {"rows": crooked}, whole):
        client.xadd(keys.outbox(0), fields)
    publish(client, entries(5))
    pipeline.settings = CONF
    worker = pipeline.worker()
    pipeline.work(worker)
    worker.close()
    pipeline.store_rows()
    assert backlog(client, PARTITIONS).outbox == 0
    assert pipeline.postgres.execute("SELECT count(*) FROM microstructure").fetchone() == (6 * len(SYMBOLS),)
    letters = list(newest(client, PARTITIONS))
    assert [letter.reason for letter in letters] == ["failed"] * 4
    assert counters(client, PARTITIONS)["refused.failed"] == 4
    put_back, _ = retry(client, letters[-1], PARTITIONS)
    assert put_back and client.xrange(keys.outbox(0))[0][1] == {b"rows": b"\xc1"}


def test_the_writer_waits_for_a_right_that_was_revoked(
    pipeline: Any, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(pipeline.client, entries(5))
    pipeline.settings = CONF
    worker = pipeline.worker()
    pipeline.work(worker)
    worker.close()
    execute = pipeline.postgres.execute
    execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
    try:
        execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor")
        parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(postgres_url)
        poor = psycopg.conninfo.make_conninfo(**{**parts, "user": "poor", "password": "poor"})
        stop = threading.Event()
        thread = threading.Thread(target=offline_writer.run, args=(pipeline.client, poor, PARTITIONS, stop))
        thread.start()
        try:
            wait_until(lambda: "InsufficientPrivilege" in caplog.text)
            assert backlog(pipeline.client, PARTITIONS).outbox > 0
            execute("GRANT INSERT ON ALL TABLES IN SCHEMA public TO poor")
            wait_until(lambda: backlog(pipeline.client, PARTITIONS).outbox == 0)
        finally:
            stop.set()
            thread.join()
    finally:
        execute("DROP OWNED BY poor")
        execute("DROP ROLE poor")
    assert execute("SELECT count(*) FROM microstructure").fetchone() == (6 * len(SYMBOLS),)
    assert caplog.text.count("cannot go on") == 1


def test_a_right_that_redis_revoked_is_waited_for_and_named_once(
    one_server: None, redis_client: redis.Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.acl_setuser(
        "part", enabled=True, passwords=["+part"], keys=["*"], channels=["*"], categories=["+@all"]
    )
    address = redis_client.get_connection_kwargs()
    client = redis.Redis(
        host=address["host"], port=address["port"], db=address.get("db", 0), username="part", password="part"
    )
    stop = threading.Event()
    thread = threading.Thread(target=router.run, args=(client, PARTITIONS, stop))
    thread.start()
    try:
        wait_until(lambda: bool(redis_client.exists(keys.owner("router"))))
        redis_client.acl_setuser("part", enabled=True, commands=["-xread"])
        wait_until(lambda: "NoPermissionError" in caplog.text)
        redis_client.xadd("market_data", {"data": encode(Trade(T0, "A", 1.0, 1.0))})
        redis_client.acl_setuser("part", enabled=True, commands=["+xread"])
        wait_until(lambda: redis_client.xlen("market_data") == 0)
    finally:
        stop.set()
        thread.join()
        client.close()
        redis_client.acl_deluser("part")
    assert caplog.text.count("cannot go on") == 1
