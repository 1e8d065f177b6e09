"""A Kafka cluster for the tests; without confluent-kafka they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def cluster() -> Iterator[Any]:
    from tests.ingest.feeds.kafka.cluster import Cluster

    cluster = Cluster()
    yield cluster
    cluster.end()
