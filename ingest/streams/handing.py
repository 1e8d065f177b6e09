"""Handing a seat over to a process of other code: that one asks, and the owner gives it the lease. The seat is never free meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from feature_repo.stores.scripts import read_script
from ingest.streams import keys

CODE_FIELD = "kernels"
"""Of a checkpoint: the code of the process that saved it. ``acquire_lease.lua`` looks at it."""
_ASK = read_script(__file__, "ask_lease.lua")
_GIVE = read_script(__file__, "give_lease.lua")


def codes(client: redis.Redis, seats: Sequence[int | str]) -> list[str]:
    """Return the code that saved the state of each seat, empty where there is none."""
    pipe: Any = client.pipeline(transaction=False)
    for seat in seats:
        pipe.hget(keys.checkpoint(seat), CODE_FIELD)
    return [(found or b"").decode() for found in pipe.execute()]


def ask(client: redis.Redis, seat: int | str, name: str, ask_ms: int) -> str | None:
    """Ask the owner of a seat to hand it over to a process, for ``ask_ms``; return the token of the lease if that is done."""
    token: Any = client.eval(_ASK, 2, keys.owner(seat), keys.heir(seat), name, ask_ms)
    return None if token is None else str(token.decode())


def give(client: redis.Redis, seat: int | str, token: str, heir: str, lease_ms: int) -> bool:
    """Give the lease ``token`` of a seat to the process that asks for it; return False where it asks no more, or the lease is lost."""
    touched = keys.owner(seat), keys.fence(seat), keys.heir(seat)
    return bool(client.eval(_GIVE, len(touched), *touched, token, heir, lease_ms))
