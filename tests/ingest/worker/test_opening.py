"""Opening a partition: what was saved is restored, what was written is replayed, and nothing is counted twice."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from ingest import settings
from ingest.messages.kinds import Trade
from ingest.streams import keys
from ingest.streams.backlog import backlog
from ingest.worker.opening import open_partition
from ingest.worker.worker import Worker
from transforms import kernels

from .log import CONF, T0, Log, book, tick, trade

MESSAGES = [book(500), trade(600, 1), tick(1000), book(1500), trade(1600, 2), tick(3000)]


def fill(client: redis.Redis, log: Log) -> None:
    for entry_id, fields in log.entries:
        client.xadd(keys.events(0), dict(fields), id=entry_id)  # type: ignore[arg-type]


def saved_after_three(client: redis.Redis) -> Log:
    """A log in the server whose state was saved after three messages, and a partition that has processed all of them."""
    log = Log().append(*MESSAGES[:3])
    fill(client, log)
    log.partition.take_pending()
    client.hset(keys.checkpoint(0), mapping=log.partition.save())  # type: ignore[arg-type]
    log.entries.clear()
    log.append(*MESSAGES[3:])
    fill(client, log)
    log.partition.take_pending()
    return log


def test_the_state_is_that_of_the_owner_before_and_its_rows_are_not_given_again(redis_client: redis.Redis) -> None:
    log = saved_after_three(redis_client)
    redis_client.hset(keys.checkpoint(0), "last_id", log.partition.last_id)
    kept: list[Any] = []
    opened = open_partition(redis_client, CONF, 0, lambda: kept.append(1))
    assert (opened.position, opened.last_id, opened.unsaved) == (log.partition.position, log.partition.last_id, 3)
    assert not opened.pending.n_rows and not opened.take_pending().counts
    assert opened.symbols["A"].save() == log.partition.symbols["A"].save()
    assert len(kept) >= 2  # before the symbol, and after the replay


def test_a_commit_that_arrives_while_a_large_state_is_read_is_in_it_as_a_whole(redis_client: redis.Redis) -> None:
    log = saved_after_three(redis_client)
    late: list[Any] = [{**log.partition.save(), b"last_id": log.partition.last_id}]

    def arrive_once() -> None:
        if late:
            redis_client.hset(keys.checkpoint(0), mapping=late.pop())

    opened = open_partition(redis_client, CONF, 0, arrive_once)
    assert not late and opened.state_id == log.partition.state_id
    assert opened.symbols["A"].save() == log.partition.symbols["A"].save()


def test_a_log_without_a_checkpoint_counts_what_it_has_lost_as_processed(redis_client: redis.Redis) -> None:
    fill(redis_client, Log().append(*MESSAGES))
    redis_client.xtrim(keys.events(0), maxlen=4, approximate=False)
    open_partition(redis_client, CONF, 0, lambda: None)
    assert redis_client.hget(keys.checkpoint(0), "entries") == b"2"
    worker = Worker(redis_client, CONF)
    worker.open()
    while worker.step():
        pass
    worker.close()
    assert redis_client.hget(keys.checkpoint(0), "entries") == b"6"
    assert backlog(redis_client, 1).events == 0


def test_a_new_log_has_nothing_to_count(redis_client: redis.Redis) -> None:
    fill(redis_client, Log().append(*MESSAGES))
    opened = open_partition(redis_client, CONF, 0, lambda: None)
    assert not redis_client.exists(keys.checkpoint(0))
    assert not opened.symbols and opened.position == b"0-0" and T0


@pytest.mark.parametrize("history", [True, False], ids=["the log has its history", "the log was trimmed"])
def test_other_kernels_give_no_written_second_again_and_lose_no_held_message(
    redis_client: redis.Redis, history: bool
) -> None:
    log = Log().append(book(500), trade(4000, 1), trade(5100, 2, price=77.0))  # the last one waits behind the watermark
    fill(redis_client, log)
    log.partition.take_pending()
    saved = log.partition.save()
    saved[b"A engine"] = b"of another version"
    redis_client.hset(keys.checkpoint(0), mapping={**saved, "last_id": log.partition.last_id})  # type: ignore[arg-type]
    if not history:
        redis_client.xtrim(keys.events(0), maxlen=0)
    opened = open_partition(redis_client, CONF, 0, lambda: None)
    assert opened.symbols["A"].timeline.watermark == log.partition.symbols["A"].timeline.watermark
    log.partition = opened
    log.append(trade(1000, 3), trade(4800, 4), book(5200), trade(8000, 5))
    assert log.reasons() == ["late", "late"]
    rows = log.rows("order_flow")
    assert [at for at, *_ in rows] == ([5000.0] if history else []) + [6000.0, 7000.0], "up to 4 s they are written"
    assert {at: row for at, _, row in rows}[6000.0]["trade_rate_10s"] > 0.09, "the trade that was held"


def test_a_setting_that_changes_between_two_owners_counts_from_there_on(redis_client: redis.Redis) -> None:
    """The owner died with the rows up to 1 s committed and its state not saved. The next one allows messages to be later."""
    later = settings.load({"TFS_PARTITIONS": "1", "TFS_ALLOWED_LATENESS_MS": "2000", "TFS_SYMBOLS": "A"})
    whole, log = Log().append(*MESSAGES[:2]), Log().append(*MESSAGES[:2])
    redis_client.hset(keys.checkpoint(0), mapping=log.partition.save())  # type: ignore[arg-type]
    for one in (whole, log):
        one.append(book(1500), book(2400))  # the watermark is 2.15 s: with 2 s of lateness it would be 0.4 s
        one.partition.take_pending()
    fill(redis_client, log)
    redis_client.hset(keys.checkpoint(0), "last_id", log.partition.last_id)
    opened = open_partition(redis_client, later, 0, lambda: None)
    assert opened.symbols["A"].timeline.watermark == whole.partition.symbols["A"].timeline.watermark
    assert opened.must_save() and not opened.pending.n_rows
    log.partition = opened
    log.append(trade(1900, 7), book(6000), trade(4500, 8))
    assert log.reasons() == ["late"]
    assert [at for at, *_ in log.rows("microstructure")] == [3000.0], "1 s and 2 s are written; 4 s may come until 6 s"
    opened.take_pending()
    saved = opened.save()
    assert not opened.must_save() and {b"settings", b"A order"} <= set(saved)
    redis_client.hset(keys.checkpoint(0), mapping={**saved, "last_id": opened.last_id})  # type: ignore[arg-type]
    again = open_partition(redis_client, later, 0, lambda: None)
    assert not again.must_save() and again.symbols["A"].save() == opened.symbols["A"].save()


def test_other_kernels_open_no_symbol_that_was_refused(redis_client: redis.Redis) -> None:
    """There is one place, and B, whose messages the log still has from before A's, was refused."""
    one = settings.load({"TFS_PARTITIONS": "1", "TFS_MAX_SYMBOLS": "1"})
    log = Log(one)
    log.append(trade(500, 1), book(600))
    b = Log(one)
    b.append(("trade", Trade(T0 + 300, "B", 100.0, 1.0, received=T0 + 303)))
    redis_client.xadd(keys.events(0), dict(b.entries[0][1]), id="1-1")  # type: ignore[arg-type]
    fill(redis_client, log)
    log.partition.take_pending()
    saved = {**log.partition.save(), b"A engine": b"of another version"}
    redis_client.hset(keys.checkpoint(0), mapping={**saved, "last_id": log.partition.last_id})  # type: ignore[arg-type]
    opened = open_partition(redis_client, one, 0, lambda: None)
    assert set(opened.symbols) == {"A"}
    assert opened.symbols["A"].save() == log.partition.symbols["A"].save(), "the log has all of A"


