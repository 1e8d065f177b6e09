"""How often a Redis call is repeated, after which errors, and what is raised in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis import exceptions

from feature_repo.stores.errors import UserError
from feature_repo.stores.online.attempt import OnlineStoreUnavailableError, attempt, attempt_async


def blocking(call: Callable[[], Any], retries: int, where: object) -> Any:
    return attempt(call, retries, where)


def on_a_loop(call: Callable[[], Any], retries: int, where: object) -> Any:
    async def later() -> Any:
        return call()

    return asyncio.run(attempt_async(later, retries, where))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for; no time passes."""
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr("redis.retry.sleep", asked.append)
    monkeypatch.setattr("redis.asyncio.retry.sleep", sleep)
    return asked


def outcomes(*given: Any) -> tuple[Callable[[], Any], list[Any]]:
    """Return a call that raises or returns one of `given` each time, and the list of those left."""
    left = list(given)

    def call() -> Any:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call, left


@pytest.mark.parametrize("run", [blocking, on_a_loop])
def test_attempts_are_bounded_their_pauses_grow_and_the_error_says_where(run: Any, pauses: list[float]) -> None:
    call, left = outcomes(*[redis.ConnectionError("refused")] * 8)
    with pytest.raises(
        OnlineStoreUnavailableError, match=r"Redis at db:1 did not answer in 7 attempts: .*refused"
    ) as e:
        run(call, 6, "db:1")
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert len(left) == 1
    assert isinstance(e.value, UserError) and isinstance(e.value, ConnectionError)
    assert isinstance(e.value.__cause__, redis.ConnectionError)


@pytest.mark.parametrize("run", [blocking, on_a_loop])
@pytest.mark.parametrize(
    "passing",
    [
        redis.ConnectionError,
        redis.BusyLoadingError,
        redis.TimeoutError,
        redis.ReadOnlyError,
        lambda: exceptions.MasterDownError("MASTERDOWN"),
        lambda: exceptions.ClusterDownError("CLUSTERDOWN"),
        exceptions.TryAgainError,
        lambda: exceptions.RedisClusterException("no node answers"),
    ],
)
def test_an_attempt_that_succeeds_ends_the_trying(run: Any, passing: Any, pauses: list[float]) -> None:
    call, left = outcomes(passing(), passing(), 5, 6)
    assert run(call, 3, "db") == 5
    assert left == [6]
    assert pauses == [0.05, 0.1]


@pytest.mark.parametrize("run", [blocking, on_a_loop])
@pytest.mark.parametrize(
    "lasting",
    [
        redis.AuthenticationError,
        exceptions.AuthorizationError,
        redis.MaxConnectionsError,
        exceptions.NoPermissionError,
        redis.ResponseError,
    ],
)
def test_a_lasting_error_is_raised_at_once_as_it_is(run: Any, lasting: Any, pauses: list[float]) -> None:
    call, left = outcomes(lasting("no"), 5)
    with pytest.raises(lasting, match="no"):
        run(call, 3, "db")
    call, _ = outcomes(redis.TimeoutError(), lasting("later"))
    with pytest.raises(lasting, match="later"):
        run(call, 1, "db")
    assert left == [5]
    assert pauses == [0.05]


@pytest.mark.parametrize("run", [blocking, on_a_loop])
def test_a_password_that_a_cluster_refuses_is_not_tried_again(run: Any, pauses: list[float]) -> None:
    error = exceptions.RedisClusterException("cannot be connected")
    error.__cause__ = redis.AuthenticationError("WRONGPASS")
    with pytest.raises(redis.AuthenticationError, match="WRONGPASS"):
        run(outcomes(error)[0], 3, "db")
    assert pauses == []


def test_no_retries_means_one_attempt(pauses: list[float]) -> None:
    call, left = outcomes(redis.TimeoutError("slow"), 5)
    with pytest.raises(OnlineStoreUnavailableError, match="did not answer in 1 attempts"):
        attempt(call, 0, "db")
    assert left == [5] and pauses == []
