"""The names of keys, and the number of partitions."""

from __future__ import annotations

import pytest

from ingest.streams import keys
from ingest.streams.keys import PartitionsError, check_partitions


def test_all_keys_of_a_partition_share_its_hash_tag() -> None:
    made = [key(3) for key in (keys.events, keys.checkpoint, keys.outbox, keys.features, keys.owner, keys.counters)]
    assert len(set(made)) == 6
    assert all(key.endswith(":{3}") for key in made)


def test_the_number_of_partitions_is_fixed_for_a_deployment(redis_client):
    check_partitions(redis_client, 4)
    check_partitions(redis_client, 4)
    with pytest.raises(PartitionsError, match="4 partitions"):
        check_partitions(redis_client, 8)
