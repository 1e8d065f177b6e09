"""The orders for the supervisor: which servers to run, on which ports, with which password and files."""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path
from typing import Any, Final

from feature_repo.stores.endpoints import STATE_NAME
from ingest.servers import postgres, valkey
from ingest.servers.account import ENVIRONMENT, Request, ServersError, server_account, server_home, write_private

USERS_NAME: Final = "servers.users"
STAY_NAME: Final = "servers.stay"
_SECRET_NAME: Final = "servers.secret"  # noqa: S105 - a file's name
_PORTS_NAME: Final = "servers.ports"


def orders(folder: Path, lock_fd: int, wanted: list[str], *, durable: bool) -> dict[str, Any]:
    """Prepare the data of the wanted servers and return the supervisor's orders.

    Parameters
    ----------
    folder : Path
        The data folder, locked by the caller.
    lock_fd : int
        The lock, which ``initdb`` inherits.
    wanted : list of str
        ``redis_url``, ``postgres_url`` or both.
    durable : bool
        False is faster, but a power failure may lose data.

    Raises
    ------
    ServersError
        There is no binary for this machine, or the data folder cannot be prepared.
    """
    account = server_account()
    home = server_home(folder, account)
    password = _password(folder, home)
    ports = _free_ports(len(wanted), folder)
    state: dict[str, Any] = {"ports": ports}
    servers = []
    for key, port in zip(wanted, ports, strict=True):
        request = Request(home, account, port, password, lock_fd, durable)
        if key == "redis_url":
            server = valkey.orders(request)
            state[key] = f"redis://:{password}@127.0.0.1:{port}/0"
        else:
            server = postgres.orders(request)
            state[key] = f"postgresql://{postgres.USER}:{password}@127.0.0.1:{port}/{postgres.DATABASE}?sslmode=disable"
        write_private(Path(server["log"]), "")  # each run starts an empty log
        servers.append({**server, "port": port, "account": account.to_switch_to, "environment": ENVIRONMENT})
    return {
        "state_path": str(folder / STATE_NAME),
        "stay_path": str(folder / STAY_NAME),
        "users_path": str(folder / USERS_NAME),
        "state": state,
        "servers": servers,
    }


def _password(folder: Path, home: Path) -> str:
    """Return the servers' password, which is made with the data folder and kept in it."""
    path = folder / _SECRET_NAME
    if path.exists():
        return path.read_text().strip()
    if (home / "postgres").exists():
        raise ServersError(
            f"{path} is missing, and the PostgreSQL data in {home} cannot be opened without it; "
            "put it back, or remove the data to start afresh."
        )
    password = secrets.token_hex(16)
    write_private(path, password)
    return password


def _free_ports(count: int, folder: Path) -> list[int]:
    """Return free loopback ports, those of last time where they are free, so that clients find their servers again."""
    memory = folder / _PORTS_NAME
    try:
        last = [int(text) for text in memory.read_text().split()]
    except (FileNotFoundError, ValueError):
        last = []
    ports = []
    with contextlib.ExitStack() as stack:
        for index in range(count):
            candidate = stack.enter_context(socket.socket())
            # The servers set it too. Without it a port whose last connections linger would look taken.
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", last[index] if len(last) == count else 0))
            except (OSError, OverflowError):
                candidate.bind(("127.0.0.1", 0))
            ports.append(candidate.getsockname()[1])
    write_private(memory, " ".join(map(str, ports)))
    return ports
