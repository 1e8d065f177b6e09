"""What one online request asks for: which fields of which hashes, and where each view's features stand in the reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from feast import utils
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import _versioned_fv_name

from feature_repo.stores.online.format import (
    SymbolKeys,
    feature_field,
    time_field,
)
from transforms.times import us_of_duration

Reply = Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class Fields:
    """The hash fields of one request for one entity, as command arguments and as bytes on the wire."""

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
    """One view of a request and where its features begin in the reply."""

    table: Any
    features: list[str]
    ttl_us: int
    first: int


@dataclass(slots=True)
class Request:
    """One ``HMGET`` an entity for all views that share their join keys.

    ``order`` maps each row of the response to its entity; None where they are the same.
    """

    keys: list[bytes]
    order: list[int] | None
    fields: Fields
    parts: list[Part]

    def rows(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """Return one reply a row of the response."""
        return replies if self.order is None else [replies[i] for i in self.order]


def plan(
    config: Any,
    grouped_refs: Iterable[tuple[Any, list[str]]],
    join_key_values: dict[str, Any],
    join_keys: dict[str, str],
) -> list[Request]:
    """Return the requests that answer `grouped_refs`, views with the same entity together.

    Raises
    ------
    KeyError
        Where the rows give no value of a join key; the message is Feast's.
    """
    groups: dict[tuple[Any, ...], list[tuple[Any, list[str]]]] = {}
    for table, features in grouped_refs:
        aliases = tuple(sorted(table.projection.join_key_map.items()))
        groups.setdefault((tuple(table.entities), aliases), []).append((table, features))
    requests = []
    for views in groups.values():
        keys, order = _entity_keys(config, views[0][0], join_key_values, join_keys)
        named = [(_versioned_fv_name(table, config), tuple(features)) for table, features in views]
        parts, first = [], 0
        for table, features in views:
            parts.append(Part(table, features, ttl_us(table), first))
            first += len(features) + 1
        requests.append(Request(keys, order, request_fields(tuple(named)), parts))
    return requests


def ttl_us(table: Any) -> int:
    """Return how long a view's value may be served, in microseconds; 0 is for ever."""
    ttl = getattr(table, "ttl", None)
    return 0 if ttl is None else us_of_duration(ttl)


def _entity_keys(
    config: Any, table: Any, join_key_values: dict[str, Any], join_keys: dict[str, str]
) -> tuple[list[bytes], list[int] | None]:
    given = utils._get_table_entity_values(table, join_keys, join_key_values)
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
    entities, indexes, n = utils._get_unique_entities(table, join_key_values, join_keys)
    project = config.project.encode()
    version = config.entity_key_serialization_version
    keys = [serialize_entity_key(proto, version) + project for proto in utils._get_entity_key_protos(entities)]
    order = [0] * n
    for i, destinations in enumerate(indexes):
        for row in destinations:
            order[row] = i
    return keys, order


_symbol_keys = lru_cache(maxsize=64)(SymbolKeys)
