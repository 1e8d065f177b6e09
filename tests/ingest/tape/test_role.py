"""The role that writes the tape: each entry once, in its log's order, whatever dies."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import deltalake
import pytest
import redis

from ingest.messages.decode import decode, encode
from ingest.messages.kinds import Clock, Tick, WithdrawnPost
from ingest.publish.publisher import Publisher
from ingest.settings import Settings
from ingest.streams import keys, read, replicas
from ingest.tape import compact, role, verify
from ingest.tape.columns import FOR_ALL, NO_PARTITION, table_of
from ingest.tape.period import in_order
from ingest.tape.read import entries
from ingest.tape.role import Follower
from ingest.tape.table import Batch, ConflictError, StorageError, TapeError, of_tape, open_tape, open_to_append
from ingest.worker.divide import divide
from ingest.worker.rebuild import begin_of

Log = list[tuple[bytes, dict[bytes, bytes]]]


def fill(client: redis.Redis, n: int, p: int = 0) -> None:
    for i in range(n):
        client.xadd(keys.events(p), {"kind": "tick", "data": b'{"timestamp":%d,"symbol":"BTC"}' % i})


def log(client: redis.Redis, p: int = 0) -> Log:
    found: Any = client.xrange(keys.events(p))
    return list(found)


def on_tape(conf: Settings, p: int = 0, **which: Any) -> Log:
    return list(entries(open_tape(conf), p, **which))


def follow(client: redis.Redis, conf: Settings) -> Follower:
    return Follower(client, open_to_append(conf, ""), conf.partitions)


def drain(follower: Follower) -> None:
    while follower.step():
        pass
    follower.append()


def test_what_the_logs_held_is_on_the_tape_in_their_order_and_with_equal_bytes(redis_client, conf) -> None:
    fill(redis_client, 30)
    for kind in (b"book", b"\xff"):  # flat, and of no kind
        redis_client.xadd(keys.events(1), {b"symbol": b"ETH", b"bids": b"[[1,2]]", b"kind": kind, b"recorded": b"yes"})
    redis_client.xadd(keys.events(1), {b"kind": b"book", b"data": b"\xc1 no message", b"recorded": b"1"})
    drain(follow(redis_client, conf))
    fill(redis_client, 5)
    drain(follow(redis_client, conf))
    assert on_tape(conf) == log(redis_client)
    assert on_tape(conf, 1) == log(redis_client, 1)
    assert redis_client.get(keys.taped(0)) == log(redis_client)[-1][0]


def test_dead_letters_and_posts_as_written_are_on_it_and_the_posts_leave_redis(redis_client, in_folder) -> None:
    streams = keys.letter_streams(in_folder.partitions)
    for name in streams:
        redis_client.xadd(name, {"reason": "late", "field:data": b"\x00\xff" + name.encode()})
    for i in range(3):
        redis_client.xadd(keys.WRITTEN, {"social_data": "1-0", "data": b'{"text":"up %d"}' % i})
    letters, posts = {name: redis_client.xrange(name) for name in streams}, redis_client.xrange(keys.WRITTEN)
    for _ in range(2):
        drain(follow(redis_client, in_folder))
        for name in streams:
            assert on_tape(in_folder, NO_PARTITION, source=name) == letters[name]
        assert on_tape(in_folder, NO_PARTITION, source=keys.WRITTEN) == posts
    assert {name: redis_client.xrange(name) for name in streams} == letters
    assert redis_client.xrange(keys.WRITTEN) == posts[-1:]


def test_the_tape_takes_nothing_that_too_few_replicas_have(one_server, redis_client, in_folder, monkeypatch) -> None:
    monkeypatch.setattr(replicas, "WAIT_MS", 10)
    fill(redis_client, 3)
    redis_client.replicas = 1  # there is none
    follower = follow(redis_client, in_folder)
    follower.step()
    with pytest.raises(replicas.NotReplicatedError):
        follower.append()
    assert on_tape(in_folder) == []
    assert redis_client.get(keys.taped(0)) == read.START
    redis_client.replicas = 0
    drain(follow(redis_client, in_folder))
    assert on_tape(in_folder) == log(redis_client)


class DiedError(Exception):
    """Stands for the end of the process."""


def dying(before: bool) -> Any:
    """An append that ends the process before its commit, or behind it."""

    def write(*args: Any, **kwargs: Any) -> None:
        if not before:
            written(*args, **kwargs)
        raise DiedError

    written = deltalake.write_deltalake
    return write


@pytest.mark.parametrize("before", [True, False])
def test_a_role_that_dies_before_or_behind_its_commit_leaves_each_entry_once(
    redis_client, conf, monkeypatch, before
) -> None:
    fill(redis_client, 10)
    drain(follow(redis_client, conf))
    fill(redis_client, 10)
    with monkeypatch.context() as patch:
        patch.setattr(deltalake, "write_deltalake", dying(before))
        with pytest.raises(DiedError):
            drain(follow(redis_client, conf))
    assert read.is_newer(
        log(redis_client)[-1][0], redis_client.get(keys.taped(0))
    )  # so the log keeps what may be missing
    fill(redis_client, 10)
    drain(follow(redis_client, conf))
    assert on_tape(conf) == log(redis_client)
    assert redis_client.get(keys.taped(0)) == log(redis_client)[-1][0]


def test_a_role_that_dies_before_it_tells_redis_is_told_by_the_next(redis_client, in_folder, monkeypatch) -> None:
    fill(redis_client, 10)
    first = follow(redis_client, in_folder)
    with monkeypatch.context() as patch:
        patch.setattr(Follower, "_tell", dying(True))
        with pytest.raises(DiedError):
            drain(first)
    assert redis_client.get(keys.taped(0)) == b"0-0"
    follow(redis_client, in_folder)
    assert redis_client.get(keys.taped(0)) == log(redis_client)[-1][0]


def test_of_two_writers_one_appends_and_the_other_changes_nothing(redis_client, conf) -> None:
    fill(redis_client, 10)
    frozen, other = follow(redis_client, conf), follow(redis_client, conf)
    frozen.step()
    drain(other)
    with pytest.raises(ConflictError):
        frozen.append()
    fill(redis_client, 10)
    drain(other)
    with pytest.raises(ConflictError):  # it wakes up once more, and still changes nothing
        frozen.append()
    assert on_tape(conf) == log(redis_client)


def test_a_stream_that_lost_entries_before_the_tape_had_them_is_counted_as_a_hole(
    redis_client, in_folder, caplog
) -> None:
    fill(redis_client, 10)
    drain(follow(redis_client, in_folder))
    fill(redis_client, 10)
    redis_client.xtrim(keys.events(0), maxlen=3, approximate=False)
    drain(follow(redis_client, in_folder))
    tape = open_tape(in_folder)
    assert tape.number(f"holes/{keys.events(0)}") == 1
    assert tape.number(f"holes/{keys.events(1)}") is None
    assert on_tape(in_folder)[10:] == log(redis_client)
    assert "does not reach back" in caplog.text


def test_a_redis_that_was_emptied_and_whose_clock_is_behind_loses_nothing(redis_client, in_folder, caplog) -> None:
    redis_client.xadd(keys.events(0), {"kind": "tick", "data": b"{}"}, id="4102444800000-0")  # in the year 2100
    drain(follow(redis_client, in_folder))
    redis_client.flushall()
    follower = follow(redis_client, in_folder)
    fill(redis_client, 3)
    drain(follower)
    assert on_tape(in_folder)[1:] == log(redis_client)
    assert "it goes on behind that one" in caplog.text
    assert follow(redis_client, in_folder).positions[keys.events(0)] == log(redis_client)[-1][0]


def test_the_tape_of_another_deployment_is_refused(redis_client, in_folder) -> None:
    open_to_append(in_folder, "desk-1")
    open_to_append(in_folder, "")
    with pytest.raises(TapeError, match="deployment desk-1, and this is desk-2"):
        open_to_append(in_folder, "desk-2")
    with pytest.raises(TapeError, match="partitions 2, and this is 3"):
        open_to_append(Settings(partitions=3, tape=in_folder.tape), "desk-1")


def test_there_is_no_tape_before_the_role_made_it(conf) -> None:
    with pytest.raises(TapeError, match="there is no tape at"):
        open_tape(conf)


class StopAtRest(threading.Event):
    """Is set by whoever first waits for it: the role, when it has read the logs to their end."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def test_the_role_appends_what_is_left_when_it_is_told_to_stop(redis_client, in_folder) -> None:
    fill(redis_client, 10)
    role.run(redis_client, in_folder, StopAtRest())
    assert on_tape(in_folder) == log(redis_client)
    assert redis_client.get(keys.owner(role.ROLE)) is None


