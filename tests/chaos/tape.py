"""What both runs are given: the same entries in the same order, some of them late, some of them twice."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from ingest import settings
from ingest.backfill.posts import score_posts
from ingest.check.recording import StandIn
from ingest.messages.kinds import OrderBook, SocialPost, Tick, Trade
from ingest.publish.publisher import entries_of
from ingest.replay import messages
from ingest.sentiment.history import History
from ingest.simulate import history
from ingest.streams import keys
from tests.leaders import with_rows

INSTRUMENTS = Path(__file__).with_name("instruments.toml")
START_MS = 1_700_006_400_000 - 60_000
"""A minute before midnight, where sessions turn."""
PLAIN = "PLAIN-TRADES"
"""A symbol whose trades come by the plain stream, through the router."""
FIRST_ID = 4_102_444_800_000
"""Ids of our own, in the year 2100: what the router appends meanwhile gets the next number after ours."""
SYMBOLS = tuple(f"SIM-{n}" for n in range(12))
LATE_SHARE, LATE_MS = 0.02, 200
"""Share of messages that come late, and by how much at most: within the allowed lateness."""
TWICE_SHARE, TWICE_WITHIN = 0.01, 50
"""Share of messages that come twice, and within how many entries."""


class Entry(NamedTuple):
    """One entry to append: ``id`` is given by us, so that an append which is tried twice is done once."""

    stream: str
    id: str
    fields: dict[bytes, bytes]


def entries(messages: int, seed: int, partitions: int, recordings: Path | None) -> Iterator[Entry]:
    """The entries of so many messages: simulated markets with contracts and scored posts, the captures where they are, rows of leaders."""
    told = _told(messages, recordings)
    random_ = random.Random(seed)
    keyed = [
        (_event_ms(m) + (random_.randint(1, LATE_MS) if random_.random() < LATE_SHARE else 0), n, kind, m)
        for n, (kind, m) in enumerate(told)
    ]
    keyed.sort(key=lambda one: one[:2])
    out = [(kind, m) for _, _, kind, m in keyed]
    for n in range(len(out) - 1, -1, -1):
        if random_.random() < TWICE_SHARE:
            out.insert(min(len(out), n + random_.randint(1, TWICE_WITHIN)), out[n])
    ends = {m.symbol: max(_event_ms(m), m.received) for _, m in sorted(told, key=lambda one: _event_ms(one[1]))}
    ticks = [("tick", Tick((-(-t // 1000) + 1) * 1000, symbol)) for symbol, t in ends.items() if symbol != PLAIN]
    ids = count(FIRST_ID)
    for kind, message in with_rows(out, ticks, settings.load({"TFS_INSTRUMENTS": str(INSTRUMENTS)})):
        for place, fields in entries_of(kind, message, partitions):
            if message.symbol == PLAIN and kind == "trade":
                yield Entry("market_data", f"{next(ids)}-0", {b"data": fields[b"data"], b"recorded": b"1"})
            else:
                assert isinstance(place, int)  # no post that waits for its score
                yield Entry(keys.events(place), f"{next(ids)}-0", {**fields, b"recorded": b"1"})


def _event_ms(message: Any) -> int:
    return int(getattr(message, "available", message.timestamp))


def _told(count: int, recordings: Path | None) -> list[tuple[str, Any]]:
    """The messages as they were said, in order, each once and each with what tells a repeat: a sequence, an id."""
    out: list[tuple[str, Any]] = []
    if recordings is not None:
        out += messages(sorted((recordings / "ws_binance_hftbacktest").glob("*.jsonl.gz")))
        out = out[: count // 2]
    seconds = max(30, (count - len(out)) // (3 * (len(SYMBOLS) + 1)))
    posts: list[SocialPost] = []
    for kind, message in history(START_MS, START_MS + 1000 * seconds, symbols=(*SYMBOLS, PLAIN), seed=7):
        if message.__class__ is SocialPost:
            posts.append(message)
        elif kind == "trade" or message.symbol != PLAIN:  # type: ignore[union-attr]  # no post
            out.append((kind, message))
    texts, refused = score_posts(posts, settings.Settings(), StandIn(), History(None))
    assert not refused
    out += [("post", text) for text in texts if text.symbol != PLAIN]
    out.sort(key=lambda one: one[1].received)
    _number(out)
    return out


def _number(out: list[tuple[str, Any]]) -> None:
    """Give books and trades that lack them the numbers by which a repeat is known."""
    books: dict[str, int] = {}
    for n, (_, message) in enumerate(out):
        if isinstance(message, OrderBook):
            books[message.symbol] = books.get(message.symbol, 0) + 1
            message.sequence = books[message.symbol]
        elif isinstance(message, Trade) and message.trade_id is None:
            message.trade_id = n
    assert all(re.fullmatch(r"[\w:./-]+", m.symbol) for _, m in out)
