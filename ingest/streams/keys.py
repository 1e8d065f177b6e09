"""The partition logs: one Redis stream a partition, every kind of message of its symbols in arrival order.

Keys of a partition share a hash tag, so that one script may touch them all on Redis Cluster.
An entry has the fields ``kind`` (see ``messages.KIND``) and ``data`` (or the message flat), and ``recorded`` where it comes from a
recording: then its own receive time counts as the clock's, and no wall clock makes time pass for its symbol.
"""

from __future__ import annotations

import zlib

import redis

from feature_repo.stores.errors import UserError

SOCIAL = "social_data"
"""Posts as written; the scorer reads them."""
DEAD_LETTER = "dead_letter"
"""Refused messages, byte for byte, with the reason."""
GROUP = "tfs"
CONSUMER = "owner"
"""The consumer of ``social_data``: whoever reads it next rereads what is pending, in order."""


def events(p: int) -> str:
    """The log of partition ``p``."""
    return f"events:{{{p}}}"


def checkpoint(p: int) -> str:
    """The hash that holds how far the partition is and what its worker knew; see ``partition``."""
    return f"checkpoint:{{{p}}}"


def outbox(p: int) -> str:
    """Rows on their way to the offline store."""
    return f"outbox:{{{p}}}"


def features(p: int) -> str:
    """The normalised vector, for the signal service."""
    return f"features:{{{p}}}"


def owner(seat: int | str) -> str:
    """The lease of a partition, or of a role with one seat: its value is the fencing token."""
    return f"own:{{{seat}}}"


def fence(seat: int | str) -> str:
    """The counter that fencing tokens of a seat are drawn from."""
    return f"fence:{{{seat}}}"


def members(role: str) -> str:
    """The living processes of a role, by the time of their last sign of life."""
    return f"members:{role}"


EDGE = "edge"
"""Where refusals before any log are counted: by the router, the scorer and the replay."""


def counters(where: int | str) -> str:
    """What was accepted, refused and emitted, counted: of partition ``where``, or of the ``EDGE``.

    The edge also holds ``scorer.batches``, ``scorer.texts`` and ``scorer.tokens`` (that the model read), ``scorer.ms`` (that it took)
    and, as a name, ``scorer.model``.
    """
    return f"counters:{{{where}}}"


def partition_of(symbol: str, partitions: int) -> int:
    """The partition of a symbol: crc32 of its name, modulo.

    >>> partition_of("BTCUSDT", 4)
    3
    """
    return zlib.crc32(symbol.encode()) % partitions


PROJECT = "trading"


class PartitionsError(UserError, RuntimeError):
    """This deployment was started with another number of partitions."""


def check_partitions(client: redis.Redis, partitions: int) -> None:
    """Fix the number of partitions of this deployment, or check it.

    Raises
    ------
    PartitionsError
        It was fixed to another number: a symbol's state would be looked for in the wrong log.
    """
    client.set("tfs:partitions", partitions, nx=True)
    fixed: bytes | None = client.get("tfs:partitions")  # type: ignore[assignment]
    if fixed is not None and int(fixed) != partitions:
        raise PartitionsError(
            f"TFS_PARTITIONS={partitions}, but this Redis holds the logs of {int(fixed)} partitions; use that number, or an empty Redis"
        )
