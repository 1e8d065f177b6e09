"""What a log has lost of the entries that a worker had read is counted, once, and told; it comes back older by ``DUMP``, ``RESTORE``."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from ingest.messages.kinds import Trade
from ingest.publish.publisher import Publisher
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.backlog import counters
from ingest.worker import losses
from ingest.worker.partition import Partition
from ingest.worker.worker import Worker

T0 = 1_700_000_000_000
CONF = Settings(partitions=1)
LOG = keys.events(0)


def append(client: redis.Redis, n: int) -> bytes:
    """Append so many trades; return the id of the last."""
    with Publisher(client, 1) as publisher:
        for i in range(n):
            publisher.publish("trade", Trade(T0 + i, "A", 1.0, 1.0), recorded=True)
    return last_id(client)


def last_id(client: redis.Redis) -> bytes:
    about: Any = client.xinfo_stream(LOG)
    return bytes(about["last-generated-id"])


def older(client: redis.Redis, kept: dict[str, Any]) -> None:
    """Put back keys, and return when new entries have later ids than those that are lost, as after each failover."""
    newest_ms = int(last_id(client).partition(b"-")[0])
    for key, value in kept.items():
        client.restore(key, 0, value, replace=True)
    while now_ms(client) <= newest_ms:
        pass


def now_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()  # type: ignore[misc]
    return int(seconds * 1000 + micros // 1000)


def test_each_entry_that_was_read_and_is_gone_counts_once(redis_client: redis.Redis) -> None:
    append(redis_client, 10)
    kept = {LOG: redis_client.dump(LOG)}
    read_less, read_all = append(redis_client, 4), append(redis_client, 3)
    assert losses.count(redis_client, 0, read_all, 17) == 0  # all are there
    older(redis_client, kept)
    append(redis_client, 5)
    assert losses.count(redis_client, 0, read_less, 14) == 4
    assert losses.count(redis_client, 0, read_all, 17) == 3
    assert losses.count(redis_client, 0, read_all, 17) == losses.count(redis_client, 0, read_less, 14) == 0
    assert counters(redis_client, 1)[losses.ENTRIES] == 7


def test_entries_that_were_trimmed_are_not_lost(redis_client: redis.Redis) -> None:
    read = append(redis_client, 10)
    append(redis_client, 5)
    redis_client.xtrim(LOG, maxlen=3, approximate=False)
    assert losses.count(redis_client, 0, read, 10) == 0
    redis_client.xtrim(LOG, maxlen=0, approximate=False)
    assert losses.count(redis_client, 0, last_id(redis_client), 15) == 0


def test_of_a_log_that_is_gone_all_is_lost(redis_client: redis.Redis) -> None:
    read = append(redis_client, 10)
    redis_client.delete(LOG)
    assert losses.count(redis_client, 0, read, 10) == 10


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_worker_counts_and_tells_what_is_gone_when_it_has_lost_its_lease(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, is_committed: bool
) -> None:
    """After a commit, a trim and a restart, so the log does not begin with its first entry and the count comes from the checkpoint."""
    for _ in range(2):
        worker = Worker(redis_client, CONF)
        worker.open()
        append(redis_client, 10)
        while worker.step():
            worker.flush()
        worker.close()
    redis_client.xtrim(LOG, maxlen=4, approximate=False)
    worker.open()
    kept = {key: redis_client.dump(key) for key in (LOG, keys.checkpoint(0))}
    append(redis_client, 6)
    worker.step()
    if is_committed:
        worker.flush()
    older(redis_client, kept)
    redis_client.delete(keys.owner(0))
    append(redis_client, 2)
    worker.open()  # as after every outage
    worker.open()
    assert counters(redis_client, 1)[losses.ENTRIES] == 6
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told.startswith("partition 0: Redis came back older: 6 entries that were read here are gone")
    worker.close()


def test_where_replicas_are_waited_for_only_what_was_committed_counts(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row was served of the others, and nobody was told that they are there."""
    found, partition = losses.Losses(redis_client), Partition(0, CONF)
    append(redis_client, 8)
    kept = {LOG: redis_client.dump(LOG)}
    partition.position, partition.entries = append(redis_client, 2), 10
    found.confirm(partition)
    partition.position, partition.entries = append(redis_client, 4), 14
    older(redis_client, kept)
    with monkeypatch.context() as patch:
        patch.setattr(redis_client, "replicas", 1)
        found.note(partition)
        found.note(partition)  # again, and nothing was committed since
    found.count()
    found.count()
    assert counters(redis_client, 1) == {losses.ENTRIES: 2}
