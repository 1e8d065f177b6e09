"""Who runs the servers, and where that user can reach its files.

PostgreSQL refuses to run as root. For root both servers run as ``nobody``, who must be able to reach the binaries and
must own the data; an ordinary user runs them as itself.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest.servers.errors import InitialisationError

FALLBACK_HOME: Final = Path("/var/lib/trading-feature-store")
_UNPRIVILEGED: Final = "nobody"


@dataclass(frozen=True, slots=True)
class Account:
    """The numeric user and group that the servers run as."""

    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        """Tell whether this account may pass through `folder` and every folder above it.

        For another account this is decided from the mode bits; access by ACL or by a further group counts as none,
        which costs a copy, never a failure.
        """
        if self.uid == os.geteuid():
            return os.access(folder, os.X_OK)
        folder = folder.resolve()
        return all(self._allowed(path, stat.S_IXOTH) for path in (folder, *folder.parents))

    def can_reach(self, file: Path) -> bool:
        """Tell whether this account may read `file`, where it lies."""
        if self.uid == os.geteuid():
            return os.access(file, os.R_OK)
        file = file.resolve()
        return self._allowed(file, stat.S_IROTH) and self.can_enter(file.parent)

    def _allowed(self, path: Path, bits: int) -> bool:
        status = path.stat()
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid == self.gid else 0
        return status.st_mode & (bits << shift) == bits << shift

    def own(self, path: Path) -> None:
        """Give a new file or folder to this account (a no-op where it is ours already)."""
        if os.geteuid() != self.uid:
            os.chown(path, self.uid, self.gid)


def server_account() -> Account:
    """Return the account for the servers: the caller's own, or ``nobody`` for root.

    Raises
    ------
    InitialisationError
        Where root's machine knows no user ``nobody``.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise InitialisationError(
            f"PostgreSQL does not run as root, and this machine has no user {_UNPRIVILEGED!r} to run it as; "
            "create one, or run as an ordinary user."
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def server_home(data_dir: Path, account: Account) -> Path:
    """Return the folder for the servers' own files, made if missing: ``<data_dir>/servers``.

    Where `account` cannot enter `data_dir` (root's home is closed to others) it is a link to a folder in ``/var/lib``,
    named after `data_dir`; opening root's home would be worse.

    Raises
    ------
    InitialisationError
        Where the folder belongs to another user than `account`.
    """
    home = data_dir / "servers"
    if not home.is_dir():
        if account.can_enter(data_dir):
            home.mkdir(mode=0o700)
        else:
            elsewhere = FALLBACK_HOME / hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
            if elsewhere.exists():
                shutil.rmtree(elsewhere)  # nothing links to it: its data folder was deleted
            FALLBACK_HOME.mkdir(mode=0o711, parents=True, exist_ok=True)
            elsewhere.mkdir(mode=0o700)
            home.unlink(missing_ok=True)
            home.symlink_to(elsewhere)
        account.own(home)
    owner = home.stat().st_uid
    if owner != account.uid:
        raise InitialisationError(
            f"{home} belongs to the user with id {owner}, but the servers would run with id {account.uid}; "
            "run as the user who made it, or remove it to start afresh."
        )
    return home.resolve()


def reachable_binaries(source: Path, folders: tuple[str, ...], name: str, home: Path, account: Account) -> Path:
    """Return a root under which `account` can read `folders`: `source` itself, or a copy of them.

    Parameters
    ----------
    source
        Where the package is installed.
    folders
        What the server needs, relative to `source`. An installer writes all files of a folder with the same modes, so
        one file of each is looked at.
    name
        Of the copy, in ``<home>/binaries``; with the version in it, for an upgrade makes a new one.
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
