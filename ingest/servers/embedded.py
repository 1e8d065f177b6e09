"""Start, share and stop the embedded servers.

The first user starts them, later ones use the same servers, and the supervisor stops them when the last user has gone, however it
ended. `supervisor` says what the files mean.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from feature_repo.stores.endpoints import (
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    STATE_NAME,
    Endpoints,
    default_data_dir,
    given,
    read_state,
)
from ingest.servers import supervisor
from ingest.servers.account import ServersError
from ingest.servers.orders import STAY_NAME, USERS_NAME, orders

VARIABLES: Final = {"redis_url": REDIS_VARIABLE, "postgres_url": POSTGRES_VARIABLE}
"""The servers, by the names of their addresses, and the variables that name other servers in their place."""
_LOCK_NAME: Final = "servers.lock"
_PATIENCE_S: Final = 200.0  # a little more than the supervisor gives its servers to start or to stop
_POLL_S: Final = 0.02
_PORT_ATTEMPTS: Final = 3


class StartError(ServersError):
    """A server ended before it answered; the message holds the end of its log."""


@contextlib.contextmanager
def running(data_dir: Path | None = None, *, durable: bool = True) -> Iterator[Endpoints]:
    """Have both servers up inside the ``with`` block.

    A server that ``TFS_REDIS_URL`` or ``TFS_POSTGRES_URL`` names is used as it is. The others are started on `data_dir`, or used
    where they are up. When the last user leaves, what was started is stopped; the data stay for the next time.

    Parameters
    ----------
    data_dir : Path, optional
        By default ``TFS_DATA_DIR``, else ``.data`` in the project.
    durable : bool
        False is faster, but a power failure may lose data (tests).

    Raises
    ------
    ServersError
        A server cannot be started; the message says why and what to do.
    """
    named = {key: url for key, variable in VARIABLES.items() if (url := given(variable))}
    if len(named) == len(VARIABLES):
        yield Endpoints(**named)
        return
    folder = _folder(data_dir)
    with _using(folder) as users:
        try:
            yield _ensure(folder, named, durable=durable)
        finally:
            # Stop the servers, unless another user is left or `up` asked for them to stay.
            if not (folder / STAY_NAME).exists() and _flock(users, fcntl.LOCK_EX):
                down(folder)


def up(data_dir: Path | None = None, *, durable: bool = True) -> Endpoints:
    """Start both servers, or find them up, and leave them running until `down`; parameters and errors as for `running`."""
    folder = _folder(data_dir)
    with _using(folder):
        try:
            return _ensure(folder, {}, durable=durable, stay=True)
        except BaseException:
            (folder / STAY_NAME).unlink(missing_ok=True)
            raise


def down(data_dir: Path | None = None) -> bool:
    """Stop the servers on `data_dir`, also while they are used, and wait for their end; return whether any ran."""
    folder = data_dir.resolve() if data_dir else default_data_dir()
    if not _is_locked(folder):
        return False

    def stopped() -> bool:
        # The supervisor stops once these files are gone. Removed at every look, because a start may be under way.
        (folder / STAY_NAME).unlink(missing_ok=True)
        (folder / STATE_NAME).unlink(missing_ok=True)
        return not _is_locked(folder)

    _wait_until(stopped, ServersError(f"The servers on {folder} did not stop within {_PATIENCE_S:.0f} s."))
    return True


def _folder(data_dir: Path | None) -> Path:
    folder = data_dir.resolve() if data_dir else default_data_dir()
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o711)  # root's servers run as another user, who must pass through
    except OSError as error:
        raise ServersError(f"The data folder {folder} cannot be made: {error.strerror}.") from error
    return folder


@contextlib.contextmanager
def _using(folder: Path) -> Iterator[IO[bytes]]:
    """Hold the users' lock; where the servers are stopping, wait for their end first."""
    with _opened(folder / USERS_NAME) as users:
        late = ServersError(f"The servers on {folder} have been stopping for {_PATIENCE_S:.0f} s.")
        _wait_until(lambda: _flock(users, fcntl.LOCK_SH), late)
        yield users


def _ensure(folder: Path, named: dict[str, str], *, durable: bool, stay: bool = False) -> Endpoints:
    """Return the addresses of servers that answer, started here or by another process."""
    wanted = [key for key in VARIABLES if key not in named]
    state: dict[str, Any] | None = None
    with _opened(folder / _LOCK_NAME) as lock:

        def locked_or_up() -> bool:
            nonlocal state
            if _flock(lock, fcntl.LOCK_EX):
                state = None
                return True
            state = read_state(folder)
            return state is not None and _answers(state)

        _wait_until(locked_or_up, StartError(f"Another process holds {folder / _LOCK_NAME}, but no server answers."))
        if state is not None and (missing := [key for key in wanted if key not in state]):
            raise ServersError(
                f"The servers on {folder} were started without {' and '.join(missing)}; stop them with "
                "`python -m ingest servers down` first."
            )
        if state is None:
            for left_by_killed_servers in (STATE_NAME, STAY_NAME):
                (folder / left_by_killed_servers).unlink(missing_ok=True)
        if stay:
            (folder / STAY_NAME).touch(mode=0o600)
        urls = {**(state or _start_on_free_ports(folder, lock, wanted, durable=durable)), **named}
        return Endpoints(urls["redis_url"], urls["postgres_url"])


def _start_on_free_ports(folder: Path, lock: IO[bytes], wanted: list[str], *, durable: bool) -> dict[str, Any]:
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            return _start(folder, lock, wanted, durable=durable)
        except StartError as error:  # another program may have taken a port that was free a moment ago
            if "address already in use" not in str(error).lower():
                raise
    return _start(folder, lock, wanted, durable=durable)


def _start(folder: Path, lock: IO[bytes], wanted: list[str], *, durable: bool) -> dict[str, Any]:
    """Prepare the data, hand the lock and the orders to a supervisor, and wait until the servers answer."""
    try:
        prepared = orders(folder, lock.fileno(), wanted, durable=durable)
    except OSError as error:
        raise ServersError(f"The data folder {folder} cannot be prepared: {error}") from error
    with _opened(folder / "servers.log") as log:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", supervisor.__file__, str(lock.fileno())],
            input=json.dumps(prepared).encode(),
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            pass_fds=(lock.fileno(),),
        )
    report = json.loads(done.stdout) if done.stdout else {"failure": f"the supervisor died; see {folder}/servers.log"}
    if report["failure"]:
        raise StartError(f"The servers on {folder} did not start: {report['failure']}")
    return dict(prepared["state"])


def _answers(state: dict[str, Any]) -> bool:
    """Return whether every port is open. The supervisor saw each server answer, but one may just be restarting."""
    try:
        for port in state["ports"]:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _wait_until(done: Callable[[], bool], late: Exception) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise late
        time.sleep(_POLL_S)


def _opened(path: Path) -> IO[bytes]:
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    except OSError as error:
        raise ServersError(f"{path} cannot be opened ({error.strerror}); is the data folder another user's?") from error


def _is_locked(folder: Path) -> bool:
    try:
        with open(folder / _LOCK_NAME, "rb") as lock:
            return not _flock(lock, fcntl.LOCK_SH)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise ServersError(f"The servers on {folder} belong to another user.") from error


def _flock(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
