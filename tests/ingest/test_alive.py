"""The health probe of a part."""

from __future__ import annotations

import pytest
import redis

from feature_repo.stores.endpoints import REDIS_VARIABLE
from ingest import alive
from ingest.streams import keys, membership, read
from ingest.streams.membership import Member


def test_a_part_is_well_while_its_role_gives_signs_of_life_and_here_asks_for_this_host(
    redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, redis_url)
    assert alive.main(["worker"]) == 1
    Member(redis_client, "worker", [0]).beat()
    assert (alive.main(["worker"]), alive.main(["worker", "--here"]), alive.main(["router"])) == (0, 0, 1)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert (alive.main(["worker"]), alive.main(["worker", "--here"])) == (0, 1)
    ((member, at_ms),) = redis_client.zrange(keys.members("worker"), 0, -1, withscores=True)
    redis_client.zadd(keys.members("worker"), {member: at_ms - alive.SIGN_MS - 1000})
    assert alive.main(["worker"]) == 1


def test_a_scorer_is_well_while_it_asks_for_posts(
    redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, redis_url)
    assert alive.main(["scorer"]) == 1  # no stream
    read.join_group(redis_client, [keys.SOCIAL])
    assert alive.main(["scorer"]) == 1  # nobody asked
    assert read.new_entries(redis_client, [keys.SOCIAL], 1, 1) == []
    assert alive.main(["scorer"]) == 0
    monkeypatch.setattr(membership, "ASKED_MS", 0)
    assert alive.main(["scorer"]) == 1


def test_a_redis_that_is_away_makes_a_part_not_ready_and_is_no_reason_to_start_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, "redis://127.0.0.1:1/0")
    assert (alive.main(["worker"]), alive.main(["worker", "--here"])) == (1, 0)


def test_a_worker_that_waits_is_alive_and_does_not_serve(
    redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, redis_url)
    monkeypatch.setattr("socket.gethostname", lambda: "first")
    Member(redis_client, "worker", [0], "00000001").beat()
    monkeypatch.setattr("socket.gethostname", lambda: "second")
    Member(redis_client, "worker", [0], "00000002").beat()
    assert (alive.main(["worker", "--here"]), alive.main(["worker", "--here", "--serves"])) == (0, 1)
    monkeypatch.setattr("socket.gethostname", lambda: "first")
    assert alive.main(["worker", "--here", "--serves"]) == 0
