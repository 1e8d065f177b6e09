"""The names of keys."""

from __future__ import annotations

from ingest.streams import keys


def test_all_keys_of_a_partition_share_its_hash_tag() -> None:
    made = [key(3) for key in (keys.events, keys.checkpoint, keys.outbox, keys.features, keys.owner, keys.counters)]
    assert len(set(made)) == 6
    assert all(key.endswith(":{3}") for key in made)
