"""Guarded writes of rows: an older event never overwrites a newer one, whichever process writes it.

Redis compares and writes each row in one Lua script. So two writers cannot interleave, a row is stored whole or not at
all, and writing it again changes nothing. Of rows with equal event times the one created last stays; a row that does not
say when it was created counts as the earliest. A worker writes with its lease, so that the rows of the present owner of a
partition stay, whichever kernels an earlier owner had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import redis

from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.online.format import SymbolKeys
from feature_repo.stores.online.pack import Doubles, Ints, RowEncoder, packed_names
from feature_repo.stores.scripts import read_script
from transforms.catalog import View

ROWS_PER_SCRIPT: Final = 32  # about a millisecond on the server; longer scripts would delay the readers

WRITE_NEWER: Final = read_script(__file__, "write.lua")

Command = tuple[Any, ...]
"""The words of one Redis command."""


class Lease(NamedTuple):
    """The key of a lease, and the token with which its holder writes: once the key has another value, nothing is stored."""

    key: str
    token: str


def script_calls(
    keys: Sequence[bytes],
    rows: Sequence[bytes],
    key_ttl_s: int,
    rows_per_script: int = ROWS_PER_SCRIPT,
    lease: Lease | None = None,
    left_out: bytes = b"",
) -> list[Command]:
    """Return the ``EVAL`` commands that write packed rows. On Redis Cluster one command may name one key only, so no lease.

    Rows may be records alone if `left_out` has the packed names of the view's fields.

    The script travels with each call, not only its hash: a server that was restarted, failed over or flushed its scripts
    then needs no second attempt.
    """
    calls: list[Command] = []
    for first in range(0, len(keys), rows_per_script):
        some: list[bytes | str] = [*keys[first : first + rows_per_script], *([lease.key] if lease else [])]
        about = (key_ttl_s, lease.token if lease else "")
        last = (left_out,) if left_out else ()
        calls.append(("EVAL", WRITE_NEWER, len(some), *some, *about, *rows[first : first + rows_per_script], *last))
    return calls


def send(client: Any, calls: Iterable[Command]) -> None:
    """Send script calls in one pipeline."""
    with client.pipeline(transaction=False) as pipe:
        for call in calls:
            pipe.execute_command(*call)
        pipe.execute()


async def send_async(client: Any, calls: Iterable[Command]) -> None:
    """Send script calls in one pipeline."""
    async with client.pipeline(transaction=False) as pipe:
        for call in calls:
            pipe.execute_command(*call)
        await pipe.execute()


class OnlineWriter:
    """Writes a view's rows into the online store from columns: one round trip, no object per value.

    Parameters
    ----------
    client : redis.Redis or redis.RedisCluster
        A single server, a Sentinel master, or a cluster, where each row is a script call of its own.
    project : str
        Feast's project name; it is part of every key.
    view : View
        A view of the catalogue.
    join_key : str
        Name of the entity's join key.
    key_ttl_s : int, optional
        Seconds after its last write at which an entity leaves the store; None keeps it.
    packed_only : bool
        Write each row as its record alone, which costs a fraction. Stock Feast then finds the time of a row and nulls.

    Examples
    --------
    >>> import numpy as np, redis                                        # doctest: +SKIP
    >>> writer = OnlineWriter(redis.Redis(), "trading", VIEW["social"])  # doctest: +SKIP
    >>> writer.write(["BTCUSDT"], np.array([1_700_000_000_000_000]), np.zeros((1, 8)))  # doctest: +SKIP
    1
    """

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        project: str,
        view: View,
        *,
        join_key: str = "symbol",
        key_ttl_s: int | None = None,
        packed_only: bool = False,
    ) -> None:
        self._client = client
        self._keys = SymbolKeys(project, join_key)
        self._encoder = RowEncoder(view.name, view.names, [f.dtype for f in view.features], lone=packed_only)
        self._left_out = packed_names(view.name, view.names) if packed_only else b""
        self._ttl_s = key_ttl_s or 0
        self._rows_per_script = 1 if is_cluster(client) else ROWS_PER_SCRIPT

    def write(
        self,
        symbols: Sequence[str],
        event_us: Ints,
        values: Doubles,
        silent_us: Ints | None = None,
        created_us: Ints | None = None,
    ) -> int:
        """Write rows and return how many were stored; the others were not newer than the stored rows.

        If the connection fails or the server returns an error, some rows may have been stored, each of them whole.
        Writing them again is safe.

        Parameters
        ----------
        symbols : sequence of str
            If a symbol occurs more than once, its newest row stays.
        event_us : ndarray of int64, shape (n,)
            Event times in microseconds since the epoch.
        values : ndarray of float64, shape (n, n_features)
            Columns in the catalogue's order; NaN is null. An Int64 feature is given as a whole double.
        silent_us : ndarray of int64, shape (n,), optional
            For how long the view's feed had been silent at the event times, in microseconds. A ttl counts from the
            feed's last message; None says that this is the event time.
        created_us : ndarray of int64, shape (n,), optional
            When the rows were created, in microseconds since the epoch. A row of an equal event time replaces the stored
            one only if it was created later.

        Raises
        ------
        ValueError
            If shapes do not fit the view or an Int64 value is not a whole number of 64 bits. Nothing is written then.
        """
        with self._client.pipeline(transaction=False) as pipe:
            self.add_to(pipe, symbols, event_us, values, silent_us, created_us)
            return sum(pipe.execute())

    def add_to(
        self,
        pipe: Any,
        symbols: Sequence[str],
        event_us: Ints,
        values: Doubles,
        silent_us: Ints | None = None,
        created_us: Ints | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Add the commands to a caller's pipeline and return how many; each replies with its count of rows stored.

        The holder of a ``lease`` stores nothing once it has lost it, and replaces a row of an equal event time that was
        created at the same time: an earlier holder made it, and did not commit it. On Redis Cluster the lease is in another slot
        than the rows, and no script looks at it.
        """
        if len(symbols) != len(event_us):
            raise ValueError(f"{len(symbols)} symbols but {len(event_us)} event times")
        rows = self._encoder.rows(event_us, values, silent_us, created_us)
        lease = None if is_cluster(self._client) else lease
        calls = script_calls(self._keys.keys(symbols), rows, self._ttl_s, self._rows_per_script, lease, self._left_out)
        for call in calls:
            pipe.execute_command(*call)
        return len(calls)
