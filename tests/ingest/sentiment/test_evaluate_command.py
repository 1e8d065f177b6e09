"""``evaluate``, as it is called."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ingest.cli import main
from tests.ingest.sentiment import tiny


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_evaluate_prints_accuracy_of_named_columns(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    path = tiny.labelled_file(tmp_path / f"texts{suffix}")
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
    tiny.labelled_file(tmp_path / "texts.parquet")
    (tmp_path / "broken.parquet").write_text("nothing")
    assert main(["evaluate", str(tmp_path / arguments[0]), *arguments[1:]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(message, captured.err)
