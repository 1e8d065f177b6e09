"""Hash fields of many entities, read in one round trip.

All entities of a request have the same list of fields. So its bytes are made once and repeated, while a pipeline encodes
them field by field for each entity. A cluster needs its keys sorted by node: there the library's own pipeline is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.online.request import Reply, Request

_KEYS_PER_SEND: Final = 8  # the server answers the first keys while the next are on their way


def fetch(client: Any, requests: Sequence[Request]) -> list[Reply]:
    """Return one reply per key, in the order of `requests`.

    Raises
    ------
    redis.exceptions.RedisError
        If the connection fails or the server returns an error. No reply is left on the connection.
    """
    if is_cluster(client):
        with client.pipeline() as pipe:
            _add_to_pipeline(pipe, requests)
            return list(pipe.execute())
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command(_commands(requests))
        return [connection.read_response(disable_decoding=True) for request in requests for _ in request.keys]
    except BaseException:
        connection.disconnect()  # replies may still be on their way: the next user must not read them
        raise
    finally:
        pool.release(connection)


async def fetch_async(client: Any, requests: Sequence[Request]) -> list[Reply]:
    """Return what `fetch` returns."""
    if is_cluster(client):
        async with client.pipeline() as pipe:
            _add_to_pipeline(pipe, requests)
            return list(await pipe.execute())
    pool = client.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(_commands(requests))
        return [await connection.read_response(disable_decoding=True) for request in requests for _ in request.keys]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def _add_to_pipeline(pipe: Any, requests: Sequence[Request]) -> None:
    for request in requests:
        for key in request.keys:
            pipe.hmget(key, list(request.fields.names))


def _commands(requests: Sequence[Request]) -> list[bytes]:
    """Return the ``HMGET`` commands in Redis's protocol, several keys per piece."""
    commands: list[bytes] = []
    for request in requests:
        head, fields = b"*%d\r\n$5\r\nHMGET\r\n$" % (len(request.fields.names) + 2), request.fields.wire
        commands += [b"%b%d\r\n%b\r\n%b" % (head, len(key), key, fields) for key in request.keys]
    return [b"".join(commands[i : i + _KEYS_PER_SEND]) for i in range(0, len(commands), _KEYS_PER_SEND)]
