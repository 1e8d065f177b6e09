"""The scorer as a process that is killed, whose Redis is killed, and that comes late."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import redis

from ingest import settings
from ingest.messages.decode import decode_entry, encode
from ingest.messages.kinds import OrderBook, ScoredPost, Tick
from ingest.publish.publisher import Publisher
from ingest.sentiment.history import History
from ingest.sentiment.scorer import Scorer
from ingest.servers.orders import orders
from ingest.servers.supervisor import Server
from ingest.settings import Settings
from ingest.streams import keys
from ingest.worker.partition import Partition
from tests.ingest.sentiment import tiny
from transforms.catalog import SOCIAL

T0 = 1_700_000_000_000
PATIENCE_S = 120.0
LANGUAGES = [
    "bitcoin up", "el bitcoin sube", "le bitcoin monte", "der Bitcoin steigt", "биткоин растёт", "比特币 上涨", "ビットコイン 上昇",
    "비트코인 상승", "ارتفع bitcoin", "bitcoin बढ़ा", "bitcoin ขึ้น", "ο bitcoin ανεβαίνει",
]  # fmt: skip
HOSTILE = [
    "$BTC " + "up " * 33_000, "$BTC " + "a" * 100_000, "🚀" * 1000, "$BTC " + "🚀" * 500, "\x00\x01\x1b[31m" * 50,
    "$BTC \x00\x07\u202e up", *LANGUAGES,
]  # fmt: skip
NAMELESS = 2
"""Of the hostile ones: emoji only and control characters only name no symbol."""


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.005)


class MortalRedis:
    """A server with an append-only file that can be killed and started again on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self._lock = open(folder / "lock", "wb")  # noqa: SIM115 - held as long as the server
        told = orders(folder, self._lock.fileno(), ["redis_url"], durable=False)
        self.url: str = told["state"]["redis_url"]
        self._server = Server(told["servers"][0], self._lock.fileno())
        self.start()

    def start(self) -> None:
        self._server.start()
        wait_until(self._server.answers)

    def kill(self) -> None:
        self._server.signal("SIGKILL")
        assert self._server.process is not None
        self._server.process.wait(30)

    def close(self) -> None:
        if not self._server.ended():
            self.kill()
        self._lock.close()


@pytest.fixture
def mortal() -> Iterator[MortalRedis]:
    folder = Path(tempfile.mkdtemp(prefix="tfs-"))
    folder.chmod(0o711)  # the server may run as another user
    server = MortalRedis(folder)
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)


