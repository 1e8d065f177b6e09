"""Seats, leases and fencing tokens."""

from __future__ import annotations

import threading

import pytest
import redis

from ingest.streams import keys, membership, read
from ingest.streams.membership import LEASE_MS, LONGEST_LEASE_MS, Member, count_alive, silent_ms


def turn(*members: Member) -> None:
    for member in members:
        member.beat()
        for seat in member.excess():
            member.release(seat)
        member.acquire_free()


def test_seats_are_shared_evenly_as_processes_come_and_go(redis_client: redis.Redis) -> None:
    a, b = (Member(redis_client, "worker", range(5)) for _ in range(2))
    turn(a)
    assert list(a.held) == [0, 1, 2, 3, 4]
    turn(b, a, b)
    assert (len(a.held), len(b.held)) == (3, 2)  # the older one has one more
    assert not set(a.held) & set(b.held)
    a.leave()
    turn(b)
    assert sorted(b.held) == [0, 1, 2, 3, 4]


def test_every_lease_has_a_token_that_no_process_held_before(redis_client: redis.Redis) -> None:
    tokens = []
    for _ in range(3):
        member = Member(redis_client, "router", ["router"])
        tokens.append(member.hold_seat())
        assert redis_client.get(keys.owner("router")) == str(tokens[-1]).encode()
        member.leave()
    assert [str(token).partition(":")[0] for token in tokens] == ["1", "2", "3"]
    assert not redis_client.exists(keys.owner("router"))


def test_the_one_seat_is_held_turn_by_turn_and_released_at_the_stop(redis_client: redis.Redis) -> None:
    stop = threading.Event()
    member = Member(redis_client, "router", ["router"])
    turns = member.hold_until(stop)
    assert next(turns) == next(turns) == member.held["router"]
    stop.set()
    assert not list(turns)
    assert not redis_client.exists(keys.owner("router"))


def test_a_second_process_stands_by_until_the_lease_of_the_first_is_gone(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "BEAT_S", 0.0)
    first, second = (Member(redis_client, "router", ["router"]) for _ in range(2))
    assert first.hold_seat() is not None
    assert second.hold_seat() is None
    redis_client.delete(keys.owner("router"), keys.members("router"))  # as after a long sleep
    assert second.hold_seat() is not None
    assert first.beat() == ["router"]
    assert first.held == {}


@pytest.mark.parametrize(("left_ms", "free"), [(3_600_000, True), (LONGEST_LEASE_MS - 1000, False)])
def test_after_the_servers_clock_was_set_back_a_lease_of_an_hour_closes_no_seat(
    redis_client: redis.Redis, left_ms: int, free: bool
) -> None:
    redis_client.set(keys.fence("router"), 7)
    redis_client.set(keys.owner("router"), "7:dead", px=left_ms)
    member = Member(redis_client, "router", ["router"])
    token = member.hold_seat()
    assert (token is not None) == free
    if free:
        assert str(token).startswith("8:") and redis_client.pttl(keys.owner("router")) <= LEASE_MS
    else:
        assert redis_client.get(keys.owner("router")) == b"7:dead"


def test_a_lost_seat_is_not_released_for_its_new_owner(redis_client: redis.Redis) -> None:
    first = Member(redis_client, "router", ["router"])
    first.hold_seat()
    redis_client.set(keys.owner("router"), "9:another")
    first.leave()
    assert redis_client.get(keys.owner("router")) == b"9:another"


def test_processes_of_every_role_are_counted_until_they_are_silent_for_a_lease(redis_client: redis.Redis) -> None:
    assert count_alive(silent_ms(redis_client)) == {"worker": 0, "router": 0, "writer": 0, "scorer": 0}
    for _ in range(2):
        Member(redis_client, "worker", [0]).beat()
    Member(redis_client, "router", ["router"]).beat()
    read.join_group(redis_client, [keys.SOCIAL])
    read.new_entries(redis_client, [keys.SOCIAL], 1, 1)
    assert count_alive(silent_ms(redis_client)) == {"worker": 2, "router": 1, "writer": 0, "scorer": 1}
    [(name, at_ms), _] = redis_client.zrange(keys.members("worker"), 0, -1, withscores=True)
    redis_client.zadd(keys.members("worker"), {name: at_ms - LEASE_MS - 1000})
    silent = silent_ms(redis_client, ["worker"])
    assert silent["worker"][name.decode()] > LEASE_MS
    assert count_alive(silent) == {"worker": 1}


def test_a_pause_in_the_signs_of_life_of_every_role_begins_a_new_time_in_which_redis_is_well(
    redis_client: redis.Redis,
) -> None:
    first, second = Member(redis_client, "worker", [0]), Member(redis_client, "router", ["router"])
    first.beat()
    assert first.well_s == pytest.approx(redis_client.info("server")["uptime_in_seconds"], abs=2), (
        "what is known at the first sign"
    )
    last_ms = int(redis_client.hget(keys.SIGNS_OF_LIFE, "last"))
    redis_client.hset(keys.SIGNS_OF_LIFE, "since", last_ms - 60_000)
    second.beat()
    assert second.well_s == pytest.approx(60, abs=1), "no pause, whichever role gives the signs"
    redis_client.hset(keys.SIGNS_OF_LIFE, "last", last_ms - membership.PAUSE_MS - 1)
    first.beat()
    assert first.well_s == 0.0
    redis_client.hset(keys.SIGNS_OF_LIFE, "last", last_ms + 3_600_000)
    second.beat()
    assert second.well_s == 0.0, "the clock of Redis was set back"
