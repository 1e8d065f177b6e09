"""The order of a response's columns: that of the feature service, or of the list of references.

Feast 0.67 groups references in sets (``feast.utils._group_feature_refs``), so the order of its online columns is another in
each process. A model that was trained on the service's order would get permuted inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from feast import FeatureService, utils
from feast.protos.feast.serving.ServingService_pb2 import FeatureList

from feature_repo.stores.references import column_names, split


@dataclass(frozen=True, slots=True)
class Order:
    """The features that a request names, in its order.

    Attributes
    ----------
    names : list of str
        Names of their columns in the response.
    features : dict
        The features of each view, by the name under which references name the view.
    serialised : bytes
        The names as Feast's response holds them.
    service : str
        Name of the feature service; empty for a list of references.
    """

    names: list[str] = field(default_factory=list)
    features: dict[str, list[str]] = field(default_factory=dict)
    serialised: bytes = b""
    service: str = ""

    def arrange(self, grouped_refs: Iterable[tuple[Any, list[str]]]) -> list[tuple[Any, list[str]]]:
        """Return Feast's groups with the features of each view in order.

        Those that only an on-demand view reads come last, by name. They do not become columns of the response.
        """
        arranged = []
        for table, grouped in grouped_refs:
            named = self.features.get(table.projection.name_to_use(), [])
            more = sorted({*grouped}.difference(named)) if len(named) != len(grouped) else []
            arranged.append((table, named + more if more else named))
        return arranged

    def put(self, response: Any) -> None:
        """Put the columns of Feast's response in order, behind the entities' columns.

        `arrange` has done this already, unless references of several views alternate or some are computed on demand.
        """
        if response.metadata.feature_names.SerializeToString().endswith(self.serialised):  # compared in C
            return
        present = response.metadata.feature_names.val
        rank = {name: i for i, name in enumerate(self.names)}
        ranks = [rank.get(name, -1) for name in present]
        place = iter(ranks)
        response.results.sort(key=lambda _: next(place))
        present.sort(key=lambda name: rank.get(name, -1))


_requested: Final[ContextVar[Order]] = ContextVar("requested", default=Order())  # noqa: B039 - frozen, never filled


def requested() -> Order:
    """Return the order of the request that this thread or task answers; empty outside of one."""
    return _requested.get()


@contextmanager
def request_of(registry: Any, project: str, features: Any, *, full_names: bool) -> Iterator[Order]:
    """Make `requested` return the order of `features`, a list of references or a feature service, meanwhile.

    Feast hands the references to no method of an online store but the outermost.
    """
    refs, service = features if isinstance(features, list) else [], ""  # Feast refuses anything else
    if isinstance(features, FeatureService):  # as Feast resolves it: the registry's version of the service counts
        refs = utils._get_cached_request_context(registry, project, features, full_names)[0]
        service = features.name
    token = _requested.set(order_of(tuple(refs), full_names, service))
    try:
        yield _requested.get()
    finally:
        _requested.reset(token)


@lru_cache(maxsize=256)
def order_of(refs: tuple[str, ...], full_names: bool, service: str = "") -> Order:
    names = column_names(refs, full_names=full_names)
    order = Order(names, serialised=FeatureList(val=names).SerializeToString(), service=service)
    for view, feature in map(split, refs):
        order.features.setdefault(view, []).append(feature)
    return order
