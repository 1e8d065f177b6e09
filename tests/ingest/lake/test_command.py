"""The command and the role that write the lake, on the catalogue's own views."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import redis

from feature_repo.stores.endpoints import LAKE_VARIABLE, POSTGRES_VARIABLE
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.lake import tables
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest.cli import main
from ingest.lake import role
from transforms.catalog import SOCIAL, VIEWS

DAY_US = 86_400_000_000
FIRST_US = 1_704_067_200_000_000  # 2024-01-01


def put(connection: psycopg.Connection, at_us: int) -> None:
    times = np.array([at_us], np.int64)
    append_rows(connection, SOCIAL, ["A"], times, times, np.full((1, len(SOCIAL.features)), np.nan))


@pytest.fixture
def lake(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lake that is not written yet; the view `social` has a row in two of three days."""
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path / "lake"))
    monkeypatch.setenv(POSTGRES_VARIABLE, postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        migrate(connection, [table_of_view(view) for view in VIEWS])
        put(connection, FIRST_US)
        put(connection, FIRST_US + 2 * DAY_US)
    return tmp_path / "lake"


def days(lake: Path) -> int:
    table = tables.open_table(str(lake), SOCIAL.name)
    return len(tables.days(table)) if table else 0


def test_the_command_writes_what_is_missing_and_tells_what_has_changed_since(
    lake: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lake", "write"]) == 0
    assert capsys.readouterr().out == f"2 days of views were written to {lake}\n"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        put(connection, FIRST_US + 2 * DAY_US + 1)
    assert main(["lake", "status", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)["views"]
    assert about[SOCIAL.name] == {"days": 3, "rows": 2, "changed": 1, "last": "2024-01-03"}
    assert about["technical"] == {"days": 0, "rows": 0, "changed": 0, "last": None}
    assert main(["lake", "write"]) == 0
    assert capsys.readouterr().out == f"1 days of views were written to {lake}\n"
    assert main(["lake", "write", "--again"]) == 0
    assert capsys.readouterr().out == f"2 days of views were written to {lake}\n"


def test_without_a_lake_the_command_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, said in (("", "TFS_LAKE is empty"), ("gs://bucket", "must be a folder or s3://bucket/prefix")):
        monkeypatch.setenv(LAKE_VARIABLE, place)
        assert main(["lake", "write"]) == 2
        assert said in capsys.readouterr().err


def test_the_role_writes_the_lake(
    lake: Path, postgres_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    write_all = role.write_all

    def once(*given: Any) -> int:
        written = write_all(*given[:3])
        stop.set()
        return written

    monkeypatch.setattr(role, "write_all", once)
    role.run(redis_client, postgres_url, stop)
    assert days(lake) == 3
