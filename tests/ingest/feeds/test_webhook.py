"""Posts by HTTP: who may send them, what is taken, and that nothing of a request is told to anybody."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from feature_repo.stores.errors import UserError
from ingest.feeds import webhook
from ingest.feeds.webhook import Webhook
from ingest.messages.decode import decode
from ingest.messages.kinds import SocialPost
from ingest.publish.outlet import Outlet
from ingest.settings import Settings
from ingest.streams import keys

T0 = 1_700_000_000_000
TOKEN = "planted-secret-of-this-test"
POST = {"timestamp": T0, "id": "1", "text": "$BTC up", "source": "x"}
Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def outlet(redis_client) -> Outlet:
    return Outlet(redis_client, Settings(partitions=1), first_pause_s=0.001, attempts=2)


@pytest.fixture
def server(outlet) -> Iterator[Webhook]:
    with Webhook(("127.0.0.1", 0), TOKEN, outlet, 5000, clock_ns=lambda: (T0 + 700) * 1_000_000) as made:
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


def test_a_caller_that_falls_silent_is_let_go(server, monkeypatch) -> None:
    monkeypatch.setattr(webhook._Handler, "timeout", 0.1)
    with socket.create_connection(server.server_address[:2], timeout=20) as caller:
        caller.sendall(b"POST /posts HTTP/1.1\r\nContent-Le")
        assert caller.recv(100) == b""


def test_more_callers_than_it_serves_are_turned_away(server, call) -> None:
    waiting = [socket.create_connection(server.server_address[:2], timeout=20) for _ in range(webhook.CALLERS_MAX)]
    try:
        with socket.create_connection(server.server_address[:2], timeout=20) as late:
            assert late.recv(12) == b"HTTP/1.1 503"
    finally:
        for caller in waiting:
            caller.close()


def test_while_redis_is_away_a_post_is_not_taken(call, outlet, monkeypatch) -> None:
    def away(_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(outlet, "_send", away)
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
