"""From the streams to both stores, on real servers."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from psycopg import sql

from ingest import settings
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.decode import encode
from ingest.messages.kinds import PLAIN_STREAM, OrderBook, ScoredPost, Tick, Trade
from ingest.publish.publisher import Publisher
from ingest.streams import keys
from ingest.streams.backlog import backlog, counters
from tests.leaders import with_rows
from transforms.catalog import VIEW, VIEWS
from transforms.instrument import Instrument

T0 = 1_700_000_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BINANCE:SOL-USDT")


def messages(seconds=90):
    """A small market: for each symbol a book and a trade every 100 ms, a post every 20 s, and the tick that ends it."""
    for i in range(seconds * 10):
        ms = T0 + 100 * i
        for n, symbol in enumerate(SYMBOLS):
            mid = 100.0 * (n + 1) + 0.1 * ((i * 7 + n) % 11)
            bids = [(round(mid - 0.1 * k, 4), 1.0 + (i + k) % 5) for k in range(1, 21)]
            asks = [(round(mid + 0.1 * k, 4), 1.0 + (i + 2 * k) % 4) for k in range(1, 21)]
            yield "book", OrderBook(ms, symbol, bids, asks, i, received=ms + 2)
            yield (
                "trade",
                Trade(ms + 50, symbol, round(mid, 4), 0.5 + i % 3, ("buy", "sell", None)[i % 3], i, received=ms + 52),
            )
            if i % 10 == 0:
                told = Derivatives(ms + 60, symbol, mid, mid - 0.1, 0.0001, open_interest=100.0 + i, received=ms + 62)
                yield "derivatives", told
                yield "liquidation", Liquidation(ms + 70, symbol, ("buy", "sell")[i % 4 // 2], mid, 1.0, ms + 72)
            if i % 200 == 0:
                yield (
                    "post",
                    ScoredPost(ms, symbol, f"p{i}", ms + 30, i + 1, 0.6, 0.1, 0.3, "m", f"author{i}", received=ms + 30),
                )
    for symbol in SYMBOLS:
        yield "tick", Tick(T0 + seconds * 1000, symbol)


def publish(pipeline, some):
    with Publisher(pipeline.client, pipeline.settings.partitions) as publisher:
        for kind, message in with_rows(some, [], pipeline.settings):
            publisher.publish(kind, message, recorded=True)


def offline_rows(pipeline, view):
    query = sql.SQL("SELECT symbol, event_timestamp, created_timestamp, {} FROM {} ORDER BY 1, 2, 3")
    names = sql.SQL(", ").join(map(sql.Identifier, VIEW[view].names))
    return pipeline.postgres.execute(query.format(names, sql.Identifier(view))).fetchall()


def everything(pipeline):
    return {view.name: offline_rows(pipeline, view.name) for view in VIEWS}


def bits(value):
    return None if value is None else struct.pack("<d", value)


def online(store, service, symbols):
    store._get_provider().online_store.clock = lambda: (T0 + 90_000) * 1000
    response = store.get_online_features(store.get_feature_service(service), [{"symbol": s} for s in symbols])
    return response.to_df().set_index("symbol")


def test_online_equals_offline_to_the_bit_for_every_feature(pipeline, store):
    about = Instrument(leader="BINANCE:SOL-USDT", asset="A")
    instruments = {"BTCUSDT": about, "ETHUSDT": about, "BINANCE:SOL-USDT": Instrument(pair="BTCUSDT")}
    pipeline.settings = replace(pipeline.settings, instruments=instruments)
    publish(pipeline, messages())
    assert pipeline.run() > 0
    read = online(store, "signal_v2", SYMBOLS).join(online(store, "feature_vector_normalized_v1", SYMBOLS))
    for view in VIEWS:
        rows = offline_rows(pipeline, view.name)
        for symbol in SYMBOLS:
            newest = [row for row in rows if row[0] == symbol][-1]
            assert newest[1] == datetime.fromtimestamp(T0 / 1000 + 90, UTC)
            for name, value in zip(view.names, newest[3:], strict=True):
                served = read.loc[symbol, name]
                assert bits(None if pd.isna(served) else served) == bits(value), name
    assert read.notna()["ofi_60s"].all() and read.notna()["sentiment_compound"].all() and read.notna()["vwap_1m"].all()
    assert read.notna()["return_leader_60s"].sum() == read.notna()["consolidated_imbalance"].sum() == 2
    assert read.notna()["basis_bps"].all() and read.notna()["liquidation_buy_1m"].all()


def stream_of_features(pipeline):
    """Entries of all partitions as rows of the table: symbol, event time, creation, values."""
    rows = []
    for p in range(pipeline.settings.partitions):
        for _, fields in pipeline.client.xrange(keys.features(p)):
            values = json.loads(fields[b"values"])
            assert tuple(values) == VIEW["normalized"].names
            event, created = (
                datetime.fromtimestamp(int(fields[name]) / 1000, UTC) for name in (b"event_timestamp", b"created")
            )
            rows.append((fields[b"symbol"].decode(), event, created, *values.values()))
    return rows


def test_the_stream_of_features_carries_every_normalized_row_once_to_the_bit(pipeline):
    publish(pipeline, messages(330))
    pipeline.run()
    expected = offline_rows(pipeline, "normalized")
    streamed = stream_of_features(pipeline)
    assert len(expected) == 331 * 3  # the first book stands on a second
    assert [row[:3] for row in sorted(streamed, key=lambda row: row[:2])] == [row[:3] for row in expected]
    for sent, stored in zip(sorted(streamed, key=lambda row: row[:2]), expected, strict=True):
        assert [bits(v) for v in sent[3:]] == [bits(v) for v in stored[3:]]
    for symbol in SYMBOLS:
        times = [row[1] for row in streamed if row[0] == symbol]
        assert times == sorted(times)
    slot = 3 + VIEW["normalized"].index["spread_pct_z"]
    assert [row[slot] is None for row in expected if row[0] == "BTCUSDT"] == [True] * 300 + [False] * 31
    publish(pipeline, messages(330))
    pipeline.run()
    assert stream_of_features(pipeline) == streamed


def test_the_stream_of_features_is_bounded_and_keeps_the_newest(pipeline):
    pipeline.settings = settings.load({"TFS_PARTITIONS": "2", "TFS_FEATURES_MAXLEN": "20"})
    publish(pipeline, messages())
    pipeline.run()
    assert {row[1].timestamp() for row in stream_of_features(pipeline)} >= {T0 / 1000 + 90}
    for p in range(2):
        assert 20 <= pipeline.client.xlen(keys.features(p)) < 60


def test_training_reads_each_row_from_when_it_was_available(pipeline, store):
    publish(pipeline, messages())
    pipeline.run()
    times = pd.to_datetime([T0 + 30_000, T0 + 30_500, T0 + 89_999], unit="ms", utc=True)
    entities = pd.DataFrame({"symbol": ["ETHUSDT"] * 3, "event_timestamp": times})
    frame = store.get_historical_features(entities, store.get_feature_service("feature_vector_v1")).to_df()
    assert len(frame) == 3
    rows = {row[1]: row for row in offline_rows(pipeline, "microstructure") if row[0] == "ETHUSDT"}
    slot = 3 + VIEW["microstructure"].index["imbalance_l5"]
    for at, value in zip(pd.to_datetime(frame.event_timestamp, utc=True), frame.imbalance_l5, strict=True):
        assert bits(value) == bits(rows[at.floor("s").to_pydatetime()][slot])


def test_the_same_messages_again_add_no_row_and_change_none(pipeline, store):
    publish(pipeline, messages())
    assert pipeline.run() > 0
    before, read = everything(pipeline), online(store, "signal_v1", SYMBOLS)
    publish(pipeline, messages())
    assert pipeline.run() == 0
    assert everything(pipeline) == before
    pd.testing.assert_frame_equal(online(store, "signal_v1", SYMBOLS), read, check_exact=True)
    # what is told of contracts may come a minute late; it waits for the next row, where it is a repeat
    assert counters(pipeline.client, 2)["refused.late"] == 2 * 900 * 3 + 2 * 30 * 3


def test_rows_made_again_from_an_empty_redis_are_the_same_rows(pipeline):
    publish(pipeline, messages())
    pipeline.run()
    before = everything(pipeline)
    pipeline.client.flushall()
    publish(pipeline, messages())
    assert pipeline.run() == 0
    assert everything(pipeline) == before


def test_a_worker_that_dies_between_commits_changes_nothing_for_the_next(pipeline):
    publish(pipeline, messages())
    pipeline.run()
    expected = everything(pipeline)
    pipeline.client.flushall()
    for view in VIEWS:
        pipeline.postgres.execute(f"TRUNCATE {view.name}")

    publish(pipeline, messages())
    for turns in (1, 2, 1):
        worker = pipeline.worker()
        for _ in range(turns):
            worker.step()
        for partition in worker.holds():  # it dies: what it holds is not committed
            assert pipeline.client.delete(keys.owner(partition))
        pipeline.client.delete(keys.members("worker"))
    pipeline.run()
    assert everything(pipeline) == expected


def test_an_owner_that_lost_its_lease_commits_nothing(pipeline):
    publish(pipeline, messages(5))
    worker = pipeline.worker()
    for p in range(2):
        pipeline.client.set(keys.owner(p), 999)
    while worker.holds():
        worker.step()
        worker.flush()
    assert pipeline.client.xlen(keys.outbox(0)) == pipeline.client.xlen(keys.outbox(1)) == 0
    assert not pipeline.client.exists(*(key(p) for key in (keys.checkpoint, keys.features) for p in range(2)))


def test_plain_streams_give_the_same_rows_as_the_logs(pipeline):
    publish(pipeline, messages(20))
    pipeline.run()
    expected = everything(pipeline)
    pipeline.client.flushall()
    for view in VIEWS:
        pipeline.postgres.execute(f"TRUNCATE {view.name}")
    for kind, message in messages(20):
        stream = {of: name for name, of in PLAIN_STREAM.items()}.get(kind)
        if stream:
            pipeline.client.xadd(stream, {"data": encode(message), "recorded": "1"})
        else:
            p = keys.partition_of(message.symbol, 2)
            if kind == "tick":
                pipeline.route()
            pipeline.client.xadd(keys.events(p), {"kind": kind, "data": encode(message), "recorded": "1"})
    pipeline.run()
    got = everything(pipeline)
    for view in ("microstructure", "order_flow", "technical", "derivatives"):
        assert got[view] == expected[view]


def test_what_is_refused_is_kept_whole_and_counted_and_nothing_else_is_lost(pipeline):
    pipeline.client.xadd("order_book", {"data": b'{"timestamp": 17'})
    pipeline.client.xadd("market_data", {"data": b'{"symbol": "A B"}'})
    pipeline.client.xadd("market_data", {"data": b'{"symbol": "A", "timestamp": 5}'})
    pipeline.client.xadd(
        "market_data", {"symbol": "A", "timestamp": str(T0), "received": str(T0), "price": "1", "size": "-2"}
    )
    publish(pipeline, messages(3))
    pipeline.run()
    letters = pipeline.letters()
    assert sorted(f[b"reason"] for f in letters) == [b"bad_symbol", b"missing_field", b"not_positive", b"undecodable"]
    assert {f[b"field:data"] for f in letters if b"field:data" in f} == {
        b'{"timestamp": 17',
        b'{"symbol": "A B"}',
        b'{"symbol": "A", "timestamp": 5}',
    }
    assert next(f for f in letters if f[b"reason"] == b"not_positive")[b"field:size"] == b"-2"
    counts = counters(pipeline.client, 2)
    assert counts["accepted.trade"] == counts["accepted.book"] == 90
    assert sum(n for name, n in counts.items() if name.startswith("refused.")) == 4
    assert backlog(pipeline.client, 2).total == 0


def test_nulls_stay_null_on_both_paths(pipeline, store):
    publish(pipeline, messages(10))
    pipeline.run()
    read = store.get_online_features(["technical:rsi_14", "order_flow:vpin_bvc"], [{"symbol": "BTCUSDT"}]).to_dict()
    assert read["rsi_14"] == [None] and read["vpin_bvc"] == [None]
    assert pipeline.postgres.execute("SELECT count(rsi_14), count(*) FROM technical").fetchone() == (0, 30)


def test_a_quiet_live_symbol_gets_its_last_row_by_the_owners_clock(pipeline):
    now = [T0 * 1000 + 400_000]
    pipeline.clock = lambda: now[0]
    bids, asks = [(100.0, 1.0)], [(101.0, 2.0)]
    with Publisher(pipeline.client, 2) as publisher:
        publisher.publish("book", OrderBook(T0 + 400, "BTCUSDT", bids, asks, received=T0 + 400))
    worker = pipeline.worker()
    pipeline.work(worker)
    assert counters(pipeline.client, 2).get("rows.microstructure") is None
    now[0] = T0 * 1000 + 3_500_000
    pipeline.work(worker)
    pipeline.work(worker)
    worker.close()
    counts = counters(pipeline.client, 2)
    assert counts["rows.microstructure"] == counts["rows.normalized"] == 1
    # written at 3.5 s, due at 1 s and the allowed lateness of 0.25 s
    assert {n: c for n, c in counts.items() if n.startswith("latency_ms.")} == {
        "latency_ms.5000": 2,
        "latency_ms.sum": 4500,
    }
    pipeline.store_rows()
    [row] = offline_rows(pipeline, "microstructure")
    assert row[1] == datetime.fromtimestamp(T0 / 1000 + 1, UTC)
    assert row[2] == datetime.fromtimestamp(T0 / 1000 + 3.5, UTC)


def test_push_to_both_stores_works_on_every_view_and_reads_back_the_same_bits(store):
    from feast.data_source import PushMode

    at = pd.Timestamp.now("UTC").floor("us")
    rng = np.random.default_rng(5)
    for view in VIEWS:
        values = {
            f.name: [int(rng.integers(0, 5))] if f.dtype == "Int64" else [float(rng.normal())] for f in view.features
        }
        frame = pd.DataFrame({"symbol": ["BTCUSDT"], "event_timestamp": [at], "created_timestamp": [at], **values})
        source = store.get_feature_view(view.name).stream_source.name
        store.push(source, frame, to=PushMode.ONLINE_AND_OFFLINE)
        names = [f"{view.name}:{n}" for n in view.names]
        read = store.get_online_features(names, [{"symbol": "BTCUSDT"}]).to_dict()
        entities = pd.DataFrame({"symbol": ["BTCUSDT"], "event_timestamp": [at]})
        trained = store.get_historical_features(entities, names).to_df()
        for name in view.names:
            assert bits(read[name][0]) == bits(values[name][0]) == bits(trained[name][0]), name
