"""Where the online and the offline server are, where the data folder is, and where the log of what was served is.

``TFS_REDIS_URL`` and ``TFS_POSTGRES_URL`` name real servers. Without them the embedded servers are used
(``python -m ingest servers up``): they leave their addresses and passwords in ``servers.json`` in the data folder.
``TFS_SERVED_LOG`` names the folder of the log of what was served, and ``TFS_SERVED_SHARE`` the share of reads in it.

This is the one module of ``feature_repo`` that reads the environment: Feast needs these settings without ``ingest``. All others are
read in ``ingest.settings``.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from feature_repo.stores.errors import UserError
from feature_repo.stores.nodes import SCHEMES, AddressError, nodes_of

REDIS_VARIABLE: Final = "TFS_REDIS_URL"
POSTGRES_VARIABLE: Final = "TFS_POSTGRES_URL"
DATA_VARIABLE: Final = "TFS_DATA_DIR"
LAKE_VARIABLE: Final = "TFS_LAKE"
SERVED_VARIABLE: Final = "TFS_SERVED_LOG"
SHARE_VARIABLE: Final = "TFS_SERVED_SHARE"
STATE_NAME: Final = "servers.json"
DEFAULT_SHARE: Final = 0.01
"""One read in a hundred is logged, where the log is on."""

_PROJECT_LINE: Final = 'name = "trading-feature-store"'
_BUCKET: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/[\w.=/-]*)?\Z")
_WRONG_PORT: Final = re.compile(r":(?!\d+\Z)[^:]*\Z")
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_POSTGRES_SCHEMES: Final = ("postgresql", "postgres")


class ServedLogError(UserError, ValueError):
    """A setting of the log of what was served has an impossible value; the message names the variable."""


class NoServerError(UserError, RuntimeError):
    """No server is known: no variable is set and no embedded server runs on the data folder."""


@dataclass(frozen=True, slots=True, repr=False)
class Endpoints:
    """The addresses of the two servers, passwords included. ``repr`` masks the passwords.

    Attributes
    ----------
    redis_url : str
        ``redis://[[user]:password@]host:port/database``.
    postgres_url : str
        ``postgresql://user:password@host:port/database?sslmode=...``.
    """

    redis_url: str  # redis://[[user]:password@]host:port/database
    postgres_url: str  # postgresql://user:password@host:port/database?sslmode=...

    def __repr__(self) -> str:
        return f"Endpoints(redis_url={masked(self.redis_url)!r}, postgres_url={masked(self.postgres_url)!r})"

    def environment(self) -> dict[str, str]:
        """Return the variables that give a child process the same servers."""
        return {REDIS_VARIABLE: self.redis_url, POSTGRES_VARIABLE: self.postgres_url}


def redis_url() -> str:
    """Return the address of the online server, or raise `NoServerError`, or `AddressError` for a malformed variable."""
    return _address(REDIS_VARIABLE, "redis_url", SCHEMES)


def postgres_url() -> str:
    """Return the address of the offline server; errors as for `redis_url`."""
    return _address(POSTGRES_VARIABLE, "postgres_url", _POSTGRES_SCHEMES)


def served_log() -> tuple[Path, float] | None:
    """Return the folder of the log of what was served and the share of reads in it; None where there is no log.

    Raise `ServedLogError` where the place is no folder or the share is not above 0 and up to 1.
    """
    folder, text = given(SERVED_VARIABLE), given(SHARE_VARIABLE)
    if folder is None:
        return None
    if "://" in folder:
        raise ServedLogError(
            f"{SERVED_VARIABLE}={folder.partition('://')[0]:.20}://...: must be a folder of this machine"
        )
    try:
        share = DEFAULT_SHARE if text is None else float(text)
    except ValueError:
        share = 0.0
    if not 0.0 < share <= 1.0:
        raise ServedLogError(f"{SHARE_VARIABLE}={text!r:.40}: must be a number above 0 and up to 1")
    return Path(folder).expanduser().absolute(), share


def given(variable: str) -> str | None:
    """Return what a variable of the environment holds; an empty one counts as not set."""
    return os.environ.get(variable) or None


def lake_place() -> str:
    """Return where the lake is, a folder or ``s3://bucket/prefix``; empty for no lake. Raise `AddressError` for other addresses."""
    return place_of(LAKE_VARIABLE, given(LAKE_VARIABLE) or "")


def place_of(variable: str, text: str) -> str:
    """Return the place that a variable names: an absolute folder or ``s3://bucket/prefix``, empty for none.

    Raise `AddressError` for other addresses.
    """
    if not text or _BUCKET.match(text):
        return text.rstrip("/")
    if "://" in text:
        raise AddressError(f"{variable}={text.partition('://')[0]:.20}://...: must be a folder or s3://bucket/prefix")
    return str(Path(text).expanduser().absolute())


