"""What was served against offline: equal, differing, wrong and waiting rows of the log are told apart."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.project import project
from feature_repo.stores.endpoints import DEFAULT_SHARE
from feature_repo.stores.offline.kernels import number_of
from feature_repo.stores.online.format import SymbolKeys, time_field
from feature_repo.stores.online.record import VALUES_AT, WORD
from feature_repo.stores.online.served import ServedLog, log_of
from ingest.check import served_log
from ingest.check.served_log import FAULTS
from ingest.cli import main
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.publish.publisher import Publisher
from transforms.catalog import DERIVATIVES, VIEW, VIEWS
from transforms.times import datetime_of_us

T0 = 1_700_000_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
REFS = [f"{view.name}:{name}" for view in VIEWS if view is not DERIVATIVES for name in view.names]
BOOK = "microstructure"


class Desk:
    """A small market, a reader whose answers are all logged, and the check of its log."""

    def __init__(self, pipeline, store, folder, capsys) -> None:
        self.pipeline, self.store, self.folder, self._capsys = pipeline, store, folder, capsys
        self.now_us = T0 * 1000
        pipeline.clock = lambda: self.now_us
        self.online = store._get_provider().online_store
        self.online.clock = lambda: self.now_us
        self.online.served = ServedLog(folder, 1.0)
        self.worker = pipeline.worker()

    def market(self, begin_s: int, end_s: int, silent_s: int = 0) -> None:
        """Let the market run, and be silent then; the worker makes its rows at the end."""
        with Publisher(self.pipeline.client, 2) as publisher:
            for ms in range(T0 + 1000 * begin_s, T0 + 1000 * end_s, 500):
                for symbol in SYMBOLS:
                    i = ms // 500
                    publisher.publish(
                        "book", OrderBook(ms, symbol, [(100.0, 1.0)], [(100.1 + i % 3, 2.0)], received=ms)
                    )
                    publisher.publish("trade", Trade(ms, symbol, 100.1, 0.5, "buy", i, received=ms))
            for symbol in SYMBOLS:
                publisher.publish("tick", Tick(T0 + 1000 * (end_s + silent_s), symbol))
        self.now_us = (T0 + 1000 * (end_s + silent_s)) * 1000
        self.pipeline.work(self.worker)

    def read(self, *symbols: str, features=None) -> None:
        rows = [{"symbol": symbol} for symbol in symbols or SYMBOLS]
        self.store.get_online_features(features or REFS, rows)

    def check(self, *options: str):
        self.online.served.write()
        self._capsys.readouterr()
        code = main(["check", "served", str(self.folder), "--wait", "0", "--json", *options])
        return code, json.loads(self._capsys.readouterr().out)

    def key(self, symbol: str) -> bytes:
        return SymbolKeys(project(), "symbol").keys([symbol])[0]

    def execute(self, query: str, *values) -> int:
        return self.pipeline.postgres.execute(query, values).rowcount


@pytest.fixture
def desk(pipeline, store, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    one = Desk(pipeline, store, tmp_path / "served", capsys)
    one.market(0, 20)
    yield one
    one.worker.close()
    one.online.served.close()


def test_what_was_served_is_what_is_stored_and_rows_that_wait_are_told(desk, capsys, monkeypatch) -> None:
    desk.read()
    desk.read("BTCUSDT", "NOBODY", features=["microstructure:mid_price", "social:social_volume_5m"])
    code, found = desk.check()
    assert code == 3 and found["rows"]["waiting"] == 2 * 4 + 1 and not found["equal"]
    desk.pipeline.store_rows()
    code, found = desk.check()
    assert code == 0 and found["passed"]
    assert found["rows"] == {
        "compared": 9,  # of each symbol book, trades, technical and normalized, and one again
        "not_found": 2 * 3 + 3,
        **dict.fromkeys(["expired", "waiting", "unknown", *FAULTS], 0),
    }
    assert found["equal"] == sum(f["compared"] for f in found["features"]) and not found["differing"]
    assert (found["files"], found["reads"], found["sampled"], found["dropped"]) == (1, 2, 2, 0)
    monkeypatch.setenv("TFS_SERVED_LOG", str(desk.folder))
    assert main(["check", "served", "--symbols", "ETHUSDT"]) == 0
    assert "passed: 1 files of 2 reads, 2 sampled, 0 dropped; rows: 4 compared, 3 not found" in capsys.readouterr().out
    monkeypatch.setattr("feature_repo.__file__", str(desk.store.repo_path / "__init__.py"))
    assert main(["check", "consistency", "--rounds", "1", "--wait", "0"]) == 0  # its reads feed no model
    log_of(desk.folder, DEFAULT_SHARE).write()
    assert desk.check()[1]["files"] == 1


def test_what_is_withheld_by_ttl_and_silence_and_what_should_be_are_told_apart(desk) -> None:
    desk.market(20, 20, silent_s=6)
    desk.now_us += 5_500_000  # rows of half the ttl of books, whose last message is older than it
    desk.pipeline.store_rows()
    desk.read()
    code, found = desk.check()
    assert code == 0 and (found["rows"]["expired"], found["rows"]["compared"]) == (2, 6)
    desk.execute("UPDATE microstructure SET feed_silence_ms = NULL")
    code, found = desk.check()
    assert code == 1 and (found["rows"]["withheld"], found["rows"]["expired"]) == (2, 0)
    desk.execute("UPDATE order_flow SET feed_silence_ms = 60000")
    code, found = desk.check()
    assert code == 1 and (found["rows"]["too_old"], found["rows"]["compared"]) == (2, 4)
    desk.store.config.online_store.enforce_ttl = False
    desk.now_us += 3_600_000_000
    desk.read("BTCUSDT")
    assert desk.check("--symbols", "BTCUSDT")[1]["rows"]["too_old"] == 1 + 4


def test_bits_nulls_lost_rows_and_rows_of_other_kernels_are_told(desk) -> None:
    desk.pipeline.store_rows()
    desk.execute("UPDATE microstructure SET imbalance_l1 = 0.0")
    field, first = time_field(BOOK), WORD * VALUES_AT
    good = desk.pipeline.client.hget(desk.key("BTCUSDT"), field)
    row = np.frombuffer(good[first:], "<f8").copy()
    row[VIEW[BOOK].index["spread"]] = np.nextafter(row[VIEW[BOOK].index["spread"]], 9.0)
    row[VIEW[BOOK].index["mid_price"]] = np.nan
    row[VIEW[BOOK].index["imbalance_l1"]] = -0.0
    desk.pipeline.client.hset(desk.key("BTCUSDT"), field, good[:first] + row.tobytes())
    desk.read("BTCUSDT")
    code, found = desk.check()
    assert (code, found["differing"], found["other_kernels"], found["rows"]["compared"]) == (1, 3, 0, 4)
    examples = {f["feature"]: f["example"] for f in found["features"] if f["differing"]}
    assert examples.keys() == {"spread", "mid_price", "imbalance_l1"}
    assert examples["imbalance_l1"] == "BTCUSDT at 2023-11-14T22:13:40.000+00:00: 0.0, not -0.0"
    assert examples["mid_price"].endswith(", not None")

    desk.execute(
        "UPDATE microstructure SET imbalance_l1 = '-0', mid_price = NULL, spread = %s", row[VIEW[BOOK].index["spread"]]
    )
    assert desk.check()[0] == 0
    desk.execute(
        "UPDATE microstructure SET created_timestamp = created_timestamp - interval '7 ms'"
    )  # it was made again
    desk.execute(
        "INSERT INTO microstructure (symbol, event_timestamp, created_timestamp, mid_price) "  # a correction, later
        "SELECT symbol, event_timestamp, created_timestamp + interval '1 h', 7.0 FROM microstructure"
    )
    assert desk.check()[0] == 0

    desk.execute("DELETE FROM microstructure")
    code, found = desk.check()
    assert code == 1 and found["rows"]["missing"] == 1 and found["rows"]["compared"] == 3
    assert found["named"]["missing"][0].startswith("microstructure BTCUSDT at 2023-11-14T22:13:40.000+00:00, read at ")
    desk.execute(
        "INSERT INTO microstructure (symbol, event_timestamp, created_timestamp, mid_price, kernels, recomputed) "
        "VALUES ('BTCUSDT', '2023-11-14 22:13:40+00', now(), 1.0, %s, true)",
        number_of(desk.pipeline.postgres, {"none": 1}),
    )
    code, found = desk.check()
    assert code == 1 and found["rows"]["missing"] == 0 and found["other_kernels"] == found["differing"] > 1


def test_an_answer_that_a_newer_stored_row_should_have_been_is_told(desk) -> None:
    desk.pipeline.store_rows()
    old = desk.pipeline.client.hgetall(desk.key("BTCUSDT"))
    desk.market(20, 22)
    desk.pipeline.store_rows()
    desk.now_us += 900_000
    desk.pipeline.client.hset(desk.key("BTCUSDT"), mapping=old)  # as after a failover that lost its newest writes
    desk.pipeline.client.delete(desk.key("ETHUSDT"))
    desk.read("BTCUSDT")
    code, found = desk.check()
    assert code == 0 and found["rows"]["behind"] == 0  # within a second such a row may still be on its way
    desk.now_us += 200_000
    desk.read()
    code, found = desk.check()
    assert code == 1 and found["rows"]["behind"] == 8 and not found["differing"]
    assert any(row.startswith("microstructure BTCUSDT at ") for row in found["named"]["behind"])
    assert any(row.startswith("microstructure ETHUSDT, read at ") for row in found["named"]["behind"])
    assert desk.check("--symbols", "BTCUSDT", "--lag", "1.5")[0] == 0
    assert desk.check("--symbols", "BTCUSDT", "--before", datetime_of_us(desk.now_us).isoformat())[0] == 0
    assert desk.check("--since", datetime_of_us(desk.now_us + 1).isoformat())[0] == 1  # nothing to compare


def test_a_whole_number_has_no_sign_of_zero(desk) -> None:
    desk.pipeline.store_rows()
    desk.execute("UPDATE order_flow SET trade_count_1m = 0")
    field, at = time_field("order_flow"), WORD * (VALUES_AT + VIEW["order_flow"].index["trade_count_1m"])
    good = desk.pipeline.client.hget(desk.key("BTCUSDT"), field)
    minus_zero = np.array([-0.0]).tobytes()
    desk.pipeline.client.hset(desk.key("BTCUSDT"), field, good[:at] + minus_zero + good[at + WORD :])
    desk.read("BTCUSDT", features=["order_flow:trade_count_1m"])
    code, found = desk.check()
    assert code == 0 and found["equal"] == 1


def test_what_is_written_while_the_check_waits_is_not_read(desk, monkeypatch) -> None:
    desk.pipeline.store_rows()
    desk.read()
    desk.online.served.write()

    def wait(*_: object) -> set[int]:
        desk.market(20, 22)
        desk.read()  # of rows that are not stored yet, by the clock of a reader that is years behind
        desk.online.served.write()
        return set()

    monkeypatch.setattr(served_log, "wait_for_writer", wait)
    code, found = desk.check()
    assert (code, found["files"], found["rows"]["missing"]) == (0, 1, 0)


def test_hostile_names_times_and_files_break_nothing(desk, capsys, tmp_path) -> None:
    hostile = [
        "../../x",
        "a\nb\x1b[31m",
        "NUL\0",
        "'; DROP TABLE order_flow; --",
        "\N{GRINNING FACE}" * 9,
        "X" * 9_000,
        "%s{}",
    ]
    view = desk.store.get_feature_view(BOOK)
    event = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    keys = [EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=symbol)]) for symbol in hostile]
    rows = [(key, {"mid_price": Value(double_val=1.0)}, event, None) for key in keys]
    desk.pipeline.store_rows()
    desk.online.online_write_batch(desk.store.config, view, rows, None)
    desk.read(*hostile)
    code, found = desk.check()
    assert code == 1 and found["rows"]["missing"] == len(hostile) and found["rows"]["not_found"] == 6 * len(hostile)
    assert desk.check("--symbols", "'; DROP TABLE order_flow; --")[1]["rows"]["missing"] == 1
    assert main(["check", "served", str(desk.folder), "--wait", "0"]) == 1
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out and "XXX" in out and "X" * 100 not in out
    for arguments, code, told in (
        ([], 2, "name the folder of the log, or set TFS_SERVED_LOG"),
        ([str(tmp_path / "nowhere")], 2, "is no folder"),
        ([str(tmp_path)], 1, "FAILED: 0 files of 0 reads"),
    ):
        assert main(["check", "served", "--wait", "0", *arguments]) == code
        assert told in "".join(capsys.readouterr())
    (desk.folder / "day=2023-11-14" / "x.parquet").write_text("no Parquet")
    assert main(["check", "served", str(desk.folder)]) == 2
    assert "x.parquet cannot be read" in capsys.readouterr().err
