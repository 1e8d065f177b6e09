"""The embedded servers on their way up and down, with everything around them dying."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.stores.endpoints import Endpoints, postgres_parameters, read_state
from ingest.servers.account import ServersError
from ingest.servers.embedded import down, running, up

DEADLINE_S = 30.0
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a privilege to drop")

USER_PROGRAM = """
import json, sys
from pathlib import Path
from ingest.servers.embedded import running
with running(Path(sys.argv[1]), durable=False) as endpoints:
    print(json.dumps([endpoints.redis_url, endpoints.postgres_url]), flush=True)
    sys.stdin.read()
"""


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def processes(folder: Path) -> dict[int, int]:
    """Return pid -> uid of every live process that works in the folder: supervisor, servers and PostgreSQL's children."""
    found = {}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and os.readlink(process / "cwd").startswith(str(folder)):
                found[int(process.name)] = process.stat().st_uid
    return found


def commands(folder: Path) -> list[str]:
    """Return the command lines of those processes, as any user of the machine sees them."""
    found = []
    for pid in processes(folder):
        with contextlib.suppress(OSError):  # PostgreSQL's children come and go
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@contextlib.contextmanager
def user_process(folder: Path, python: list[str] | None = None) -> Iterator[tuple[subprocess.Popen[str], Endpoints]]:
    """Have another process use the servers; it is ended by closing its stdin where the test did not end it."""
    with subprocess.Popen(
        [*(python or [sys.executable]), "-c", USER_PROGRAM, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        yield process, Endpoints(*json.loads(process.stdout.readline()))


def write(endpoints: Endpoints, value: int) -> None:
    with redis.Redis.from_url(endpoints.redis_url) as client:
        client.set("value", value)
    with psycopg.connect(endpoints.postgres_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value integer)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def read(endpoints: Endpoints) -> tuple[bytes | None, list[int]]:
    with redis.Redis.from_url(endpoints.redis_url) as client, psycopg.connect(endpoints.postgres_url) as connection:
        rows = connection.execute("SELECT value FROM kept ORDER BY value").fetchall()
        return client.get("value"), [row[0] for row in rows]


def test_both_servers_listen_on_loopback_ask_for_the_password_and_keep_it_private(servers: Endpoints) -> None:
    parameters = postgres_parameters(servers.postgres_url)
    address = servers.redis_url.rpartition("@")[2]
    with (
        redis.Redis.from_url(f"redis://{address}", retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host="127.0.0.1", port=parameters["port"], user="feature_store", dbname="feature_store", password="wrong"
        )
    with redis.Redis.from_url(servers.redis_url, decode_responses=True) as client:
        settings = client.config_get("bind", "appendonly", "maxmemory-policy", "appendfsync")
    assert settings == {
        "bind": "127.0.0.1",
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "appendfsync": "no",  # these are the tests' own; see the next test
    }
    with psycopg.connect(servers.postgres_url) as connection:
        shown = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in ("listen_addresses", "unix_socket_directories", "timezone", "server_encoding")
        ]
    assert shown == [("127.0.0.1",), ("",), ("UTC",), ("UTF8",)]


def test_what_the_product_starts_is_durable_and_its_password_is_in_files_of_the_owner_only(data_dir: Path) -> None:
    with running(data_dir) as endpoints:
        password = str(postgres_parameters(endpoints.postgres_url)["password"])
        with redis.Redis.from_url(endpoints.redis_url, decode_responses=True) as client:
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        with psycopg.connect(endpoints.postgres_url) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
        holders = [
            path
            for path in data_dir.rglob("*")
            if path.is_file() and path.stat().st_size < 100_000 and password.encode() in path.read_bytes()
        ]
        assert {path.name for path in holders} == {"servers.json", "servers.secret", "valkey.conf"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
        shown = commands(data_dir)
        assert len(shown) >= 3  # supervisor, Valkey, postmaster
        assert not any(password in command for command in shown)


@as_root
def test_for_root_the_servers_run_as_nobody(data_dir: Path) -> None:
    with running(data_dir, durable=False):
        state = read_state(data_dir)
        assert state is not None
        users = processes(data_dir)
        assert users.pop(state["supervisor"]) == 0
        assert set(users.values()) == {pwd.getpwnam("nobody").pw_uid}
    assert processes(data_dir) == {}


@pytest.fixture
def nobodys_python() -> list[str]:
    """The command that runs Python as an ordinary user, who may not be allowed to run root's."""
    packages = [str(Path(__file__).parents[3]), sysconfig.get_path("purelib")]
    for found in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        command += ["env", "HOME=/nonexistent", f"PYTHONPATH={':'.join(packages)}", found]
        with contextlib.suppress(FileNotFoundError):
            trial = "import sys, ingest.servers.embedded; assert sys.version_info >= (3, 11)"
            if subprocess.run([*command, "-c", trial], stderr=subprocess.DEVNULL, cwd="/").returncode == 0:
                return command
    pytest.skip("no Python of 3.11 or later that an ordinary user may run")


@as_root
def test_an_ordinary_user_runs_the_servers_as_itself(data_dir: Path, nobodys_python: list[str]) -> None:
    nobody = pwd.getpwnam("nobody")
    folder = data_dir / "own"
    folder.mkdir()
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    with user_process(folder, nobodys_python) as (_, endpoints):
        write(endpoints, 1)
        assert set(processes(folder).values()) == {nobody.pw_uid}
    until(lambda: not processes(folder), "the servers outlived their user")


@as_root
def test_another_users_servers_are_an_error_that_says_so(data_dir: Path, nobodys_python: list[str]) -> None:
    with running(data_dir, durable=False):
        done = subprocess.run(
            [*nobodys_python, "-c", USER_PROGRAM, str(data_dir)], capture_output=True, text=True, cwd="/"
        )
    assert done.returncode == 1
    assert "is the data folder another user's?" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_user_is_killed_and_the_data_are_there_next_time(
    data_dir: Path, number: signal.Signals
) -> None:
    with user_process(data_dir) as (process, endpoints):
        write(endpoints, 7)
        assert len(processes(data_dir)) >= 5  # a supervisor, Valkey, a postmaster and its children
        process.send_signal(number)
    until(lambda: not processes(data_dir), "the servers outlived their user")
    assert not (data_dir / "servers.json").exists()
    with running(data_dir, durable=False) as again:
        assert read(again) == (b"7", [7])
        assert again == endpoints  # the ports are the same where they are free


def test_after_everything_was_killed_at_once_the_next_start_finds_the_data(data_dir: Path) -> None:
    with user_process(data_dir) as (process, endpoints):
        write(endpoints, 1)
        victims = processes(data_dir)
        for number in (signal.SIGSTOP, signal.SIGKILL):  # nobody ends in order because another is dead
            for pid in (*victims, process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
    until(lambda: not processes(data_dir), "SIGKILL did not kill")
    assert (data_dir / "servers" / "postgres" / "postmaster.pid").exists()  # left by the dead
    assert (data_dir / "servers.json").exists()
    assert read_state(data_dir) is None  # not believed
    newest = max((data_dir / "servers" / "valkey" / "appendonlydir").glob("*.incr.aof"))
    with open(newest, "ab") as log:
        log.write(b"*3\r\n$3\r\nSET\r\n$5\r\nval")  # a write cut in the middle
    with running(data_dir, durable=False) as again:
        assert read(again) == (b"1", [1])


def test_servers_do_not_outlive_a_killed_supervisor_and_the_next_user_starts_afresh(data_dir: Path) -> None:
    first = up(data_dir, durable=False)
    write(first, 3)
    state = read_state(data_dir)
    assert state is not None
    os.kill(state["supervisor"], signal.SIGKILL)
    until(lambda: read_state(data_dir) is None, "SIGKILL did not kill")
    with running(data_dir, durable=False) as endpoints:
        assert read(endpoints) == (b"3", [3])
    until(lambda: not processes(data_dir), "what `up` had asked for outlived it")


def test_two_users_at_once_share_the_servers_and_the_last_one_out_stops_them(data_dir: Path) -> None:
    with contextlib.ExitStack() as stack:
        users = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", USER_PROGRAM, str(data_dir)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=Path(__file__).parents[3],
                )
            )
            for _ in range(2)
        ]
        answers = []
        for user in users:
            assert user.stdout is not None
            answers.append(json.loads(user.stdout.readline()))
        assert answers[0] == answers[1]
        assert sum("valkey-server" in command for command in commands(data_dir)) == 1
        assert sum("supervisor.py" in command for command in commands(data_dir)) == 1
        before = processes(data_dir).keys()
        users[0].communicate("")
        endpoints = Endpoints(*answers[0])
        write(endpoints, 2)
        assert read(endpoints) == (b"2", [2])
        state = read_state(data_dir)
        assert state is not None
        assert state["supervisor"] in before
        users[1].communicate("")
    assert processes(data_dir) == {}


def test_a_server_that_dies_is_started_again_with_its_data_at_the_same_address(data_dir: Path) -> None:
    with running(data_dir, durable=False) as endpoints:
        write(endpoints, 5)
        with redis.Redis.from_url(endpoints.redis_url) as client:
            os.kill(client.info("server")["process_id"], signal.SIGKILL)
        pid_file = data_dir / "servers" / "postgres" / "postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)

        def back() -> bool:
            try:
                return read(endpoints) == (b"5", [5])
            except (redis.ConnectionError, psycopg.OperationalError):
                return False

        until(back, "the servers did not come back")
    assert processes(data_dir) == {}


def test_a_server_that_does_not_stay_up_ends_the_others_too_and_is_not_vouched_for(data_dir: Path) -> None:
    endpoints = up(data_dir, durable=False)
    (data_dir / "servers" / "valkey.conf").write_text("no such setting\n")
    with redis.Redis.from_url(endpoints.redis_url) as client:
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
    until(lambda: not processes(data_dir), "the supervisor did not give up")  # 0.2 + 0.4 + ... + 3.2 s
    assert read_state(data_dir) is None
    assert "Valkey does not stay up" in (data_dir / "servers.log").read_text()


def test_servers_that_are_up_stay_until_down_whoever_else_comes_and_goes(data_dir: Path) -> None:
    with running(data_dir, durable=False) as started:
        assert up(data_dir, durable=False) == started
    with user_process(data_dir) as (process, joined):
        assert joined == started
        process.kill()
    write(started, 4)
    assert read(started) == (b"4", [4])
    assert down(data_dir)
    assert processes(data_dir) == {}
    assert not down(data_dir)


def test_deleting_the_data_folder_stops_the_servers(data_dir: Path) -> None:
    up(data_dir, durable=False)
    assert processes(data_dir)
    shutil.rmtree(data_dir, ignore_errors=True)  # PostgreSQL removes its own files at the same time
    until(lambda: not processes(data_dir), "the servers outlived their data")
    data_dir.mkdir(exist_ok=True)


def test_a_server_that_the_environment_names_is_not_started(
    data_dir: Path, servers: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFS_POSTGRES_URL", servers.postgres_url)
    with running(data_dir, durable=False) as endpoints:
        assert endpoints.postgres_url == servers.postgres_url
        assert processes(data_dir / "servers" / "postgres") == {}
        with redis.Redis.from_url(endpoints.redis_url) as client:
            assert client.ping()
        with pytest.raises(ServersError, match="without postgres_url"):
            up(data_dir, durable=False)
    monkeypatch.setenv("TFS_REDIS_URL", servers.redis_url)
    with running(data_dir / "unused") as endpoints:
        assert endpoints == servers
    assert not (data_dir / "unused").exists()
