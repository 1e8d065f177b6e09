"""The commands, as they are called."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch

from ingest.cli import main
from ingest.sentiment import command as commands
from ingest.sentiment import files
from ingest.sentiment.history import History, Scored, text_hash
from ingest.sentiment.model.loading import load_files
from tests.ingest.sentiment import tiny


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny model, whose fitted classifier needs float32."""
    monkeypatch.setattr("ingest.sentiment.model.model.fastest_cpu_dtype", lambda _: torch.float32)
    tiny.save(tmp_path / "model", tiny.FINBERT_TONE)
    return str(tmp_path / "model")


def labelled(path: Path) -> Path:
    table = pa.table({"body": ["up", "down", "flat", "up", None], "said": [1, 0, 2, 0, 2]})
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_evaluate_prints_accuracy_of_named_columns(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    path = labelled(tmp_path / f"texts{suffix}")
    columns = ["--text-column", "body", "--label-column", "said", "--labels", "0=bearish,1=bullish,2=neutral"]
    assert main(["evaluate", str(path), *columns, "--model", model, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["unscored"], found["accuracy"]) == (5, 1, 3 / 5)
    assert found["model"] == "model"
    assert found["confusion"]["negative"] == {"positive": 1, "negative": 1, "neutral": 0, "unscored": 0}
    assert main(["evaluate", str(path), *columns, "--model", model, "--limit", "3"]) == 0
    assert "accuracy 1.0000  macro-F1 1.0000" in capsys.readouterr().out


def test_evaluate_reads_files_as_others_write_them(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quoted names with commas, line ends and quotes in a text, Latin-1, a gap in the labels, ids that stop being numbers."""
    rows = [f'{i},"up, ""caf\xe9""\nup","{label}"' for i, label in enumerate(["1.0", "1", "", "1.00"])]
    far = [f"{i},{'up ' * 40},1" for i in range(10_000)]
    path = tmp_path / "OTHERS.CSV"
    path.write_bytes("\r\n".join(['id,"the text","a, label"', *rows, *far, "x9,down,0"]).encode("latin-1"))
    assert path.stat().st_size > 1 << 20
    columns = ["--text-column", "the text", "--label-column", "a, label", "--labels", "0=bearish,1=bullish"]
    assert main(["evaluate", str(path), *columns, "--model", model, "--json", "--limit", "4"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["confusion"]["positive"]["positive"] == 3
    assert "1 of 4 rows have no label and are left out" in captured.err


def test_bytes_are_text() -> None:
    table = pa.table({"a": pa.array(["£ up".encode(), "£ up".encode("latin-1"), None], pa.binary())})
    assert files.texts(table, "a", Path("a")) == ["£ up", "£ up", ""]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["texts.parquet", "--text-column", "nothing"], "has no column 'nothing'; it has body, said"),
        (["texts.parquet", "--text-column", "body", "--label-column", "said"], "label '0', '1', '2' means nothing"),
        (["texts.parquet", "--labels", "0:bearish"], "--labels=0:bearish: write 0=bearish"),
        (["texts.parquet", "--labels", "0=joy"], "--labels=0=joy: write 0=bearish"),
        (["absent.parquet"], "cannot be read"),
        (["texts.txt"], r"neither \.parquet nor \.csv"),
        (["broken.parquet"], "cannot be read"),
    ],
)
def test_evaluate_says_what_is_wrong_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    labelled(tmp_path / "texts.parquet")
    (tmp_path / "broken.parquet").write_text("nothing")
    assert main(["evaluate", str(tmp_path / arguments[0]), *arguments[1:]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(message, captured.err)


def test_a_model_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_hub: None
) -> None:
    path = labelled(tmp_path / "texts.parquet")
    assert (
        main(["score", str(path), str(tmp_path / "o.parquet"), "--text-column", "body", "--model", "ProsusAI/finbert"])
        == 2
    )
    assert "SENTIMENT_MODEL=embedded" in capsys.readouterr().err


def test_score_writes_probabilities_beside_the_texts(tmp_path: Path, model: str) -> None:
    path = labelled(tmp_path / "texts.csv")
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
    monkeypatch.setattr(commands, "_PART", 2)
    path = labelled(tmp_path / "texts.parquet")
    out = tmp_path / "scored.parquet"
    arguments = ["score", str(path), str(out), "--text-column", "body", "--model", model]
    load, scored = commands._load, []

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

    monkeypatch.setattr(commands, "_load", counting(2))
    assert main(arguments) == 130
    assert not out.exists()
    monkeypatch.setattr(commands, "_load", counting(99))
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
    history.add([Scored("1", text_hash("up"), loaded.name, loaded.revision, 0.5, 0.25, 0.25, 1_000, 2_000)])
    history.add([Scored("2", text_hash("down"), loaded.name, "another", 0.5, 0.25, 0.25, 1_000, 2_000)])
    history.close()
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    path = labelled(tmp_path / "texts.parquet")
    out = tmp_path / "scored.parquet"
    assert main(["score", str(path), str(out), "--text-column", "body", "--model", model]) == 0
    table = pq.read_table(out).to_pylist()
    assert [r["positive"] == 0.5 for r in table] == [True, False, False, True, False]


def test_prepare_model_writes_a_folder_that_serves(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], no_hub: None
) -> None:
    folder = tmp_path / "prepared"
    assert main(["prepare-model", str(folder), "--model", model]) == 0
    assert f"SENTIMENT_MODEL={folder}" in capsys.readouterr().out
    path = labelled(tmp_path / "texts.parquet")
    columns = ["--text-column", "body", "--label-column", "said", "--labels", "0=bearish,1=bullish,2=neutral"]
    assert main(["evaluate", str(path), *columns, "--model", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "model"


@pytest.mark.parametrize("command", ["score", "evaluate", "prepare-model"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"example:\n  python -m ingest {command}" in capsys.readouterr().out
