"""A Redis Cluster of three masters and three replicas under chaos, and a producer that knows what the cluster has acknowledged to it."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from ingest.streams import keys, move
from ingest.streams.move import Batch, Behind, Place, Record, Step
from tests.chaos.tape import Entry
from tests.feature_repo.stores.redis_servers import Servers, wait_until

SOURCE = "chaos"
MASTERS = REPLICAS = 3


class ClusterOfSix:
    """The nodes, and what was appended.

    Attributes
    ----------
    url : str
    lost : int
        Entries that were acknowledged and are gone.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.url = self._begin()
        self._wait_until_whole()
        self.lost = 0
        self._killed = 0
        self._acknowledged: defaultdict[Place, list[int]] = defaultdict(list)

    def _begin(self) -> str:
        """Start the servers and return their address."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self._servers.cluster(MASTERS, REPLICAS))

    def append(self, client: redis.Redis, batch: Sequence[Entry], give_up: float) -> None:
        """Append entries, through any trouble, each once, and count those of earlier batches that are gone."""
        records: defaultdict[Place, list[Record]] = defaultdict(list)
        for entry in batch:
            words = [word for pair in entry.fields.items() for word in pair]
            records[keys.place_of(entry.stream)].append(Record(SOURCE, (_number(entry), 0), words))
        batches = [Batch(place, of_place, [self._step(place)]) for place, of_place in records.items()]
        while True:
            try:
                replies = move.append(client, batches, is_new=True)
            except redis.RedisError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
                continue
            behind = [
                (one.place, reply.position[0])
                for one, reply in zip(batches, replies, strict=True)
                if isinstance(reply, Behind)
            ]
            if not behind:
                break
            for place, newest in behind:
                there = [number for number in self._acknowledged[place] if number <= newest]
                self.lost += len(self._acknowledged[place]) - len(there)
                self._acknowledged[place] = there
            batches = [one._replace(steps=[self._step(one.place)]) for one in batches]
        for place, of_place in records.items():
            self._acknowledged[place] += (record.position[0] for record in of_place)

    def _step(self, place: Place) -> Step:
        known = self._acknowledged[place]
        return Step(SOURCE, before=(known[-1] if known else 0, 0))

    def kill_master(self, random_: random.Random) -> bool:
        """Kill a master, wait until its replica has its place, and start it again as the replica of that one."""
        self.kill_and_elect(random_, apart_s=random_.uniform(0.0, 0.5))
        time.sleep(random_.uniform(0.0, 1.0))
        self.restart()
        return True

    def kill_and_elect(self, random_: random.Random, apart_s: float = 0.0) -> float:
        """Kill a master, and return when its replica has its place, by the steady clock; the replica lacks the last ``apart_s``."""
        masters = self._masters()
        self._killed = random_.choice(sorted(masters))
        [replica] = masters[self._killed]
        if apart_s:
            self._ask(self._killed, "CLIENT KILL TYPE replica")  # it connects again within a second
            time.sleep(apart_s)
        self._servers.kill(self._killed)
        wait_until(lambda: self._ask(replica, "ROLE")[0] == b"master")
        return time.monotonic()

    def restart(self) -> None:
        """Start the master that was killed last, as a replica: it has no data, and so must not come back before another has its place."""
        self._servers.start(self._killed, *self._servers.options[self._killed])
        self._wait_until_whole()

    def fail_over(self, random_: random.Random) -> bool:
        """Ask a replica to take the place of its master; say whether it did, as on a busy machine it may give up."""
        masters = self._masters()
        [replica] = masters[random_.choice(sorted(masters))]
        with contextlib.suppress(redis.ResponseError):
            self._ask(replica, "CLUSTER FAILOVER")
        time.sleep(2.0)
        self._wait_until_whole()
        return bool(self._ask(replica, "ROLE")[0] == b"master")

    def _wait_until_whole(self) -> None:
        """Wait until each master has a replica that follows it, and all nodes know who is a master."""

        def is_whole() -> bool:
            masters = self._masters()
            links = [self._ask(port, "ROLE")[3] for port in self._servers.running if port not in masters]
            known = [self._ask(port, "CLUSTER SLOTS") for port in self._servers.running]
            return (
                [len(replicas) for replicas in masters.values()] == [1] * MASTERS
                and links == [b"connected"] * REPLICAS
                and all({int(about[2][1]) for about in slots} == masters.keys() for slots in known)
            )

        wait_until(is_whole)

    def _masters(self) -> dict[int, list[int]]:
        """Return the replicas of each master, by ports."""
        roles = {port: self._ask(port, "ROLE") for port in self._servers.running}
        return {port: [int(replica[1]) for replica in role[2]] for port, role in roles.items() if role[0] == b"master"}

    def _ask(self, port: int, command: str) -> Any:
        with self._servers.client(port) as client:
            return client.execute_command(command)  # type: ignore[no-untyped-call]


def _number(entry: Entry) -> int:
    return int(entry.id.partition("-")[0])


@contextlib.contextmanager
def cluster_of_six() -> Iterator[ClusterOfSix]:
    """A cluster that is gone afterwards, however the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="tfs-chaos-"))
    folder.chmod(0o711)  # the servers may run as another user
    servers = Servers(folder)
    try:
        yield ClusterOfSix(servers)
    finally:
        servers.close()
        shutil.rmtree(folder)
