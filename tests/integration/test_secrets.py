"""Passwords that are recognisable, with every awkward character: they show nowhere, whatever goes well or wrong."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

import feature_repo
from feature_repo.stores.endpoints import Endpoints, postgres_url, redis_url
from ingest.cli import main
from ingest.messages.kinds import OrderBook, Tick
from ingest.observe.collector import Collector
from ingest.publish.publisher import Publisher
from ingest.run.processes import run_role
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.backlog import backlog, counters

REDIS_MARK, POSTGRES_MARK = "Pl4ntedR3dis", "Pl4ntedP0stgres"
"""Parts of the passwords that no encoding of an address changes."""
AWKWARD = "@/?#:%&=+ ,;'\"\\$é"
SECRETS = {REDIS_MARK: f"a{AWKWARD}{REDIS_MARK}{AWKWARD}", POSTGRES_MARK: f"b{AWKWARD}{POSTGRES_MARK}{AWKWARD}"}
T0 = 1_700_000_000_000
SETTINGS = {"TFS_PARTITIONS": "2", "TFS_LOG_LEVEL": "DEBUG", "TFS_SYMBOLS": "SIM-BTC"}


def shows(text: str) -> list[str]:
    """The lines that a password, or a part of one, stands in."""
    return [line for line in text.splitlines() if REDIS_MARK in line or POSTGRES_MARK in line]


@pytest.fixture
def planted(one_server, servers: Endpoints):
    """A user of each server with its password."""
    with (
        redis.Redis.from_url(servers.redis_url) as client,
        psycopg.connect(servers.postgres_url, autocommit=True) as admin,
    ):
        client.execute_command("ACL", "SETUSER", "planted", "on", "~*", "&*", "+@all", f">{SECRETS[REDIS_MARK]}")
        admin.execute(
            sql.SQL("CREATE ROLE planted SUPERUSER LOGIN PASSWORD {}").format(sql.Literal(SECRETS[POSTGRES_MARK]))
        )
        yield
        client.execute_command("ACL", "DELUSER", "planted")
        admin.execute("DROP ROLE planted")


@pytest.fixture
def addresses(planted, redis_url, postgres_url, monkeypatch, tmp_path) -> dict[str, str]:
    """The environment of this deployment, set here too."""
    where, database = urlsplit(redis_url), urlsplit(postgres_url)
    found = {
        **SETTINGS,
        "TFS_REDIS_URL": f"redis://planted:{quote(SECRETS[REDIS_MARK], safe='')}@127.0.0.1:{where.port}/0",
        "TFS_POSTGRES_URL": f"postgresql://planted:{quote(SECRETS[POSTGRES_MARK], safe='')}@127.0.0.1:{database.port}{database.path}",
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    repo = tmp_path / "repo"
    shutil.copytree(
        Path(feature_repo.__file__).parent, repo, ignore=shutil.ignore_patterns("stores", "data", "__pycache__")
    )
    monkeypatch.setattr("feature_repo.__file__", str(repo / "__init__.py"))
    return found


def finished(command: list[str]) -> str:
    """Everything that a process says."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def publish_a_minute(client: redis.Redis) -> None:
    """A book a second, of a recording, and the tick that ends it."""
    with Publisher(client, 2) as publisher:
        for ms in range(T0, T0 + 60_000, 1000):
            book = OrderBook(ms, "SIM-BTC", [(100.0, 1.0)], [(100.1, 2.0)], received=ms)
            publisher.publish("book", book, recorded=True)
        publisher.publish("tick", Tick(T0 + 60_000, "SIM-BTC"), recorded=True)


