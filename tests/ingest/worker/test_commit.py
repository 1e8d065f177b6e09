"""The commit: everything of a batch, once, by the owner alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis

from ingest.messages.kinds import Gap, Hold, Trade
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.membership import FencedError
from ingest.streams.read import join_group
from ingest.worker import commit, rows

from .log import CONF, T0, Log, book, tick, trade


def token_of(client: redis.Redis) -> str:
    """Return the token that this server would give."""
    about: Any = client.info("replication")
    return f"1:me:{about['master_replid']}"


def written(client: redis.Redis, log: Log, *, token: str = "", save: bool = True, conf: Settings = CONF) -> None:
    partition, pending = log.partition, log.partition.take_pending()
    pipe: Any = client.pipeline(transaction=False)
    commit.add_commit(pipe, partition, token or token_of(client), pending, partition.save() if save else {}, conf)
    commit.check(pipe.execute(raise_on_error=False)[0], partition.number)


@pytest.fixture
def log(redis_client: redis.Redis) -> Log:
    """Entries in the server's log, and a partition that has processed them; one of them is refused."""
    return stored(redis_client, Log().append(book(500), trade(600, 1), trade(600, 1), tick(2000)))


def stored(redis_client: redis.Redis, log: Log) -> Log:
    for entry_id, fields in log.entries:
        redis_client.xadd(keys.events(0), dict(fields), id=entry_id)  # type: ignore[arg-type]
    join_group(redis_client, [keys.events(0)])
    redis_client.set(keys.owner(0), token_of(redis_client))
    return log


def test_every_step_is_done(redis_client: redis.Redis, log: Log) -> None:
    written(redis_client, log)
    assert 0 < redis_client.pttl(keys.owner(0)) <= commit.LEASE_MS
    saved: Any = redis_client.hgetall(keys.checkpoint(0))
    assert (saved[b"last_id"], saved[b"state_id"], saved[b"entries"]) == (log.entries[-1][0], log.entries[-1][0], b"4")
    assert b"A order" in saved
    views = {rows.decode(fields[b"rows"]).view.name for _, fields in redis_client.xrange(keys.outbox(0))}
    assert {"microstructure", "order_flow", "technical", "normalized"} <= views
    [first, *_] = redis_client.xrange(keys.features(0))
    assert (first[1][b"symbol"], first[1][b"event_timestamp"]) == (b"A", b"%d" % (T0 + 1000))
    counts = redis_client.hgetall(keys.counters(0))
    assert (counts[b"accepted.trade"], counts[b"refused.duplicate"], counts[b"rows.microstructure"]) == (
        b"1",
        b"1",
        b"2",
    )
    [(_, letter)] = redis_client.xrange(keys.letters(0))
    assert (letter[b"reason"], letter[b"id"]) == (b"duplicate", log.entries[2][0])
    [group] = redis_client.xinfo_groups(keys.events(0))
    assert (group["last-delivered-id"], group["lag"]) == (log.entries[-1][0], 0)


@pytest.mark.parametrize(("tape", "taped", "first"), [("", 1, 3), ("/tape", 1, 1), ("/tape", 3, 3), ("/tape", None, 0)])
def test_a_log_is_trimmed_up_to_the_saved_state_and_not_past_the_tape(
    redis_client: redis.Redis, request: pytest.FixtureRequest, tape: str, taped: int | None, first: int
) -> None:
    redis_client.config_set("stream-node-max-entries", 1)  # so that it is trimmed to the entry
    request.addfinalizer(lambda: redis_client.config_set("stream-node-max-entries", 100))
    log = Log()
    for message in (book(500), trade(600, 1), trade(700, 2), tick(2000)):
        log.append(message)
        log.arrived_ms += 1
    stored(redis_client, log)
    if taped is not None:
        redis_client.set(keys.taped(0), log.entries[taped][0])
    written(redis_client, log, conf=replace(CONF, tape=tape))
    assert [at for at, _ in redis_client.xrange(keys.events(0))] == [at for at, _ in log.entries[first:]]


def test_a_worker_that_has_lost_its_lease_changes_nothing(redis_client: redis.Redis, log: Log) -> None:
    with pytest.raises(FencedError, match="partition 0"):
        written(redis_client, log, token="0:another")
    assert not redis_client.exists(
        keys.checkpoint(0), keys.outbox(0), keys.features(0), keys.counters(0), keys.letters(0)
    )
    assert redis_client.xinfo_groups(keys.events(0))[0]["lag"] == 4


