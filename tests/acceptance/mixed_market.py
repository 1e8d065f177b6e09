"""The mixed market of ``mixed``: perpetuals, their spot markets and other venues, of which some lead, and a recording of it."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import msgspec

from ingest.backfill.posts import score_posts
from ingest.check.recording import StandIn
from ingest.messages.kinds import Gap, SocialPost
from ingest.recordings.lines import POST
from ingest.recordings.own import GAP, KIND_OF_STREAM
from ingest.replay import messages
from ingest.sentiment.history import History
from ingest.settings import Settings
from ingest.simulate import history
from tests.acceptance.equality import squeezed
from transforms.instrument import Instrument

MIDNIGHT_MS = 1_700_006_400_000
SYMBOLS = ("LEAD-1", "LEAD-2", "COIN", "COIN-SPOT", "X:COIN", "GEM", "Y:GEM", "ALONE")
INSTRUMENTS = {
    "LEAD-2": Instrument(contract_size=10.0, inverse=True, funding_hours=8),
    "COIN": Instrument(leader="LEAD-1", pair="COIN-SPOT", asset="COIN", contract_size=0.01, funding_hours=4),
    "COIN-SPOT": Instrument(pair="COIN", asset="COIN"),
    "X:COIN": Instrument(leader="LEAD-1", asset="COIN", funding_hours=1),
    "GEM": Instrument(leader="LEAD-2", asset="GEM"),
    "Y:GEM": Instrument(leader="COIN", pair="GEM", asset="GEM"),
}
PER_SECOND = 32.0
"""Simulated messages of the symbols in a second."""
STREAM = {kind: stream for stream, kind in KIND_OF_STREAM.items()}
Source = Iterator[tuple[str, Any]]


def market(events: int, seed: int) -> Source:
    """About so many messages in the order of arrival. A long market is denser, so that it lasts little more than an hour."""
    squeeze = max(1, min(8, events // 15_000))
    seconds = round(events / PER_SECOND / squeeze)
    start_ms = MIDNIGHT_MS - seconds // 2 * 1000
    told = history(start_ms, start_ms + seconds * squeeze * 1000, symbols=SYMBOLS, seed=seed)
    chance = random.Random(seed)
    waiting: list[tuple[int, int, str, Any]] = []
    trades = 0
    for n, (kind, message) in enumerate(squeezed(told, start_ms, squeeze)):
        at, share = message.timestamp, (message.timestamp - start_ms) / (seconds * 1000)
        if kind != POST and message.symbol == "X:COIN" and 0.3 < share < 0.35:
            continue
        if kind in ("book", "trade"):
            message.received = at + chance.choice((3, 3, 3, 40, 200))
            if message.symbol == "LEAD-1" and 0.45 < share < 0.55:  # too late for some that follow, or refused
                message.received += at * 37 // 1000 % 4000
        elif kind != POST and chance.random() < 0.02:
            message.received += 5_000  # behind rows that are written
        if kind == "trade" and (trades := trades + 1) % (200 * squeeze) == 0:  # as often in a denser market
            gap = {"channel": chance.choice(("trade", "book", "liquidation")), "since": at - chance.randrange(2000)}
            heappush(waiting, (message.received, -1 - n, GAP, Gap(at, message.symbol, message.received, **gap)))
        heappush(waiting, (message.received, n, kind, message))
        while waiting[0][0] < at - 10_000:
            yield heappop(waiting)[2:]
    while waiting:
        yield heappop(waiting)[2:]


def record(path: Path, events: int, seed: int) -> Counter[str]:
    """Write the market as a recording, and the market alone beside it, for an import; return how many messages of each kind it has."""
    counted: Counter[str] = Counter()
    with path.open("wb") as every, alone(path).open("wb") as without_posts:
        for kind, message in market(events, seed):
            fields = {name: getattr(message, name) for name in message.__struct_fields__}
            line = msgspec.json.encode({"kind": GAP, **fields} if kind == GAP else {"stream": STREAM[kind], **fields})
            every.write(line + b"\n")
            if kind != POST:
                without_posts.write(line + b"\n")
            counted[kind] += 1
    return counted


def alone(path: Path) -> Path:
    """The recording of the market without posts."""
    return path.with_name(f"market-{path.name}")


def with_scores(recording: Path, settings: Settings) -> Source:
    """The messages of the recording in the order of arrival, with each post where its score is available."""
    said = [message for _, message in messages([recording]) if isinstance(message, SocialPost)]
    scored, refused = score_posts(said, settings, StandIn(), History(None))
    assert not refused
    posts = deque(sorted(scored, key=lambda post: post.available))  # those of one time stay in their order
    for kind, message in messages([recording]):
        while posts and posts[0].available <= message.received:
            yield "post", posts.popleft()
        if kind != POST:
            yield kind, message
    for post in posts:
        yield "post", post
