"""``score``, as it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ingest.cli import main
from ingest.sentiment import files, model_command
from ingest.sentiment.history import History, Scored, text_hash
from ingest.sentiment.model.loading import load_files
from tests.ingest.sentiment import tiny


def test_a_model_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_hub: None
) -> None:
    path = tiny.labelled_file(tmp_path / "texts.parquet")
    assert (
        main(["score", str(path), str(tmp_path / "o.parquet"), "--text-column", "body", "--model", "ProsusAI/finbert"])
        == 2
    )
    assert "SENTIMENT_MODEL=embedded" in capsys.readouterr().err


def test_score_writes_probabilities_beside_the_texts(tmp_path: Path, model: str) -> None:
    path = tiny.labelled_file(tmp_path / "texts.csv")
    out = tmp_path / "scored.parquet"
    assert main(["score", str(path), str(out), "--text-column", "body", "--model", model]) == 0
    table = pq.read_table(out).to_pylist()
    assert list(table[0]) == ["body", "said", "positive", "negative", "neutral", "model", "revision"]
    likeliest = [max(("positive", "negative", "neutral"), key=lambda k, r=r: r[k] or 0.0) for r in table[:4]]  # type: ignore[misc]
    assert likeliest == ["positive", "negative", "neutral", "positive"]
    assert table[4]["positive"] is None
    assert {r["model"] for r in table} == {"model"}
    assert [p.name for p in tmp_path.iterdir() if "scored" in p.name] == ["scored.parquet"]


def test_score_goes_on_where_it_was_interrupted(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "ROWS_A_TABLE", 2)
    path = tiny.labelled_file(tmp_path / "texts.parquet")
    out = tmp_path / "scored.parquet"
    arguments = ["score", str(path), str(out), "--text-column", "body", "--model", model]
    load, scored = model_command.load_model, []

    def counting(stop_after: int) -> Any:
        def loaded(args: Any) -> Any:
            real = load(args)
            whole = real.score

            def some(texts: list[str]) -> Any:
                if len(scored) >= stop_after:
                    raise KeyboardInterrupt
                scored.append(len(texts))
                return whole(texts)

            real.score = some
            return real

        return loaded

    monkeypatch.setattr(model_command, "load_model", counting(2))
    assert main(arguments) == 130
    assert not out.exists()
    monkeypatch.setattr(model_command, "load_model", counting(99))
    assert main([*arguments[:-1], "embedded"]) == 2
    assert "was begun with another input or model" in capsys.readouterr().err
    assert main(arguments) == 0
    assert scored == [2, 2, 1]
    assert pq.read_table(out).column("body").to_pylist() == ["up", "down", "flat", "up", None]


def test_score_takes_from_the_table_what_the_scorer_has_scored(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    loaded = load_files(model, None)
    history = History(postgres_url)
    history.add([Scored("x", "1", text_hash("up"), loaded.name, loaded.revision, 0.5, 0.25, 0.25, 1_000, 2_000)])
    history.add([Scored("x", "2", text_hash("down"), loaded.name, "another", 0.5, 0.25, 0.25, 1_000, 2_000)])
    history.close()
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    path = tiny.labelled_file(tmp_path / "texts.parquet")
    out = tmp_path / "scored.parquet"
    assert main(["score", str(path), str(out), "--text-column", "body", "--model", model]) == 0
    table = pq.read_table(out).to_pylist()
    assert [r["positive"] == 0.5 for r in table] == [True, False, False, True, False]
