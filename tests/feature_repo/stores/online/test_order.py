"""The columns of a response stand in the order that was asked for, whatever the order of Feast's sets."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from feast.errors import FeatureNameCollisionError

from feature_repo.stores.online.order import Order, request_of, requested
from tests.feature_repo.stores.feast_rows import SYMBOLS, TOGETHER, rows_of, serve
from transforms.catalog import VIEW

REFS = [f"{view.name}:{name}" for view in TOGETHER for name in view.names]
ALTERNATING = ["social:author_ratio_1h", "fees:tier", "limits:leverage"]
PAIR = [{"symbol": "A", "venue": "X", "account": 7}]
READ = """
import json, sys
sys.modules["torch"] = None  # Feast imports it where it can, which takes seconds
from feast import FeatureStore, RepoConfig
store = FeatureStore(config=RepoConfig(**json.loads(sys.argv[1])))
print(json.dumps(list(store.get_online_features(store.get_feature_service("signal_v1"), [{"symbol": "A"}]).to_df())))
"""


def columns(response: Any) -> list[str]:
    return list(response.to_df())


def shuffled(seed: int) -> list[str]:
    return random.Random(seed).sample(REFS, len(REFS))


def test_a_service_answers_in_its_own_order_under_another_hash_seed(stores: Any) -> None:
    config = json.dumps(stores.ours.config.model_dump(mode="json", exclude_unset=True, by_alias=True))
    seed = str(1 + int(os.environ.get("PYTHONHASHSEED", "0").replace("random", "0")))
    done = subprocess.run(
        [sys.executable, "-c", READ, config], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
    )
    assert json.loads(done.stdout) == ["symbol", *(name for view in TOGETHER for name in view.names)]


@pytest.mark.parametrize("seed", [1, 2])
def test_references_in_any_order_are_answered_in_that_order_blocking_or_not(filled: Any, seed: int) -> None:
    refs = shuffled(seed)

    async def later() -> Any:
        response = await filled.ours.get_online_features_async(refs, rows_of(*SYMBOLS[:3]))
        await filled.online.close()
        return response

    ours, stock = filled.both(refs, rows_of(*SYMBOLS[:3]))
    assert columns(ours) == ["symbol", *(ref.partition(":")[2] for ref in refs)]
    assert filled.columns(ours) == filled.columns(stock)  # each name still has its own values, statuses and times
    assert asyncio.run(later()).proto == ours.proto


def test_tensors_stand_in_the_order_of_the_references(filled: Any) -> None:
    refs = shuffled(5)
    ours, stock = filled.both(refs, rows_of(*SYMBOLS[:2]))
    tensors, expected = ours.to_tensor(), stock.to_tensor()
    assert list(tensors) == ["symbol", *(ref.partition(":")[2] for ref in refs)]
    assert {name: repr(value) for name, value in tensors.items()} == {name: repr(expected[name]) for name in expected}


def test_full_names_keep_the_order(filled: Any) -> None:
    refs = shuffled(3)
    ours, stock = filled.both(refs, rows_of(*SYMBOLS[:2]), full_feature_names=True)
    assert columns(ours) == ["symbol", *(ref.replace(":", "__") for ref in refs)]
    assert filled.columns(ours) == filled.columns(stock)


def test_the_feature_server_answers_in_the_order_of_the_service_and_of_the_list(filled: Any) -> None:
    entities = {"symbol": SYMBOLS[:2]}
    _, answer = serve(filled, {"feature_service": "signal_v1", "entities": entities})
    assert answer["metadata"]["feature_names"] == ["symbol", *(name for view in TOGETHER for name in view.names)]
    refs = shuffled(4)
    _, answer = serve(filled, {"features": refs, "entities": entities})
    assert answer["metadata"]["feature_names"] == ["symbol", *(ref.partition(":")[2] for ref in refs)]
    expected = filled.read("stock", refs, rows_of(*SYMBOLS[:2])).to_dict()
    names = answer["metadata"]["feature_names"]
    assert dict(zip(names, (column["values"] for column in answer["results"]), strict=True)) == expected


def test_a_service_of_chosen_and_of_renamed_features_keeps_its_order(filled: Any) -> None:
    chosen = filled.read("ours", "chosen", rows_of(SYMBOLS[0]))
    assert columns(chosen) == ["symbol", "vpin", "spread", "mid_price", "ofi_1s"]
    renamed = filled.read("ours", "renamed", rows_of(SYMBOLS[0]), full_feature_names=True)
    assert columns(renamed) == ["symbol", *(f"crowd__{name}" for name in VIEW["social"].names)]


def test_what_is_computed_on_demand_stands_where_the_service_has_it(filled: Any) -> None:
    for full, names in (
        (False, ["mid_price", "half_spread", "vpin", "spread"]),
        # Feast itself has no full name for what a Python function computes, and leaves it out.
        (True, ["microstructure__mid_price", "order_flow__vpin", "microstructure__spread"]),
    ):
        refs = ["microstructure:mid_price", "halved:half_spread", "order_flow:vpin", "microstructure:spread"]
        ours, stock = filled.both(refs, rows_of(*SYMBOLS[:3]), full_feature_names=full)
        assert columns(ours) == ["symbol", *names]
        assert filled.columns(ours) == filled.columns(stock)
    assert columns(filled.read("ours", "demand_first", rows_of(SYMBOLS[0]))) == ["symbol", "half_spread", "mid_price"]


@pytest.mark.parametrize("order", [*itertools.permutations(ALTERNATING)])
def test_views_of_different_entities_are_answered_in_the_order_of_the_list(filled: Any, order: list[str]) -> None:
    read = columns(filled.read("ours", list(order), PAIR))
    assert read == ["symbol", "venue", "account", *(ref.partition(":")[2] for ref in order)]


def test_a_reference_that_is_given_twice_is_refused_as_in_stock(filled: Any) -> None:
    for which in ("ours", "stock"):
        with pytest.raises(FeatureNameCollisionError):
            filled.read(which, ["social:author_ratio_1h", "order_flow:vpin", "social:author_ratio_1h"], rows_of("A"))


def test_groups_are_arranged_by_the_references_and_what_only_a_computation_needs_comes_last() -> None:
    def table(name: str) -> Any:
        return SimpleNamespace(projection=SimpleNamespace(name_to_use=lambda: name))

    with request_of(None, "p", ["v:b", "w:x", "v:a"], full_names=True) as order:
        assert requested() is order
        assert order.names == ["v__b", "w__x", "v__a"]
        grouped = [(table("v"), ["d", "a", "c", "b"]), (table("w"), ["x"]), (table("only"), ["z", "y"])]
        assert [names for _, names in order.arrange(grouped)] == [["b", "a", "c", "d"], ["x"], ["y", "z"]]
    assert requested() == Order()
