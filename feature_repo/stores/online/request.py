"""What an online request asks for: which fields of which hashes, and where each view's features stand in a reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from feast import utils
from feast.infra.online_stores.redis import _versioned_fv_name

from feature_repo.stores.online.format import SymbolKeys, entity_keys, feature_field, time_field
from transforms.times import us_of_duration

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

    Raises
    ------
    KeyError
        If the rows hold no value of a join key. The message is Feast's.
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


def _request(
    config: Any, keys: list[bytes], order: list[int] | None, views: Iterable[tuple[Any, list[str]]]
) -> Request:
    named, parts, first = [], [], 0
    for table, features in views:
        named.append((_versioned_fv_name(table, config), tuple(features)))
        time = first + len(features)
        parts.append(Part(table, features, _ttl_us(table), first, time))
        first = time + 1
    return Request(keys, order, request_fields(tuple(named)), parts)


def _ttl_us(table: Any) -> int:
    ttl = getattr(table, "ttl", None)
    return 0 if ttl is None else us_of_duration(ttl)


def _keys_and_order(
    config: Any, table: Any, join_key_values: dict[str, Any], join_keys: dict[str, str]
) -> tuple[list[bytes], list[int] | None]:
    """Return `Request.keys` and `Request.order`. Entities of one text join key need no protobuf message."""
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
    order = [0] * n
    for i, destinations in enumerate(indexes):
        for row in destinations:
            order[row] = i
    return entity_keys(config, utils._get_entity_key_protos(entities)), order


_symbol_keys = lru_cache(maxsize=64)(SymbolKeys)
