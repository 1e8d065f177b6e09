"""TLS to a server, a cluster and sentinels, with a certificate made here. A proxy before each server speaks it: these are built without."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import redis

from feature_repo.stores.online.attempt import OnlineStoreUnavailableError
from feature_repo.stores.online.client import address_of_url
from feature_repo.stores.redis import RedisOnlineStore
from ingest.streams.outage import open_redis
from tests.feature_repo.stores.feast_rows import Config, settings, write_and_read
from tests.feature_repo.stores.redis_servers import DEADLINE_S, Servers, free_port, wait_until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
HANDSHAKE = b"\x16"  # the first byte of a connection with TLS


class Certificate(NamedTuple):
    """A certificate for this machine, and its key."""

    file: Path
    key: Path

    @property
    def option(self) -> str:
        """What makes a client trust it."""
        return f"ssl_ca_certs={quote(str(self.file))}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    made = Certificate(*(tmp_path_factory.mktemp("tls") / name for name in ("cert.pem", "key.pem")))
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    subprocess.run([*make, "-keyout", str(made.key), "-out", str(made.file)], check=True, capture_output=True)
    return made


@pytest.fixture
def in_front_of(certificate: Certificate) -> Iterator[Callable[[int], int]]:
    """A function that gives a port with TLS for the port of a server; servers reach each other by it without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # a test expects that the client refuses the certificate
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def open_port(port: int) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        asyncio.run_coroutine_threadsafe(_accept(listening, port, context), loop)
        return int(listening.getsockname()[1])

    async def end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        yield open_port
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(DEADLINE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _accept(listening: socket.socket, port: int, context: ssl.SSLContext) -> None:
    loop, tasks = asyncio.get_running_loop(), set()
    with listening:
        while True:
            connection, _ = await loop.sock_accept(listening)
            tasks.add(asyncio.create_task(_serve(connection, port, context)))


async def _serve(connection: socket.socket, port: int, context: ssl.SSLContext) -> None:
    loop, first = asyncio.get_running_loop(), b""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stack.callback(connection.close)
        while not first:
            with contextlib.suppress(BlockingIOError):
                if not (first := connection.recv(1, socket.MSG_PEEK)):
                    return
            await asyncio.sleep(0.002)
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        tls = context if first == HANDSHAKE else None
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        stack.callback(writer.close)
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(back_writer.close)
        await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()


def test_tls_is_spoken_and_the_certificate_is_checked(
    stores: Any, servers: Any, certificate: Certificate, in_front_of: Callable[[int], int]
) -> None:
    where = address_of_url(servers.redis_url)
    secret = where.options.get("password")
    login = f":{quote(secret, safe='')}@" if secret else ""
    url = f"rediss://{login}127.0.0.1:{in_front_of(where.nodes[0][1])}"
    checked = settings(url=f"{url}?{certificate.option}", retries=0)
    assert write_and_read(RedisOnlineStore(), Config(checked), stores, 6.0) == [6.0] * 5
    with pytest.raises(OnlineStoreUnavailableError, match="certificate verify failed"):
        write_and_read(RedisOnlineStore(), Config(settings(url=url, retries=0)), stores, 7.0)


def check_both(stores: Any, url: str, certificate: Certificate) -> None:
    """Write and read through the store and a part's client; neither takes a certificate that it does not know."""
    mark = "&" if "?" in url else "?"
    trusted = f"{url}{mark}{certificate.option}"
    assert write_and_read(RedisOnlineStore(), Config(settings(url=trusted, retries=15)), stores, 5.0) == [5.0] * 5
    with open_redis(trusted) as client:
        for n in range(20):
            client.set(f"key {n}", n)
        assert [client.get(f"key {n}") for n in range(20)] == [b"%d" % n for n in range(20)]
    with open_redis(url) as client, pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        client.ping()


def test_every_node_of_a_cluster_is_reached_by_tls(
    stores: Any, own: Servers, certificate: Certificate, in_front_of: Callable[[int], int]
) -> None:

    def known(port: int) -> set[int]:
        with own.client(port) as node:
            return {about[2][1] for about in node.execute_command("CLUSTER SLOTS")}

    ports = own.cluster()
    announced = {port: in_front_of(port) for port in ports}
    for port, by_tls in announced.items():
        with own.client(port) as node:
            node.config_set("cluster-announce-port", by_tls)
    for port in ports:
        with own.client(port) as node:
            wait_until(
                lambda: {about[2][1] for about in node.execute_command("CLUSTER SLOTS")} == {*announced.values()}
            )
    check_both(stores, f"rediss+cluster://127.0.0.1:{announced[ports[0]]}", certificate)


def test_sentinels_and_their_master_are_reached_by_tls_also_after_a_failover(
    stores: Any, own: Servers, certificate: Certificate, in_front_of: Callable[[int], int]
) -> None:
    master = own.start(free_port(), "--save", "")
    replica = free_port()
    by_tls = {port: in_front_of(port) for port in (master, replica)}
    announce = ("--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(by_tls[replica]))
    own.start(replica, "--save", "", "--replicaof", "127.0.0.1", str(by_tls[master]), *announce)
    with own.client(replica) as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")  # type: ignore[index]
    sentinel = own.sentinel(by_tls[master], 1000)
    url = f"rediss+sentinel://127.0.0.1:{in_front_of(sentinel)}/mymaster"
    check_both(stores, url, certificate)
    with redis.Redis(port=sentinel) as watcher:
        wait_until(lambda: watcher.sentinel_masters()["mymaster"]["num-slaves"] == 1)
        own.kill(master)
        wait_until(lambda: watcher.sentinel_get_master_addr_by_name("mymaster")[1] == by_tls[replica])
    check_both(stores, url, certificate)
