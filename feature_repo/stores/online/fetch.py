"""Hash fields of many entities in one round trip.

The list of fields is the same for all entities of a request, so its bytes are made once and repeated, instead of being
encoded field by field for each entity as a pipeline does. A cluster needs its keys sorted by node: there the library's
own pipeline is used.
"""

from __future__ import annotations

from typing import Any, Final

from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.online.request import Fields, Reply

Wanted = tuple[list[bytes], Fields]

_KEYS_A_SEND: Final = 8  # the server answers the first keys while the next are on their way


def fetch(client: Any, wanted: list[Wanted]) -> list[Reply]:
    """Return one reply a key, in the order of `wanted`.

    Raises
    ------
    redis.exceptions.RedisError
        Where the connection fails or the server refuses; nothing is left on the wire.
    """
    if is_cluster(client):
        with client.pipeline() as pipe:
            for keys, fields in wanted:
                for key in keys:
                    pipe.hmget(key, list(fields.names))
            return list(pipe.execute())
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command(_on_the_wire(wanted))
        return [connection.read_response(disable_decoding=True) for keys, _ in wanted for _ in keys]
    except BaseException:
        connection.disconnect()  # replies may still be on their way: the next user must not get them
        raise
    finally:
        pool.release(connection)


async def fetch_async(client: Any, wanted: list[Wanted]) -> list[Reply]:
    """As `fetch`."""
    if is_cluster(client):
        async with client.pipeline() as pipe:
            for keys, fields in wanted:
                for key in keys:
                    pipe.hmget(key, list(fields.names))
            return list(await pipe.execute())
    pool = client.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(_on_the_wire(wanted))
        return [await connection.read_response(disable_decoding=True) for keys, _ in wanted for _ in keys]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def _on_the_wire(wanted: list[Wanted]) -> list[bytes]:
    """Return the ``HMGET`` commands as the server reads them, some keys a piece."""
    commands = []
    for keys, fields in wanted:
        head, wire = b"*%d\r\n$5\r\nHMGET\r\n$" % (len(fields.names) + 2), fields.wire
        commands += [b"%b%d\r\n%b\r\n%b" % (head, len(key), key, wire) for key in keys]
    return [b"".join(commands[i : i + _KEYS_A_SEND]) for i in range(0, len(commands), _KEYS_A_SEND)]
