"""Which kernels the workers of a deployment run: a code names the versions of all kernels, and Redis knows what each code stands for.

The code is a part of the name of each worker (``streams.membership``) and stands in the checkpoint of each partition.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import redis

from ingest.streams import keys
from ingest.streams.handing import CODE_FIELD
from ingest.streams.membership import LEASE_MS, Member, code_of, worker_silences
from transforms import kernels, saved
from transforms.kernels import Versions

_LOG = logging.getLogger(__name__)
_WAITS = (
    "This worker waits, takes no partition and changes nothing. Stop those workers, and it goes on; or start it with --hand-over, and it "
    "takes over from them; or stop it, if it is not the version that you want"
)
_TAKES = "This worker takes their partitions over, and serves those that it has"
STATE = "the format of states"
NOBODY = "a worker of an earlier release, which does not tell its kernels"


def code() -> bytes:
    """Return the name of the kernels of this process: eight hexadecimal digits. Equal versions give equal names."""
    return _code(kernels.VERSIONS, saved.FORMAT)


@cache
def _code(versions: Versions, form: str) -> bytes:
    return b"%08x" % zlib.crc32(_told(versions, form).encode())


def _told(versions: Versions, form: str) -> str:
    return json.dumps({**dict(sorted(versions)), STATE: form})


def announce(client: redis.Redis) -> None:
    """Let Redis know what the code of this process stands for."""
    client.hset(keys.KERNELS, code().decode(), _told(kernels.VERSIONS, saved.FORMAT))


def known(client: redis.Redis, codes: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return the versions of kernels that each code stands for; empty where nobody has told."""
    names = sorted(codes)
    if not names:
        return {}
    found: Any = client.hmget(keys.KERNELS, names)
    return {name: json.loads(told) if told else {} for name, told in zip(names, found, strict=True)}


def here() -> dict[str, Any]:
    """Return the versions of the kernels of this process."""
    told: dict[str, Any] = json.loads(_told(kernels.VERSIONS, saved.FORMAT))
    return told


def changed(theirs: Mapping[str, Any]) -> set[str]:
    """Return the kernels whose versions are others here than there: all, where the format of states is another one or nobody has told."""
    ours = here()
    if ours[STATE] != theirs.get(STATE):
        return {name for name, _ in kernels.VERSIONS}
    return {name for name, version in kernels.VERSIONS if theirs.get(name) != version}


def shown(theirs: Mapping[str, Any], ours: Mapping[str, Any], most: int = 10) -> str:
    """Return in words how kernels differ from those of others; ``most`` are named.

    >>> shown({"rsi": 1, "ema": 4}, {"rsi": 2, "ema": 4})
    'rsi 2, not 1'
    """
    if not theirs:
        return NOBODY
    names = [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    found = [f"{name} {ours.get(name, 'gone')}, not {theirs.get(name, 'new')}" for name in names[:most]]
    return "; ".join([*found, *([f"and {len(names) - most} more"] if len(names) > most else [])])


def fleet(client: redis.Redis, partitions: int) -> dict[str, dict[str, Any]]:
    """Return by code: how many workers ``serve`` and ``wait``, how many ``partitions`` have its states, and its ``versions``."""
    pipe: Any = client.pipeline(transaction=False)
    pipe.hgetall(keys.KERNELS)
    for p in range(partitions):
        pipe.hget(keys.checkpoint(p), CODE_FIELD)
    told, *saved_by = pipe.execute()
    alive = {
        what: Counter(code_of(name) for name, ms in of_role.items() if ms < LEASE_MS)
        for what, of_role in worker_silences(client).items()
    }
    states = Counter(one.decode() for one in saved_by if one)
    return {
        one: {
            "serve": alive["serve"][one],
            "wait": alive["wait"][one],
            "partitions": states[one],
            "versions": json.loads(told.get(one.encode(), b"{}")),
        }
        for one in sorted(alive["serve"].keys() | alive["wait"].keys() | states.keys())
    }


class Door:
    """Tells in the log that a worker waits because others run other kernels, and that it goes on."""

    def __init__(self, client: redis.Redis, member: Member) -> None:
        self._client = client
        self._member = member
        self._told: set[str] = set()

    def look(self) -> None:
        """Tell what is new since the last look."""
        found = set() if self._member.is_in else self._member.others
        if found and found != self._told:
            for theirs in known(self._client, found).values():
                _LOG.error(
                    "workers with other kernels run: here %s. %s",
                    shown(theirs, here()),
                    _WAITS if self._member.ready is None else _TAKES,
                )
        elif self._told and not found:
            _LOG.warning("this worker takes part now")
        self._told = found
