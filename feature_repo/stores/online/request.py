"""An online request: which fields of which hashes it reads, where each view's features stand in a reply, and the reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from feast import utils
from feast.infra.online_stores.redis import _versioned_fv_name
from feast.protos.feast.types.Value_pb2 import RepeatedValue

from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.online.format import SymbolKeys, feature_field, time_field
from feature_repo.stores.online.from_feast import EntityRowsError, MissingJoinKeyError, entity_keys, null_key
from transforms.times import us_of_duration

_KEYS_PER_SEND: Final = 8  # the server answers the first keys while the next are on their way

Reply = Sequence[bytes | None]
"""Values of the requested fields of one hash, in order; None where a field is absent."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The hash fields of a request, as names and as bytes of Redis's protocol."""

    names: tuple[bytes, ...]
    wire: bytes


@lru_cache(maxsize=1_024)
def request_fields(views: tuple[tuple[str, tuple[str, ...]], ...]) -> Fields:
    """Return the fields of several views: each view's features in order, then its event time."""
    names: list[bytes] = []
    for view, features in views:
        names += [feature_field(view, feature) for feature in features]
        names.append(time_field(view))
    return Fields(tuple(names), b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in names))


@dataclass(slots=True)
class Part:
    """One view of a request."""

    table: Any
    features: list[str]
    ttl_us: int  # how long its values may be served; 0: without end
    first: int  # where its features begin in a reply
    time: int  # where its event time stands, behind the features


@dataclass(slots=True)
class Request:
    """One ``HMGET`` per entity, for all views that share their join keys."""

    keys: list[bytes]  # one per distinct entity
    order: list[int] | None  # index into the keys for each row of the response; None: row and key have the same index
    fields: Fields
    parts: list[Part]

    def rows(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """Return one reply per row of the response, from one per key."""
        return replies if self.order is None else [replies[i] for i in self.order]


def plan(
    config: Any,
    grouped_refs: Iterable[tuple[Any, list[str]]],
    join_key_values: dict[str, Any],
    join_keys: dict[str, str],
) -> list[Request]:
    """Return the requests that answer `grouped_refs`; views of the same entity share one.

    Raise `MissingJoinKeyError` if the rows lack a join key of a view, `EntityRowsError` if a value of one is null.
    """
    groups: dict[tuple[Any, ...], list[tuple[Any, list[str]]]] = {}
    for table, features in grouped_refs:
        aliases = tuple(sorted(table.projection.join_key_map.items()))
        groups.setdefault((tuple(table.entities), aliases), []).append((table, features))
    return [
        _request(config, *_keys_and_order(config, views[0][0], join_key_values, join_keys), views)
        for views in groups.values()
    ]


def plan_view(config: Any, table: Any, entities: Iterable[Any], requested: list[str] | None) -> Request:
    """Return the request for some features of one view, or for all if `requested` names none."""
    features = list(requested) if requested else [field.name for field in table.features]
    return _request(config, entity_keys(config, entities), None, [(table, features)])


def fetch(client: Any, requests: Sequence[Request]) -> list[Reply]:
    """Return one reply per key, in the order of `requests`, in one round trip.

    All entities of a request have the same list of fields. So its bytes are made once and repeated, while a pipeline
    encodes them field by field for each entity. A cluster needs its keys sorted by node: there the library's own
    pipeline is used. After an error no reply is left on the connection.
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


def _request(
    config: Any, keys: list[bytes], order: list[int] | None, views: Iterable[tuple[Any, list[str]]]
) -> Request:
    named, parts, first = [], [], 0
    for table, features in views:
        named.append((_versioned_fv_name(table, config), tuple(features)))
        time = first + len(features)
        ttl = getattr(table, "ttl", None)
        parts.append(Part(table, features, 0 if ttl is None else us_of_duration(ttl), first, time))
        first = time + 1
    return Request(keys, order, request_fields(tuple(named)), parts)


def _keys_and_order(
    config: Any, table: Any, join_key_values: dict[str, Any], join_keys: dict[str, str]
) -> tuple[list[bytes], list[int] | None]:
    """Return `Request.keys` and `Request.order`. Entities of one text join key need no protobuf message."""
    given = utils._get_table_entity_values(table, join_keys, join_key_values)
    if absent := [key for key in (join_keys[entity] for entity in table.entities) if not given.get(key)]:
        names = [table.projection.join_key_map.get(key, key) for key in absent]
        raise MissingJoinKeyError(f"entity_rows have no value of {', '.join(names)}, a join key of {table.name}")
    if len(given) == 1:
        ((join_key, values),) = given.items()
        if values and all(v.WhichOneof("val") == "string_val" for v in values):
            symbols = [v.string_val for v in values]
            unique = dict.fromkeys(symbols)
            keys = _symbol_keys(config.project, join_key).keys(list(unique))
            if len(unique) == len(symbols):
                return keys, None
            place = {symbol: i for i, symbol in enumerate(unique)}
            return keys, [place[symbol] for symbol in symbols]
    for join_key, values in given.items():
        if any(v.WhichOneof("val") is None for v in values):
            raise null_key(join_key)
    entities, indexes, n = utils._get_unique_entities(table, join_key_values, join_keys)
    order = [0] * n
    for i, destinations in enumerate(indexes):
        for row in destinations:
            order[row] = i
    return entity_keys(config, utils._get_entity_key_protos(entities)), order


def check_rows(entity_rows: Any) -> None:
    """Raise `EntityRowsError` if the rows of a request, a list of rows or columns by name, name no entity."""
    first = next(iter(entity_rows.values() if isinstance(entity_rows, Mapping) else entity_rows), None)
    if not (first.val if isinstance(first, RepeatedValue) else first):
        raise EntityRowsError('entity_rows is empty: name the entities, as in [{"symbol": "BTCUSDT"}]')


_symbol_keys = lru_cache(maxsize=64)(SymbolKeys)
