"""The whole system on the tests' own servers, one process, no waiting: each part is stepped by hand."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis
from feast import FeatureStore
from feast.repo_config import load_repo_config
from feast.repo_operations import apply_total

import feature_repo
from ingest import offline_writer, router, settings
from ingest.messages.kinds import PLAIN_STREAM
from ingest.settings import Settings
from ingest.streams import keys, outage, read
from ingest.worker.worker import Worker
from tests.integration.mortal import MortalRedis

DEFINITIONS = Path(feature_repo.__file__).parent


@pytest.fixture
def store(tmp_path: Path, redis_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    """The project's own definitions, applied to empty servers."""
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    repo = tmp_path / "feature_repo"
    shutil.copytree(DEFINITIONS, repo, ignore=shutil.ignore_patterns("stores", "data", "__pycache__"))
    monkeypatch.syspath_prepend(repo)  # Feast imports definitions by bare name
    modules = set(sys.modules)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own
        apply_total(load_repo_config(repo, repo / "feature_store.yaml"), repo, skip_source_validation=False)
        yield FeatureStore(repo_path=str(repo))
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(repo)):
            del sys.modules[name]


@dataclass
class Pipeline:
    """The parts between the streams and the stores, in this process."""

    client: redis.Redis
    postgres: psycopg.Connection
    settings: Settings
    clock: Callable[[], int]

    def worker(self) -> Worker:
        """A worker that owns every partition."""
        worker = Worker(self.client, self.settings, self.clock, self.clock)
        worker.open()
        assert sorted(worker.holds()) == list(range(self.settings.partitions))
        return worker

    def route(self) -> None:
        """Move what waits in the plain streams."""
        while batch := read.entries_after(self.client, dict.fromkeys(PLAIN_STREAM, read.START), 1000, 1):
            found = read.by_time(read.in_order(batch, 1000, 1000), router._time_us)
            router.Router(self.client, self.settings.partitions).move(found)

    def letters(self) -> list[dict[bytes, bytes]]:
        """The fields of all dead letters."""
        streams = keys.letter_streams(self.settings.partitions)
        return [fields for stream in streams for _, fields in self.client.xrange(stream)]

    def work(self, worker: Worker) -> None:
        """Take everything that waits in the logs, and commit it."""
        while worker.step():
            pass
        worker.flush()

    def store_rows(self) -> int:
        """Carry the outboxes into the database; the number of rows that were new."""
        outboxes = {keys.outbox(p): read.START for p in range(self.settings.partitions)}
        new = 0
        while batch := read.entries_after(self.client, outboxes, 50, 1):
            new += offline_writer.write(self.client, self.postgres, batch)
        return new

    def run(self) -> int:
        """Everything, to both stores; the number of offline rows that were new."""
        self.route()
        worker = self.worker()
        self.work(worker)
        worker.close()
        return self.store_rows()


@pytest.fixture
def pipeline(
    store: FeatureStore, redis_client: redis.Redis, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    """A pipeline whose clock stands still, or jumps: no feed keeps messages back meanwhile."""
    monkeypatch.setattr(outage, "WRITTEN_S", 0.0)
    with psycopg.connect(postgres_url) as connection:
        connection.autocommit = True
        yield Pipeline(redis_client, connection, settings.load({"TFS_PARTITIONS": "2"}), lambda: 1_700_000_100_000_000)


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
