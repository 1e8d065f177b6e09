"""Child processes, one a role: restarted when they die, and stopped with their parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import NamedTuple

_LOG = logging.getLogger(__name__)


RESTART_S = 1.0
STOP_S = 20.0
GRACE_S = 4.0
"""A part that was asked to stop and has not by then ends as it is, for what was not committed is taken again: its kernels may be
compiling, or a server may keep it waiting."""


class Child(NamedTuple):
    """A process, the role it does, and when it was started."""

    role: str
    process: subprocess.Popen[bytes]
    since: float


class Processes:
    """Child processes that end with this one: each watches the pipe that is its standard input. A role may occur more than once."""

    def __init__(self, roles: list[str], environ: dict[str, str] | None = None) -> None:
        self._environ = environ
        self.restarts = 0
        self._children = [Child(role, self._start(role), time.monotonic()) for role in roles]

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ingest", "run", "--roles", role, "--inline"]
        # a session of its own: Ctrl-C reaches the parent alone, which then stops the children in order
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=self._environ, start_new_session=True)  # noqa: S603  # our own program

    def start(self, role: str) -> None:
        """Start one more process for ``role``."""
        self._children.append(Child(role, self._start(role), time.monotonic()))

    def restart_dead(self) -> None:
        """Start again whatever has died, at most once a second."""
        for i, (role, process, since) in enumerate(self._children):
            if process.poll() is not None and time.monotonic() - since >= RESTART_S:
                _LOG.error("%s ended with code %s and is started again", role, process.returncode)
                self.restarts += 1
                self._close(process)
                self._children[i] = Child(role, self._start(role), time.monotonic())

    @staticmethod
    def _close(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()

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
            self._close(process)


def _stop_with_parent(stop: threading.Event) -> None:
    """Stop when the parent is gone, however it went: then the pipe at standard input ends."""
    while os.read(0, 1024):
        pass
    stop.set()
    _end_soon()


def _signals() -> int:
    """What can be read from once a signal has come, though the main thread may not hear of it while it is in compiled code."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    return reader


def _stop_in_time(signals: int) -> None:
    os.read(signals, 1)
    _end_soon()


def _end_soon() -> None:
    time.sleep(GRACE_S)
    _LOG.error("it did not stop within %.0f s and ends as it is; what was not committed is taken again", GRACE_S)
    os._exit(1)
