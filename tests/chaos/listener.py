"""A reader of all that enters Redis for the tape, which is never killed; and what it heard, compared with the tape and what was sent."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import redis

from ingest.messages.decode import decode, encode
from ingest.messages.kinds import PLAIN_STREAM, Gap, Trade
from ingest.settings import Settings
from ingest.simulate.history import MARKET
from ingest.streams import keys
from ingest.tape import verify
from ingest.tape.columns import NO_PARTITION
from ingest.tape.read import entries
from ingest.tape.table import open_tape
from tests.chaos import on_tape
from tests.chaos.away import STREAM, Said
from tests.chaos.deployment import DRAIN_S, PARTITIONS

if TYPE_CHECKING:
    from tests.chaos.venue import Venue

Entry = tuple[bytes, dict[bytes, bytes]]


class Listener:
    """Reads the logs, the dead letters and the posts as written, from their first entries on.

    Attributes
    ----------
    heard : dict of str to list
        The entries of each stream, in order.
    """

    def __init__(self, url: str) -> None:
        names = [*map(keys.events, range(PARTITIONS)), *keys.letter_streams(PARTITIONS), keys.WRITTEN]
        self.heard: dict[str, list[Entry]] = {name: [] for name in names}
        self._client = redis.Redis.from_url(url, socket_timeout=5.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            last = {name: found[-1][0] if found else b"0-0" for name, found in self.heard.items()}
            try:
                reply: Any = self._client.xread(last, count=1000, block=100)
            except redis.RedisError:  # it is away
                time.sleep(0.02)
                continue
            for name, found in reply:
                self.heard[name.decode()] += found

    def wrong(self) -> list[str]:
        """Return a line for each stream of which this has not heard everything, as Redis counts what was ever added."""
        out = []
        for name, found in self.heard.items():
            about: Any = self._client.xinfo_stream(name) if self._client.exists(name) else {"entries-added": 0}
            if about["entries-added"] != len(found):
                out.append(f"{name} was given {about['entries-added']} entries, and {len(found)} were heard beside it")
        return out

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._client.close()


def wait_for_tape(heard: Listener) -> None:
    """Return when the tape has the last entry of each stream."""
    wanted = {name: found[-1][0] for name, found in heard.heard.items() if found}
    deadline = time.monotonic() + DRAIN_S
    while True:
        tape = open_tape(Settings(partitions=PARTITIONS, tape=on_tape.PLACE))
        missing = [name for name, last in wanted.items() if tape.position(name) != last]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not on the tape to the end: {missing}")
        time.sleep(0.5)


def compare_tape(heard: Listener) -> list[str]:
    """Compare the tape with what was heard: each entry once, in order, with the same bytes."""
    tape = open_tape(Settings(partitions=PARTITIONS, tape=on_tape.PLACE))
    out = [
        f"the tape has another {day.day} of partition {day.partition}" for day in verify.days(tape) if not day.is_right
    ]
    for p in range(PARTITIONS):
        out += differences(keys.events(p), list(entries(tape, p)), heard.heard[keys.events(p)])
    for name in (*keys.letter_streams(PARTITIONS), keys.WRITTEN):
        out += differences(name, list(entries(tape, NO_PARTITION, source=name)), heard.heard[name])
    return out


def differences(name: str, taped: list[Entry], expected: list[Entry]) -> list[str]:
    """Return a line if the tape of a stream is not, entry for entry, what was heard of it."""
    if taped == expected:
        return []
    ids, wanted = Counter(entry_id for entry_id, _ in taped), Counter(entry_id for entry_id, _ in expected)
    lost, more = wanted - ids, ids - wanted
    return [
        f"{name}: {lost.total()} of {len(expected)} entries are lost, {more.total()} more are there, or the order or bytes differ"
    ]


def compare_sent(of: Venue, said: list[Said], heard: Listener) -> list[str]:
    """Compare the logs and the dead letters with what the venue and the stranger have sent."""
    logs = [fields for p in range(PARTITIONS) for _, fields in heard.heard[keys.events(p)]]
    letters = [fields for name in keys.letter_streams(PARTITIONS) for _, fields in heard.heard[name]]
    out = []
    trades = [decode(Trade, f[b"data"]) for f in logs if f[b"kind"] == b"trade"]
    gaps = [gap for gap in (decode(Gap, f[b"data"]) for f in logs if f[b"kind"] == b"gap") if gap.channel == "trade"]
    for symbol, played in of.trades.items():
        have = Counter(trade.trade_id for trade in trades if trade.symbol == symbol)
        twice = sum(n > 1 for n in have.values())
        sent = [trade["id"] for trade in played]
        missing = len(set(sent[sent.index(min(have)) :]) - have.keys())  # type: ignore[type-var,arg-type]
        told = sum(gap.missing or 0 for gap in gaps if gap.symbol == symbol)
        print(
            f"{symbol}: {len(sent)} trades, {len(have)} in the log, {missing} missing since the first, {told} told as missing"
        )
        if twice or missing != told or have.keys() - set(sent):
            out.append(f"{symbol}: {twice} trades twice, {missing} missing, {told} told as missing")
    reasons = Counter(f"{f[b'reason'].decode()} of {f[b'source'].decode()}" for f in letters)
    print(", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())) or "nothing was refused")
    plain = Counter(encode(message) for kind, message in said if kind != "social")
    found = Counter(f[b"data"] for f in logs if f[b"kind"].decode() in MARKET)
    found.update(f.get(b"field:data", b"") for f in letters if f[b"source"].decode() in PLAIN_STREAM)
    if wrong := [data for data, n in plain.items() if found[data] != n]:
        out.append(f"{len(wrong)} of {plain.total()} plain messages are not in a log once")
    posts = Counter(encode(message) for kind, message in said if kind == "social")
    found = Counter(fields[b"data"] for _, fields in heard.heard[keys.WRITTEN])
    found.update(f.get(b"field:data", b"") for f in letters if f[b"source"] == STREAM["social"].encode())
    if wrong := [data for data, n in posts.items() if found[data] != n]:
        out.append(f"{len(wrong)} of {posts.total()} posts are not once among those that were scored or refused")
    return out
