"""Which processes of the pipeline are alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis

from ingest.streams import keys
from ingest.streams.backlog import ask
from ingest.streams.membership import LEASE_MS

ROLES = ("worker", "router", "writer")
"""Roles whose processes give signs of life."""
SCORER = "scorer"
"""It gives no sign of life while it scores a batch. What tells is when it last asked for posts."""
ASKED_MS = 60_000
"""A scorer that has not asked for posts for so long counts as away."""


def silent_ms(client: redis.Redis, roles: Sequence[str] = (*ROLES, SCORER)) -> dict[str, dict[str, int]]:
    """Return for each process of each role how long ago it gave a sign of life, in ms of the server's clock."""
    calls = [
        ("XINFO CONSUMERS", keys.SOCIAL, keys.GROUP)
        if role == SCORER
        else ("ZRANGE", keys.members(role), 0, -1, "WITHSCORES")
        for role in roles
    ]
    (seconds, micros), *replies = ask(client, [("TIME",), *calls])
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    found: dict[str, dict[str, int]] = {}
    for role, reply in zip(roles, replies, strict=True):
        if role == SCORER:
            found[role] = {c["name"].decode(): c["idle"] for c in reply or [] if c["name"] == keys.CONSUMER.encode()}
        else:
            members = zip(reply[::2], reply[1::2], strict=True)
            found[role] = {name.decode(): now_ms - int(at_ms) for name, at_ms in members}
    return found


def count_alive(silences: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return how many processes of each role are alive: silent for less than a lease; the scorer for less than a minute."""
    return {
        role: sum(ms < (ASKED_MS if role == SCORER else LEASE_MS) for ms in of.values())
        for role, of in silences.items()
    }
