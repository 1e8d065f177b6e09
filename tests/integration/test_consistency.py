"""Online against offline: equal, differing, missing and waiting are told apart."""

from __future__ import annotations

import json

import numpy as np
import pytest

from feature_repo.project import project
from feature_repo.stores.online.format import SymbolKeys, time_field
from feature_repo.stores.online.record import VALUES_AT, WORD
from ingest.cli import main
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.observe.redis_state import CONSISTENCY
from ingest.publish.publisher import Publisher
from transforms.catalog import VIEW

T0 = 1_700_000_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture
def check(pipeline, store, monkeypatch, capsys):
    """Runs the check on a small market that is online and not carried yet; the exit code and what it says."""
    monkeypatch.setattr("feature_repo.__file__", str(store.repo_path / "__init__.py"))
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    with Publisher(pipeline.client, 2) as publisher:
        for i in range(40):
            for symbol in SYMBOLS:
                ms = T0 + 500 * i
                publisher.publish("book", OrderBook(ms, symbol, [(100.0, 1.0)], [(100.1 + i % 3, 2.0)], received=ms))
                publisher.publish("trade", Trade(ms, symbol, 100.1, 0.5, "buy", i, received=ms))
        for symbol in SYMBOLS:
            publisher.publish("tick", Tick(T0 + 20_000, symbol))
    worker = pipeline.worker()
    pipeline.work(worker)
    worker.close()
    capsys.readouterr()

    def run(wait="0"):
        code = main(["check", "consistency", "--rounds", "1", "--wait", wait, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_rows_that_wait_for_the_writer_are_not_taken_for_equal_and_then_are_compared(check, pipeline, capsys):
    code, found = check()
    assert code == 3
    assert (found["equal"], found["differing"], found["missing"]) == (0, 0, 0)
    assert found["waiting"] > 100
    assert len(found["waiting_rows"]) == 2 * 4  # of two symbols: book, trades, technical, normalized
    pipeline.store_rows()
    code, found = check()
    assert code == 0
    assert (found["rows"], found["differing"], found["missing"], found["waiting"]) == (8, 0, 0, 0)
    stored = {name.decode(): int(n) for name, n in pipeline.client.hgetall(CONSISTENCY).items()}
    assert stored["equal"] == found["equal"] == sum(f["compared"] for f in found["features"])
    assert main(["check", "consistency", "--rounds", "2", "--every", "0"]) == 0
    assert "passed: 2 symbols, 8 rows" in capsys.readouterr().out


def test_one_bit_a_null_and_a_lost_row_are_faults(check, pipeline):
    pipeline.store_rows()
    (key,) = SymbolKeys(project(), "symbol").keys(["BTCUSDT"])
    field, at = time_field("microstructure"), WORD * (VALUES_AT + VIEW["microstructure"].index["mid_price"])
    good = pipeline.client.hget(key, field)
    pipeline.client.hset(key, field, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])  # the last bit of the double
    code, found = check()
    assert (code, found["differing"], found["missing"]) == (1, 1, 0)
    (differs,) = [f for f in found["features"] if f["differing"]]
    assert differs["feature"] == "mid_price"
    assert differs["example"].startswith("BTCUSDT at 2023-11-14T22:13:40.000+00:00: ")

    pipeline.client.hset(key, field, good[:at] + np.array([np.nan]).tobytes() + good[at + 8 :])
    code, found = check()
    assert (code, found["differing"]) == (1, 1)

    pipeline.client.hset(key, field, good)
    pipeline.postgres.execute("DELETE FROM order_flow WHERE symbol = 'ETHUSDT'")
    code, found = check(wait="5")
    assert (code, found["differing"], found["waiting"]) == (1, 0, 0)
    assert found["missing_rows"] == ["order_flow ETHUSDT at 2023-11-14T22:13:40.000+00:00"]


def test_a_row_is_held_against_what_was_known_when_it_was_read(check, pipeline):
    pipeline.store_rows()
    copy = "INSERT INTO microstructure (symbol, event_timestamp, created_timestamp, mid_price) "
    newest = "SELECT symbol, max(event_timestamp), now() + interval '{}', 1.0 FROM microstructure GROUP BY 1"
    pipeline.postgres.execute(copy + newest.format("1 hour"))
    assert check()[0] == 0, "a correction of later says nothing of what was served before"
    pipeline.postgres.execute(copy + newest.format("-1 hour"))
    code, found = check()
    assert code == 1
    assert found["differing"] > 2


def test_nothing_to_compare_is_no_success(redis_url, postgres_url, store, monkeypatch, capsys):
    monkeypatch.setattr("feature_repo.__file__", str(store.repo_path / "__init__.py"))
    assert main(["check", "consistency", "--rounds", "1", "--wait", "0", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_a_server_that_is_away_is_one_line(redis_url, monkeypatch, store, capsys):
    monkeypatch.setattr("feature_repo.__file__", str(store.repo_path / "__init__.py"))
    monkeypatch.setenv("TFS_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert main(["check", "consistency"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
