"""What the actions of ``tape`` print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from ingest.cli import main
from ingest.settings import Settings
from ingest.streams import deployment, keys, raised
from ingest.tape.columns import NO_PARTITION, table_of
from ingest.tape.table import Batch, open_tape, open_to_append

BEGIN = 1_700_006_400_000


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_folder: Settings) -> None:
    monkeypatch.setenv("TFS_TAPE", in_folder.tape)
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    monkeypatch.setenv("TFS_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def _filled(in_folder: Settings) -> None:
    kinds = [("book", "A"), ("trade", "B"), ("gap", "A")]
    some = [
        (b"%d-0" % (BEGIN + i), {b"kind": k.encode(), b"data": b'{"symbol":"%b"}' % s.encode()})
        for i, (k, s) in enumerate(kinds)
    ]
    letter = [(b"%d-0" % BEGIN, {b"reason": b"late"})]
    open_to_append(in_folder, "").append(
        [
            Batch(keys.events(1), table_of(some, "events", 1), some[-1][0], hole=True),
            Batch(keys.DEAD_LETTER, table_of(letter, keys.DEAD_LETTER, NO_PARTITION), letter[0][0]),
        ]
    )


@pytest.mark.parametrize("words", [["status"], ["verify"], ["compact"]], ids=" ".join)
def test_a_tape_that_is_not_there_is_an_error_of_the_user(words: list[str], monkeypatch, capsys) -> None:
    assert main(["tape", *words]) == 2
    assert "there is no tape at" in capsys.readouterr().err
    monkeypatch.setenv("TFS_TAPE", "")
    assert main(["tape", *words]) == 2
    assert "TFS_TAPE is empty" in capsys.readouterr().err
    monkeypatch.setenv("TFS_TAPE", "ftp://desk:secret@host/tape")
    assert main(["tape", *words]) == 2
    assert "secret" not in (said := capsys.readouterr().err) and "must be a folder or s3://" in said


@pytest.mark.usefixtures("_filled")
def test_status_tells_days_symbols_messages_bytes_and_holes(capsys) -> None:
    assert main(["tape", "status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["streams_with_lost_entries"] == {"events:{1}": 1}
    (day,) = told["days"].values()
    assert list(told["days"]) == ["2023-11-15"]
    assert {name: day[name] for name in ("messages", "others", "symbols", "holes", "files", "compacted")} == {
        "messages": 3,
        "others": 1,
        "symbols": ["A", "B"],
        "holes": 1,
        "files": 2,
        "compacted": False,
    }
    assert main(["tape", "status"]) == 0
    assert "events:{1} had lost entries" in capsys.readouterr().out


@pytest.mark.usefixtures("_filled")
def test_status_tells_of_logs_that_came_with_more_partitions(
    redis_client: redis.Redis, redis_url: str, in_folder: Settings, monkeypatch, capsys
) -> None:
    entry = [(b"%d-0" % BEGIN, {b"kind": b"gap", b"data": b'{"symbol":"C"}'})]
    open_to_append(in_folder, "").append([Batch(keys.events(3), table_of(entry, "events", 1), entry[0][0], hole=True)])
    deployment.fix_in_redis(redis_client, 2)
    raised.fix(redis_client, 2, 4)
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    assert main(["tape", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["streams_with_lost_entries"] == {"events:{1}": 1, "events:{3}": 1}


@pytest.mark.usefixtures("_filled")
def test_compact_rewrites_and_verify_tells_what_is_wrong(in_folder: Settings, capsys) -> None:
    assert main(["tape", "compact"]) == 0
    assert "2 days of partitions were rewritten" in capsys.readouterr().out
    assert main(["tape", "verify"]) == 0
    assert "4 rows in 2 days of partitions were read; no Redis is known; all of it is right" in capsys.readouterr().out
    open_tape(in_folder).table.delete("kind = 'gap'")
    assert main(["tape", "verify"]) == 1
    assert "2023-11-15 of partition 1 has 2 rows, and 3 were appended" in capsys.readouterr().out