def without_secrets(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a message of a storage without the keys of this process: an S3 server may repeat what it was sent."""
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        if value := environ.get(name):
            text = text.replace(value, "***")
    return text


def postgres_parameters(url: str) -> dict[str, Any]:
    """Split a PostgreSQL address into the keywords of ``psycopg.connect`` (``dbname`` is called ``database``).

    Parameters
    ----------
    url : str
        ``postgresql://user:password@host:port/database?option=value``; every part is percent-decoded.

    Returns
    -------
    dict
        ``host, port, database, user, password, sslmode`` and any further option of the query. Defaults are
        ``127.0.0.1``, 5432, the user's name for the database, ``postgres``, an empty password and ``prefer``.

    Raises
    ------
    AddressError
        The address is malformed; the message shows it without its password.

    Examples
    --------
    >>> p = postgres_parameters("postgresql://desk:p%40ss@db.example:5433/features?sslmode=require")
    >>> p["host"], p["port"], p["user"], p["password"], p["database"], p["sslmode"]
    ('db.example', 5433, 'desk', 'p@ss', 'features', 'require')
    """
    _check(url, _POSTGRES_SCHEMES, "a PostgreSQL address")
    parts = urlsplit(url)
    user = unquote(parts.username or "postgres")
    parameters: dict[str, Any] = {
        "host": unquote(parts.hostname or "127.0.0.1"),
        "port": parts.port or 5432,
        "database": unquote(parts.path.lstrip("/")) or user,
        "user": user,
        "password": unquote(parts.password or ""),
        "sslmode": "prefer",
    }
    parameters.update(parse_qsl(parts.query))
    return parameters


def masked(url: str) -> str:
    """Return the address with its password, and any password in its options, replaced by ``***``.

    >>> masked("redis://:secret@127.0.0.1:6379/0")
    'redis://:***@127.0.0.1:6379/0'
    >>> masked("redis+sentinel://desk:secret@a:26379,b:26379/mymaster?sentinel_password=secret")
    'redis+sentinel://desk:***@a:26379,b:26379/mymaster?sentinel_password=***'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    # A password that was not encoded may hold "/" or "?", so everything up to the last "@" counts as credentials.
    credentials, at, location = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    place, question, query = location.partition("?")
    if not at:  # without a host, the password may stand where a port should be
        hosts, slash, path = place.partition("/")
        place = ",".join(_WRONG_PORT.sub(":***", host) for host in hosts.split(",")) + slash + path
    options = (f"{part.partition('=')[0]}=***" if "pass" in part.lower() else part for part in query.split("&"))
    return f"{scheme}://{user}{':***' if colon else ''}{at}{place}{question}{'&'.join(options)}"


def default_data_dir() -> Path:
    """Return the data folder: ``TFS_DATA_DIR``, else ``.data`` in the project.

    The project is the nearest folder at or above the current one that holds this project's ``pyproject.toml``, else
    the checkout that holds this file, else the current folder.
    """
    if folder_given := given(DATA_VARIABLE):
        return Path(folder_given).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if _is_project(folder):
            return folder / ".data"
    return here / ".data"


def read_state(data_dir: Path) -> dict[str, Any] | None:
    """Return what the supervisor of the embedded servers on `data_dir` wrote down, or None where none runs.

    The supervisor locks the file while it lives, so a file that a killed supervisor left behind does not count.
    """
    try:
        with open(data_dir / STATE_NAME, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return dict(json.load(file))
    except (FileNotFoundError, NotADirectoryError):
        pass
    return None


def _address(variable: str, key: str, schemes: tuple[str, ...]) -> str:
    if url := given(variable):
        return _check(url, schemes, f"the address in {variable}")
    data_dir = default_data_dir()
    try:
        state = read_state(data_dir)
    except PermissionError as error:
        raise NoServerError(
            f"The embedded servers on {data_dir} belong to another user; set {variable}, or "
            f"{DATA_VARIABLE} to a folder of your own."
        ) from error
    if state is None or not state.get(key):
        raise NoServerError(
            f"No server is known. Run `python -m ingest servers up`, or set {variable} "
            f"(embedded servers were looked for in {data_dir})."
        )
    return str(state[key])


def _check(url: str, schemes: tuple[str, ...], what: str) -> str:
    try:
        parts = [urlsplit(one) for one in nodes_of(url).urls]
        valid = all(one.scheme in schemes and (one.port is None or one.port > 0) for one in parts)
    except AddressError as error:
        raise AddressError(f"{what}: {error}") from None
    except ValueError:
        valid = False
    if not valid:
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        raise AddressError(f"{what} must begin with {expected} and have a valid port, not {masked(url)!r}")
    if _STRAY_PERCENT.search(url):  # checked here because the client library's own error would quote the password
        raise AddressError(f"{what} has a % that two hexadecimal digits do not follow: write %25 for the sign itself")
    return url


def _is_project(folder: Path) -> bool:
    try:
        return _PROJECT_LINE in (folder / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
