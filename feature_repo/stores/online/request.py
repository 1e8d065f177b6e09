"""An online request: which fields of which hashes it reads, where each view's features stand in a reply, and the reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple

from feast import utils
from feast.infra.online_stores.redis import _versioned_fv_name
from feast.protos.feast.types.Value_pb2 import RepeatedValue

from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.online.decode import Reading
from feature_repo.stores.online.format import SymbolKeys
from feature_repo.stores.online.from_feast import (
    EntityRowsError,
    MissingJoinKeyError,
    entity_keys,
    layout_of_table,
    null_key,
)
from feature_repo.stores.online.order import requested
from feature_repo.stores.online.record import Ints
from feature_repo.stores.online.shape import Asked, Fields, Reply, Shape, Table
from transforms.times import us_of_duration

_KEYS_PER_SEND: Final = 8  # the server answers the first keys while the next are on their way

Ask = tuple[Sequence[bytes], Fields]
"""Keys, and the fields to read of each."""


@dataclass(slots=True)
class Request:
    """One ``HMGET`` per entity, for all views that share their join keys."""

    keys: list[bytes]  # one per distinct entity
    order: list[int] | None  # index into the keys for each row of the response; None: row and key have the same index
    shape: Shape
    views: list[Any]  # Feast's views, as in `shape.asked`

    @property
    def service(self) -> str:
        """Name of the feature service; empty for a list of references, and outside of `get_online_features`."""
        return requested().service


class Answer(NamedTuple):
    """What a request found, for the log of what was served: a row of the table and of the heads for each key."""

    service: str
    keys: list[bytes]
    table: Table
    heads: Ints  # what the time fields begin with, shape (n, n_views, HEAD_WORDS)


class Read:
    """The answers to some requests, on their way: one round trip, and a second one for rows without a record."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._readings: list[Reading] = []
        self._plain: Sequence[Reply] = ()

    def asks(self) -> list[Ask]:
        """Return what to read first."""
        return [(request.keys, request.shape.fields) for request in self._requests]

    def take(self, replies: Iterable[Reply]) -> None:
        """Take the replies to `asks`."""
        left = iter(replies)
        self._readings = [Reading(r.shape, list(islice(left, len(r.keys)))) for r in self._requests]

    def asks_again(self) -> list[Ask]:
        """Return what to read then; mostly nothing."""
        return [
            ((request.keys[i],), _plain_fields(request.shape.asked[v]))
            for request, reading in zip(self._requests, self._readings, strict=True)
            for i, v in reading.again
        ]

    def take_again(self, replies: Sequence[Reply]) -> None:
        """Take the replies to `asks_again`."""
        self._plain = replies

    def tables(self, now_us: int | None) -> list[Table]:
        """Return the table of each request; ttls count against `now_us`, in microseconds, and None withholds nothing."""
        left = iter(self._plain)
        return [
            reading.table(list(islice(left, len(reading.again))), now_us).take(request.order)
            for request, reading in zip(self._requests, self._readings, strict=True)
        ]

    def answers(self, tables: Sequence[Table]) -> list[Answer]:
        """Return the tables with what the log of what was served holds beside them."""
        left = iter(self._plain)
        return [
            Answer(
                request.service,
                request.keys,
                table.take(_first_rows(request.order, len(request.keys))),
                reading.heads(list(islice(left, len(reading.again)))),
            )
            for request, reading, table in zip(self._requests, self._readings, tables, strict=True)
        ]


def asked(config: Any, table: Any, features: Iterable[str]) -> Asked:
    """Return what is asked of a Feast view."""
    ttl, layout, names = getattr(table, "ttl", None), layout_of_table(table), tuple(features)
    known = layout is not None and layout.index.keys() >= set(names)
    ttl_us = 0 if ttl is None else us_of_duration(ttl)
    return Asked(_versioned_fv_name(table, config), names, layout if known else None, ttl_us)


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


