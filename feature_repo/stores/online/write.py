"""Rows into Feast's Redis format, guarded on the server: an older event never overwrites a newer one.

The compare and the write of a row are one Lua script, so two writers cannot interleave, a row is whole or absent, and
writing it again changes nothing. Equal times keep the row that came first. A row travels as one MessagePack array
``[field, value, ...]`` whose first field is the event time: the script needs no list of fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import redis

from feature_repo.stores.online.attempt import attempt
from feature_repo.stores.online.client import is_cluster, server_of
from feature_repo.stores.online.format import (
    SymbolKeys,
)
from feature_repo.stores.online.pack import RowEncoder
from transforms.catalog import View

ROWS_A_SCRIPT: Final = 32  # about a millisecond on the server: longer scripts would hold up the readers

WRITE_NEWER: Final = """
local function instant(b)
  local at, parts = string.byte(b, 1) == 0x7d and 6 or 1, {0, 0} -- behind the silence, where one is told
  while at <= #b do
    local part = math.floor(string.byte(b, at) / 8)
    local value, inverse, scale, size, byte = 0, 0, 1, 0, 0
    repeat
      at, size = at + 1, size + 1
      byte = string.byte(b, at) or 0
      value = value + byte % 128 * scale
      if size < 10 then inverse = inverse + (127 - byte % 128) * scale end
      scale = scale * 128
    until byte < 128
    if size == 10 then value = -1 - inverse end
    parts[part] = value
    at = at + 1
  end
  return parts[1], parts[2]
end
local stored = 0
for i, key in ipairs(KEYS) do
  local row = cmsgpack.unpack(ARGV[i + 1])
  local old = redis.call('HGET', key, row[1])
  local newer = not old
  if old then
    local old_s, old_n = instant(old)
    local new_s, new_n = instant(row[2])
    newer = new_s > old_s or (new_s == old_s and new_n > old_n)
  end
  if newer then
    for first = 1, #row, 4000 do
      redis.call('HSET', key, unpack(row, first, math.min(first + 3999, #row)))
    end
    -- A small-object list is searched from its start for each field: 119 fields of one hash cost 50 us there, 8 us in a
    -- hash table. One value too long for a list turns the hash into a table, and it stays one.
    if redis.call('HLEN', key) > 32 and redis.pcall('OBJECT', 'ENCODING', key) == 'listpack' then
      redis.call('HSET', key, '_', string.rep('_', 1025))
      redis.call('HDEL', key, '_')
    end
    if ARGV[1] ~= '0' then redis.call('EXPIRE', key, ARGV[1]) end
    stored = stored + 1
  end
end
return stored
"""
"""KEYS: one hash a row. ARGV: seconds until a key expires (0 never), then one packed row a key. Returns rows stored."""


def script_calls(
    keys: Sequence[bytes], rows: Sequence[bytes], key_ttl_s: int, rows_a_script: int = ROWS_A_SCRIPT
) -> Iterable[tuple[Any, ...]]:
    """Yield the words of one ``EVAL`` command for each script call. On Redis Cluster one call may name one key only.

    The script travels with each call instead of by its hash: a server that was restarted, failed over or flushed its
    scripts then needs no second attempt.
    """
    for first in range(0, len(keys), rows_a_script):
        some = keys[first : first + rows_a_script]
        yield "EVAL", WRITE_NEWER, len(some), *some, key_ttl_s, *rows[first : first + rows_a_script]


class OnlineWriter:
    """Writes a view's rows straight into the online store: columns in, one round trip, no object per value.

    Parameters
    ----------
    client
        Redis standalone or Sentinel master; a ``RedisCluster`` too (one script call a row then).
    project
        Feast's project name; it is part of every key.
    view
        A view of the catalogue.
    join_key
        Name of the entity's join key.
    key_ttl_s
        Seconds after its last write at which an entity leaves the store; None keeps it.
    retries
        Attempts of `write` after the first when the connection fails or the master moves.

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
        retries: int = 3,
    ) -> None:
        self._client = client
        self._keys = SymbolKeys(project, join_key)
        self._encoder = RowEncoder(view.name, view.names, [f.dtype for f in view.features])
        self._ttl_s = key_ttl_s or 0
        self._retries = retries
        self._rows_a_script = 1 if is_cluster(client) else ROWS_A_SCRIPT

    def write(
        self,
        symbols: Sequence[str],
        event_us: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        silent_us: npt.NDArray[np.int64] | None = None,
    ) -> int:
        """Write rows and return how many were stored; the others were not newer than what is there.

        Parameters
        ----------
        symbols
            One a row; a symbol may occur more than once, its newest row stays.
        event_us
            Event times in microseconds since the epoch, shape ``(n,)``.
        values
            Columns in the catalogue's order, shape ``(n, n_features)``; NaN is null.
        silent_us
            For how long the view's feed had been silent at the event times, microseconds, shape ``(n,)``: a ttl counts from when
            it spoke. None where that is the event time.

        Raises
        ------
        ValueError
            Where shapes or values do not fit the view; nothing is written then.
        OnlineStoreUnavailableError
            Where no attempt got through. Some rows may have been stored, each of them whole; write again, it is safe.
        redis.exceptions.RedisError
            Where the server refuses.
        """
        calls = self._calls(symbols, event_us, values, silent_us)

        def send() -> int:
            with self._client.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.execute_command(*call)
                return sum(pipe.execute())

        return attempt(send, self._retries, server_of(self._client))

    def add_to(
        self,
        pipe: Any,
        symbols: Sequence[str],
        event_us: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        silent_us: npt.NDArray[np.int64] | None = None,
    ) -> int:
        """Add the commands to a caller's pipeline and return how many; each replies with its count of rows stored."""
        calls = self._calls(symbols, event_us, values, silent_us)
        for call in calls:
            pipe.execute_command(*call)
        return len(calls)

    def _calls(
        self,
        symbols: Sequence[str],
        event_us: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        silent_us: npt.NDArray[np.int64] | None,
    ) -> list[tuple[Any, ...]]:
        if len(symbols) != len(event_us):
            raise ValueError(f"{len(symbols)} symbols but {len(event_us)} event times")
        rows = self._encoder.rows(event_us, values, silent_us)
        return list(script_calls(self._keys.keys(symbols), rows, self._ttl_s, self._rows_a_script))
