"""Start, share and stop the embedded servers.

Whoever uses them holds a shared lock on ``servers.users`` in the data folder; who comes first starts them, who comes
later uses the same ones, and the supervisor stops them when the last user has gone, however it went. See `supervisor`
for what the files mean.
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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from feature_repo.stores.endpoints import (
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    STATE_NAME,
    Endpoints,
    default_data_dir,
    read_state,
)
from ingest.servers import supervisor
from ingest.servers.errors import InitialisationError, ServersError, StartError
from ingest.servers.orders import STAY_NAME, USERS_NAME, orders

_LOCK_NAME: Final = "servers.lock"
_PATIENCE_S: Final = 200.0  # a little more than the supervisor allows its servers to start, or to stop
_POLL_S: Final = 0.02
_PORT_ATTEMPTS: Final = 3


@contextlib.contextmanager
def running(data_dir: Path | None = None, *, durable: bool = True) -> Iterator[Endpoints]:
    """Have both servers up inside the ``with`` block.

    ``TFS_REDIS_URL`` and ``TFS_POSTGRES_URL`` are taken as they are; what they do not name is started on `data_dir`, or
    used where it is up already. The last user's end stops what was started, with the data kept for the next time.

    Parameters
    ----------
    data_dir
        Default: ``TFS_DATA_DIR``, else ``.data`` in the project.
    durable
        False trades safety at a power failure for speed (tests).

    Raises
    ------
    UnsupportedPlatformError, InitialisationError, StartError, ServersError
        See `ingest.servers.errors`.
    """
    given = {"redis_url": os.environ.get(REDIS_VARIABLE), "postgres_url": os.environ.get(POSTGRES_VARIABLE)}
    if all(given.values()):
        yield Endpoints(redis_url=str(given["redis_url"]), postgres_url=str(given["postgres_url"]))
        return
    folder = _folder(data_dir)
    with _using(folder) as users:
        try:
            yield _ensure(folder, given, durable=durable)
        finally:
            _leave(folder, users)


def up(data_dir: Path | None = None, *, durable: bool = True) -> Endpoints:
    """Start both servers, or join those that are up, and leave them running until `down`; as for `running`."""
    folder = _folder(data_dir)
    with _using(folder):
        try:
            return _ensure(folder, {}, durable=durable, stay=True)
        except BaseException:
            (folder / STAY_NAME).unlink(missing_ok=True)
            raise


def down(data_dir: Path | None = None) -> bool:
    """Stop the servers on `data_dir`, whoever uses them, and wait for their end; tell whether any ran.

    Raises
    ------
    ServersError
        Where they do not end, or belong to another user.
    """
    folder = data_dir.resolve() if data_dir else default_data_dir()
    deadline = time.monotonic() + _PATIENCE_S
    ran = False
    while _locked(folder):
        ran = True
        # Their absence is the order to stop; in a loop, for a start may be under way.
        (folder / STAY_NAME).unlink(missing_ok=True)
        (folder / STATE_NAME).unlink(missing_ok=True)
        if time.monotonic() > deadline:
            raise ServersError(f"The servers on {folder} did not stop within {_PATIENCE_S:.0f} s.")
        time.sleep(_POLL_S)
    return ran


def _folder(data_dir: Path | None) -> Path:
    folder = data_dir.resolve() if data_dir else default_data_dir()
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o711)  # root's servers run as another user, who must pass through
    except OSError as error:
        raise InitialisationError(f"The data folder {folder} cannot be made: {error.strerror}.") from error
    return folder


@contextlib.contextmanager
def _using(folder: Path) -> Iterator[IO[bytes]]:
    """Hold the users' lock; where the servers are just stopping, wait for their end first."""
    with _opened(folder / USERS_NAME) as users:
        deadline = time.monotonic() + _PATIENCE_S
        while not _flock(users, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise ServersError(f"The servers on {folder} have been stopping for {_PATIENCE_S:.0f} s.")
            time.sleep(_POLL_S)
        yield users


def _leave(folder: Path, users: IO[bytes]) -> None:
    """Stop the servers and wait for their end, where nobody else uses them and they were not told to stay."""
    if (folder / STAY_NAME).exists() or not _flock(users, fcntl.LOCK_EX):
        return
    down(folder)


def _ensure(folder: Path, given: dict[str, str | None], *, durable: bool, stay: bool = False) -> Endpoints:
    """Return the addresses of servers that answer, started here or by somebody else."""
    wanted = [key for key in ("redis_url", "postgres_url") if not given.get(key)]
    with _opened(folder / _LOCK_NAME) as lock:
        deadline = time.monotonic() + _PATIENCE_S
        while not _flock(lock, fcntl.LOCK_EX):
            state = read_state(folder)
            if state is not None and _answer(state):
                missing = [key for key in wanted if key not in state]
                if missing:
                    raise ServersError(
                        f"The servers on {folder} were started without {' and '.join(missing)}; stop them with "
                        "`python -m ingest servers down` first."
                    )
                if stay:
                    (folder / STAY_NAME).touch(mode=0o600)
                return _endpoints(given, state)
            if time.monotonic() > deadline:
                raise StartError(f"Somebody holds {folder / _LOCK_NAME}, but no server answers.")
            time.sleep(_POLL_S)
        for left_by_killed_servers in (STATE_NAME, STAY_NAME):
            (folder / left_by_killed_servers).unlink(missing_ok=True)
        if stay:
            (folder / STAY_NAME).touch(mode=0o600)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                return _endpoints(given, _start(folder, lock, wanted, durable=durable))
            except StartError as error:
                # The port was free a moment ago: somebody else may have been quicker.
                if attempt == _PORT_ATTEMPTS or "address already in use" not in str(error).lower():
                    raise
    raise AssertionError("unreachable")


def _start(folder: Path, lock: IO[bytes], wanted: list[str], *, durable: bool) -> dict[str, Any]:
    """Prepare the data, hand the lock and the orders to a supervisor, and wait until the servers answer."""
    try:
        prepared = orders(folder, lock.fileno(), wanted, durable=durable)
    except OSError as error:
        raise InitialisationError(f"The data folder {folder} cannot be prepared: {error}") from error
    with _opened(folder / "servers.log") as log:
        command = [sys.executable, "-I", "-S", supervisor.__file__, str(lock.fileno())]
        done = subprocess.run(  # noqa: S603 - our own program
            command,
            input=json.dumps(prepared).encode(),
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            pass_fds=(lock.fileno(),),
        )
    report = json.loads(done.stdout) if done.stdout else {"failure": f"the supervisor died; see {folder}/servers.log"}
    if report["failure"]:
        raise StartError(f"The servers on {folder} did not start: {report['failure']}")
    state: dict[str, Any] = prepared["state"]
    return state


def _answer(state: dict[str, Any]) -> bool:
    """Tell whether every port is open: the supervisor has seen each server answer, but one may just be restarting."""
    for port in state["ports"]:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            return False
    return True


def _endpoints(given: dict[str, str | None], state: dict[str, Any]) -> Endpoints:
    return Endpoints(
        redis_url=given.get("redis_url") or state["redis_url"],
        postgres_url=given.get("postgres_url") or state["postgres_url"],
    )


def _opened(path: Path) -> IO[bytes]:
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    except OSError as error:
        raise InitialisationError(
            f"{path} cannot be opened ({error.strerror}); is the data folder another user's?"
        ) from error


def _locked(folder: Path) -> bool:
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
