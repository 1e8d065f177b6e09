"""A master, its replica and the sentinels that watch them, under chaos, with the interface of `ClusterOfSix`."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.chaos.cluster import ClusterOfSix
from tests.feature_repo.stores.redis_servers import Servers, free_port, wait_until

NAME = "mymaster"
DOWN_MS = 2000
"""A busy machine answers late, and a replica that has just started has nothing yet."""


class MasterOfSentinels(ClusterOfSix):
    """A master and its replica, which change their places. The attributes are those of a cluster."""

    def __init__(self, servers: Servers, sentinels: int) -> None:
        self._sentinels = [0] * sentinels
        super().__init__(servers)

    def _begin(self) -> str:
        """Start the servers and return their address."""
        master = self._servers.start(free_port(), "--save", "")
        self._servers.start(free_port(), "--save", "", "--replicaof", "127.0.0.1", str(master))
        self._data = list(self._servers.running)
        wait_until(lambda: self._follow(master))  # sentinels see those that are there, and others ten seconds later
        self._sentinels = [self._servers.sentinel(master, DOWN_MS) for _ in self._sentinels]
        places = ",".join(f"127.0.0.1:{port}" for port in self._sentinels)
        return f"redis+sentinel://{places}/{NAME}"

    def master(self) -> int:
        """Return the port of the master that all sentinels name, or 0 where they differ."""
        named = {int(self._ask(port, f"SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}")[1]) for port in self._sentinels}
        return named.pop() if len(named) == 1 else 0

    def kill_and_elect(self, random_: random.Random, apart_s: float = 0.0) -> float:
        """Kill the master, and return when the sentinels have another one, by the steady clock; the replica lacks the last ``apart_s``."""
        self._wait_until_whole()
        self._killed = self.master()
        [replica] = [port for port in self._data if port != self._killed]
        if apart_s:
            self._servers.running[replica].send_signal(signal.SIGSTOP)  # as on a cluster
            self._ask(self._killed, "CLIENT KILL TYPE replica")
            time.sleep(apart_s)
        self._servers.kill(self._killed)
        self._servers.running[replica].send_signal(signal.SIGCONT)
        wait_until(lambda: self.master() not in (0, self._killed))
        return time.monotonic()

    def restart(self) -> None:
        """Start the master that was killed last, as a replica."""
        self._servers.start(self._killed, "--save", "", "--replicaof", "127.0.0.1", str(self.master()))
        self._wait_until_whole()

    def ask_for_failover(self) -> int:
        """Let the replica take the place of the master, which lives and takes writes for ten seconds more; return that one's port."""
        self._wait_until_whole()
        before = self.master()

        def is_done() -> bool:
            # One is under way, or the sentinel has not heard of the replica yet.
            with contextlib.suppress(redis.ResponseError):
                self._ask(self._sentinels[0], f"SENTINEL FAILOVER {NAME}")
            return self.master() not in (0, before)

        wait_until(is_done)
        return before

    def demote(self, port: int) -> None:
        """Make a master that was replaced a replica, as the sentinels do ten seconds later."""
        with self._servers.client(port) as client:
            client.replicaof("127.0.0.1", self.master())

    def fail_over(self, random_: random.Random) -> bool:
        """Ask for a failover, and wait until the old master is a replica."""
        self.ask_for_failover()
        self._wait_until_whole()
        return True

    def _wait_until_whole(self) -> None:
        """Wait until every other server follows the master, and all sentinels know it and each other."""

        def is_whole() -> bool:
            master = self.master()
            known = [self._ask(port, f"SENTINEL SENTINELS {NAME}") for port in self._sentinels]
            return self._follow(master) and all(len(others) == len(self._sentinels) - 1 for others in known)

        wait_until(is_whole)

    def _follow(self, master: int) -> bool:
        """Return whether every other server has what the master has."""
        others = [self._ask(port, "ROLE") for port in self._data if port != master]
        return all([*role[:1], *role[2:4]] == [b"slave", master, b"connected"] for role in others)


@contextlib.contextmanager
def master_of_sentinels(sentinels: int = 3) -> Iterator[MasterOfSentinels]:
    """Servers that are gone afterwards, however the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="tfs-"))
    folder.chmod(0o711)  # the servers may run as another user
    with contextlib.closing(Servers(folder)) as servers:
        yield MasterOfSentinels(servers, sentinels)
    shutil.rmtree(folder)
