"""``python -m ingest replay`` as a user meets it."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest.cli import main
from ingest.simulate import history
from ingest.streams import keys


@pytest.fixture(autouse=True)
def _server(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)


def test_the_counts_are_printed_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"timestamp":1723161255408,"symbol":"A","price":1,"size":1}\nrubbish\n')
    assert main(["replay", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "lines": 2,
        "published": {"tick": 1, "trade": 1},
        "refused": {"undecodable": 1},
        "ignored": 0,
        "first_ms": 1723161255408,
        "last_ms": 1723161255408,
        "symbols": ["A"],
    }


def test_the_counts_are_printed_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"timestamp":1723161255408,"symbol":"A","price":1,"size":1}\n')
    assert main(["replay", str(path)]) == 0
    assert "2024-08-08 23:54:15 UTC to 2024-08-08 23:54:15 UTC" in capsys.readouterr().out


def test_what_cannot_be_read_is_an_error_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "posts.csv").write_text("text\nup\n")
    assert main(["replay", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "posts.csv")]) == 2
    assert "--time-column" in capsys.readouterr().err


def test_a_table_of_trades_may_be_told_what_it_is_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trades.csv"
    path.write_text("time,price,size\n1723161255408,1,1\n")
    assert main(["replay", str(path)]) == 2
    assert "--symbol" in capsys.readouterr().err
    assert main(["replay", str(path), "--symbol", "X:A-B", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["symbols"] == ["X:A-B"]


@pytest.mark.parametrize("option", [["--speed", "-1"], ["--speed", "nan"], ["--limit", "0"], ["--rebase", "then"]])
def test_an_option_that_cannot_be_is_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "a", *option])
    assert option[0] in capsys.readouterr().err


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "--help"])
    assert "python -m ingest replay btcusdt.jsonl.gz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give files, or --from-tape"),
        (["a.jsonl", "--from-tape"], "not both"),
        (["a.jsonl", "--since", "2026-11-20"], "go with --from-tape"),
        (["--from-tape", "--since", "2026-11-20", "--before", "2026-11-20"], "--since must be before --before"),
        (["--from-tape"], "TFS_TAPE is empty"),
        (["--from-tape", "--rebase", "now"], "keep their times"),
        (["a.jsonl", "--imported"], "--imported goes with --from-tape"),
    ],
)
def test_files_and_the_tape_are_not_mixed(words: list[str], said: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TFS_TAPE", "")
    assert main(["replay", *words]) == 2
    assert said in capsys.readouterr().err


def test_what_was_imported_is_replayed_as_its_file_where_it_is_asked_for(
    tmp_path, monkeypatch, redis_client, capsys
) -> None:
    monkeypatch.setenv("TFS_TAPE", str(tmp_path / "tape"))
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    path = tmp_path / "a.jsonl"
    market = history(1_700_000_000_000, 1_700_000_003_300, symbols=("SIM-BTC", "ODD"), kinds=("book", "trade"), seed=1)
    path.write_bytes(b"\n".join(msgspec.json.encode(one) for _, one in market))
    assert main(["import", str(path)]) == 0

    def logs(*words: str) -> list[list[tuple[bytes, dict[str, Any]]]]:
        redis_client.flushall()
        assert main(["replay", *words]) == 0
        told = [[fields for _, fields in redis_client.xrange(keys.events(p))] for p in range(2)]
        found = [[(fields[b"kind"], msgspec.msgpack.decode(fields[b"data"])) for fields in log] for log in told]
        for kind, message in chain(*found):
            if kind != b"tick":
                message.setdefault("received", message["timestamp"])  # an import writes it down
        return found

    of_file = logs(str(path))
    assert logs("--from-tape", "--imported") == of_file
    assert [kind for kind, _ in chain(*of_file)].count(b"tick") == 2
    assert logs("--from-tape") == [[], []]
    assert "nothing arrived in a log in that time" in capsys.readouterr().err
