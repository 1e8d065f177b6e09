"""Reading streams by position and as a group."""

from __future__ import annotations

import pytest
import redis

from ingest.streams import keys, read

A, B = keys.events(0), keys.events(1)


def fill(client: redis.Redis, stream: str, n: int) -> list[bytes]:
    return [client.xadd(stream, {"n": i}) for i in range(n)]  # type: ignore[misc]


def test_entries_behind_positions_come_from_every_stream_and_change_nothing(redis_client: redis.Redis) -> None:
    a, b = fill(redis_client, A, 3), fill(redis_client, B, 2)
    found = read.entries_after(redis_client, {A: a[0], B: read.START}, 10, 1)
    assert [(name, entry_id) for name, entry_id, _ in found] == [(A, a[1]), (A, a[2]), (B, b[0]), (B, b[1])]
    assert found[0][2] == {b"n": b"1"}
    assert read.entries_after(redis_client, {A: a[0], B: read.START}, 10, 1) == found
    assert read.entries_after(redis_client, {A: a[2]}, 10, 1) == []


def test_entries_between_two_ids_leave_out_the_first_and_hold_the_last(redis_client: redis.Redis) -> None:
    ids = fill(redis_client, A, 5)
    assert [i for i, _ in read.entries_between(redis_client, A, ids[0], ids[3], 10)] == ids[1:4]
    assert [i for i, _ in read.entries_between(redis_client, A, ids[0], ids[3], 2)] == ids[1:3]


def test_large_entries_are_cut_into_parts_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "PART_BYTES", 10)
    entries = [(b"%d-0" % i, {b"data": b"x" * size}) for i, size in enumerate((4, 4, 4, 25, 1, 9))]
    parts = read.split_by_size(entries)
    assert [[len(fields[b"data"]) for _, fields in part] for part in parts] == [[4, 4], [4], [25], [1, 9]]
    assert read.split_by_size(entries[:2]) == [entries[:2]]
    assert read.split_by_size([]) == [[]]


def test_what_a_group_was_given_and_did_not_acknowledge_is_read_again_and_is_not_new(redis_client: redis.Redis) -> None:
    ids = fill(redis_client, keys.SOCIAL, 5)
    for _ in range(2):  # a group that exists is kept
        read.join_group(redis_client, [keys.SOCIAL])
    assert [i for _, i, _ in read.new_entries(redis_client, [keys.SOCIAL], 4, 1)] == ids[:4]
    redis_client.xack(keys.SOCIAL, keys.GROUP, ids[1])
    redis_client.xdel(keys.SOCIAL, ids[2])  # trimmed away: it has no fields left
    pages = list(read.unacknowledged_entries(redis_client, keys.SOCIAL, 2))
    assert [[i for _, i, _ in page] for page in pages] == [[ids[0]], [ids[3]]]
    assert [i for _, i, _ in read.new_entries(redis_client, [keys.SOCIAL], 4, 1)] == ids[4:]
