"""A frame is made again from its manifest, to the byte, or it is said why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from feature_repo.training import manifest
from ingest.cli import main
from tests.feature_repo.training.test_frames import put, repo

__all__ = ["repo"]

Make = Callable[..., int]


@pytest.fixture
def made(repo: Path, database: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]) -> Path:
    """A frame of ten seconds and two symbols."""
    put(database, [(symbol, s, s + 0.2, 100 + s) for symbol in ("A", "B", "C") for s in range(30)])
    path = repo.parent / "frame.parquet"
    command = ["training-frame", "--symbols", "A,B", "--start", "2024-01-01", "--end", "2024-01-01T00:00:10"]
    assert main([*command, "--horizon", "5s", "10s", "--price", "mid", "long", "--weights", "-o", str(path)]) == 0
    capsys.readouterr()
    return path


def again(made: Path, *options: str) -> int:
    return main(
        ["training-frame", "--from", str(manifest.path_of(made)), "-o", str(made.parent / "again.parquet"), *options]
    )


def test_the_manifest_says_what_was_asked_of_which_data_and_by_which_code(made: Path) -> None:
    content = json.loads(manifest.path_of(made).read_text())
    query = content["query"]
    assert (query["service"], query["symbols"], query["every_us"], query["history"]) == (
        "signal_v1",
        ["A", "B"],
        10**6,
        "served",
    )
    assert [label["horizon_us"] for label in query["labels"]] == [5_000_000, 10_000_000] * 2
    assert "mid_price" in query["features"]["microstructure"]
    rows = content["data"]["microstructure"]
    assert rows["rows"] == 2 * 30
    assert rows["newest_created"] == "2024-01-01T00:00:29.200000+00:00"
    assert rows["made_by"] == [{"kernels": None, "recomputed": False, "rows": 60}]
    assert content["data"]["order_flow"]["rows"] == 0
    assert content["frame"] == {"bytes": made.stat().st_size, "sha256": sha256(made.read_bytes()).hexdigest()}
    assert set(content["code"]["sources"]) == {"feature_repo", "transforms", "training"}
    assert content["tape"] is None


def test_the_same_data_give_the_same_bytes(
    made: Path, database: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put(database, [("C", 3, 99, 1.0), ("A", -500, 1, 1.0)])  # another symbol, and a row too old to be read
    assert again(made) == 0
    assert capsys.readouterr().out.endswith("the same bytes as in the manifest\n")
    assert (made.parent / "again.parquet").read_bytes() == made.read_bytes()
    one, two = (
        json.loads(manifest.path_of(made.parent / name).read_text()) for name in ("frame.parquet", "again.parquet")
    )
    assert one == two


def test_a_correction_is_told_and_the_frame_made_anyway(
    made: Path, database: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put(database, [("A", 3, 3.5, 77.0)])
    assert again(made) == 2
    assert "microstructure had 60 rows and has 61. Use --anyway" in capsys.readouterr().err
    assert not (made.parent / "again.parquet").exists()
    assert again(made, "--anyway") == 1
    assert capsys.readouterr().out.endswith("microstructure had 60 rows and has 61\nother bytes than in the manifest\n")
    mids = pq.read_table(made.parent / "again.parquet", filters=[("symbol", "=", "A")]).column("mid_price").to_pylist()
    assert mids[4] == 77


def test_a_row_that_was_changed_in_its_place_is_told(
    made: Path, database: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute("UPDATE microstructure SET mid_price = 5 WHERE symbol = 'A' AND mid_price = 103")
    assert again(made) == 2
    assert "microstructure has as many rows, but other ones" in capsys.readouterr().err


def test_other_code_is_told(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = manifest.path_of(made)
    content = json.loads(path.read_text())
    content["code"]["sources"]["transforms"] = "another"
    content["code"]["libraries"]["pyarrow"] = "1"
    content["query"]["features"]["order_flow"] = ["gone"]
    path.write_text(json.dumps(content))
    assert again(made) == 2
    said = capsys.readouterr().err
    assert "the code of transforms is another one" in said
    assert "pyarrow was 1 and is" in said
    assert "signal_v1 has other features" in said
    assert again(made, "--anyway") == 0


@pytest.mark.parametrize(
    ("text", "message"), [("no JSON", "is no manifest"), ("[]", "is no manifest"), ('{"query": {}}', "is no manifest")]
)
def test_what_is_no_manifest_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(manifest.ManifestError, match=message):
        manifest.read(path)
    path.write_text(json.dumps({"form": 9, "query": {}, "code": {}, "data": {}, "frame": {}}))
    with pytest.raises(manifest.ManifestError, match="another version of this program"):
        manifest.read(path)
