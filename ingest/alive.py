"""``python -m ingest.alive ROLE``: whether a part of the pipeline is well, for the probes of a scheduler of containers.

A part is well while a process of its role gives signs of life in Redis; the scorer, which works on a batch for as long as it takes, while
it asked for posts within the last minute. With ``--here`` only processes of this host count, and a Redis that does not answer is no
reason: the parts live through that, and starting them again would not bring it back.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from typing import Any

import redis

from feature_repo.stores.endpoints import redis_url
from ingest.streams.keys import CONSUMER, GROUP, SOCIAL, members
from ingest.streams.membership import host
from ingest.streams.outage import open_redis

SIGN_MS = 5000
ASKED_MS = 60_000


def is_well(client: redis.Redis, role: str, at_host: str | None = None) -> bool:
    """Whether a process of ``role`` lives, on any host or on the one that is named."""
    if role == "scorer":
        consumers: Any = client.xinfo_consumers(SOCIAL, GROUP) if client.exists(SOCIAL) else []
        return any(consumer["name"] == CONSUMER.encode() and consumer["idle"] < ASKED_MS for consumer in consumers)
    seconds, _ = client.time()  # type: ignore[misc]
    living: Any = client.zrangebyscore(members(role), seconds * 1000 - SIGN_MS, "+inf")
    return any(at_host is None or host(name.decode()) == at_host for name in living)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 where the part is well."""
    parser = argparse.ArgumentParser(
        prog="python -m ingest.alive", description="Whether a part of the pipeline is well."
    )
    parser.add_argument("role", help="worker, router, scorer, writer or kafka")
    parser.add_argument(
        "--here", action="store_true", help="a process of this host; well also while Redis does not answer"
    )
    args = parser.parse_args(argv)
    try:
        with open_redis(redis_url()) as client:
            return 0 if is_well(client, args.role, socket.gethostname() if args.here else None) else 1
    except (redis.ConnectionError, redis.TimeoutError):
        return 0 if args.here else 1


if __name__ == "__main__":
    raise SystemExit(main())