@pytest.mark.parametrize("history", [True, False], ids=["the log has its history", "the log was trimmed"])
def test_a_kernel_of_another_version_begins_anew_alone_or_with_what_the_log_has(
    redis_client: redis.Redis, history: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log().append(*(trade(100 + 500 * i, i, 100.0 + i % 3) for i in range(150)))
    fill(redis_client, log)
    log.partition.take_pending()
    saved = {**log.partition.save(), b"last_id": log.partition.last_id}
    redis_client.hset(keys.checkpoint(0), mapping=saved)  # type: ignore[arg-type]
    if not history:
        redis_client.xtrim(keys.events(0), maxlen=0)
    versions = tuple((name, version + (name == "volatility")) for name, version in kernels.VERSIONS)
    monkeypatch.setattr(kernels, "VERSIONS", versions)
    opened = open_partition(redis_client, CONF, 0, lambda: None)
    assert "of 1 symbols these kernels begin anew: volatility, volatility_1m_z" in caplog.text
    later = [trade(100 + 500 * i, i, 100.0 + i % 3) for i in range(150, 160)]
    log.append(*later, tick(81_000))
    whole = log.rows("technical")
    log.partition = opened
    log.append(*later, tick(81_000))
    rows = log.rows("technical")
    apart = set() if history else {"volatility_1m"}
    for (at, _, theirs), (same, _, ours) in zip(whole, rows, strict=True):
        assert at == same and repr(theirs | dict.fromkeys(apart)) == repr(ours | dict.fromkeys(apart))
    assert whole[-1][2]["volatility_1m"] > 0
    assert history or rows[-1][2]["volatility_1m"] != rows[-1][2]["volatility_1m"]
    opened.take_pending()
    assert {b"A technical", b"A normalization"} <= set(opened.save())
