"""JSON lines from a pipe, as they come."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from ingest.feeds import jsonl
from ingest.messages.decode import decode
from ingest.messages.kinds import OrderBook, Trade
from ingest.publish.outlet import Outlet
from ingest.settings import Settings
from ingest.streams import keys

T0 = 1_700_000_000_000
NOW_NS = (T0 + 500) * 1_000_000
SETTINGS = Settings(partitions=1)
TRADE = {"timestamp": T0, "symbol": "BTCUSDT", "price": "100.5", "size": 1}
BOOK = {"timestamp": T0, "symbol": "BTCUSDT", "bids": [[99, 1]], "asks": [[101, 1]], "received": T0 + 3}


class Drops(io.RawIOBase):
    """A pipe that gives its bytes in pieces of some size."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size

    def read1(self, size: int = -1, /) -> bytes:
        piece, self._data = self._data[: self._size], self._data[self._size :]
        return piece


def entries(client: Any) -> list[Any]:
    return [fields for _, fields in client.xrange(keys.events(0))]


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 16])
def test_lines_come_whole_however_the_pipe_breaks_them(redis_client, size) -> None:
    lines = [json.dumps(TRADE), "", json.dumps(BOOK), "{broken", json.dumps({**TRADE, "timestamp": T0 + 10**9})]
    outlet = Outlet(redis_client, SETTINGS)
    jsonl.publish_lines(Drops("\r\n".join(lines).encode(), size), "pipe", outlet, 5000, clock_ns=lambda: NOW_NS)
    trade, book = entries(redis_client)
    assert decode(Trade, trade[b"data"]) == Trade(T0, "BTCUSDT", 100.5, 1.0, None, None, T0 + 500), "received now"
    assert decode(OrderBook, book[b"data"]).received == T0 + 3
    assert b"recorded" not in trade
    assert outlet.counts.refused == {"undecodable": 1, "future_time": 1}
    letters = [fields for _, fields in redis_client.xrange(keys.DEAD_LETTER)]
    assert [(x[b"source"], x[b"field:data"][:7]) for x in letters] == [(b"pipe", b"{broken"), (b"pipe", b'{"times')]


def test_a_line_without_an_end_does_not_fill_the_memory(redis_client, monkeypatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE", 1000)
    outlet = Outlet(redis_client, SETTINGS)
    jsonl.publish_lines(Drops(b"x" * 5000 + b"\n", 400), "pipe", outlet, 5000)
    assert outlet.counts.refused["undecodable"] == outlet.counts.lines >= 4


def test_the_command_reads_standard_input_to_its_end(redis_client, redis_url) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "feed", "jsonl", "-", "--json"],
        input=json.dumps(TRADE).encode(),
        env={**os.environ, "TFS_REDIS_URL": redis_url, "TFS_PARTITIONS": "1"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["published"] == {"trade": 1}
    assert len(entries(redis_client)) == 1


def test_what_the_command_cannot_do_it_says(redis_url) -> None:
    environ = {**os.environ, "TFS_REDIS_URL": redis_url}
    environ.pop("TFS_WEBHOOK_TOKEN", None)
    for arguments, says in (
        (["jsonl"], b"name one file"),
        (["binance"], b"name the symbols"),
        (["binance", "BTC/USDT"], b"no symbol of Binance's form"),
        (["posts"], b"set TFS_WEBHOOK_TOKEN"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ingest", "feed", *arguments],
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert says in done.stderr
        assert b"Traceback" not in done.stderr
