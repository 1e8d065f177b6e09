"""A Redis of a test that can be killed, started again and put back to a moment ago."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from ingest.servers.orders import orders
from ingest.servers.supervisor import Server

PATIENCE_S = 120.0
WITHIN_S = 10.0
"""A part that is asked to stop ends in this time, because Docker kills it then."""


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.01)


def send(execute: Callable[[], list[Any]]) -> None:
    """Send a pipeline of entries, each with an id of its own, until Redis has all of them, however often that takes."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            for reply in execute():
                if isinstance(reply, Exception) and "equal or smaller" not in str(reply):
                    raise reply
        except redis.RedisError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


class MortalRedis:
    """A server with an append-only file that can be killed and started again on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self._lock = open(folder / "lock", "wb")  # noqa: SIM115 - held as long as the server
        told = orders(folder, self._lock.fileno(), ["redis_url"], durable=False)
        self.url: str = told["state"]["redis_url"]
        self._server = Server(told["servers"][0], self._lock.fileno())
        self._data: str = told["servers"][0]["folder"]
        self.start()

    def start(self) -> None:
        self._server.start()
        wait_until(self._server.answers)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server itself."""
        assert self._server.process is not None
        return self._server.process

    def kill(self, how: str = "SIGKILL") -> None:
        self._server.signal(how)
        self.process.wait(30)

    def keep(self) -> None:
        """Copy the data as it is now; every reply so far is in the file."""
        subprocess.run(["cp", "-a", self._data, f"{self._data}.kept"], check=True)  # keeps the owners

    def restore(self) -> None:
        """Put back the copy, while the server is down: it starts as it was a moment ago."""
        shutil.rmtree(self._data)
        os.rename(f"{self._data}.kept", self._data)

    def written(self) -> int:
        """The size of the file."""
        return self._file().stat().st_size

    def cut(self, since: int) -> None:
        """Lose the later half of what was written since the file had a size, while the server is down."""
        os.truncate(self._file(), (since + self.written()) // 2)

    def _file(self) -> Path:
        [path] = Path(self._data).rglob("*.incr.aof")
        return path

    def close(self) -> None:
        if not self._server.ended():
            self.kill()
        self._lock.close()
