"""What the supervisor is told: which servers, on which ports, with which password, in which files."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path
from typing import Any, Final

from feature_repo.stores.endpoints import STATE_NAME
from ingest.servers import postgres, valkey
from ingest.servers.account import server_account, server_home
from ingest.servers.errors import InitialisationError

USERS_NAME: Final = "servers.users"
STAY_NAME: Final = "servers.stay"
_SECRET_NAME: Final = "servers.secret"  # noqa: S105 - a file's name
_PORTS_NAME: Final = "servers.ports"


def orders(folder: Path, lock_fd: int, wanted: list[str], *, durable: bool) -> dict[str, Any]:
    """Prepare the data of the wanted servers and return the supervisor's orders.

    Parameters
    ----------
    folder
        The data folder, locked by the caller.
    lock_fd
        Its lock, which ``initdb`` holds too.
    wanted
        ``redis_url``, ``postgres_url`` or both.
    durable
        False trades safety at a power failure for speed.

    Raises
    ------
    UnsupportedPlatformError, InitialisationError
        See `ingest.servers.errors`.
    """
    account = server_account()
    home = server_home(folder, account)
    password = _password(folder, home)
    ports = _free_ports(len(wanted), folder)
    state: dict[str, Any] = {"ports": ports}
    servers = []
    for key, port in zip(wanted, ports, strict=True):
        if key == "redis_url":
            servers.append(valkey.orders(home, account, port, password, durable=durable))
            state[key] = f"redis://:{password}@127.0.0.1:{port}/0"
        else:
            servers.append(postgres.orders(home, account, port, password, lock_fd, durable=durable))
            state[key] = f"postgresql://{postgres.USER}:{password}@127.0.0.1:{port}/{postgres.DATABASE}?sslmode=disable"
    for server in servers:
        _write_private(Path(server["log"]), "")  # each run has its own
    return {
        "state_path": str(folder / STATE_NAME),
        "stay_path": str(folder / STAY_NAME),
        "users_path": str(folder / USERS_NAME),
        "state": state,
        "servers": servers,
    }


def _password(folder: Path, home: Path) -> str:
    """Return the servers' password, made with the data folder and kept beside it."""
    path = folder / _SECRET_NAME
    if path.exists():
        return path.read_text().strip()
    if (home / "postgres").exists():
        raise InitialisationError(
            f"{path} is missing, and the PostgreSQL data in {home} cannot be opened without it; "
            "put it back, or remove the data to start afresh."
        )
    password = secrets.token_hex(16)
    _write_private(path, password)
    return password


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)


def _free_ports(count: int, folder: Path) -> list[int]:
    """Return free loopback ports: those of last time where they still are, so that clients find their servers again."""
    memory = folder / _PORTS_NAME
    try:
        last = [int(text) for text in memory.read_text().split()]
    except (FileNotFoundError, ValueError):
        last = []
    sockets = []
    with contextlib.ExitStack() as stack:
        for index in range(count):
            candidate = stack.enter_context(socket.socket())
            # As the servers do; without it a port whose last connections linger would look taken.
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", last[index] if len(last) == count else 0))
            except (OSError, OverflowError):
                candidate.bind(("127.0.0.1", 0))
            sockets.append(candidate)
        ports = [candidate.getsockname()[1] for candidate in sockets]
    _write_private(memory, " ".join(map(str, ports)))
    return ports
