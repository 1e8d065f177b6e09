"""``prepare-model``, as it is called, and the help of all three commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingest.cli import main
from tests.ingest.sentiment import tiny


def test_prepare_model_writes_a_folder_that_serves(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], no_hub: None
) -> None:
    folder = tmp_path / "prepared"
    assert main(["prepare-model", str(folder), "--model", model]) == 0
    assert f"SENTIMENT_MODEL={folder}" in capsys.readouterr().out
    path = tiny.labelled_file(tmp_path / "texts.parquet")
    columns = ["--text-column", "body", "--label-column", "said", "--labels", "0=bearish,1=bullish,2=neutral"]
    assert main(["evaluate", str(path), *columns, "--model", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "model"


@pytest.mark.parametrize("command", ["score", "evaluate", "prepare-model"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"example:\n  python -m ingest {command}" in capsys.readouterr().out
