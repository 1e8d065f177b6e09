"""Raising the number of partitions of a running deployment, and what each part does meanwhile.

The number P is raised to a multiple N of it. So the symbols of partition p divide among p, p + P, p + 2P and so on, and no symbol comes
from elsewhere. ``ask`` writes the goal. The owners of the partitions divide them (``worker.raising``). When all are divided, N counts.

Each log says for which number it takes entries (``keys.number``), and each script that appends to a log looks at that. So nothing that was
placed by another number enters a log. A part whose entries are refused waits like in an outage of Redis. When another number counts, it
ends its work as when it is stopped, and begins anew (``each_number``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from feature_repo.stores.scripts import read_script
from ingest.settings import PARTITIONS_MOST, Settings
from ingest.streams import deployment, outage, replicas
from ingest.streams.keys import DEPLOYMENT, GOAL, PARTITIONS, RAISED, SIGNS_OF_LIFE

LOOK_S = 0.25
"""Between two looks of a part whether another number of partitions counts."""
BEGAN = "began"
"""Of a checkpoint: the partition that this one was divided from, and the last entry of its log."""
_ASK = read_script(__file__, "ask_partitions.lua")
_FIX = read_script(__file__, "fix_partitions.lua")
_AGO = read_script(__file__, "raised_ago.lua")
_LOG = logging.getLogger(__name__)


class GoalError(UserError, ValueError):
    """The number of partitions cannot be raised to that one; the message says to which it can."""


def possible(now: int) -> list[int]:
    """Return the next numbers that the number of partitions can be raised to, ten at most.

    >>> possible(1500)
    [3000]
    """
    return list(range(2 * now, PARTITIONS_MOST + 1, now))[:10]


def ask(client: redis.Redis, now: int, goal: int) -> None:
    """Ask that the number of partitions be raised from ``now``. Raise `GoalError` where that cannot be, or another goal is on the way.

    Replicas have the goal then, where they are waited for: without it logs that are closed would stay so.
    """
    if goal <= now or goal % now or goal > PARTITIONS_MOST:
        numbers = ", ".join(map(str, possible(now))) or "none"
        raise GoalError(
            f"{now} partitions cannot become {goal}: each is divided into the same number of new ones, and there are {PARTITIONS_MOST} "
            f"at most; possible are {numbers} and so on"
        )
    found: Any = client.eval(_ASK, 1, GOAL, now, goal)
    if found != goal:
        raise GoalError(f"the number of partitions is being raised to {found}; wait until that is done")
    replicas.confirm(client, [SIGNS_OF_LIFE])


def number(client: redis.Redis) -> int:
    """Return the number of partitions of today; 0 where none is fixed, as on a Redis that came back empty."""
    return int(client.get(PARTITIONS) or 0)  # type: ignore[arg-type]


def fix(client: redis.Redis, now: int, goal: int) -> None:
    """Let the new number count."""
    if client.eval(_FIX, 2, PARTITIONS, RAISED, now, goal):
        replicas.confirm(client, [DEPLOYMENT])
        _LOG.warning("the deployment has %d partitions now, and had %d", goal, now)


def ago_s(client: redis.Redis) -> float:
    """Return for how long the number of today counts, by the clock of Redis; 0 where that was set back."""
    return int(client.eval(_AGO, 1, RAISED)) / 1000  # type: ignore[arg-type]


class Until(threading.Event):
    """The event ``stop`` of a part, which is set also when another number of partitions counts than the part has."""

    def __init__(self, client: redis.Redis, partitions: int, stop: threading.Event) -> None:
        super().__init__()
        self.has_changed = False
        self._client = client
        self._partitions = partitions
        self._stop = stop
        self._looked = time.monotonic()

    def is_set(self) -> bool:
        """Return whether the part is to end."""
        if not self.has_changed and time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            try:
                self.has_changed = number(self._client) not in (0, self._partitions)
            except redis.RedisError:  # the part itself meets that, and waits
                return self._stop.is_set()
        return self.has_changed or self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the part is to stop, at most ``timeout`` seconds; return whether it is to end."""
        return self._stop.wait(timeout) or self.is_set()

    def set(self) -> None:
        """Let the part stop for good."""
        self._stop.set()


def each_number(client: redis.Redis, settings: Settings, stop: threading.Event) -> Iterator[tuple[Settings, Until]]:
    """Yield the settings with the number of partitions of today, and until when they count; again whenever another one counts.

    Wait while Redis is away. Raise `deployment.DeploymentError` where the settings are of another deployment.
    """
    while not stop.is_set():
        found: list[Settings] = []

        def look(_: object, found: list[Settings] = found) -> None:
            found.append(deployment.fixed(client, settings))

        outage.ride_out("the look at the deployment", look, stop)
        if not found:
            return
        [conf] = found
        if conf.partitions != settings.partitions:
            _LOG.warning("TFS_PARTITIONS=%d was raised to %d since, which counts", settings.partitions, conf.partitions)
        until = Until(client, conf.partitions, stop)
        yield conf, until
        if not until.has_changed:
            return
