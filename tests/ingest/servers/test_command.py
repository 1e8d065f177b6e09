"""The command line of the embedded servers, as a user types it."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

import pytest
import redis

from feature_repo.stores.endpoints import NoServerError, masked, postgres_url, redis_url
from ingest.cli import main
from ingest.servers.command import add_parser


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["servers", *words])
    code = args.run(args) or 0
    assert isinstance(code, int)
    return code


def test_up_env_status_and_down_follow_each_other(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFS_DATA_DIR", str(data_dir))
    assert run("up") == 0
    shown = capsys.readouterr().out
    assert ":***@127.0.0.1:" in shown

    assert run("env") == 0
    exports = dict(word.split("=", 1) for word in shlex.split(capsys.readouterr().out) if word != "export")
    assert exports == {"TFS_REDIS_URL": redis_url(), "TFS_POSTGRES_URL": postgres_url()}
    with redis.Redis.from_url(exports["TFS_REDIS_URL"]) as client:
        assert client.ping()
        process = client.info("server")["process_id"]

    assert run("env", "--json") == 0
    assert json.loads(capsys.readouterr().out) == exports

    assert run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "data_dir": str(data_dir),
        "up": True,
        "redis_url": masked(exports["TFS_REDIS_URL"]),
        "postgres_url": masked(exports["TFS_POSTGRES_URL"]),
    }

    assert run("up") == 0  # joins
    with redis.Redis.from_url(exports["TFS_REDIS_URL"]) as client:
        assert client.info("server")["process_id"] == process
    capsys.readouterr()

    assert run("down") == 0
    assert capsys.readouterr().out == "stopped\n"
    assert run("down") == 0
    assert capsys.readouterr().out == "no server was up\n"
    assert run("env") == 1
    assert "servers up" in capsys.readouterr().err
    assert run("status") == 1
    with pytest.raises(NoServerError):
        redis_url()


def test_servers_that_cannot_start_are_an_error_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["servers", "up", "--data-dir", str(tmp_path / "file" / "data")]) == 2
    assert "cannot be made" in capsys.readouterr().err
