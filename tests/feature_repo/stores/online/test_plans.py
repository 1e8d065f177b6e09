"""Plans: what a request resolves to, for how long that is kept, and which requests Feast answers."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from feast import FeatureService, FeatureStore

from feature_repo.stores.online import plans
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import SYMBOLS, rows_of

REFS = ["microstructure:spread", "social:author_ratio_1h", "microstructure:mid_price"]


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was looked up in the registry."""
    made: list[Any] = []
    resolve = plans.Plans._resolve

    def note(self: Any, config: Any, registry: Any, project: str, features: Any, **options: Any) -> Any:
        made.append(features)
        return resolve(self, config, registry, project, features, **options)

    monkeypatch.setattr(plans.Plans, "_resolve", note)
    return made


@pytest.fixture
def own(filled: Any) -> Any:
    """Rows, and a store of this test alone on the same registry: its own online store, without plans."""
    store = FeatureStore(config=filled.ours.config)
    store._get_provider().online_store.clock = filled.clock
    return store


def test_a_request_is_resolved_once_while_the_registry_is_the_same(own: Any, filled: Any, resolved: list[Any]) -> None:
    service = own.get_feature_service("signal_v1")
    for _ in range(3):
        for features in (service, REFS, REFS[:2]):
            own.get_online_features(features, rows_of("A"))
            filled.stock.get_online_features(REFS, rows_of("A"))  # makes Feast forget what it resolved
    assert resolved == [service, REFS, REFS[:2]]
    own.get_online_features(REFS, rows_of("A"), full_feature_names=True)
    assert resolved[3:] == [REFS]


def test_a_registry_that_is_too_old_is_read_again_and_requests_are_resolved_again_if_it_has_changed(
    own: Any, filled: Any, resolved: list[Any]
) -> None:
    own.get_online_features(REFS, rows_of("A"))
    own.refresh_registry()
    own.get_online_features(REFS, rows_of("A"))
    assert len(resolved) == 1
    own.registry.cached_registry_proto_ttl = timedelta(hours=1)
    try:
        filled.ours.apply(FeatureService(name="new", features=[own.get_feature_view("social")]))  # by another store
        before = own.registry.cached_registry_proto_created = own.registry.cached_registry_proto_created - timedelta(
            hours=2
        )
        for _ in range(3):
            own.get_online_features(REFS, rows_of("A"))
    finally:
        filled.ours.delete_feature_service("new")
    assert own.registry.cached_registry_proto_created > before
    assert len(resolved) == 2


class Uncached:
    """A registry that keeps nothing, as one behind a network may."""

    cached_registry_proto_created = None

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def is_cache_valid(self) -> bool:
        return False


def test_a_registry_without_a_cache_is_asked_by_every_request(own: Any, resolved: list[Any]) -> None:
    made = plans.Plans(own._get_provider().online_store._build_feature_types)
    for _ in range(2):
        plan = made.find(own.config, Uncached(own.registry), own.project, REFS, full_names=False)
        assert plan is not None
        assert plan.names == [ref.partition(":")[2] for ref in REFS]
    assert len(resolved) == 2


def test_a_service_that_was_changed_is_answered_anew(filled: Any) -> None:
    store, views = filled.ours, [filled.ours.get_feature_view(name) for name in ("social", "microstructure")]
    try:
        store.apply(FeatureService(name="changing", features=[views[0][["author_ratio_1h"]]]))
        first = filled.read("ours", "changing", rows_of(SYMBOLS[0])).to_dict()
        store.apply(FeatureService(name="changing", features=[views[1][["spread"]], views[0][["author_ratio_1h"]]]))
        second = filled.read("ours", "changing", rows_of(SYMBOLS[0])).to_dict()
    finally:
        store.delete_feature_service("changing")
    assert list(first) == ["symbol", "author_ratio_1h"]
    assert list(second) == ["symbol", "spread", "author_ratio_1h"]
    assert second["author_ratio_1h"] == first["author_ratio_1h"]


@pytest.mark.parametrize(
    "rows",
    [
        {"symbol": SYMBOLS[:3]},
        [{"symbol": s, "unknown": 1} for s in SYMBOLS[:3]],
        {"symbol": SYMBOLS[:3], "unknown": [1, 2, 3]},
        {"symbol": tuple(SYMBOLS[:3])},
    ],
)
def test_entities_in_other_forms_are_answered_alike(filled: Any, rows: Any) -> None:
    assert filled.read("ours", REFS, rows).to_dict() == filled.read("ours", REFS, rows_of(*SYMBOLS[:3])).to_dict()


@pytest.mark.parametrize(
    "rows", [[{"symbol": "A"}, {"other": "B"}], [{"symbol": 7}], [{"symbol": True}], {"symbol": [b"A"]}, [["A"]], ["A"]]
)
def test_odd_entities_are_answered_or_refused_as_feast_does(filled: Any, rows: Any) -> None:
    def outcome(which: str) -> Any:
        try:
            return dict(filled.read(which, REFS, rows).to_dict().items())
        except Exception as error:
            return type(error), str(error)

    assert outcome("ours") == outcome("stock")


def test_invented_lists_of_features_do_not_fill_the_memory(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_MOST", 3)
    kept: Any = own._get_provider().online_store
    assert isinstance(kept, RedisOnlineStore)
    names = [feature.name for feature in own.get_feature_view("social").features]
    for name in names:
        read = own.get_online_features([f"social:{name}", REFS[0]], rows_of(SYMBOLS[0]))
        assert list(read.to_dict())[1] == name
        assert len(kept._plans._plans) <= 3


def test_hundreds_of_reads_and_some_refreshes_leave_nothing_behind(own: Any) -> None:
    """A million of them are read by ``python -m bench.online_soak``."""

    kept: Any = own._get_provider().online_store

    def read(refreshes: int) -> None:
        for _ in range(refreshes):
            own.refresh_registry()
            kept._plans._contents = b""  # as if the registry had changed
            for symbol in SYMBOLS[:30]:
                own.get_online_features(REFS, rows_of(symbol)).to_numpy()
                own.get_online_features(REFS, rows_of(symbol, "NOBODY")).to_dict()
        gc.collect()

    read(1)
    tracemalloc.start()
    try:
        read(1)
        before = tracemalloc.get_traced_memory()[0]
        read(4)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 4 * 5_000, "each refresh left something"
