"""``training-frame`` at the ends of bars, labelled by trades of the tape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

import feature_repo
from feature_repo.stores.endpoints import POSTGRES_VARIABLE
from ingest.cli import main
from ingest.settings import Settings
from tests.ingest.backfill.days.tapes import put_entries
from tests.ingest.training.test_taped import T0_MS, entry, trade


@pytest.fixture
def repo(tmp_path: Path, postgres_url: str, definitions: list[Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "feature_repo"
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(
        "project: trading\nprovider: feature_repo.stores.provider.TradingProvider\nregistry: registry.db\n"
        "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
        "offline_store: {type: feature_repo.stores.timescale.TimescaleOfflineStore}\n"
    )
    monkeypatch.setenv(POSTGRES_VARIABLE, postgres_url)
    monkeypatch.setattr(feature_repo, "__file__", str(folder / "__init__.py"))
    FeatureStore(repo_path=str(folder)).apply(definitions)
    return folder


def test_a_row_is_written_where_a_bar_ends_and_a_null_label_says_why(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = Settings(partitions=1, tape=str(tmp_path / "tape"))
    told = [trade(s, 100 + s, 1 + 2 * s + n, symbol) for s in range(20) for n, symbol in enumerate("AB")]
    put_entries(conf, [entry(one, one.timestamp, n) for n, one in enumerate(told)], 0)
    command = ["training-frame", "--symbols", "A,B", "--start", "2023-11-15", "--end", "2023-11-15T00:01:00"]
    command += [
        "--bars",
        "volume:2",
        "--price",
        "trade",
        "--horizon",
        "4s",
        "--weights",
        "-o",
        str(tmp_path / "f.parquet"),
    ]
    assert main(command) == 2
    assert "TFS_TAPE names none" in capsys.readouterr().err
    monkeypatch.setenv("TFS_TAPE", conf.tape)
    monkeypatch.setenv("TFS_PARTITIONS", "1")
    assert main(command) == 0
    # four trades of half a unit make a bar; the last trade is in second 19
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "  forward_log_return_trade_4s: 8 labels, 2 null: 2 end"
    table = pq.read_table(tmp_path / "f.parquet")
    assert table["symbol"].to_pylist() == ["A", "B"] * 5
    seconds = [at.timestamp() - T0_MS / 1000 for at in table["event_timestamp"].to_pylist()]
    assert seconds == [3, 3, 7, 7, 11, 11, 15, 15, 19, 19]
    assert table["forward_log_return_trade_4s_missing"].to_pylist() == [None] * 8 + ["end"] * 2
    # a label ends where the next of its symbol begins: of two bars, the first label has one alone and shares the other
    first, *rest = table["forward_log_return_trade_4s_weight"].to_pylist()[::2]
    assert first == pytest.approx((1 + 1 / 2) / 2)
    assert rest[:2] == [0.5, 0.5]
