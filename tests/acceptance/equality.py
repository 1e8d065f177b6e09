"""A log of mixed events of interleaved symbols, and five ways through it. Run as a program it prints digests of the rows."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ingest import settings
from ingest.backfill.posts import score_posts
from ingest.check.recording import StandIn
from ingest.messages.decode import encode
from ingest.messages.kinds import Gap, OrderBook, ScoredPost, SocialPost, Tick, Trade
from ingest.replay import messages
from ingest.sentiment.history import History
from ingest.simulate import history
from ingest.worker import contract
from ingest.worker.partition import Partition, Pending
from ingest.worker.rows import Columns
from tests.leaders import with_rows
from transforms.catalog import CONTEXT, MICROSTRUCTURE, VIEWS
from transforms.engine import Engine
from transforms.sentiment.state import Post

CONF = settings.load({"TFS_PARTITIONS": "1"})
_SOLD = {"SIM-ETH": {"asset": "SIM"}, "SIM-SOL": {"asset": "SIM", "pair": "SIM-ETH"}}
CONF = replace(
    CONF, instruments={name: replace(about, **_SOLD.get(name, {})) for name, about in CONF.instruments.items()}
)
MIDNIGHT = 1_700_006_400_000
SYMBOLS = ("SIM-BTC", "SIM-ETH", "SIM-SOL", "ODD")
PER_SECOND = 12.8
"""Simulated events of the four symbols in a second."""

Message = Any
Rows = dict[str, tuple[list[tuple[str, int]], np.ndarray]]
"""For each view: symbol and time of every row, in order, and the values."""
Entries = list[tuple[str, Message]]


def squeezed(told: Iterable[tuple[str, Message]], start_ms: int, squeeze: int) -> Iterator[tuple[str, Message]]:
    """The same messages, so many times as dense from ``start_ms`` on."""
    for kind, message in told:
        for name in ("timestamp", "received", "observed_at"):
            value = getattr(message, name, None)
            if value is not None:
                setattr(message, name, start_ms + (value - start_ms) // squeeze)
        yield kind, message


def tape(events: int, squeeze: int, recordings: Path | None) -> Entries:
    """About ``events`` messages by receive time: simulated ones, ``squeeze`` times as dense, and the captures where they are.

    Squeezed times fall on the same millisecond often, so that order is decided by kind, sequence and arrival as well.
    """
    captures: Entries = []
    if recordings is not None:
        captures = list(messages(sorted((recordings / "ws_binance_hftbacktest").glob("*.jsonl.gz"))))
    seconds = max(60, int((events - len(captures)) / PER_SECOND))
    start = MIDNIGHT - seconds // squeeze * 500  # midnight lies in the middle
    simulated: Entries = []
    posts: list[SocialPost] = []
    for kind, message in squeezed(history(start, start + seconds * 1000, symbols=SYMBOLS, seed=11), start, squeeze):
        if isinstance(message, SocialPost):
            posts.append(message)
        else:
            simulated.append((kind, message))
    texts, refused = score_posts(posts, CONF, StandIn(), History(None))
    assert not refused
    simulated += [("post", text) for text in texts]
    out = sorted(simulated + captures, key=lambda one: one[1].received)
    places = [i for i, (kind, _) in enumerate(out) if kind == "trade"]
    for i in reversed(places[:: len(places) // 9]):  # before some trades others of their time are missing
        m = out[i][1]
        out.insert(i, ("gap", Gap(m.timestamp, m.symbol, m.received, channel="trade", since=m.timestamp)))
    last = {m.symbol: max(m.timestamp, m.received) for _, m in out}
    ticks = [("tick", Tick(-(-t // 1000) * 1000, symbol)) for symbol, t in last.items()]
    return with_rows(out, ticks, CONF)


def entries(log: Entries) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """The messages as entries of a partition's log."""
    arrived = max(m.timestamp for _, m in log) + 60_000
    for n, (kind, message) in enumerate(log, 1):
        yield b"%d-%d" % (arrived, n), {b"kind": kind.encode(), b"data": encode(message), b"recorded": b"1"}


def stream(log: Entries, *, commit_every: int = 0, restarts: Iterable[int] = ()) -> Rows:
    """Through a partition, as the worker: ``commit_every`` n entries, anew from the checkpoint's bytes before the entries ``restarts``."""
    partition = Partition(0, CONF)
    checkpoint: dict[bytes, bytes] = {}
    parts: list[Columns] = []
    stops = set(restarts)

    def commit() -> None:
        pending = partition.take_pending()
        checkpoint.update(partition.save())
        parts.extend(_columns(pending))
        assert not pending.dead

    for n, entry in enumerate(entries(log)):
        if n in stops:
            commit()
            partition = Partition(0, CONF)
            assert not partition.restore(checkpoint)
        partition.process(*entry, now_us=0)
        if commit_every and n % commit_every == commit_every - 1:
            commit()
    commit()
    return _rows(parts)


def _columns(pending: Pending) -> list[Columns]:
    return [batch.columns() for batch in pending.batches.values() if len(batch)]


