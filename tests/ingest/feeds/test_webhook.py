"""Posts by HTTP: who may send them, what is taken, and that nothing of a request is told to anybody."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from feature_repo.stores.errors import UserError
from ingest.feeds import webhook
from ingest.feeds.http_listener import Limits
from ingest.feeds.webhook import Webhook
from ingest.messages.decode import decode
from ingest.messages.kinds import SocialPost
from ingest.publish.outlet import Outlet
from ingest.settings import Settings
from ingest.streams import keys

T0 = 1_700_000_000_000
TOKEN = "planted-secret-of-this-test"
POST = {"timestamp": T0, "id": "1", "text": "$BTC up", "source": "x"}
LIMITS = Limits(head_s=0.5, request_s=0.7, waiting=8, callers=4)
Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def outlet(redis_client) -> Outlet:
    return Outlet(redis_client, Settings(partitions=1), first_pause_s=0.001, attempts=2)


@pytest.fixture
def server(outlet) -> Iterator[Webhook]:
    with Webhook(("127.0.0.1", 0), TOKEN, outlet, 5000, clock_ns=lambda: (T0 + 700) * 1_000_000, limits=LIMITS) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def call(server) -> Call:
    def request(
        body: bytes = b"", *, token: str | None = TOKEN, path: str = "/posts", method: str = "POST", **headers: str
    ):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
        given = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request(method, path, body, {**given, **{k.replace("_", "-"): v for k, v in headers.items()}})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, json.loads(data) if data.startswith(b"{") else data

    return request


def posts(client: redis.Redis) -> list[SocialPost]:
    found: Any = client.xrange(keys.SOCIAL)
    return [decode(SocialPost, fields[b"data"]) for _, fields in found]


def test_one_post_is_taken_and_was_received_now(call, redis_client) -> None:
    assert call(json.dumps(POST, indent=1).encode()) == (202, {"accepted": 1, "refused": {}})
    assert posts(redis_client) == [SocialPost(T0, "1", "$BTC up", "x", received=T0 + 700)]


def test_an_integer_id_an_iso_time_and_an_empty_author_are_read_as_in_files(call, redis_client) -> None:
    sent = {**POST, "id": 1, "timestamp": "2023-11-14T22:13:20Z", "author": ""}
    assert call(json.dumps(sent).encode()) == (202, {"accepted": 1, "refused": {}})
    assert posts(redis_client) == [SocialPost(T0, "1", "$BTC up", "x", received=T0 + 700)]


def test_lines_are_taken_each_for_itself_and_what_is_refused_is_kept(call, redis_client, outlet) -> None:
    trade = {"timestamp": T0, "symbol": "BTCUSDT", "price": 1, "size": 1}
    body = "\n".join([json.dumps(POST), "{cut", json.dumps(trade), "", json.dumps({**POST, "id": "2"})])
    assert call(body.encode()) == (202, {"accepted": 2, "refused": {"undecodable": 1, "wrong_type": 1}})
    assert [p.id for p in posts(redis_client)] == ["1", "2"]
    assert redis_client.xlen(keys.events(0)) == 0, "a caller of the webhook moves no market"
    assert redis_client.xlen(keys.DEAD_LETTER) == 2
    assert outlet.counts.published == {"social": 2}


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "é" * 20])
def test_without_the_token_nothing_is_taken(call, redis_client, token) -> None:
    status, answer = call(
        json.dumps(POST).encode(), token=None, Authorization=f"Bearer {token}".encode() if token else ""
    )
    assert status == 401
    assert TOKEN not in json.dumps(answer)
    assert posts(redis_client) == []


def test_other_places_and_methods_are_not_there(call) -> None:
    assert call(b"{}", path="/")[0] == 404
    assert call(method="GET")[0] == 501


def test_a_body_past_the_bound_is_not_read(call, redis_client) -> None:
    assert call(b"", Content_Length=str(webhook.BODY_MAX + 1))[0] == 413
    assert call(b"", Content_Length="-5")[0] == 411
    assert call(b"", Content_Length="9" * 30)[0] == 411
    assert posts(redis_client) == []


def slow_head(server: Webhook) -> socket.socket:
    """A caller that begins a head and never ends it."""
    caller = socket.create_connection(server.server_address[:2], timeout=20)
    caller.sendall(b"POST /posts HTTP/1.1\r\nContent-Le")
    return caller


def trickle(caller: socket.socket) -> bytes:
    """Send a byte now and then until the server closes; return its answer."""
    caller.settimeout(0.02)
    answer = b""
    while True:
        try:
            caller.sendall(b"x")
            if not (more := caller.recv(1000)):
                return answer
            answer += more
        except TimeoutError:
            continue
        except OSError:
            return answer


def test_a_caller_that_sends_its_head_too_slowly_is_let_go(server) -> None:
    with slow_head(server) as caller:
        began = time.monotonic()
        assert trickle(caller) == b""
        assert LIMITS.head_s - 0.1 < time.monotonic() - began < 10 * LIMITS.head_s


def test_a_caller_that_sends_its_body_too_slowly_is_let_go(server, redis_client) -> None:
    head = f"POST /posts HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100000\r\n\r\n"
    with socket.create_connection(server.server_address[:2], timeout=20) as caller:
        caller.sendall(head.encode())
        assert trickle(caller).startswith(b"HTTP/1.1 408")
    assert posts(redis_client) == []


def test_slow_callers_without_a_token_shut_nobody_out(server, call, redis_client) -> None:
    slow = [slow_head(server) for _ in range(64)]
    try:
        began = time.monotonic()
        assert call(json.dumps(POST).encode())[0] == 202
        assert time.monotonic() - began < LIMITS.head_s, "it did not wait for their deadline"
    finally:
        for caller in slow:
            caller.close()
    assert len(posts(redis_client)) == 1


def test_more_callers_with_the_token_than_it_serves_are_turned_away(server, call) -> None:
    head = f"POST /posts HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n".encode()
    slow = [socket.create_connection(server.server_address[:2], timeout=20) for _ in range(LIMITS.callers)]
    try:
        for caller in slow:
            caller.sendall(head)
        wait_until(lambda: not server._free._value)
        assert call(json.dumps(POST).encode())[0] == 503
        assert call(b"", token="wrong")[0] == 401, "without a token no place is needed to be refused"
    finally:
        for caller in slow:
            caller.close()
    wait_until(lambda: server._free._value == LIMITS.callers)
    assert call(json.dumps(POST).encode())[0] == 202


@pytest.mark.parametrize(
    "head",
    [
        b"A" * 20_000,
        b"POST /posts HTTP/1.1\r\n" + b"X: y\r\n" * 100 + b"\r\n",
        b"POST /posts HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    ],
    ids=["no end", "too many lines", "a line too long"],
)
def test_a_head_past_the_bounds_is_refused(server, head) -> None:
    with socket.create_connection(server.server_address[:2], timeout=20) as caller:
        caller.sendall(head)
        assert caller.recv(12) == b"HTTP/1.1 431"


@pytest.mark.parametrize(
    "request_line", [b"hello", b"\xff\x00 /posts HTTP/1.1 x", b"POST /posts", b"POST /posts SMTP/1.1"]
)
def test_what_is_no_request_is_refused(server, request_line) -> None:
    with socket.create_connection(server.server_address[:2], timeout=20) as caller:
        caller.sendall(request_line + b"\r\n\r\n")
        assert caller.recv(12) == b"HTTP/1.1 400"


def test_a_body_that_is_cut_off_is_refused(server, redis_client) -> None:
    head = f"POST /posts HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 500\r\n\r\n"
    with socket.create_connection(server.server_address[:2], timeout=20) as caller:
        caller.sendall(head.encode() + json.dumps(POST).encode())
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(12) == b"HTTP/1.1 400"
    assert posts(redis_client) == []


def test_a_caller_that_waits_to_be_told_to_send_its_body_is_told(server, redis_client) -> None:
    body = json.dumps(POST).encode()
    head = f"POST /posts HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(server.server_address[:2], timeout=20) as caller:
        caller.sendall(head.encode())
        assert caller.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(body)
        assert caller.recv(12) == b"HTTP/1.1 202"
    assert len(posts(redis_client)) == 1


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when something holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_while_redis_is_away_a_post_is_not_taken(call, outlet, monkeypatch) -> None:
    def away(*_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(outlet._producer, "write", away)
    assert call(json.dumps(POST).encode())[0] == 503


def test_neither_token_nor_post_is_in_a_log_or_a_repr(call, server, caplog, capfd) -> None:
    call(json.dumps({**POST, "text": "planted text"}).encode())
    call(b"planted text", token="planted text")
    told = caplog.text + repr(server) + "".join(capfd.readouterr())
    assert "planted" not in told


def test_a_short_token_is_refused(outlet) -> None:
    with pytest.raises(UserError, match="16 characters") as error:
        Webhook(("127.0.0.1", 0), "short-secret", outlet, 5000)
    assert "short-secret" not in str(error.value)
