"""One feed a market: two that write the same symbols would mix two series of book numbers, and no book would be known.

A feed holds a lease of each of its symbols in Redis, as a worker holds one of each partition, and renews it in a thread of its own. A feed
that finds a symbol taken waits until the lease of one that was killed must have ended, and then gives up. The lease does not fence writes:
while Redis is away for longer than a lease both may write until one of them sees the other.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from feature_repo.stores.scripts import read_script
from ingest.streams import keys, membership

RENEW_S = 0.5
WAIT_S = membership.LEASE_MS / 1000 + 0.5
LOOK_S = 0.1
END_S = 0.3  # how long the leases may take to be given back; else they end by themselves
NAMES_SHOWN = 5
_ACQUIRE, _RENEW, _RELEASE = (
    read_script(membership.__file__, f"{name}_lease.lua") for name in ("acquire", "renew", "release")
)
_LOG = logging.getLogger(__name__)


class OtherFeedError(UserError, RuntimeError):
    """Another feed writes some of the symbols."""

    def __init__(self, names: Sequence[str]) -> None:
        shown = ", ".join(names[:NAMES_SHOWN]) + (
            f" and {len(names) - NAMES_SHOWN} more" if names[NAMES_SHOWN:] else ""
        )
        super().__init__(
            f"another feed writes {shown} into this Redis; stop it first, or keep one feed and let it have two connections: --connections 2"
        )


class SoleFeed:
    """The leases of a feed's symbols, held inside this context.

    Parameters
    ----------
    client : redis.Redis
    names : sequence of str
        The symbols as they are in the store.
    stop : threading.Event, optional
        Ends the wait for a symbol that is taken; the leases may then be missing.
    """

    def __init__(self, client: redis.Redis, names: Sequence[str], stop: threading.Event | None = None) -> None:
        self._client = client
        self._names = list(dict.fromkeys(names))
        self._lost: Callable[[], object] = lambda: None
        self._stop = stop or threading.Event()
        self._who = secrets.token_hex(8)
        self._tokens: dict[str, str] = {}
        self._taken: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> SoleFeed:
        deadline = time.monotonic() + WAIT_S
        while (taken := self._renew()) and not self._stop.wait(LOOK_S):
            if time.monotonic() >= deadline:
                self._release()
                raise OtherFeedError(taken)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(END_S)
        if self._taken and error is None:
            raise OtherFeedError(self._taken)

    def on_lost(self, act: Callable[[], object]) -> None:
        """Call ``act`` in a thread once another feed has taken a symbol; leaving the context then raises `OtherFeedError`."""
        self._lost = act
        if self._taken:
            act()

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_S):
            with contextlib.suppress(redis.RedisError):  # the feed waits for Redis too
                self._taken = self._renew()
            if self._taken:
                _LOG.error("another feed has taken %s: this one ends", ", ".join(self._taken[:NAMES_SHOWN]))
                with contextlib.suppress(RuntimeError):  # the loop of the feed has ended by itself
                    self._lost()
                break
        with contextlib.suppress(redis.RedisError):
            self._release()

    def _renew(self) -> list[str]:
        """Renew the leases, and take those that ended or are not held yet; return the names that another feed holds."""
        pipe: Any = self._client.pipeline(transaction=False)
        held = list(self._tokens)
        for name in held:
            pipe.eval(_RENEW, 1, keys.owner(_seat(name)), self._tokens[name], membership.LEASE_MS)
        for name, kept in zip(held, pipe.execute(), strict=True):
            if not kept:
                del self._tokens[name]
        wanted = [name for name in self._names if name not in self._tokens]
        times = (membership.LEASE_MS, membership.LONGEST_LEASE_MS)
        for name in wanted:
            pipe.eval(_ACQUIRE, 2, keys.owner(_seat(name)), keys.fence(_seat(name)), *times, self._who)
        found = dict(zip(wanted, pipe.execute(), strict=True))
        self._tokens.update({name: token.decode() for name, token in found.items() if token is not None})
        return [name for name, token in found.items() if token is None]

    def _release(self) -> None:
        pipe: Any = self._client.pipeline(transaction=False)
        for name, token in self._tokens.items():
            pipe.eval(_RELEASE, 1, keys.owner(_seat(name)), token)
        self._tokens.clear()
        pipe.execute()


def _seat(name: str) -> str:
    return f"feed {name}"