def until(what, *, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


def test_no_password_shows_while_the_system_runs_and_is_looked_at(addresses, tmp_path, capfd, caplog):
    repo = Path(feature_repo.__file__).parent
    said = finished([str(Path(sys.executable).with_name("feast")), "-c", str(repo), "--log-level", "DEBUG", "apply"])
    assert "microstructure" in said
    said_by_parts = tmp_path / "run.log"
    with said_by_parts.open("wb") as out:
        parts = subprocess.Popen(
            [sys.executable, "-m", "ingest", "run", "--roles", "worker,writer"],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    try:
        with redis.Redis.from_url(addresses["TFS_REDIS_URL"]) as client:
            client.xadd(keys.events(0), {"kind": "trade", "data": b'{"symbol": "A B"}'})
            publish_a_minute(client)
            until(lambda: counters(client, 2).get("rows.microstructure", 0) >= 60 and not backlog(client, 2).total)
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    said += (process / "cmdline").read_text(errors="replace").replace("\0", " ") + "\n"
                except OSError:
                    continue
        assert "ingest run --roles" in said
        for words in (
            ["status"],
            ["status", "--json"],
            ["metrics", "--once"],
            ["check", "consistency", "--rounds", "1"],
            ["dead-letters", "--json"],
            ["drift", "reference", "--day", "2024-01-01"],
        ):
            assert main(words) in (0, 1), words
    finally:
        parts.send_signal(signal.SIGTERM)
        assert parts.wait(60) == 0
    looked = capfd.readouterr()
    assert "tfs_up" in looked.out
    assert "missing_field" in looked.out
    logged = said_by_parts.read_text(errors="replace")
    assert logged, "the parts said nothing at all"
    assert shows(said + looked.out + looked.err + caplog.text + logged) == []
    with redis.Redis.from_url(addresses["TFS_REDIS_URL"]) as client:
        kept = [bytes(key) + str(client.xrange(key)).encode() for key in client.scan_iter(_type="stream")]
        kept += [bytes(key) + str(client.hgetall(key)).encode() for key in client.scan_iter(_type="hash")]
    assert kept
    assert shows(b"\n".join(kept).decode(errors="replace")) == []
    registry = (repo / "data/registry.db").read_bytes()
    assert registry
    assert shows(registry.decode("latin-1")) == []


COMMANDS = (
    ["status"],
    ["metrics", "--once"],
    ["check", "consistency", "--rounds", "1"],
    ["dead-letters"],
    ["drift", "show"],
)

WRONG = {
    "a wrong password": lambda env: {
        name: env[name].replace("@127", "x@127") for name in ("TFS_REDIS_URL", "TFS_POSTGRES_URL")
    },
    "a wrong password of the database": lambda env: {
        "TFS_POSTGRES_URL": env["TFS_POSTGRES_URL"].replace("@127", "x@127")
    },
    "servers that are away": lambda env: {
        "TFS_REDIS_URL": f"redis://planted:{quote(SECRETS[REDIS_MARK], safe='')}@127.0.0.1:1/0",
        "TFS_POSTGRES_URL": f"postgresql://planted:{quote(SECRETS[POSTGRES_MARK], safe='')}@127.0.0.1:1/none",
    },
    "certificates that are not there": lambda env: {
        "TFS_REDIS_URL": env["TFS_REDIS_URL"].replace("redis://", "rediss://") + "?ssl_ca_certs=absent.pem",
        "TFS_POSTGRES_URL": env["TFS_POSTGRES_URL"] + "?sslmode=verify-full&sslrootcert=absent.pem",
    },
    "hosts that have no address": lambda env: {
        name: env[name].replace("@127.0.0.1", "@absent.invalid") for name in ("TFS_REDIS_URL", "TFS_POSTGRES_URL")
    },
    "a password that is not encoded": lambda env: {
        "TFS_REDIS_URL": f"redis://planted:a@/?#%zz{REDIS_MARK}@127.0.0.1:6379/0",
        "TFS_POSTGRES_URL": f"postgresql://planted:b%zz{POSTGRES_MARK}@127.0.0.1:5432/none",
    },
    "a password where a port should be": lambda env: {
        "TFS_REDIS_URL": f"redis://planted:{REDIS_MARK}/0",
        "TFS_POSTGRES_URL": f"postgresql://planted:{POSTGRES_MARK}/none",
    },
    "an address of something else": lambda env: {
        "TFS_REDIS_URL": f"http://planted:{REDIS_MARK}@127.0.0.1/0",
        "TFS_POSTGRES_URL": f"mysql://planted:{POSTGRES_MARK}@127.0.0.1/none",
    },
    "an option that is none": lambda env: {
        "TFS_REDIS_URL": env["TFS_REDIS_URL"] + f"?socket_timeout=x&password={REDIS_MARK}",
        "TFS_POSTGRES_URL": env["TFS_POSTGRES_URL"] + f"?nonsense=1&password={POSTGRES_MARK}",
    },
}
"""What somebody may get wrong; the addresses hold the passwords all the same."""


@pytest.mark.parametrize("trouble", WRONG)
def test_no_password_shows_when_a_server_cannot_be_reached(trouble, addresses, monkeypatch, capfd, caplog):
    wrong = WRONG[trouble](addresses)
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
        assert REDIS_MARK in value or POSTGRES_MARK in value
    caplog.set_level("DEBUG")
    traces = []
    for role in ("worker", "router", "writer"):
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()  # a part tries again until it is stopped
        try:
            run_role(role, stop)
        except Exception:
            traces.append(traceback.format_exc())
    for words in COMMANDS:
        try:
            assert main(words) != 0 or trouble == "a wrong password of the database", words
        except Exception:  # a trace is what the user would see then
            traces.append(traceback.format_exc())
    said = capfd.readouterr()
    assert said.err + "".join(traces)
    assert shows(said.out + said.err + caplog.text + "\n".join(traces)) == []


def test_no_password_shows_in_what_objects_say_of_themselves(addresses, capfd):
    from feast import FeatureStore

    repo = Path(feature_repo.__file__).parent
    store = FeatureStore(repo_path=str(repo))
    online = store._get_provider().online_store
    client = online._get_client(store.config.online_store)
    things = [
        Endpoints(redis_url(), postgres_url()),
        store,
        store.config,
        store.config.online_store,
        store.config.offline_store,
        online,
        client,
    ]
    things += [online._address, Collector(client, addresses["TFS_POSTGRES_URL"], Settings(partitions=2))]
    assert shows("\n".join(f"{thing!r}\n{thing!s}" for thing in things)) == []
    with psycopg.connect(addresses["TFS_POSTGRES_URL"]) as connection:
        assert shows(repr(connection)) == []
