"""Every feed ends within two seconds of Ctrl-C, whatever its peer and Redis do: the commands, and a signal from another thread."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import itertools
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import redis

from ingest.cli import ExitCode, main
from ingest.feeds import ending
from ingest.streams import keys

LIMIT_S = 10.0
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of the protocol, RFC 6455


class Link:
    """A way to Redis that can stop: ``hang`` forwards nothing any more, ``cut`` closes what is open and refuses the rest."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._hangs = threading.Event()
        self._ends: list[socket.socket] = [self._server]
        self._threads: list[threading.Thread] = []
        login = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{login}@127.0.0.1:{self._server.getsockname()[1]}").geturl()
        self._start(self._accept)

    def hang(self) -> None:
        self._hangs.set()

    def cut(self) -> None:
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _start(self, what: Callable[..., None], *sockets: socket.socket) -> None:
        self._threads.append(threading.Thread(target=what, args=sockets, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with self._server, contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._to)
                self._ends += [near, far]
                self._start(self._forward, near, far)

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, contextlib.suppress(OSError):
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if not self._hangs.is_set():
                        (far if ready is near else near).sendall(data)


class BadVenue:
    """A venue of Binance's protocol in a thread. It never answers a close frame, and goes on as ``manner`` says."""

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.listening = threading.Event()  # the streams were asked for
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> BadVenue:
        self._thread.start()
        assert self._ready.wait(5)
        self.words = ["feed", "binance", "BTCUSDT", "--json"]
        self.words += ["--stream-url", f"ws://{self._at}", "--rest-url", f"http://{self._at}/depth"]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        answers: set[asyncio.Task[None]] = set()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answers.add(asyncio.current_task())  # type: ignore[arg-type]
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._answer(reader, writer)
            writer.transport.abort()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            self._at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._ready.set()
            await self._over.wait()
            for task in answers:
                task.cancel()
            await asyncio.wait(answers)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if not head.startswith("GET /stream"):
            if self.manner == "REST hangs":
                self.listening.set()
                await asyncio.Event().wait()
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()
            return
        if self.manner == "half open":
            self.listening.set()
            await asyncio.Event().wait()
        key = next(
            line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key.encode() + WEBSOCKET).digest()).decode()  # noqa: S324  # the protocol's
        upgrade = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        )
        writer.write(f"{upgrade}{accept}\r\n\r\n".encode())
        self.listening.set()
        for number in itertools.count(1):
            now_ms = time.time_ns() // 1_000_000
            trade = {"e": "trade", "s": "BTCUSDT", "t": number, "p": "1", "q": "1", "T": now_ms, "m": True}
            frame = json.dumps({"stream": "btcusdt@trade", "data": trade}).encode()
            if self.manner != "silent":
                writer.write(b"\x81\x7e" + len(frame).to_bytes(2, "big") + frame)
                await writer.drain()
            await asyncio.sleep(0 if self.manner == "flood" else 0.001)