def fetch(client: Any, asks: Sequence[Ask]) -> list[Reply]:
    """Return one reply per key, in the order of `asks`, in one round trip.

    All keys of an ask have the same list of fields. So its bytes are made once and repeated, while a pipeline encodes
    them field by field for each key. A cluster needs its keys sorted by node: there the library's own pipeline is used.
    After an error no reply is left on the connection.
    """
    if is_cluster(client):
        with client.pipeline() as pipe:
            _add_to_pipeline(pipe, asks)
            return list(pipe.execute())
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command(commands(asks))
        return [connection.read_response(disable_decoding=True) for keys, _ in asks for _ in keys]
    except BaseException:
        connection.disconnect()  # replies may still be on their way: the next user must not read them
        raise
    finally:
        pool.release(connection)


async def fetch_async(client: Any, asks: Sequence[Ask]) -> list[Reply]:
    """Return what `fetch` returns."""
    if is_cluster(client):
        async with client.pipeline() as pipe:
            _add_to_pipeline(pipe, asks)
            return list(await pipe.execute())
    pool = client.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(commands(asks))
        return [await connection.read_response(disable_decoding=True) for keys, _ in asks for _ in keys]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def _add_to_pipeline(pipe: Any, asks: Sequence[Ask]) -> None:
    for keys, fields in asks:
        for key in keys:
            pipe.hmget(key, list(fields.names))


def commands(asks: Sequence[Ask]) -> list[bytes]:
    """Return the ``HMGET`` commands in Redis's protocol, several keys per piece."""
    made: list[bytes] = []
    for keys, fields in asks:
        head, wire = b"*%d\r\n$5\r\nHMGET\r\n$" % (len(fields.names) + 2), fields.wire
        made += [b"%b%d\r\n%b\r\n%b" % (head, len(key), key, wire) for key in keys]
    return [b"".join(made[i : i + _KEYS_PER_SEND]) for i in range(0, len(made), _KEYS_PER_SEND)]


def _request(
    config: Any, keys: list[bytes], order: list[int] | None, views: Sequence[tuple[Any, list[str]]]
) -> Request:
    shape = _shape(tuple(asked(config, table, features) for table, features in views))
    return Request(keys, order, shape, [table for table, _ in views])


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
            return keys_of_symbols(_symbol_keys(config.project, join_key), [v.string_val for v in values])
    for join_key, values in given.items():
        if any(v.WhichOneof("val") is None for v in values):
            raise null_key(join_key)
    entities, indexes, n = utils._get_unique_entities(table, join_key_values, join_keys)
    order = [0] * n
    for i, destinations in enumerate(indexes):
        for row in destinations:
            order[row] = i
    return entity_keys(config, utils._get_entity_key_protos(entities)), order


def keys_of_symbols(keys: SymbolKeys, symbols: Sequence[str]) -> tuple[list[bytes], list[int] | None]:
    """Return `Request.keys` and `Request.order` of entities of one text join key."""
    unique = dict.fromkeys(symbols)
    made = keys.keys(list(unique))
    if len(unique) == len(symbols):
        return made, None
    place = {symbol: i for i, symbol in enumerate(unique)}
    return made, [place[symbol] for symbol in symbols]


def check_rows(entity_rows: Any) -> None:
    """Raise `EntityRowsError` if the rows of a request, a list of rows or columns by name, name no entity."""
    first = next(iter(entity_rows.values() if isinstance(entity_rows, Mapping) else entity_rows), None)
    if not (first.val if isinstance(first, RepeatedValue) else first):
        raise EntityRowsError('entity_rows is empty: name the entities, as in [{"symbol": "BTCUSDT"}]')


def _first_rows(order: Sequence[int] | None, n: int) -> list[int] | None:
    """Return the first row of the response for each key."""
    if order is None:
        return None
    rows = {key: row for row, key in reversed(list(enumerate(order)))}
    return [rows[key] for key in range(n)]


_symbol_keys = lru_cache(maxsize=64)(SymbolKeys)
_shape = lru_cache(maxsize=1_024)(Shape)


@lru_cache(maxsize=1_024)
def _plain_fields(asked: Asked) -> Fields:
    return Fields.of(asked.plain)