def test_a_commit_whose_reply_was_lost_and_that_arrives_late_doubles_nothing(
    one_server: None, redis_client: redis.Redis, log: Log
) -> None:
    """The owner timed out, opened the partition anew and committed; then its old commit arrives, with the same token."""
    partition, pending = log.partition, log.partition.take_pending()
    pipe: Any = redis_client.pipeline(transaction=False)
    commit.add_commit(pipe, partition, token_of(redis_client), pending, {}, CONF)
    late = list(pipe.command_stack)
    again = Log()
    for entry_id, fields in log.entries:
        again.partition.process(entry_id, fields, 0)
    again.partition.symbols.take_counts()
    written(redis_client, again)
    before = contents(redis_client)
    pipe.command_stack = late
    with pytest.raises(FencedError, match="position"):
        commit.check(pipe.execute(raise_on_error=False)[0], 0)
    assert contents(redis_client) == before


def contents(client: redis.Redis) -> dict[bytes, Any]:
    """All that Redis holds; the bytes of DUMP have the fields of a large hash in any order."""
    return {key: client.hgetall(key) if client.type(key) == b"hash" else client.dump(key) for key in client.scan_iter()}


def test_a_redis_that_came_back_older_loses_no_rows(redis_client: redis.Redis, log: Log) -> None:
    """A worker that did not notice would write its next batch behind a gap of rows that the older file does not have."""
    written(redis_client, log)
    redis_client.delete(keys.checkpoint(0), keys.outbox(0))  # as they were before the commit
    log.append(tick(3000))
    with pytest.raises(FencedError, match="position"):
        written(redis_client, log)
    assert not redis_client.exists(keys.checkpoint(0), keys.outbox(0))


def test_a_lease_of_a_redis_that_was_replaced_does_not_count(redis_client: redis.Redis, log: Log) -> None:
    """What that one gave to read may be gone, and another entry may have the same id where the clock of this one is behind."""
    written(redis_client, log)
    log.append(book(2500))
    redis_client.xadd(keys.events(0), dict(log.entries[-1][1]), id=log.entries[-1][0])  # type: ignore[arg-type]
    before = redis_client.hgetall(keys.checkpoint(0))
    redis_client.set(keys.owner(0), token := f"1:me:{'0' * 40}")
    with pytest.raises(FencedError, match="replaced"):
        written(redis_client, log, token=token)
    assert redis_client.hgetall(keys.checkpoint(0)) == before


def test_entries_that_are_not_in_the_log_are_in_no_batch(redis_client: redis.Redis, log: Log) -> None:
    """Somebody has emptied Redis after they were read."""
    written(redis_client, log)
    log.append(book(2500))
    with pytest.raises(FencedError, match="position"):
        written(redis_client, log)


def test_without_a_state_the_log_keeps_what_the_saved_state_lacks(redis_client: redis.Redis, log: Log) -> None:
    written(redis_client, log, save=False)
    saved = redis_client.hgetall(keys.checkpoint(0))
    assert (saved[b"last_id"], saved[b"state_id"]) == (log.entries[-1][0], b"0-0")
    assert redis_client.xlen(keys.events(0)) == 4


def test_any_other_error_of_the_server_is_raised() -> None:
    with pytest.raises(redis.ResponseError, match="OOM"):
        commit.check(redis.ResponseError("OOM"), 0)
    commit.check(1, 0)


def test_missing_trades_are_counted_by_symbol_and_a_hold_is_known(redis_client: redis.Redis) -> None:
    log = Log().append(trade(600, 1), trade(700, 2), tick(800), recorded=False)
    log.append(("trade", Trade(T0 + 900, "A", 100.5, 1.0, "buy", 5, recovered=True)), recorded=False)
    for since, until, missing in ((900, 1500, 3), (900, 1900, None), (1900, 2100, None)):  # the first is told again
        log.append(("gap", Gap(T0 + until, "A", channel="trade", since=T0 + since, missing=missing)), recorded=False)
    log.append(("gap", Gap(T0 + 1500, "A")), ("hold", Hold(T0, "A", T0 + 7000)), recorded=False)
    written(redis_client, stored(redis_client, log))
    assert redis_client.hgetall(keys.holes(0)) == {
        b"A trades_recovered": b"1",
        b"A holes": b"2",
        b"A trades_missing": b"3",
        b"A held_until_ms": b"%d" % (log.arrived_ms + 7000),
    }


def test_more_symbols_than_are_named_are_counted_together_and_no_sum_overflows(redis_client: redis.Redis) -> None:
    log = Log()
    redis_client.hset(keys.holes(0), mapping={f"S{i} holes": 1 for i in range(399)})
    for name, missing in (("A", 2**62), ("B", 2**62), ("C", 1)):
        log.append(("gap", Gap(T0 + 1500, name, channel="trade", since=T0, missing=missing)), recorded=False)
    written(redis_client, stored(redis_client, log))
    facts: Any = redis_client.hgetall(keys.holes(0))
    assert {name: n for name, n in facts.items() if not name.startswith(b"S")} == {
        b"A holes": b"1",
        b"* trades_missing": b"2000000001",
        b"* holes": b"2",
    }
