"""A Redis Cluster of three masters and three replicas under chaos, and a producer that knows what the cluster has acknowledged to it."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import tempfile
import time
from collections import Counter, defaultdict
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
LONGEST_APART_S = 2.0
"""For how long a replica lacks what its master acknowledges, before the master is killed."""


class ClusterOfSix:
    """The nodes, and what was appended.

    Attributes
    ----------
    url : str
    lost : Counter of str
        Entries that were acknowledged and are gone, by kind; those of a plain stream by its name. Of a plain stream some may be in the
        logs: they were moved before the stream came back older.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.url = self._begin()
        self._wait_until_whole()
        self.lost: Counter[str] = Counter()
        self._killed = 0
        self._acknowledged: defaultdict[Place, list[tuple[int, str]]] = defaultdict(list)

    def _begin(self) -> str:
        """Start the servers and return their address."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self._servers.cluster(MASTERS, REPLICAS))

    def append(self, client: redis.Redis, batch: Sequence[Entry], give_up: float) -> None:
        """Append entries, through any trouble, each once, and count those of earlier batches that are gone."""
        records: defaultdict[Place, list[Record]] = defaultdict(list)
        sent: defaultdict[Place, list[tuple[int, str]]] = defaultdict(list)
        for entry in batch:
            place, words = keys.place_of(entry.stream), [word for pair in entry.fields.items() for word in pair]
            records[place].append(Record(SOURCE, (_number(entry), 0), words))
            sent[place].append((_number(entry), entry.fields.get(b"kind", entry.stream.encode()).decode()))
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
                self._count_lost(place, newest)
            batches = [one._replace(steps=[self._step(one.place)]) for one in batches]
        for place, of_batch in sent.items():
            self._acknowledged[place] += of_batch

    def look(self, client: redis.Redis) -> None:
        """Count what is gone of the places that nothing was appended to since."""
        places = list(self._acknowledged)
        for place, [found] in move.markers(client, places, [SOURCE]).items():
            self._count_lost(place, found[0] if found else 0)

    def _count_lost(self, place: Place, newest: int) -> None:
        of_place = self._acknowledged[place]
        self.lost.update(kind for number, kind in of_place if number > newest)
        self._acknowledged[place] = [one for one in of_place if one[0] <= newest]

    def _step(self, place: Place) -> Step:
        known = self._acknowledged[place]
        return Step(SOURCE, before=(known[-1][0] if known else 0, 0))

    def kill_master(self, random_: random.Random) -> bool:
        """Kill a master, wait until its replica has its place, and start it again as the replica of that one."""
        self.kill_and_elect(random_, apart_s=random_.uniform(0.0, LONGEST_APART_S))
        time.sleep(random_.uniform(0.0, 1.0))
        self.restart()
        return True

    def kill_and_elect(self, random_: random.Random, apart_s: float = 0.0) -> float:
        """Kill a master, and return when its replica has its place, by the steady clock; the replica lacks the last ``apart_s``."""
        masters = self._masters()
        self._killed = random_.choice(sorted(masters))
        [replica] = masters[self._killed]
        if apart_s:
            # It stands still before its link is cut: else it would connect again at once, and ask for what it lacks. What came before the
            # cut waits in its socket, and it reads that when it goes on.
            self._servers.running[replica].send_signal(signal.SIGSTOP)
            self._ask(self._killed, "CLIENT KILL TYPE replica")
            time.sleep(apart_s)
        self._servers.kill(self._killed)
        self._servers.running[replica].send_signal(signal.SIGCONT)
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
