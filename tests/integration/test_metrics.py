"""Every metric of the table, scraped from the exporter's own process beside a running worker."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from feature_repo.stores.offline.append import append_rows
from ingest.cli import main
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, SocialPost, Trade
from ingest.observe import drift
from ingest.observe.table import METRICS
from ingest.publish.publisher import Publisher
from ingest.sentiment.history import History
from ingest.sentiment.scorer import Scorer
from ingest.streams import keys, read
from tests.ingest.observe.exposition import named, parsed
from transforms.catalog import VIEW, VIEWS

SECONDS = 30
DAY_US = 86_400_000_000


class StandIn:
    """A model that finds everything neutral; a token a word."""

    name, revision, window, tokens_read = "stand-in", "1", 64, 0

    def score(self, texts):
        self.tokens_read += sum(len(text.split()) for text in texts)
        return [(0.2, 0.1, 0.7)] * len(texts)


@pytest.fixture
def live(pipeline, store, monkeypatch):
    """Half a minute of a live market that ends now, its worker still at work, everything in both stores."""
    monkeypatch.setattr("feature_repo.__file__", str(store.repo_path / "__init__.py"))
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    pipeline.clock = lambda: time.time_ns() // 1000
    first_ms = (time.time_ns() // 1_000_000_000 - SECONDS) * 1000
    read.join_group(pipeline.client, [keys.SOCIAL])
    post = SocialPost(first_ms, "p1", "$BTCUSDT is up again", "test", symbols=["BTCUSDT"])
    pipeline.client.xadd(keys.SOCIAL, {"data": encode(post)})
    scorer = Scorer(pipeline.client, StandIn(), pipeline.settings, History(None), now_ms=lambda: first_ms + 1000)
    scorer.score_and_move(read.new_entries(pipeline.client, [keys.SOCIAL], 10, 1))
    with Publisher(pipeline.client, 2) as publisher:
        for i in range(SECONDS * 4):
            ms = first_ms + 250 * i
            publisher.publish("book", OrderBook(ms, "BTCUSDT", [(100.0, 1.0 + i % 3)], [(100.1, 2.0)]))
            publisher.publish("trade", Trade(ms, "BTCUSDT", 100.1, 0.5, "buy", i))
    pipeline.client.xadd("market_data", {"data": b'{"symbol": "A B"}'})
    worker = pipeline.worker()
    pipeline.route()
    pipeline.work(worker)
    worker.close()  # a running worker saves its symbols every few seconds, and here at once
    pipeline.store_rows()
    worker = pipeline.worker()
    yield pipeline, worker
    worker.close()


def reference_day(pipeline) -> None:
    """A day of one feature three days ago, measured, and the same day again until now."""
    now_us = time.time_ns() // 1000
    for last_us in (now_us - 2 * DAY_US, now_us):
        times = np.arange(last_us - DAY_US + 120_000_000, last_us - 120_000_000, 60_000_000) // 60_000_000 * 60_000_000
        values = np.full((len(times), len(VIEW["order_flow"].names)), np.nan)
        values[:, VIEW["order_flow"].index["vpin"]] = np.arange(len(times)) % 100 / 100
        append_rows(pipeline.postgres, VIEW["order_flow"], ["BTCUSDT"] * len(times), times, times, values)
    one = drift.reference(pipeline.postgres, ["BTCUSDT"], now_us - 3 * DAY_US, 1_000_000)
    drift.store(pipeline.client, one)


def scraped_from_a_process() -> str:
    """What ``ingest metrics`` serves."""
    command = [sys.executable, "-m", "ingest", "metrics", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            address = next(line.split()[-1] for line in server.stderr if line.startswith("metrics on "))
            with urllib.request.urlopen(address, timeout=30) as reply:  # noqa: S310 - our own exporter's
                return reply.read().decode()
        finally:
            server.terminate()
            assert server.wait(20) == 0


def test_every_metric_of_the_table_is_scraped_beside_a_running_worker(live, capsys, monkeypatch):
    pipeline, worker = live
    reference_day(pipeline)
    monkeypatch.setenv("TFS_TAPE", "/tape")  # a metric says how far a tape is behind
    assert main(["check", "consistency", "--rounds", "1", "--wait", "5"]) == 0
    worker.step()  # a sign of life, and the leases renewed
    text = scraped_from_a_process()
    found = parsed(text)
    shown = {name for name, _ in found}
    missing = [
        m.name
        for m in METRICS
        if not {m.name, f"{m.name}_sum"} & shown or f"# HELP {m.name.removesuffix('_total')}" not in text
    ]
    assert missing == []
    known = {f"{m.name}{suffix}" for m in METRICS for suffix in ("", "_sum", "_count", "_bucket")}
    assert shown <= known
    labels = {m.name: set(m.labels) for m in METRICS}
    for name, given in found:
        if name in labels:
            assert {key for key, _ in given} == labels[name], name

    def messages(kind, outcome="accepted", stream="events"):
        return named(found, "tfs_messages_total", stream=stream, kind=kind, outcome=outcome)

    assert (messages("book"), messages("trade"), messages("post")) == (SECONDS * 4, SECONDS * 4, 1)
    assert messages("any", "refused") == 0
    assert messages("any", "refused", "edge") == 1
    assert named(found, "tfs_refused_total", stream="edge", reason="bad_symbol") == 1
    assert named(found, "tfs_dead_letters") == 1
    (rows,) = pipeline.postgres.execute("SELECT count(*) FROM microstructure").fetchone()
    assert rows > 20
    assert named(found, "tfs_rows_total", view="microstructure") == rows
    made = sum(named(found, "tfs_rows_total", view=view.name) for view in VIEWS)
    assert 0 < named(found, "tfs_grid_to_online_seconds_count") <= made
    assert named(found, "tfs_grid_to_online_seconds_bucket", le="+Inf") == named(
        found, "tfs_grid_to_online_seconds_count"
    )
    assert named(found, "tfs_outbox_depth") == named(found, "tfs_stream_lag", stream="market_data", partition="") == 0
    assert {named(found, "tfs_partition_owners_total", partition=p) for p in ("0", "1")} == {2}
    assert (named(found, "tfs_scorer_batch_size_count"), named(found, "tfs_scorer_batch_size_sum")) == (1, 1)
    assert named(found, "tfs_scorer_tokens_total") == 4
    assert named(found, "tfs_scorer_model_info", model="stand-in@1") == 1
    assert named(found, "tfs_online_symbols", view="social", state="fresh") == 1
    assert named(found, "tfs_feature_null_share", view="sentiment", feature="tweet_count") == 0
    assert named(found, "tfs_feature_null_share", view="technical", feature="rsi_14") == 1
    assert 0 < named(found, "tfs_feature_age_seconds", view="sentiment", of="newest") < 600
    assert named(found, "tfs_feature_drift_psi", view="order_flow", feature="vpin") < 0.05
    assert named(found, "tfs_consistency_values", outcome="differing") == 0
    assert named(found, "tfs_consistency_values", outcome="equal") > 100
    assert named(found, "tfs_up", store="redis") == named(found, "tfs_up", store="postgresql") == 1


def test_no_label_of_any_metric_is_chosen_by_who_sends_messages(live, capsys):
    pipeline, worker = live
    for i in range(50):
        pipeline.client.xadd("market_data", {"data": b'{"symbol": "PLANTED%d"}' % i, b"PLANTED": b"PLANTED"})
        pipeline.client.xadd(keys.events(0), {"kind": f"PLANTED{i}", "data": b"PLANTED"})
    pipeline.route()
    pipeline.work(worker)
    assert main(["metrics", "--once"]) == 0
    found = parsed(capsys.readouterr().out)
    assert named(found, "tfs_refused_total", stream="events", reason="wrong_type") >= 50
    values = [value for _, labels in found for _, value in labels]
    assert not [value for value in values if "PLANTED" in value or "BTCUSDT" in value]


def test_an_exporter_whose_stores_are_away_says_so_and_shows_nothing_old(monkeypatch, capsys):
    monkeypatch.setenv("TFS_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("TFS_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert main(["metrics", "--once"]) == 1
    found = parsed(capsys.readouterr().out)
    assert found == {
        ("tfs_up", (("store", "redis"),)): 0,
        ("tfs_up", (("store", "postgresql"),)): 0,
    }
