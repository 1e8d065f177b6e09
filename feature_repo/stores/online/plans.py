"""How requests of a process are answered: resolved in the registry once, and kept while its contents are the same.

Feast keeps what it resolved in one place a process, and drops it when another store reads. A plan belongs to one store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from feast import FeatureService, utils
from feast.value_type import ValueType

from feature_repo.stores.online.format import SymbolKeys
from feature_repo.stores.online.order import order_of
from feature_repo.stores.online.request import Request, asked, keys_of_symbols
from feature_repo.stores.online.response import ColumnResponse, FeatureTypes, Found, track
from feature_repo.stores.online.shape import Shape, Table
from feature_repo.stores.references import split

_MOST: Final = 256  # plans of one registry; callers that invent lists of features do not fill the memory


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request for some features reads and answers, whichever entities it names: views of one text join key."""

    join_key: str
    keys: SymbolKeys
    names: list[str]  # of the columns
    shape: Shape
    views: list[Any]
    types: FeatureTypes
    service: str  # empty for a list of references

    def request(self, entity_rows: Any) -> PlannedRequest | None:
        """Return the request for some entities; None if they are given by anything but one text a row."""
        symbols = self._symbols(entity_rows)
        if symbols is None:
            return None
        return PlannedRequest(*keys_of_symbols(self.keys, symbols), self.shape, self.views, self, symbols)

    def _symbols(self, entity_rows: Any) -> list[str] | None:
        if isinstance(entity_rows, list):
            try:
                symbols = [row[self.join_key] for row in entity_rows if len(row) == 1]
            except (KeyError, TypeError):
                return None
            if len(symbols) != len(entity_rows):
                return None
        elif isinstance(entity_rows, Mapping) and len(entity_rows) == 1:
            symbols = entity_rows.get(self.join_key)  # type: ignore[assignment]
        else:
            return None
        return symbols if isinstance(symbols, list) and set(map(type, symbols)) == {str} else None


@dataclass(slots=True)
class PlannedRequest(Request):
    """A request by a plan."""

    plan: Plan
    symbols: list[str]  # one per row of the response

    @property
    def service(self) -> str:
        """Name of the feature service; empty for a list of references."""
        return self.plan.service

    def response(self, table: Table) -> ColumnResponse:
        """Return the response that says what was found."""
        track(self.views, table)
        return ColumnResponse.of_arrays(
            Found(self.plan.join_key, self.symbols, self.plan.names, table), self.plan.types
        )


class Plans:
    """The plans of a store.

    Parameters
    ----------
    make_types : callable
        Makes the types of the features in Feast's groups of references.
    """

    def __init__(self, make_types: Callable[[list[Any]], FeatureTypes]) -> None:
        self._make_types = make_types
        self._plans: dict[tuple[Any, ...], Plan | None] = {}
        self._source: tuple[Any, Any] = (None, None)  # the registry, and when it was read
        self._contents = b""  # a hash of what was read

    def find(self, config: Any, registry: Any, project: str, features: Any, *, full_names: bool) -> Plan | None:
        """Return the plan of a request; None if Feast has to answer it.

        Feast answers what is computed on demand, entities of several or other join keys, and renamed join keys.
        """
        if not isinstance(features, FeatureService | list):
            return None
        key = (features.name if isinstance(features, FeatureService) else tuple(features), project, full_names)
        if not self._is_kept_for(registry, project):
            return self._resolve(config, registry, project, features, full_names=full_names)
        plans = self._plans  # another thread may replace it meanwhile
        if key not in plans:
            if len(plans) >= _MOST:
                plans = self._plans = {}
            plans[key] = self._resolve(config, registry, project, features, full_names=full_names)
        return plans[key]

    def _is_kept_for(self, registry: Any, project: str) -> bool:
        """Return whether plans are kept; those of a registry with other contents than now are dropped.

        Feast reads its registry again every few minutes, mostly to find what it had; to resolve a service of a hundred
        features again would take a tenth of a second.
        """
        if not registry.is_cache_valid():
            registry.list_entities(project, allow_cache=True)  # Feast reads it again
        source = (registry, getattr(registry, "cached_registry_proto_created", None))
        if source[1] is None:
            return False  # a registry without a cache: every request asks it
        if source != self._source:
            contents = blake2b(registry.cached_registry_proto.SerializeToString(deterministic=True)).digest()
            if contents != self._contents:
                self._plans, self._contents = {}, contents
            self._source = source
        return True

    def _resolve(self, config: Any, registry: Any, project: str, features: Any, *, full_names: bool) -> Plan | None:
        context = utils._get_online_request_context(registry, project, features, full_names)
        refs, on_demand, join_keys, types, _, grouped, _, request_data, without_entity = context
        if on_demand or request_data or without_entity or getattr(features, "precompute_online", False):
            return None
        entities = {(*view.entities, *view.projection.join_key_map, view.projection.version_tag) for view, _ in grouped}
        if len(entities) != 1:
            return None
        entity, *renamed = entities.pop()
        if renamed != [None] or types.get(join_keys.get(entity)) != ValueType.STRING:
            return None
        service = features.name if isinstance(features, FeatureService) else ""
        order = order_of(tuple(refs), full_names, service)
        arranged = order.arrange(grouped)
        columns = {
            (view.projection.name_to_use(), name): i
            for i, (view, name) in enumerate((view, name) for view, names in arranged for name in names)
        }
        places = tuple(columns[split(ref)] for ref in refs)
        shape = Shape(tuple(asked(config, view, names) for view, names in arranged), places)
        return Plan(
            join_keys[entity],
            SymbolKeys(config.project, join_keys[entity]),
            order.names,
            shape,
            [view for view, _ in arranged],
            self._make_types(arranged),
            service,
        )
