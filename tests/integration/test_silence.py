"""A feed stops while the others go on: what it fed is served no longer than its ttl, however many rows came after its last word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from feature_repo.project import project
from feature_repo.stores.online.format import SymbolKeys
from feature_repo.stores.online.write import OnlineWriter
from ingest.messages.contract_kinds import Derivatives
from ingest.messages.kinds import OrderBook, ScoredPost, Tick, Trade
from ingest.publish.publisher import Publisher
from transforms.catalog import RAW_VIEWS, VIEW

T0 = 1_700_000_000_000
SECOND = 1_000_000
KINDS = ("book", "trade", "post", "derivatives")
PRESENT, OUTSIDE = FieldStatus.PRESENT, FieldStatus.OUTSIDE_MAX_AGE


def publish(pipeline: Any, from_s: int, to_s: int, *kinds: str) -> None:
    """Ten messages a second of each kind, and a tick that ends the last second."""
    with Publisher(pipeline.client, pipeline.settings.partitions) as publisher:
        for ms in range(T0 + from_s * 1000, T0 + to_s * 1000, 100):
            if "book" in kinds:
                book = OrderBook(ms, "A", [(99.0, 1.0 + ms % 7)], [(101.0, 1.0 + ms % 5)], received=ms)
                publisher.publish("book", book, recorded=True)
            if "trade" in kinds:
                publisher.publish("trade", Trade(ms, "A", 100.0, 1.0, "buy", received=ms), recorded=True)
            if "derivatives" in kinds:
                told = Derivatives(ms, "A", 100.0, 100.5, 0.0001, open_interest=7.0, received=ms)
                publisher.publish("derivatives", told, recorded=True)
            if "post" in kinds and ms % 1000 == 0:
                post = ScoredPost(ms, "A", str(ms), ms, ms % 97, 0.6, 0.1, 0.3, received=ms)
                publisher.publish("post", post, recorded=True)
        publisher.publish("tick", Tick(T0 + to_s * 1000 + pipeline.settings.allowed_lateness_ms, "A"), recorded=True)


def statuses(store: Any, at_s: float) -> dict[str, set[int]]:
    """What a reader is told of each view's features at a moment; a feature past its age must be null."""
    store._get_provider().online_store.clock = lambda: T0 * 1000 + round(at_s * SECOND)
    found: dict[str, set[int]] = {}
    for view in RAW_VIEWS:
        names = [f"{view.name}:{name}" for name in view.names]
        response = store.get_online_features(names, [{"symbol": "A"}]).proto
        columns = response.results[-len(names) :]
        found[view.name] = {column.statuses[0] for column in columns}
        for column in columns:
            assert column.statuses[0] == PRESENT or column.values[0].WhichOneof("val") is None
    return found


@pytest.mark.parametrize(
    ("view", "stopped"), [("microstructure", "book"), ("order_flow", "trade"), ("derivatives", "derivatives")]
)
def test_a_feed_that_stops_is_past_its_age_after_its_ttl_while_the_others_stay(
    pipeline: Any, store: Any, view: str, stopped: str
) -> None:
    ttl, others = VIEW[view].ttl_s, set(KINDS) - {stopped}
    worker = pipeline.worker()
    publish(pipeline, 0, 20, *KINDS)
    pipeline.work(worker)
    assert statuses(store, 20) == {v.name: {PRESENT} for v in RAW_VIEWS}

    publish(pipeline, 20, 20 + ttl - 1, *others)  # its last message was at 19.9 s
    pipeline.work(worker)
    assert statuses(store, 20 + ttl - 1) == {v.name: {PRESENT} for v in RAW_VIEWS}

    publish(pipeline, 20 + ttl - 1, 20 + ttl + 1, *others)
    pipeline.work(worker)
    expected = {v.name: {PRESENT} for v in RAW_VIEWS} | {view: {OUTSIDE}}
    assert statuses(store, 20 + ttl + 1) == expected
    assert statuses(store, 19.9 + ttl)[view] == {PRESENT}
    assert statuses(store, 19.9 + ttl + 0.002)[view] == {OUTSIDE}

    publish(pipeline, 20 + ttl + 1, 20 + ttl + 3, *KINDS)
    pipeline.work(worker)
    assert statuses(store, 20 + ttl + 3) == {v.name: {PRESENT} for v in RAW_VIEWS}


def test_a_row_that_says_nothing_of_its_feed_counts_from_its_own_time(pipeline: Any, store: Any) -> None:
    worker = pipeline.worker()
    publish(pipeline, 0, 20, "book", "trade", "post")
    publish(pipeline, 20, 26, "trade", "post")
    pipeline.work(worker)
    assert statuses(store, 30)["microstructure"] == {OUTSIDE}
    book = VIEW["microstructure"]
    later = np.array([T0 * 1000 + 27 * SECOND])
    assert OnlineWriter(pipeline.client, project(), book).write(["A"], later, np.zeros((1, len(book.names)))) == 1
    assert statuses(store, 37)["microstructure"] == {PRESENT}
    assert statuses(store, 37.001)["microstructure"] == {OUTSIDE}
    quiet = np.array([6 * SECOND])  # newer by one microsecond, and silent since 21 s
    assert (
        OnlineWriter(pipeline.client, project(), book).write(["A"], later, np.zeros((1, len(book.names))), quiet) == 0
    )
    assert (
        OnlineWriter(pipeline.client, project(), book).write(["A"], later + 1, np.zeros((1, len(book.names))), quiet)
        == 1
    )
    assert statuses(store, 32)["microstructure"] == {OUTSIDE}
    assert (
        OnlineWriter(pipeline.client, project(), book).write(["A"], later + 2, np.zeros((1, len(book.names)))) == 1
    )  # a row behind one that tells its silence
    assert statuses(store, 32)["microstructure"] == {PRESENT}


@pytest.mark.parametrize("latest", [True, False], ids=["the latest rows", "all rows"])
def test_what_serving_refused_stays_refused_after_materialize_and_is_null_in_training(
    pipeline: Any, store: Any, latest: bool
) -> None:
    worker = pipeline.worker()
    publish(pipeline, 0, 20, "book", "trade", "post")
    publish(pipeline, 20, 26, "trade", "post")  # the last book is of 19.9 s, the last row of the books of 26 s
    pipeline.work(worker)
    worker.close()
    pipeline.store_rows()
    key = SymbolKeys(project(), "symbol").keys(["A"])[0]
    live, moments = pipeline.client.hgetall(key), [29.9, 29.902]
    served = [statuses(store, at_s) for at_s in moments]
    assert [found["microstructure"] for found in served] == [{PRESENT}, {OUTSIDE}]

    pipeline.client.flushdb()
    start = datetime.fromtimestamp(T0 / 1000, UTC)
    assert store.config.materialization_config.pull_latest_features is True, "feature_store.yaml says so"
    store.config.materialization_config.pull_latest_features = latest
    store.materialize(start - timedelta(seconds=1), start + timedelta(seconds=30))
    assert pipeline.client.hgetall(key) == live
    assert [statuses(store, at_s) for at_s in moments] == served

    frame = pd.DataFrame({"symbol": "A", "event_timestamp": [start + timedelta(seconds=at_s) for at_s in moments]})
    names = ["microstructure:mid_price", "order_flow:trade_rate_10s"]
    trained = store.get_historical_features(frame, names).to_df()
    assert trained["mid_price"].isna().tolist() == [False, True]
    assert trained["trade_rate_10s"].isna().tolist() == [False, False]