def _rows(parts: list[Columns]) -> Rows:
    out: Rows = {}
    for view in VIEWS:
        mine = [part for part in parts if part.view is view]
        if mine:
            keys = [(s, t) for part in mine for s, t in zip(part.symbols, part.event_us.tolist(), strict=True)]
            order = sorted(range(len(keys)), key=keys.__getitem__)
            out[view.name] = ([keys[i] for i in order], np.concatenate([part.values for part in mine])[order])
    return out


RANK = {"book": 0, "gap": 0, "trade": 1, "post": 2, "derivatives": 3, "liquidation": 4}


def batch(log: Entries) -> Rows:
    """Straight through the kernels: all events of a symbol sorted by time, a row at every second; no log, no buffer, no watermark."""
    by_symbol: dict[str, list[tuple[int, int, int, int, Message]]] = {}
    ends: dict[str, int] = {}
    for n, (kind, m) in enumerate(log):
        if kind == "neighbour":
            continue
        if kind == "tick":
            ends[m.symbol] = m.timestamp * 1000
            continue
        t_us = (m.available if kind == "post" else m.timestamp) * 1000
        number = m.sequence if kind == "book" else m.trade_id if kind == "trade" else 0
        by_symbol.setdefault(m.symbol, []).append((t_us, RANK[kind], number, n, m))
    out: dict[str, tuple[list[tuple[str, int]], list[bytes]]] = {view.name: ([], []) for view in VIEWS}
    quotes: dict[tuple[str, int], tuple[float, float, float]] = {}
    for symbol, found in by_symbol.items():
        of_book = [event for event in found if isinstance(event[4], (OrderBook, Gap))]
        engine = Engine(CONF.instrument(symbol), 1_000_000)
        for t_us, rows in _emitted(engine, of_book, ends[symbol]):
            if any(view is MICROSTRUCTURE for view, _ in rows):
                quotes[symbol, t_us] = engine.quote(t_us)
    for symbol in sorted(by_symbol):
        neighbours = CONF.neighbours(symbol)
        engine = Engine(CONF.instrument(symbol), 1_000_000, neighbours)
        for t_us, rows in _emitted(engine, by_symbol[symbol], ends[symbol]):
            for name in neighbours.names if neighbours else ():
                if (name, t_us) in quotes:
                    engine.context.hear(name, t_us, *quotes[name, t_us])
            if engine.context is not None and (row := engine.context.next_row(t_us + 1)) is not None:
                rows.append((CONTEXT, row[1]))
            for view, values in rows:
                keys, of_view = out[view.name]
                keys.append((symbol, t_us))
                of_view.append(np.asarray(values, np.float64).tobytes())
    n_features = {view.name: len(view.features) for view in VIEWS}
    return {
        name: (keys, np.frombuffer(b"".join(found)).reshape(-1, n_features[name]))
        for name, (keys, found) in out.items()
        if keys
    }


def _emitted(
    engine: Engine, events: list[tuple[int, int, int, int, Message]], end_us: int
) -> Iterator[tuple[int, Any]]:
    """Give an engine the events of a symbol, sorted by time; yield the rows of each second."""
    events = sorted(events, key=lambda event: event[:4])
    at = 0
    for t_us in range(-(-events[0][0] // 1_000_000) * 1_000_000, end_us + 1, 1_000_000):
        while at < len(events) and events[at][0] <= t_us:
            _apply(engine, events[at][0], events[at][4])
            at += 1
        yield t_us, engine.emit(t_us)


def _apply(engine: Engine, t_us: int, m: Message) -> None:
    if isinstance(m, OrderBook):
        engine.book(t_us, m.bids, m.asks, m.depth)
    elif isinstance(m, Gap) and m.channel == "trade":
        engine.lose_trades(m.since * 1000, m.timestamp * 1000)
    elif isinstance(m, Gap):
        engine.lose_book(t_us)
    elif isinstance(m, contract.OF_CONTRACT):
        contract.apply(engine, m)
    elif isinstance(m, Trade):
        engine.trade(t_us, m.price, m.size, {"buy": 1, "sell": -1, None: 0}[m.side])
    else:
        assert isinstance(m, ScoredPost)
        scores = (m.positive, m.negative, m.neutral)
        engine.post(t_us, Post(m.id, m.author, m.simhash, *scores, m.likes, m.reposts, m.replies, m.followers))


def digests(rows: Rows) -> dict[str, str]:
    """A digest of the times and bytes of every feature."""
    out = {}
    for view in VIEWS:
        if view.name in rows:
            keys, values = rows[view.name]
            for i, name in enumerate(view.names):
                data = repr(keys).encode() + values[:, i].tobytes()
                out[f"{view.name}.{name}"] = hashlib.sha256(data).hexdigest()
    return out


def random_points(n: int, log: Entries) -> list[int]:
    """Entries before which to restart."""
    return random.Random(4).sample(range(1, len(log)), n)


if __name__ == "__main__":
    n_events, dense, folder = sys.argv[1:]
    print(json.dumps(digests(stream(tape(int(n_events), int(dense), Path(folder) if folder else None)))))
