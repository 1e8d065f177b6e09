"""Repeat a Redis call a bounded number of times while its error is one that passes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from feature_repo.stores.errors import UserError

T = TypeVar("T")

PASSING: Final = (
    exceptions.ConnectionError,  # also BusyLoadingError: the server is still reading its data
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,  # the master was demoted
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.RedisClusterException,  # no node of the cluster answers, or a slot has no node
)
"""Errors after which the same call may succeed, except those in `LASTING`."""

LOGIN_REFUSED: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)
"""Kinds of ``ConnectionError`` that no later attempt mends."""
LASTING: Final = (*LOGIN_REFUSED, exceptions.MaxConnectionsError)
"""Kinds that the few attempts here do not mend either: the client's own pool of connections is empty."""

_PAUSES: Final = ExponentialBackoff(cap=1.0, base=0.025)  # redis-py doubles before the first pause: 50 ms, 100 ms, ...


class OnlineStoreUnavailableError(UserError, ConnectionError):
    """The online store did not answer in the bounded number of attempts. No row is half written."""


def attempt(call: Callable[[], T], retries: int, where: object) -> T:
    """Return ``call()``; repeat it while the connection fails or the master moves.

    Parameters
    ----------
    call : callable
        Must be idempotent: an attempt whose reply was lost may have written.
    retries : int
        Attempts after the first. The pauses between attempts double from 50 ms up to 1 s.
    where : object
        The server, shown in the error; its ``str`` must hold no password.

    Raises
    ------
    OnlineStoreUnavailableError
        If every attempt failed.
    redis.exceptions.RedisError
        At once, if another attempt cannot help: a wrong password, a missing right, a key of another type.
    """
    try:
        return Retry(_PAUSES, retries, PASSING).call_with_retry(call, _raise_lasting)
    except LASTING:
        raise
    except PASSING as error:
        raise _unavailable(where, retries, error) from error


async def attempt_async(call: Callable[[], Awaitable[T]], retries: int, where: object) -> T:
    """Await ``call()`` and repeat it as `attempt` does."""
    try:
        repeat = AsyncRetry(_PAUSES, retries, PASSING)  # type: ignore[arg-type]  # it takes any kind of exception
        return await repeat.call_with_retry(call, _raise_lasting_async)
    except LASTING:
        raise
    except PASSING as error:
        raise _unavailable(where, retries, error) from error


def _raise_lasting(error: Exception) -> None:
    # `Retry` calls this after each failure. Its own filter, `is_retryable`, is missing in redis-py 5.3.
    if isinstance(error.__cause__, LASTING):  # what the last node that a cluster's client tried has answered
        raise error.__cause__
    if isinstance(error, LASTING):
        raise error


async def _raise_lasting_async(error: Exception) -> None:
    _raise_lasting(error)


def _unavailable(where: object, retries: int, error: Exception) -> OnlineStoreUnavailableError:
    return OnlineStoreUnavailableError(
        f"Redis at {where} did not answer in {retries + 1} attempts: {type(error).__name__}: {error}"
    )
