"""What an address of Redis names: one server, some nodes of a cluster, or sentinels and the master that they watch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from feature_repo.stores.errors import UserError

SERVER, CLUSTER, SENTINEL = "redis", "redis_cluster", "redis_sentinel"  # Feast's words, of ``redis_type``
_OF_SEVERAL: Final = {
    "redis+cluster": (CLUSTER, "redis"),
    "rediss+cluster": (CLUSTER, "rediss"),
    "redis+sentinel": (SENTINEL, "redis"),
    "rediss+sentinel": (SENTINEL, "rediss"),
}
"""What the address of several servers names, and the scheme of the address of one of them."""
SCHEMES: Final = ("redis", "rediss", "unix", *_OF_SEVERAL)
SENTINEL_PORT: Final = 26379
_PORT: Final = re.compile(r":\d+\Z")
_SENTINEL_FORM: Final = "redis+sentinel://user:password@host:26379,host:26379/master/database"


class AddressError(UserError, ValueError):
    """An address is malformed; the message shows it without its password."""


class Nodes(NamedTuple):
    """The servers to connect to first.

    Attributes
    ----------
    kind : str
        ``SERVER``, ``CLUSTER`` or ``SENTINEL``.
    urls : sequence of str
        The address of each, as if it were the only server.
    master : str
        The name by which sentinels know the master, else empty.
    """

    kind: str
    urls: Sequence[str]
    master: str = ""


def nodes_of(url: str) -> Nodes:
    """Return what an address names.

    ``redis+cluster://user:password@host:port,host:port`` names a cluster, and
    ``redis+sentinel://user:password@host:port,host:port/master/database`` a master and its sentinels; ``rediss+`` is TLS. Every other
    address is that of one server.

    Raises
    ------
    AddressError
        The address of sentinels names no master, or a database that is no number. The message repeats nothing of it.
    ValueError
        A host is missing in a list.

    Examples
    --------
    >>> nodes_of("redis+cluster://:p@a:1,b:2?protocol=3").urls
    ['redis://:p@a:1?protocol=3', 'redis://:p@b:2?protocol=3']
    >>> nodes_of("rediss+sentinel://:p@a:1,b/mymaster/2")
    Nodes(kind='redis_sentinel', urls=['rediss://:p@a:1/2', 'rediss://:p@b:26379/2'], master='mymaster')
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _OF_SEVERAL:
        return Nodes(SERVER, [url])
    kind, of_one = _OF_SEVERAL[scheme]
    # A password that was not encoded may hold "/" or "?", so everything up to the last "@" counts as credentials.
    login, at, location = rest.rpartition("@")
    hosts, path, options = _split(location)
    places, master = hosts.split(","), ""
    if kind == SENTINEL:
        master, _, database = path.strip("/").partition("/")
        if not master or (master.isdigit() and not database):
            raise AddressError(f"name the master that the sentinels watch: {_SENTINEL_FORM}")
        if database and not database.isdigit():
            raise AddressError(f"the database behind the name of the master must be a number: {_SENTINEL_FORM}")
        path = f"/{database}" if database else ""
        places = [place if _PORT.search(place) else f"{place}:{SENTINEL_PORT}" for place in places]
    urls = [f"{of_one}://{login}{at}{place}{path}{options}" for place in places]
    if not all(urlsplit(one).hostname for one in urls):
        raise ValueError("a host is missing")
    return Nodes(kind, urls, unquote(master))


def _split(location: str) -> tuple[str, str, str]:
    """Return hosts and ports, the path, and the options with their question mark."""
    places = re.split("[/?]", location, maxsplit=1)[0]
    path, mark, options = location.removeprefix(places).partition("?")
    return places, path, mark + options