@contextmanager
def scorer_process(redis_url: str, postgres_url: str, model: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The scorer's own process, killed in the end if it still runs; its log is pytest's."""
    environ = {
        **os.environ,
        "TFS_REDIS_URL": redis_url,
        "TFS_POSTGRES_URL": postgres_url,
        "SENTIMENT_MODEL": str(model),
    }
    environ |= {"TFS_PARTITIONS": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ingest", "run", "--roles", "scorer", "--inline"]
    process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def posts(n: int) -> list[dict[str, Any]]:
    """The hostile texts, each once, among ``n`` that differ in their words."""
    words = ("up", "down", "flat", "the", "a")
    texts = [f"$BTC {words[i % 5]} {words[i // 5 % 5]} {words[i // 25 % 5]} {i}" for i in range(n)]
    for i, text in enumerate(HOSTILE):
        texts[i * n // len(HOSTILE)] = text
    now_ms = time.time_ns() // 1_000_000 - 1000
    return [{"timestamp": now_ms, "id": str(i), "text": text, "source": "x"} for i, text in enumerate(texts)]


def pending(client: redis.Redis) -> int:
    """Posts that a scorer was given and has not moved."""
    found: Any = client.xpending(keys.SOCIAL, keys.GROUP)
    return int(found["pending"])


def freeze_in_a_batch(client: redis.Redis, process: subprocess.Popen[bytes], after: int) -> None:
    """Stop the process while it has posts in hand, having finished ``after`` batches at least."""

    def batches() -> int:
        return int(client.hget(keys.counters(keys.EDGE), "scorer.batches") or 0)  # type: ignore[arg-type]

    def frozen() -> bool:
        if batches() < after or not pending(client):
            assert process.poll() is None
            return False
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        if pending(client) and client.xlen(keys.SOCIAL) > 1000:
            return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_until(frozen)


def test_a_scorer_killed_in_a_batch_and_a_redis_killed_under_it_lose_no_post_and_double_none(
    mortal: MortalRedis, postgres_url: str, tmp_path: Path
) -> None:
    tiny.save(tmp_path / "model", tiny.FINBERT)
    n = 4000
    with redis.Redis.from_url(mortal.url) as client:
        pipe = client.pipeline(transaction=False)
        for post in posts(n):
            pipe.xadd(keys.SOCIAL, {"data": json.dumps(post)})
        pipe.execute()
        with scorer_process(mortal.url, postgres_url, tmp_path / "model") as first:
            freeze_in_a_batch(client, first, 3)
            in_hand = pending(client)
            first.kill()
            assert first.wait() == -signal.SIGKILL
            assert pending(client) == in_hand > 0
        with scorer_process(mortal.url, postgres_url, tmp_path / "model") as second:
            freeze_in_a_batch(client, second, 8)
            mortal.kill()
            second.send_signal(signal.SIGCONT)
            mortal.start()
            wait_until(lambda: client.xlen(keys.SOCIAL) == 0)
            assert pending(client) == 0
            assert second.poll() is None
            second.terminate()
            assert second.wait(20) == 0
        stream = keys.events(keys.partition_of("BTCUSDT", 2))
        entries: Any = client.xrange(stream)
        letters: Any = client.xrange(keys.DEAD_LETTER)
        assert Counter(fields[b"reason"] for _, fields in letters) == {b"no_symbol": NAMELESS}
    ids = Counter(decode_entry(ScoredPost, {b"data": fields[b"data"]}).id for _, fields in entries)
    refused = {json.loads(fields[b"field:data"])["id"] for _, fields in letters}
    assert set(ids) == {str(i) for i in range(n)} - refused
    assert set(ids.values()) == {1}
    assert in_windows(entries) == n - NAMELESS
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT id) FROM social_scores").fetchone()
    assert found == (n - NAMELESS, n - NAMELESS)


def in_windows(entries: Any) -> float:
    """Posts of the last hour that the worker's own partition counts out of the log."""
    partition = Partition(keys.partition_of("BTCUSDT", 2), settings.load({"TFS_PARTITIONS": "2"}))
    now_ms = max(decode_entry(ScoredPost, {b"data": f[b"data"]}).available for _, f in entries) + 5000
    for entry_id, fields in entries:
        partition.process(entry_id, fields, now_ms * 1000)
    tick = {b"kind": b"tick", b"data": encode(Tick(now_ms, "BTCUSDT"))}
    partition.process(b"9999999999999-0", tick, now_ms * 1000)
    rows = partition.pending.batches["social"].columns()
    return float(rows.values[-1][SOCIAL.index["social_volume_1h"]])


class Words:
    """Scores every text alike, at once."""

    name, revision, window, tokens_read = "words", "1", 50, 0

    def score(self, texts: Any) -> list[tuple[float, float, float] | None]:
        return [(0.75, 0.0, 0.25)] * len(texts)


def books(pipeline: Any, start: int, end: int) -> None:
    """A live book a second, of the seconds ``[start, end)``."""
    with Publisher(pipeline.client, pipeline.settings.partitions) as publisher:
        for i in range(start, end):
            ms = T0 + 1000 * i
            publisher.publish(
                "book", OrderBook(ms, "BTCUSDT", [(99.9, 1.0)], [(100.1, 1.0)], i, received=ms), recorded=True
            )


@pytest.mark.parametrize(
    ("available_s", "behind_s"), [(30, 30), (30, 45)], ids=["in time", "behind a market that had gone on"]
)
def test_no_row_holds_a_score_from_before_it_was_available(pipeline: Any, available_s: int, behind_s: int) -> None:
    """A post of second 5 is scored at second 30, and stands in the log behind the book of second ``behind_s - 1``."""
    conf: Settings = pipeline.settings
    post = {"timestamp": T0 + 5000, "id": "1", "text": "$BTC up", "source": "x"}
    pipeline.client.xadd(keys.SOCIAL, {"data": json.dumps(post)})
    [entry] = pipeline.client.xrange(keys.SOCIAL)
    worker = pipeline.worker()
    books(pipeline, 0, behind_s)
    pipeline.work(worker)
    delayed = Scorer(pipeline.client, Words(), conf, History(None), now_ms=lambda: T0 + available_s * 1000)
    delayed.score_and_move([(keys.SOCIAL, *entry)])
    books(pipeline, behind_s, 120)
    pipeline.work(worker)
    worker.close()
    pipeline.store_rows()
    found = pipeline.postgres.execute(
        "SELECT extract(epoch FROM event_timestamp), tweet_count, sentiment_compound FROM sentiment ORDER BY 1"
    ).fetchall()
    seconds = np.array([float(second) - T0 / 1000 for second, _, _ in found])
    # the watermark was 250 ms behind the newest book: the row of that second was not emitted yet, the one before was
    first = max(available_s, behind_s - 1)
    assert seconds.min() == first
    assert [(count, compound) for _, count, compound in found] == [(1, 0.75)] * len(found)
