"""Commands that read what the pipeline wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from ingest.cli import main
from ingest.messages.kinds import OrderBook, Tick
from ingest.publish.publisher import Publisher

T0 = 1_700_000_000_000


@pytest.fixture
def fed(pipeline, store, monkeypatch):
    """Ten minutes of books whose mid is 100 + seconds/100, the definitions where the commands look for them."""
    monkeypatch.setattr("feature_repo.__file__", str(store.repo_path / "__init__.py"))
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    with Publisher(pipeline.client, 2) as publisher:
        for i in range(600):
            mid = 100 + i / 100
            book = OrderBook(
                T0 + 1000 * i, "BTCUSDT", [(mid - 0.005, 1.0)], [(mid + 0.005, 1.0)], received=T0 + 1000 * i
            )
            publisher.publish("book", book, recorded=True)
        publisher.publish("tick", Tick(T0 + 600_000, "BTCUSDT"), recorded=True)
    pipeline.run()
    return pipeline


def test_a_training_frame_has_a_row_a_moment_and_the_return_that_followed(fed, tmp_path):
    out = tmp_path / "frame.parquet"
    start, end = (datetime.fromtimestamp(T0 / 1000 + s, UTC).isoformat() for s in (100, 199))
    grid = ["--start", start, "--end", end, "--every", "1s", "--horizon", "60s"]
    assert main(["training-frame", "--symbols", "BTCUSDT,NOBODY", *grid, "-o", str(out)]) == 0
    frame = pq.read_table(out).to_pandas()
    assert len(frame) == 200
    known = frame[frame.symbol == "BTCUSDT"].sort_values("event_timestamp")
    # a book at second i completes the row of i only 250 ms later, when the next one comes: known at t is the row of t - 1
    seconds = np.arange(100, 200)
    np.testing.assert_allclose(known.mid_price, 100 + (seconds - 1) / 100, atol=1e-9)
    assert (known.forward_log_return_60s > 0).all()
    assert frame[frame.symbol == "NOBODY"].mid_price.isna().all()


def test_a_training_frame_of_no_such_service_says_so(fed, tmp_path, capsys):
    times = ["--start", "2024-01-01", "--end", "2024-01-02", "-o", str(tmp_path / "f.parquet")]
    assert main(["training-frame", "--service", "nothing_v9", "--symbols", "A", *times]) == 2
    assert "nothing_v9" in capsys.readouterr().err
    assert list(tmp_path.glob("f.parquet*")) == []


def test_status_counts_and_names_the_tables(fed, capsys):
    assert main(["status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["counts"]["accepted.book"] == 600
    assert status["counts"]["rows.microstructure"] == status["counts"]["accepted.book"] + 1
    assert status["waiting"] == {"plain": 0, "posts": 0, "events": 0, "outbox": 0}
    assert {t["name"] for t in status["offline"]} >= {"microstructure", "order_flow"}
    assert main(["status"]) == 0
    assert "accepted.book" in capsys.readouterr().out


def test_dead_letters_show_the_message_and_its_reason(fed, capsys):
    fed.client.xadd("market_data", {"data": b'{"symbol": "A B"}'})
    fed.route()
    assert main(["dead-letters", "--reason", "bad_symbol", "--json"]) == 0
    letter = json.loads(capsys.readouterr().out)
    assert letter["reason"] == "bad_symbol" and letter["field:data"] == '{"symbol": "A B"}'
    assert main(["dead-letters", "--reason", "late"]) == 0
    assert capsys.readouterr().out == ""