def test_a_storage_that_is_away_is_told_without_a_key(redis_client, bucket, monkeypatch, caplog) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("feature_repo.stores.delta.S3_OPTIONS", {"max_retries": "0", "conditional_put": "etag"})
    with pytest.raises(StorageError, match=r"the tape at s3://tape\d+/market cannot be used: ") as found:
        open_to_append(Settings(partitions=2, tape=bucket), "")
    assert "not-to-be-shown" not in str(found.value)
    assert role._passes(found.value)


def test_the_role_rewrites_days_that_are_over_and_looks_again_later(redis_client, in_folder, monkeypatch) -> None:
    redis_client.xadd(keys.events(0), {"kind": "tick", "data": b"{}"}, id="1700006400000-0")
    fill(redis_client, 1)
    drain(follow(redis_client, in_folder))
    upkeep = role.Upkeep(redis_client, in_folder)

    def look() -> None:
        upkeep.look()
        assert upkeep._thread is not None
        upkeep._thread.join()

    look()
    now = datetime.now(UTC)
    assert compact.open_days(open_tape(in_folder), now) == []
    redis_client.xadd(keys.events(1), {"kind": "tick", "data": b"{}"}, id="1700006400000-0")
    drain(follow(redis_client, in_folder))
    look()  # too early
    assert len(compact.open_days(open_tape(in_folder), now)) == 1
    monkeypatch.setattr(role, "UPKEEP_S", 0.0)
    look()
    assert compact.open_days(open_tape(in_folder), now) == []


