"""Both servers and the pipeline's processes, with handles to hurt each of them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import psutil
import psycopg
import redis

from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest.servers.orders import orders
from ingest.servers.supervisor import Server
from ingest.streams.backlog import Backlog, backlog
from ingest.streams.membership import count_alive, silent_ms
from ingest.streams.outage import open_redis
from tests.chaos.cluster import ClusterOfSix
from tests.chaos.tape import INSTRUMENTS, Entry
from transforms.catalog import VIEWS

PARTITIONS = 4
PUBLISH = 200
"""Entries of one pipeline."""
STEP_S = 0.2
"""Between two batches, where `PUBLISH` entries take longer to come."""
START_S = 120.0
DRAIN_S = 180.0
"""How long nothing may move before the rest counts as stuck."""
DRAIN_LOOK_S = 0.1


class Deployment:
    """One deployment on servers of its own.

    Attributes
    ----------
    redis_server, postgres:
        The server processes.
    cluster:
        Redis, where it is a cluster; there is no ``redis_server`` then.
    log:
        The file of what all processes say.
    published:
        Entries appended so far.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        tape: str = "",
        others: Sequence[str] = (),
        cluster: ClusterOfSix | None = None,
        replicas: int = 0,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._tape = tape
        self._variables = variables
        self._replicas = replicas
        self._lock = open(folder / "lock", "wb")  # noqa: SIM115 - held as long as the servers
        wanted = ["postgres_url"] if cluster else ["redis_url", "postgres_url"]
        told = orders(folder, self._lock.fileno(), wanted, durable=False)
        self.cluster = cluster
        self.redis_url: str = cluster.url if cluster else told["state"]["redis_url"]
        self.postgres_url: str = told["state"]["postgres_url"]
        self._servers = [Server(order, self._lock.fileno()) for order in told["servers"]]
        self.redis_server, self.postgres = self._servers[0], self._servers[-1]
        for server in self._servers:
            server.start()
            self.wait_for(server)
        mark = "&" if "?" in self.redis_url else "?"
        self.client = open_redis(f"{self.redis_url}{mark}socket_timeout=2", replicas)
        with psycopg.connect(self.postgres_url) as connection:
            migrate(connection, [table_of_view(view) for view in VIEWS])
        self.log = folder / "pipeline.log"
        self.published = 0
        roles = [*["worker"] * workers, "router", "writer", *(["tape"] if tape else []), *others]
        self._runs = [(role, self._run(role)) for role in roles]
        self._wait_for_parts(list(dict.fromkeys(roles)))

    def command(self, *words: str, tree: Path | None = None, **variables: str) -> subprocess.Popen[bytes]:
        """Start a command of this deployment, with other variables where some are given, or of another version of the code in ``tree``."""
        environ = {
            **os.environ,
            "TFS_REDIS_URL": self.redis_url,
            "TFS_POSTGRES_URL": self.postgres_url,
            "TFS_PARTITIONS": str(PARTITIONS),
            "TFS_REDIS_REPLICAS": str(self._replicas),
            "TFS_INSTRUMENTS": str(INSTRUMENTS),
            "TFS_TAPE": self._tape,
            "SENTIMENT_MODEL": "embedded",
            **({"PYTHONPATH": str(tree)} if tree else {}),
            **self._variables,
            **variables,
        }
        command = [sys.executable, "-m", "ingest", *words]
        with self.log.open("ab") as out:
            return subprocess.Popen(command, env=environ, stdout=out, stderr=out, cwd=tree)

    def add(self, role: str, run: subprocess.Popen[bytes]) -> None:
        """Let a process belong to the deployment, which ends it with the others."""
        self._runs.append((role, run))

    def end(self, run: subprocess.Popen[bytes]) -> int:
        """Stop one process as a user does; return its exit code."""
        self._runs = [one for one in self._runs if one[1] is not run]
        run.send_signal(signal.SIGTERM)
        return run.wait(60)

    def _run(self, role: str) -> subprocess.Popen[bytes]:
        return self.command("run", "--roles", role)

    def children(self, role: str) -> list[psutil.Process]:
        """The processes that do a role's work; ``ingest run`` starts another for one that dies."""
        found: list[psutil.Process] = []
        for _, run in self._runs:
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(run.pid).children()
                found += (c for c in children if f"--roles {role} --inline" in " ".join(c.cmdline()))
        return found

    def crash(self, role: str) -> None:
        """Kill the processes of a role, and what would start them again."""
        for run in [run for name, run in self._runs if name == role]:
            _kill(run)
        self._runs = [one for one in self._runs if one[0] != role]

    def stop(self, role: str) -> list[int]:
        """Stop the processes of a role as a user does; return their exit codes."""
        found = [run for name, run in self._runs if name == role]
        for run in found:
            run.send_signal(signal.SIGTERM)
        self._runs = [one for one in self._runs if one[0] != role]
        return [run.wait(60) for run in found]

    def start(self, role: str) -> None:
        """Start a process of a role."""
        self._runs.append((role, self._run(role)))

    def _wait_for_parts(self, roles: Sequence[str]) -> None:
        """Return when a process of each role is alive: one whose server is away when it starts ends at once, as a user is told."""
        deadline = time.monotonic() + START_S
        while not all(count_alive(silent_ms(self.client, roles)).values()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"a part does not start: {self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    @staticmethod
    def wait_for(server: Server) -> None:
        """Return when the server answers."""
        deadline = time.monotonic() + START_S
        while not server.answers():
            if server.ended() or time.monotonic() > deadline:
                raise RuntimeError(f"{server.name} does not start: {server.tail()}")
            time.sleep(0.02)

    @staticmethod
    def stop_server(server: Server, how: str) -> None:
        """End a server by a signal and wait for its end."""
        server.signal(how)
        if server.process is not None:
            server.process.wait(60)

    def publish_all(self, tape: Sequence[Entry], seconds: float = 0.0) -> None:
        """Append entries evenly over some seconds."""
        began = time.monotonic()
        give_up = began + seconds + DRAIN_S
        step = max(1, min(PUBLISH, int(len(tape) * STEP_S / seconds))) if seconds else PUBLISH
        for at in range(0, len(tape), step):
            ahead = began + seconds * at / len(tape) - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            self.publish(tape[at : at + step], give_up)

    def publish(self, batch: Sequence[Entry], give_up: float) -> None:
        """Append entries as `append` does, and count them."""
        if self.cluster is None:
            append(self.client, batch, give_up)
        else:
            self.cluster.append(self.client, batch, give_up)
        self.published += len(batch)

    def drain(self, partitions: int = PARTITIONS) -> None:
        """Return when everything that was published is in both stores, however slow the machine is.

        Raises
        ------
        TimeoutError
            Nothing has moved for ``DRAIN_S``; the end of the processes' log is in the message.
        """
        last, deadline = None, time.monotonic() + DRAIN_S
        while (left := self._backlog(partitions)) is None or left.total:
            if left != last:
                last, deadline = left, time.monotonic() + DRAIN_S
            elif time.monotonic() > deadline:
                raise TimeoutError(f"not drained: {left}\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(DRAIN_LOOK_S)

    def _backlog(self, partitions: int) -> Backlog | None:
        try:
            return backlog(self.client, partitions)
        except redis.RedisError:  # it has not heard of the last failover yet
            return None

    def close(self) -> list[int]:
        """Stop everything in order; the exit codes of the processes."""
        for _, run in self._runs:
            run.send_signal(signal.SIGTERM)
        codes = [run.wait(60) for _, run in self._runs]
        self.client.close()
        for server in self._servers:
            self.stop_server(server, "SIGINT" if server is self.postgres else "SIGTERM")
        self._lock.close()
        return codes

    def kill(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        for _, run in self._runs:
            _kill(run)
        for server in self._servers:
            if not server.ended():
                self.stop_server(server, server.orders["quit_signal"])


@contextlib.contextmanager
def deployment(
    workers: int,
    tape: str = "",
    others: Sequence[str] = (),
    cluster: ClusterOfSix | None = None,
    replicas: int = 0,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Deployment]:
    """A deployment that is gone afterwards, however the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="tfs-chaos-"))
    folder.chmod(0o711)  # the servers may run as another user
    one = Deployment(folder, workers, tape, others, cluster, replicas, variables)
    try:
        yield one
    finally:
        one.kill()
        shutil.rmtree(folder)


def _kill(run: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(run.pid).children(recursive=True):
            child.kill()
    run.kill()
    run.wait()


def append(client: redis.Redis, batch: Sequence[Entry], give_up: float) -> None:
    """Append entries, through any trouble, each once: what was appended before is refused by its id."""
    while True:
        # all or none: a server that is loading refuses the first of them and takes the rest
        pipe = client.pipeline(transaction=True)
        for entry in batch:
            pipe.xadd(entry.stream, entry.fields, id=entry.id)  # type: ignore[arg-type]
        try:
            for reply in pipe.execute(raise_on_error=False):
                if isinstance(reply, Exception) and "equal or smaller" not in str(reply):
                    raise reply
        except redis.RedisError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return


def pick(processes: list[psutil.Process], random_: random.Random) -> psutil.Process | None:
    """One of them, or None where none is up."""
    return random_.choice(processes) if processes else None
