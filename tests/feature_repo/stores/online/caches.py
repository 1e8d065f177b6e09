"""What the tests of kept replies share."""

from __future__ import annotations

import numpy as np
import redis

from feature_repo.stores.online.shape import Fields
from feature_repo.stores.online.write import OnlineWriter
from transforms.catalog import SOCIAL

REFS = [f"social:{name}" for name in SOCIAL.names]
FIELDS = Fields.of([b"a"])


class Steady:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def calls(client: redis.Redis, command: str = "hmget") -> int:
    return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def write(client: redis.Redis, project: str, value: float, t_us: int, *symbols: str) -> None:
    times, values = np.full(len(symbols), t_us), np.full((len(symbols), 8), value)
    assert OnlineWriter(client, project, SOCIAL).write(symbols, times, values) == len(symbols)
