"""The process that owns the embedded servers: it starts them, restarts one that dies, and stops them when the last user is gone.

It is a program of its own (``python supervisor.py LOCK_FD``, its orders as JSON on stdin) and uses only the standard library, so that
it starts in milliseconds and does not depend on the parent's threads and imports. Ctrl-C in the terminal does not reach its session.

Three files tell it what to do. It looks at them ten times a second.

- ``users``: each user of the servers holds a shared ``flock`` on it. The kernel releases the lock however the user dies, SIGKILL
  included, so when the supervisor gets an exclusive lock, no user is left.
- ``stay``: while it exists, the servers stay up without users (``servers up``).
- ``state``: the addresses. It is written when all servers answer and locked while this process lives, which shows others that it
  lives. When the file is gone (``servers down``, or the folder was deleted), the supervisor stops.

The supervisor and every server process inherit the descriptor of the lock file, so that the lock is free exactly when the last of
them has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

_POLL_S = 0.1
_START_S = 180.0  # crash recovery and reading a long append-only file may take minutes
_STOP_S = 60.0  # PostgreSQL's shutdown checkpoint
_KILL_S = 10.0
_RESTARTS = 5  # in a row, each within _RESTART_WINDOW_S of the one before
_RESTART_WINDOW_S = 60.0
_BACKOFF_S = 0.1  # doubled with every restart in a row
_TAIL = 2000  # bytes of a log in an error
_PR_SET_PDEATHSIG = 1
_PID_LINE, _STATUS_LINE = 0, 7  # of PostgreSQL's pid file


class Server:
    """One server process. Its orders say its name, command, account, log and port, how to ask it and how to stop it."""

    def __init__(self, orders: dict[str, Any], lock_fd: int) -> None:
        self.orders = orders
        self.name: str = orders["name"]
        self.lock_fd = lock_fd
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.last_start_s = 0.0
        self.restart_s: float | None = None  # when to start it again, once it has ended

    def start(self) -> None:
        stop = signal.Signals[self.orders["stop_signal"]]
        parent = os.getpid()

        def die_with_parent() -> None:
            # Set after the change of user, which would clear it. Linux only: elsewhere servers outlive a killed supervisor.
            if _libc is not None:
                _libc.prctl(_PR_SET_PDEATHSIG, stop)
                if os.getppid() != parent:
                    os._exit(1)

        account = self.orders["account"]
        now = time.monotonic()
        self.starts = self.starts + 1 if now - self.last_start_s < _RESTART_WINDOW_S else 1
        self.last_start_s = now
        self.restart_s = None
        with open(self.orders["log"], "ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the command is our own
                self.orders["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.orders["folder"],
                env=self.orders["environment"],
                pass_fds=(self.lock_fd,),
                start_new_session=True,
                preexec_fn=die_with_parent,  # safe: this process has one thread
                umask=0o077,
                **({"user": account[0], "group": account[1], "extra_groups": []} if account else {}),
            )

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def answers(self) -> bool:
        if "pid_file" in self.orders:
            return _postmaster_ready(self.orders["pid_file"], self.process.pid if self.process else 0)
        return _redis_ready(self.orders["port"], self.orders["password"])

    def signal(self, name: str) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.Signals[name])

    def tail(self) -> str:
        with open(self.orders["log"], "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL))
            return log.read().decode("utf-8", "replace")


def _postmaster_ready(pid_file: str, pid: int) -> bool:
    """Return whether the postmaster says that it is ready. ``pg_ctl`` reads it in the same place: in the pid file."""
    try:
        with open(pid_file) as file:
            lines = [line.strip() for line in file]
    except OSError:
        return False
    return len(lines) > _STATUS_LINE and lines[_PID_LINE] == str(pid) and lines[_STATUS_LINE] == "ready"


def _redis_ready(port: int, password: str) -> bool:
    """Return whether the server answers PING; it refuses while it loads its data."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            replies = connection.makefile("rb")
            return [replies.readline(), replies.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
    except OSError:
        return False


class Supervisor:
    """The loop around the servers."""

    def __init__(self, orders: dict[str, Any], lock_fd: int) -> None:
        self.state_path: str = orders["state_path"]
        self.stay_path: str = orders["stay_path"]
        self.state: dict[str, Any] = orders["state"]
        self.servers = [Server(server, lock_fd) for server in orders["servers"]]
        self.users = open(orders["users_path"], "ab")  # noqa: SIM115 - held until the process ends
        self.asked_to_stop = False
        self.state_written = False
        self.wake, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, *_: object) -> None:
        self.asked_to_stop = True

    def pause(self, seconds: float) -> None:
        """Wait, at most until a signal comes; the end of a server sends one."""
        if select.select([self.wake], [], [], seconds)[0]:
            os.read(self.wake, 512)

    def unwanted(self) -> bool:
        """Return whether the servers should stop: the supervisor was asked to stop, or no user is left."""
        if self.asked_to_stop or (self.state_written and not os.path.exists(self.state_path)):
            return True
        if os.path.exists(self.stay_path):
            return False
        try:
            fcntl.flock(self.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True  # the lock is kept, so that new users wait for the end and then start the servers again

    def start(self) -> str | None:
        """Start all servers and wait until they answer; return what failed, or None."""
        try:
            for server in self.servers:
                server.start()
        except OSError as error:
            return f"a server could not be started: {error}"
        deadline = time.monotonic() + _START_S
        while True:
            if self.unwanted():
                return "no user waits for the servers any more"
            for server in self.servers:
                if server.ended():
                    return f"{server.name} ended while starting; the end of its log:\n{server.tail()}"
            waiting = [server for server in self.servers if not server.answers()]
            if not waiting:
                self.write_state()
                return None
            if time.monotonic() > deadline:
                return f"{waiting[0].name} did not answer within {_START_S:.0f} s; its log:\n{waiting[0].tail()}"
            self.pause(0.01)

    def write_state(self) -> None:
        """Write the state file whole or not at all, for its owner only, and keep it locked while this process lives."""
        temporary = f"{self.state_path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, json.dumps({**self.state, "supervisor": os.getpid()}).encode())
        os.rename(temporary, self.state_path)
        self.state_written = True

    def watch(self) -> None:
        """Restart servers that die; return when the servers should stop."""
        while not self.unwanted():
            for server in filter(Server.ended, self.servers):
                if server.restart_s is None:
                    _log(f"{server.name} ended with {server.process.returncode if server.process else None}")
                    if server.starts > _RESTARTS:
                        _log(f"{server.name} does not stay up; stopping")
                        return
                    # Wait a moment: PostgreSQL's last children release its memory after it has ended.
                    server.restart_s = time.monotonic() + _BACKOFF_S * 2**server.starts
                elif time.monotonic() >= server.restart_s:
                    server.start()
            self.pause(_POLL_S)

    def stop(self) -> None:
        """Stop all servers: first cleanly, then quickly, at last by SIGKILL."""
        if self.state_written:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.state_path)
        for signal_key, patience_s in (("stop_signal", _STOP_S), ("quit_signal", _KILL_S), (None, _KILL_S)):
            for server in self.servers:
                server.signal(server.orders[signal_key] if signal_key else "SIGKILL")
            deadline = time.monotonic() + patience_s
            while time.monotonic() <= deadline:
                if all(server.ended() for server in self.servers):
                    return
                self.pause(_POLL_S)


def _log(message: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {message}\n")
    sys.stderr.flush()


def main() -> int:
    """Read the orders, detach from the parent, and run the servers until they should stop."""
    orders = json.load(sys.stdin)
    lock_fd = int(sys.argv[1])
    os.set_inheritable(lock_fd, False)
    if os.fork():
        os._exit(0)  # the grandchild runs on, and the parent need not wait for it
    os.setsid()
    supervisor = Supervisor(orders, lock_fd)
    try:
        failure = supervisor.start()
        if failure is not None:
            supervisor.stop()  # before the report: the parent may try again at once
        with contextlib.suppress(BrokenPipeError):  # the parent died meanwhile, and its users' lock is gone
            os.write(1, json.dumps({"failure": failure}).encode())
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        if failure is None:
            supervisor.watch()
    finally:
        supervisor.stop()
    return 0


_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

if __name__ == "__main__":
    sys.exit(main())