def test_a_day_that_cannot_be_rewritten_is_told_and_stops_nothing(redis_client, in_folder, caplog) -> None:
    redis_client.xadd(keys.events(0), {"kind": "tick", "data": b"{}"}, id="1700006400000-0")
    fill(redis_client, 1)
    drain(follow(redis_client, in_folder))
    open_tape(in_folder).table.delete("day = '2023-11-15'")
    redis_client.xadd(keys.events(1), {"kind": "tick", "data": b"{}"}, id="1700006400000-0")
    drain(follow(redis_client, in_folder))
    tape = open_tape(in_folder)
    tape.append(
        [
            Batch(
                keys.events(0),
                table_of([(b"1700006400001-0", {b"kind": b"tick", b"data": b"{}"})], "events", 0),
                b"9-0",
            )
        ]
    )
    upkeep = role.Upkeep(redis_client, in_folder)
    upkeep.look()
    assert upkeep._thread is not None
    upkeep._thread.join()
    assert "2023-11-15 of partition 0 has 1 rows and is not what was appended (2 rows)" in caplog.text


def test_what_names_no_symbol_is_read_with_some_symbols_where_that_is_asked_for(redis_client, in_folder) -> None:
    for symbol in ("BTC", "ETH"):
        redis_client.xadd(keys.events(0), {"kind": "tick", "data": b'{"timestamp":1,"symbol":"%b"}' % symbol.encode()})
    for kind, message in (("clock", Clock(1, ["BTC"])), ("withdrawal", WithdrawnPost(1, "a", "chat"))):
        redis_client.xadd(keys.events(0), {"kind": kind, "data": encode(message)})
    drain(follow(redis_client, in_folder))
    btc, _, *for_all = log(redis_client)
    assert on_tape(in_folder, symbols=["BTC"]) == [btc]
    assert on_tape(in_folder, symbols=["BTC", FOR_ALL]) == [btc, *for_all]


def test_a_tape_keeps_its_number_when_that_of_the_deployment_is_raised(
    redis_client: redis.Redis, in_folder: Settings
) -> None:
    names = [f"S{n}" for n in range(8)]

    def heard(at: int, partitions: int) -> None:
        with Publisher(redis_client, partitions, configured=2 * (partitions > 2)) as publisher:
            for name in names:
                publisher.publish("tick", Tick(at, name))
        for p in range(partitions):
            withdrawn = WithdrawnPost(at, "post", "x", partition=p, partitions=partitions)
            redis_client.xadd(keys.events(p), {"kind": "withdrawal", "data": encode(withdrawn)})

    heard(1, 2)
    drain(follow(redis_client, in_folder))
    heard(2, 2)
    for p in (0, 1):
        last: Any = redis_client.xrevrange(keys.events(p), count=1)
        redis_client.hset(keys.checkpoint(p), mapping={"state_id": last[0][0], "last_id": last[0][0]})
        redis_client.set(keys.number(p), 6)
        divide(redis_client, p, 2, 6, lambda: None)
    raised = replace(in_folder, partitions=6, configured=2)
    heard(3, 6)
    tape = open_to_append(raised, "")
    assert of_tape(tape, raised).partitions == 2
    follower = Follower(redis_client, tape, 6, of=2)
    follower._count = 1  # the log that was divided is read to its end before the new ones, however slowly
    follower.step()
    follower.append()
    assert not any(tape.position(keys.events(p)) for p in range(2, 6))
    drain(follower)
    for p in range(2):
        found = on_tape(in_folder, p)
        assert len(found) == sum(len(log(redis_client, c)) for c in range(p, 6, 2))
        ids = [read.id_numbers(entry_id) for entry_id, _ in found]
        assert ids == sorted(ids)
        for name in names:
            times = [
                decode(Tick, f[b"data"]).timestamp
                for _, f in found
                if f[b"kind"] == b"tick" and decode(Tick, f[b"data"]).symbol == name
            ]
            assert times == ([1, 2, 3] if keys.partition_of(name, 2) == p else [])
    for p in range(6):
        assert verify.log(redis_client, open_tape(raised), p, 6, 2).differs_at == ""
    assert sum(1 for _ in in_order(open_tape(raised), raised)) == sum(len(log(redis_client, p)) for p in range(6))
    with pytest.raises(TapeError, match="wait until the role `tape`"):
        begin_of(open_to_append(replace(in_folder, tape=in_folder.tape + "2"), ""), raised, 5)