@pytest.fixture
def link(one_server: None, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    found = Link(redis_url)
    monkeypatch.setenv("TFS_REDIS_URL", found.url)
    monkeypatch.setattr(ending, "GIVE_UP_S", 0.3)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _ctrl_c_raises() -> Iterator[None]:
    """A shell starts what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(words: list[str], when: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> tuple[int, float]:
    """Run a command, send it a Ctrl-C after ``when`` returned in a thread, and return its code and how long it went on."""
    sent: list[float] = []

    def interrupt() -> None:
        when()
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def leave(code: int) -> None:
        raise AssertionError(f"the process would be ended with code {code}, which is for the last resort")

    monkeypatch.setattr(ending.os, "_exit", leave)
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    code = main(words)
    thread.join(5)
    return code, time.monotonic() - sent[0]


def soon(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.002)
    assert holds()


MANNERS = ("sends", "silent", "half open", "REST hangs")


@pytest.mark.parametrize("manner", MANNERS)
def test_a_venues_feed_ends_whatever_the_venue_does(
    manner: str, link: Link, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BadVenue(manner) as venue:
        code, took_s = run(venue.words, lambda: soon(venue.listening.is_set), monkeypatch)
    assert (code, took_s < LIMIT_S) == (ExitCode.DONE, True)


@pytest.mark.parametrize("trouble", ["hang", "cut"])
def test_a_venues_feed_ends_while_redis_is_away_and_says_so(
    trouble: str,
    link: Link,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def when() -> None:
        soon(lambda: any(redis_client.xlen(keys.events(p)) for p in range(16)))
        getattr(link, trouble)()
        time.sleep(0.1)  # what comes now cannot be written

    with BadVenue("flood") as venue:
        code, took_s = run(venue.words, when, monkeypatch)
    assert (code, took_s < LIMIT_S) == (ExitCode.USER_ERROR, True)
    assert "error: the feed was stopped before Redis had taken its last messages" in capsys.readouterr().err


@pytest.mark.parametrize("trouble", ["none", "hang"])
def test_the_feed_of_a_pipe_ends(
    trouble: str, link: Link, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    message = {
        "stream": "market_data",
        "timestamp": time.time_ns() // 1_000_000,
        "symbol": "A",
        "price": 1.0,
        "size": 1.0,
    }
    line = json.dumps(message).encode() + b"\n"
    with open(reading, "rb") as pipe, open(writing, "wb", buffering=0) as end:
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": pipe}))
        end.write(line)

        def when() -> None:
            soon(lambda: any(redis_client.xlen(keys.events(p)) for p in range(16)))
            if trouble == "hang":
                link.hang()
                end.write(line)
                time.sleep(0.1)

        _, took_s = run(["feed", "jsonl", "-", "--json"], when, monkeypatch)
    assert took_s < LIMIT_S


@pytest.mark.parametrize("trouble", ["none", "hang"])
def test_the_feed_of_posts_ends_while_a_caller_sends_half_a_request_or_redis_hangs(
    trouble: str, link: Link, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "t" * 20
    monkeypatch.setenv("TFS_WEBHOOK_TOKEN", token)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    callers: list[socket.socket] = []

    def call(body: bytes) -> None:
        callers.append(socket.create_connection(("127.0.0.1", port)))
        head = f"POST /posts HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 60\r\n\r\n"
        callers[-1].sendall(head.encode() + body)

    def is_open() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    def when() -> None:
        soon(is_open)
        call(b"{")
        if trouble == "hang":
            link.hang()
            call(b"{" + b" " * 58 + b"}")
        time.sleep(0.05)

    code, took_s = run(["feed", "posts", "--listen", f"127.0.0.1:{port}", "--json"], when, monkeypatch)
    for caller in callers:
        caller.close()
    assert (code, took_s < LIMIT_S) == (ExitCode.DONE, True)


@pytest.mark.parametrize("trouble", ["deaf broker", "no broker", "Redis hangs"])
def test_the_feed_of_kafka_ends(
    trouble: str, link: Link, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("confluent_kafka")
    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        if trouble == "no broker":
            broker.close()

        def when() -> None:
            soon(lambda: redis_client.keys("own:*"))
            if trouble == "deaf broker":
                broker.accept()[0].close()
            if trouble == "Redis hangs":
                link.hang()

        code, took_s = run(["feed", "kafka", "--brokers", f"127.0.0.1:{port}", "--json"], when, monkeypatch)
    assert (code, took_s < LIMIT_S) == (ExitCode.DONE, True)


@pytest.mark.parametrize("second", [True, False])
def test_a_feed_that_cannot_stop_is_ended_at_the_second_ctrl_c_or_in_time(
    second: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ending, "END_S", 0.05)
    left: list[int] = []
    record, stopped = io.BytesIO(), []
    monkeypatch.setattr(ending.os, "_exit", left.append)
    before = signal.getsignal(signal.SIGINT)
    with ending.Ending(record=record) as ends:
        os.kill(os.getpid(), signal.SIGINT)
        ends.on_signal(lambda: stopped.append(1))
        if second:
            os.kill(os.getpid(), signal.SIGTERM)
            assert left == [ExitCode.INTERRUPTED]
        soon(lambda: left)
    assert stopped == [1]
    assert record.closed
    assert ("did not end within" in capsys.readouterr().err) is not second
    assert signal.getsignal(signal.SIGINT) is before
