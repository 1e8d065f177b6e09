"""``python -m ingest.alive ROLE``: whether a part of the pipeline is well, for the probes of a container scheduler.

A part is well while a process of its role gives signs of life in Redis. The scorer gives none while it works on a batch: it is well if it
asked for posts within the last minute. With ``--here`` only processes of this host count, also a worker that waits because others have
other kernels; and a Redis that does not answer counts as well: the parts wait until it is back, and a restart would not help.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence

import redis

from feature_repo.stores.endpoints import redis_url
from ingest.streams import membership
from ingest.streams.outage import open_redis

SIGN_MS = 5000


def is_well(client: redis.Redis, role: str, at_host: str | None = None, *, serves: bool = False) -> bool:
    """Return whether a process of ``role`` is alive, on any host or on the given one, and ``serves``, if that is asked."""
    silent = membership.silent_ms(client, [role])[role]
    if role == membership.SCORER:
        return any(ms < membership.ASKED_MS for ms in silent.values())
    if role == "worker" and at_host is not None and not serves:
        silent |= membership.worker_silences(client)["wait"]
    return any(ms <= SIGN_MS and at_host in (None, membership.host(name)) for name, ms in silent.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if the part is well, else 1."""
    about = "Whether a part of the pipeline is well."
    parser = argparse.ArgumentParser(prog="python -m ingest.alive", description=about)
    parser.add_argument("role", help="worker, router, scorer, writer, tape, lake or kafka")
    here = "a process of this host; well also while Redis does not answer"
    parser.add_argument("--here", action="store_true", help=here)
    parser.add_argument(
        "--serves", action="store_true", help="with --here: a worker that waits, or still takes over, does not count"
    )
    args = parser.parse_args(argv)
    try:
        with open_redis(redis_url()) as client:
            return (
                0 if is_well(client, args.role, socket.gethostname() if args.here else None, serves=args.serves) else 1
            )
    except (redis.ConnectionError, redis.TimeoutError):
        return 0 if args.here else 1


if __name__ == "__main__":
    raise SystemExit(main())
