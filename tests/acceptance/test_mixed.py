"""Markets side by side give the same bits whichever way they come in; the full million of events is ``tests/acceptance/mixed.py``."""

from __future__ import annotations

from pathlib import Path

import psycopg
import redis

from ingest.streams.keys import partition_of
from tests.acceptance.mixed import PARTITIONS, run
from tests.acceptance.mixed_market import INSTRUMENTS
from tests.acceptance.place import Place


def test_leaders_and_followers_are_in_the_same_and_in_other_partitions() -> None:
    pairs = {
        partition_of(name, PARTITIONS) == partition_of(other, PARTITIONS)
        for name, about in INSTRUMENTS.items()
        for other in (about.leader, about.pair)
        if other
    }
    assert pairs == {True, False}


def test_every_way_gives_the_same_bits(redis_client: redis.Redis, postgres_url: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as postgres:
        assert run(Place(redis_client, postgres, postgres_url, tmp_path), 12_000, deaths=4) == []
