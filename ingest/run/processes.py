"""The roles of a pipeline: what runs each, and its child processes, which are restarted when they die and stopped with their parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ingest.cli import ExitCode

_LOG = logging.getLogger(__name__)

ROLES = ("worker", "router", "scorer", "writer", "tape")
WITH_LAKE = (*ROLES, "lake")
"""The roles of a deployment that keeps a lake."""
RESTART_S = 1.0
"""Shortest time between two starts of the same child."""
MEND_S = 10.0
"""The same for a child that ended with an error which only the user can mend, such as a model that is not there."""
STOP_S = 20.0
"""How long the parent waits for its children to stop before it kills them."""
GRACE_S = 4.0
"""How long a role may take to stop. Kernels that compile or a slow server may hold it up longer; then the process ends at once. This
loses nothing: what was not committed is processed again."""
REPLY_S = 3.0
"""How long a role that stops may wait for a reply of Redis."""


class Child(NamedTuple):
    role: str
    process: subprocess.Popen[bytes]
    since_s: float


class Processes:
    """Child processes, one for each of `roles`; they end when this process ends, because each watches the pipe of its standard input.

    ``options`` are further words of the command of each child.
    """

    def __init__(self, roles: list[str], environ: Mapping[str, str] | None = None, options: Sequence[str] = ()) -> None:
        self._environ = environ  # of the children; by default this process's own
        self._options = options
        self.restarts = 0
        self._children = [self._started(role) for role in roles]

    def _started(self, role: str) -> Child:
        command = [sys.executable, "-m", "ingest", "run", "--roles", role, *self._options, "--inline"]
        # In its own session: Ctrl-C reaches the parent alone, and the parent then stops the children in order.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=self._environ, start_new_session=True)  # noqa: S603  # our own program
        return Child(role, process, time.monotonic())

    def start(self, role: str) -> None:
        """Start one more process for ``role``."""
        self._children.append(self._started(role))

    def restart_dead(self) -> None:
        """Restart the children that died, each at most once a second, or every ten if the user has something to mend."""
        for i, (role, process, since_s) in enumerate(self._children):
            pause_s = MEND_S if process.poll() == ExitCode.USER_ERROR else RESTART_S
            if process.returncode is not None and time.monotonic() - since_s >= pause_s:
                _LOG.error("%s ended with code %s and is restarted", role, process.returncode)
                self.restarts += 1
                _close(process)
                self._children[i] = self._started(role)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *about: object) -> None:
        deadline = time.monotonic() + STOP_S
        for child in self._children:
            child.process.terminate()
        for role, process, _ in self._children:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _LOG.error("%s did not stop within %.0f s and is killed", role, STOP_S)
                process.kill()
                process.wait()
            _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def stop_with_parent_or_signal(stop: threading.Event) -> None:
    """Set ``stop`` when the parent is gone, and end this process when it has not stopped in time after that or after a signal.

    Two threads watch. One reads standard input, a pipe of the parent: it ends with the parent, however the parent died. The other
    reads the pipe that Python writes signals into, because the main thread does not see a signal while it runs compiled code.
    """
    signals, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written)
    threading.Thread(target=_watch_parent, args=(stop,), daemon=True).start()
    threading.Thread(target=_watch_signals, args=(signals,), daemon=True).start()


def _watch_parent(stop: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stop.set()
    _end_after_grace()


def _watch_signals(signals: int) -> None:
    os.read(signals, 1)
    _end_after_grace()


def _end_after_grace() -> None:
    time.sleep(GRACE_S)
    _LOG.error("not stopped within %.0f s: the process ends now; what was not committed is processed again", GRACE_S)
    os._exit(1)


def run_role(role: str, stop: threading.Event, hand_over: str = "wait", started_ms: int = 0) -> None:
    """Run one role until ``stop`` is set. Only what the role needs is imported. ``hand_over`` and ``started_ms`` are for a worker."""
    from feature_repo.stores.endpoints import postgres_url, redis_url
    from ingest import settings
    from ingest.streams import outage
    from ingest.streams.raised import each_number

    def end_waits() -> None:
        stop.wait()
        time.sleep(REPLY_S)
        outage.end_waits(client)

    given = settings.load()
    with outage.open_redis(redis_url(), given.redis_replicas) as client:
        threading.Thread(target=end_waits, daemon=True).start()
        if role == "scorer":  # it loads its model once
            from ingest.sentiment import scorer

            scorer.run(client, given, stop, postgres_url=postgres_url())
            return
        for conf, until in each_number(client, given, stop):
            if role == "worker":
                from ingest.worker.worker import Worker

                Worker(client, conf, hand_over=hand_over, started_ms=started_ms).run(until)
            elif role == "router":
                from ingest import router

                router.run(client, conf.partitions, until, conf.number)
            elif role == "writer":
                from ingest import offline_writer

                offline_writer.run(client, postgres_url(), conf.partitions, until, conf.deployment)
            elif role == "tape":
                from ingest.tape import role as tape

                tape.run(client, conf, until)
            else:
                from ingest.lake import role as lake

                lake.run(client, postgres_url(), until)
