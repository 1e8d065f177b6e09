"""Freshness: from the end of a second until its row is readable online, beyond the allowed lateness.

A feed of 2,000 messages a second, books and trades of 20 symbols, is appended to the logs; a worker process makes the rows; a reader
polls the stored event time of every symbol (a pipeline of HGET, as ``get_online_features`` reads it) and notes when it changes. Feed,
worker, Redis and reader share this machine. The time starts at the time of the grid plus the allowed lateness. So it includes the wait
for the message that moves the symbol's watermark past it: up to 10 ms, because each symbol has a hundred messages a second.

A second run, ``freshness_quiet``, has five symbols with 100 messages a second each and fifteen with one message in five seconds. Its feed
makes frames as Binance sends them and gives them to the parser and the outlet of the live feed; only the socket is left out. The rows of
the fifteen are measured: the clock of the connection makes time pass for them.

A third run, ``freshness_followers``, is the first one with nineteen symbols that follow the twentieth: their rows, and
``freshness_context``, those of the view that waits for the leader's.

    python -m bench.freshness
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import redis

from feature_repo.project import project
from feature_repo.stores.online.client import address_of_url, connect
from feature_repo.stores.online.format import SymbolKeys, decode_time, time_field
from ingest import settings
from ingest.messages.kinds import OrderBook, Trade
from ingest.publish.outlet import Outlet
from ingest.publish.publisher import Publisher
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line
from ingest.recordings.venue_clock import Pace
from ingest.servers import embedded
from ingest.streams import keys

SYMBOLS = [f"SYM{i}USDT" for i in range(20)]
QUIET = SYMBOLS[5:]
QUIET_MS, BUSY_MS = 5000, 10  # between two messages of a symbol of ``freshness_quiet``
LEADER, *FOLLOWERS = SYMBOLS
RATE = 2000
STEP_MS = 5
"""The feed appends what is due every so often: ten messages, each its own time."""
WARM_S, MEASURE_S = 5, 60
POLL_S = 0.001
VIEWS = ("microstructure", "order_flow", "technical")
TARGET_MS = 50.0
LEVELS = 20


def feed(client: redis.Redis, partitions: int, stop: threading.Event) -> None:
    """Append messages at their times until ``stop`` is set."""
    publisher = Publisher(client, partitions)
    now_ms = time.time_ns() // 1_000_000
    n = 0
    while not stop.is_set():
        until = time.time_ns() // 1_000_000
        while now_ms + n * 1000 // RATE <= until:
            at = now_ms + n * 1000 // RATE
            symbol = SYMBOLS[n % len(SYMBOLS)]
            mid = 100.0 + 0.01 * (n * 7 % 13)
            if n // len(SYMBOLS) % 2:
                publisher.publish("trade", Trade(at, symbol, mid, 1.0 + n % 3, ("buy", "sell")[n % 2], received=at))
            else:
                bids = [(round(mid - 0.01 * k, 2), 1.0 + (n + k) % 5) for k in range(1, LEVELS + 1)]
                asks = [(round(mid + 0.01 * k, 2), 1.0 + (n + 2 * k) % 4) for k in range(1, LEVELS + 1)]
                publisher.publish("book", OrderBook(at, symbol, bids, asks, received=at))
            n += 1
        publisher.flush()
        stop.wait(STEP_MS / 1000)


def frame(symbol: str, n: int, at_ms: int) -> dict[str, object]:
    """The n-th frame of a symbol: a change of its book, or a trade."""
    number = 1000 + n // 2
    if n % 2:
        data = {"e": "trade", "t": number, "p": "100", "q": "1.5", "T": at_ms, "m": n % 4 == 1, "M": True}
        return {"stream": f"{symbol.lower()}@trade", "data": {"E": at_ms, "s": symbol, **data}}
    bids = [[f"{99.9 - number % 8 / 100:.2f}", f"{number % 5}"]]
    data = {"e": "depthUpdate", "U": number, "u": number, "b": bids, "a": []}
    return {"stream": f"{symbol.lower()}@depth@100ms", "data": {"E": at_ms, "s": symbol, **data}}


def feed_quiet(client: redis.Redis, conf: settings.Settings, stop: threading.Event) -> None:
    """Give frames of all symbols at their times to the parser and the outlet of the live feed, until ``stop`` is set."""
    parser, outlet = Binance(conf.max_future_ms, pace=Pace.of(conf)), Outlet(client, conf, stop=stop)
    sides = {
        "bids": [[f"{99.8 - k / 50:.2f}", "2"] for k in range(LEVELS)],
        "asks": [[f"{100.2 + k / 50:.2f}", "2"] for k in range(LEVELS)],
    }
    begin_ms = time.time_ns() // 1_000_000
    due = [(begin_ms + 37 * i, symbol, 0) for i, symbol in enumerate(SYMBOLS)]
    while not stop.is_set():
        payloads: list[dict[str, object]] = []
        while due[0][0] <= time.time_ns() // 1_000_000:
            at_ms, symbol, n = due[0]
            payloads.append(frame(symbol, n, at_ms))
            if not n:  # the answer of the venue, which the feed asks for
                payloads.append({"symbol": symbol, "lastUpdateId": 999, **sides})
            heapq.heapreplace(due, (at_ms + (QUIET_MS if symbol in QUIET else BUSY_MS), symbol, n + 1))
        now_ns = time.time_ns()
        lines = [Line("live", 0, now_ns, b"%d %b" % (now_ns, json.dumps(p).encode()), True) for p in payloads]
        outlet.write([output for line in lines for output in parser.parse(line)])
        stop.wait(STEP_MS / 1000)


def watch(
    client: redis.Redis,
    lateness_us: int,
    seconds: float,
    symbols: Sequence[str] = SYMBOLS,
    views: Sequence[str] = VIEWS,
) -> dict[str, list[float]]:
    """For each view, how long after a boundary and the allowed lateness each of its rows was first seen, in ms."""
    rows = SymbolKeys(project(), "symbol").keys(symbols)
    fields = [time_field(view) for view in views]
    seen: dict[tuple[bytes, int], bytes] = {}
    late: dict[str, list[float]] = {view: [] for view in views}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pipe = client.pipeline(transaction=False)
        for key in rows:
            pipe.hmget(key, fields)  # type: ignore[arg-type]
        replies = pipe.execute()
        now_us = time.time_ns() // 1000
        for key, reply in zip(rows, replies, strict=True):
            for i, raw in enumerate(reply):
                if raw is not None and seen.get((key, i)) != raw:
                    if (key, i) in seen:
                        late[views[i]].append((now_us - decode_time(raw) - lateness_us) / 1000)
                    seen[key, i] = raw
        time.sleep(POLL_S)
    return late


@contextlib.contextmanager
def part(*arguments: str, environ: Mapping[str, str]) -> Iterator[None]:
    """A process of the system, ``python -m`` with these arguments, that is stopped in order."""
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdin=subprocess.PIPE, env=environ)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def role(name: str, environ: Mapping[str, str]) -> contextlib.AbstractContextManager[None]:
    """A worker, or another role of the pipeline, in one process."""
    return part("ingest", "run", "--roles", name, "--inline", environ=environ)


def wait_for_leases(client: redis.Redis, partitions: int) -> None:
    """Return when every partition has an owner."""
    while cast(int, client.exists(*(keys.owner(p) for p in range(partitions)))) < partitions:
        time.sleep(0.1)


@contextlib.contextmanager
def fed(client: redis.Redis, environ: Mapping[str, str], which: str = "feed") -> Iterator[None]:
    """The feed, warm: every symbol has been online for a while. A process of its own, for it would take turns with the reader otherwise."""
    with part("bench.freshness", which, environ=environ):
        rows = SymbolKeys(project(), "symbol").keys(SYMBOLS)
        while cast(int, client.exists(*rows)) < len(rows):
            time.sleep(0.1)
        watch(client, 0, WARM_S)
        yield


def measured(
    conf: settings.Settings, which: str, symbols: Sequence[str], views: Sequence[str] = VIEWS, instruments: str = ""
) -> dict[str, list[float]]:
    """How long after a boundary and the allowed lateness each row of some symbols was readable, with one of the feeds, by view, in ms."""
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with embedded.running(folder / "servers") as servers:
            environ = {**os.environ, "TFS_REDIS_URL": servers.redis_url}
            if instruments:
                (folder / "instruments.toml").write_text(instruments)
                environ["TFS_INSTRUMENTS"] = str(folder / "instruments.toml")
            url = address_of_url(servers.redis_url)
            with role("worker", environ), connect(url, "redis") as client:
                wait_for_leases(client, conf.partitions)
                with fed(client, environ, which):
                    return watch(client, conf.allowed_lateness_ms * 1000, MEASURE_S, symbols, views)


def together(late: Mapping[str, Sequence[float]]) -> list[float]:
    """The times of all views."""
    return [ms for times in late.values() for ms in times]


def report(name: str, every: Sequence[float]) -> None:
    """Print the quantiles."""
    for quantile in (50, 99, 100):
        ours = float(np.percentile(every, quantile))
        line = {
            "bench": f"{name}_p{quantile}" if quantile < 100 else f"{name}_max",
            "size": len(every),
            "ours": round(ours, 2),
            "peer_name": "the target",
            "peer": TARGET_MS,
            "ratio": float(f"{TARGET_MS / ours:.3g}"),
            "unit": "ms",
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    loaded = settings.load()
    if sys.argv[1:]:
        with connect(address_of_url(os.environ["TFS_REDIS_URL"]), "redis") as to:
            if sys.argv[1] == "feed":
                feed(to, loaded.partitions, threading.Event())
            else:
                feed_quiet(to, loaded, threading.Event())
    else:
        report("freshness", together(measured(loaded, "feed", SYMBOLS)))
        report("freshness_quiet", together(measured(loaded, "feed_quiet", QUIET)))
        following = "".join(f'[{symbol}]\nleader = "{LEADER}"\n' for symbol in FOLLOWERS)
        found = measured(loaded, "feed", FOLLOWERS, (*VIEWS, "context"), following)
        report("freshness_context", found.pop("context"))
        report("freshness_followers", together(found))
