"""What happens to a deployment, and how often."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import psutil
import redis

from ingest.streams import keys
from ingest.worker.commit import LEASE_MS
from tests.chaos.deployment import PARTITIONS, Deployment, pick

EVERY_S = (0.5, 3.0)
"""Between two faults, at least and at most."""

Fault = Callable[[Deployment, random.Random], bool]
"""Does it, and says whether there was anything to do it to."""


def kill(role: str) -> Fault:
    """Return the fault that kills a process of a role."""

    def kill_one(deployment: Deployment, random_: random.Random) -> bool:
        process = pick(deployment.children(role), random_)
        if process is None:
            return False
        process.kill()
        return True

    return kill_one


def freeze_worker(deployment: Deployment, random_: random.Random) -> bool:
    """Stop a worker for longer than its leases hold, then let it go on where it was."""
    process = pick(deployment.children("worker"), random_)
    if process is None:
        return False
    try:
        process.suspend()
        time.sleep(LEASE_MS / 1000 + random_.uniform(0.2, 1.5))
        process.resume()
    except psutil.NoSuchProcess:
        return False
    return True


def steal_lease(deployment: Deployment, random_: random.Random) -> bool:
    """Take a partition from its owner, as another worker would, and never come back for it."""
    p = random_.randrange(PARTITIONS)
    try:
        token = deployment.client.incr(keys.fence(p))
        deployment.client.set(keys.owner(p), token, px=random_.randint(50, LEASE_MS))
    except redis.RedisError:
        return False
    return True


def restart(server: str, how: str, longest_s: float) -> Fault:
    """Return the fault that ends a server by a signal, and starts it again some time later."""

    def restart_it(deployment: Deployment, random_: random.Random) -> bool:
        it = getattr(deployment, server)
        deployment.stop_server(it, how)
        time.sleep(random_.uniform(0.0, longest_s))
        it.start()
        deployment.wait_for(it)
        return True

    return restart_it


def kill_master(deployment: Deployment, random_: random.Random) -> bool:
    """Kill a master of the cluster, and start it again as the replica of the one that took its place."""
    assert deployment.cluster is not None
    return deployment.cluster.kill_master(random_)


def fail_over(deployment: Deployment, random_: random.Random) -> bool:
    """Let a replica of the cluster take the place of its master, which lives."""
    assert deployment.cluster is not None
    return deployment.cluster.fail_over(random_)


FAULTS: dict[str, tuple[int, Fault]] = {
    "worker killed": (8, kill("worker")),
    "writer killed": (2, kill("writer")),
    "router killed": (2, kill("router")),
    "worker frozen": (2, freeze_worker),
    "lease stolen": (3, steal_lease),
    "Redis killed": (1, restart("redis_server", "SIGKILL", 2.0)),
    "Redis stopped": (1, restart("redis_server", "SIGTERM", 4.0)),
    "PostgreSQL killed": (1, restart("postgres", "SIGQUIT", 2.0)),
    "PostgreSQL stopped": (1, restart("postgres", "SIGINT", 8.0)),
    "tape killed": (4, kill("tape")),
}
"""Each fault and its weight. SIGQUIT is PostgreSQL's own word for: end now, and recover at the next start."""
OF_CLUSTER: dict[str, tuple[int, Fault]] = {
    **{name: fault for name, fault in FAULTS.items() if not name.startswith("Redis")},
    "master killed": (4, kill_master),
    "failover asked for": (4, fail_over),
}
"""The same on a cluster."""
KILLS = (
    "worker killed",
    "writer killed",
    "router killed",
    "tape killed",
    "Redis killed",
    "PostgreSQL killed",
    "master killed",
)


def draw(random_: random.Random, *, cluster: bool = False) -> tuple[str, Fault]:
    """The next fault."""
    known = OF_CLUSTER if cluster else FAULTS
    name = random_.choices(list(known), [weight for weight, _ in known.values()])[0]
    return name, known[name][1]
