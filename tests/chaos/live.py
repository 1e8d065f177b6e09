"""``python -m tests.chaos --feed``: every part is killed again and again while a venue plays a capture, and the tape must be the logs.

A live feed of a venue that plays a capture, a stranger's producer of plain messages and posts, and every part as a process. Each part is
killed (SIGKILL) as often as is asked, while it works. The storage of the tape is away for a minute. A feed that is dead hears nothing, so
no undisturbed run would say the same; what must be right is

- the tape: each entry of the logs, of the dead letters and of the posts as written, once, in order, with the same bytes, as a reader that
  is never killed heard them (``listener``);
- what was sent: each trade of the venue is in a log once, or a gap tells that it is missing; each plain message and each post is in its log
  or among the dead letters, once;
- the replay of the tape into an empty deployment: the rows offline, the values online, the vectors, the refused messages and the counts of
  the live deployment, bit for bit. Only the times of creation are other ones.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from ingest.messages.decode import decode, encode
from ingest.messages.kinds import Gap, Trade
from ingest.settings import Settings
from ingest.simulate import history
from ingest.streams import keys
from ingest.streams.backlog import backlog
from ingest.streams.membership import silent_ms
from ingest.tape import verify
from ingest.tape.columns import NO_PARTITION
from ingest.tape.read import entries
from ingest.tape.table import open_tape
from tests.chaos import on_tape, result
from tests.chaos.away import STREAM, Said, feed
from tests.chaos.deployment import DRAIN_S, PARTITIONS, Deployment, deployment
from tests.chaos.faults import kill
from tests.chaos.listener import Listener
from tests.chaos.venue import Venue, lines_of, venue

PARTS = ("feed", "router", "scorer", "worker", "writer", "tape")
STRANGERS = ("PLAIN-1", "PLAIN-2")
"""Symbols whose books and trades come by the plain streams."""
WORKS_MS, DEAD_MS = 1000, 1500
"""A part works if it gave a sign of life so long ago, and the one before it was killed longer ago than that."""
HEARD_S = 2.0
"""For how long a feed has had a connection before it is killed."""


class Feed:
    """The live feed as a process, which is started again whenever it ends."""

    def __init__(self, it: Deployment, of: Venue) -> None:
        self._start = lambda: it.command(
            *("feed", "binance", *of.symbols, "--json"),
            *("--stream-url", f"ws://{of.url}", "--rest-url", f"http://{of.url}/depth"),
        )
        self._process = self._start()
        self.ended: list[int] = []

    def kill(self) -> None:
        """Kill it, and start it again."""
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def look(self) -> None:
        """Start it again if it has ended by itself, and note with which code."""
        if self._process.poll() is not None:
            self.ended.append(self._process.returncode)
            self._process = self._start()

    def stop(self) -> int:
        """Stop it as a user does; its exit code."""
        self._process.terminate()
        return self._process.wait(60)


def kill_each(
    it: Deployment, of: Venue, its_feed: Feed, seconds: float, kills: int, random_: random.Random
) -> Counter[str]:
    """Kill each part so often within some seconds, if the venue plays so long; return how often each was."""
    killed: Counter[str] = Counter()
    at: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    workers = len(it.children("worker"))
    end = time.monotonic() + seconds
    while (left := kills * len(PARTS) - killed.total()) and not of.ended.is_set():
        of.ended.wait(max(0.1, random_.uniform(0.3, 1.5) * (end - time.monotonic()) / left))
        its_feed.look()
        silent = silent_ms(it.client, [part for part in PARTS if part != "feed"])

        def works(part: str, silent: dict[str, dict[str, int]] = silent) -> bool:
            if part == "feed":
                return of.heard_s() > HEARD_S
            wanted = workers if part == "worker" else 1
            return (time.monotonic() - at[part]) * 1000 > DEAD_MS and sum(
                ms < WORKS_MS for ms in silent[part].values()
            ) >= wanted

        left_of = [part for part in PARTS for _ in range(kills - killed[part]) if works(part)]
        if left_of:
            part = random_.choice(left_of)
            if part == "feed":
                its_feed.kill()
            elif not kill(part)(it, random_):
                continue
            killed[part] += 1
            at[part] = time.monotonic()
    return killed


def strangers(symbols: list[str], seconds: float, seed: int) -> list[Said]:
    """Return the plain messages of some seconds from now on, and posts about all symbols."""
    start = time.time_ns() // 1_000_000 + 1000
    end = start + round(seconds * 1000)
    said: list[Said] = [*history(start, end, symbols=STRANGERS, seed=seed, kinds=("book", "trade"))]
    said += history(start, end, symbols=(*symbols, *STRANGERS), seed=seed, kinds=("social",))
    return sorted(said, key=lambda one: one[1].received or 0)


def settle(it: Deployment) -> list[str]:
    """Return when all is processed and the worker is stopped: as long as it works, it makes time pass for quiet symbols."""
    wrong = []
    for _ in range(20):
        it.drain()
        wrong += [f"a worker ended with {code}" for code in it.stop("worker") if code]
        if not backlog(it.client, PARTITIONS).events:
            it.drain()
            return wrong
        it.start("worker")
    return [*wrong, "the worker does not come to an end of the logs"]


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
        out += _compare(keys.events(p), list(entries(tape, p)), heard)
    for name in (keys.DEAD_LETTER, keys.WRITTEN):
        out += _compare(name, list(entries(tape, NO_PARTITION, source=name)), heard)
    return out


def _compare(name: str, taped: list[tuple[bytes, dict[bytes, bytes]]], heard: Listener) -> list[str]:
    expected = heard.heard[name]
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
    letters = [fields for _, fields in heard.heard[keys.DEAD_LETTER]]
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
    plain = Counter(encode(message) for kind, message in said if kind != "social")
    found = Counter(f[b"data"] for f in logs if f[b"kind"] in (b"book", b"trade"))
    found.update(f.get(b"field:data", b"") for f in letters if f[b"source"] in (b"order_book", b"market_data"))
    if wrong := [data for data, n in plain.items() if found[data] != n]:
        out.append(f"{len(wrong)} of {plain.total()} plain messages are not in a log once")
    posts = Counter(encode(message) for kind, message in said if kind == "social")
    found = Counter(fields[b"data"] for _, fields in heard.heard[keys.WRITTEN])
    found.update(f.get(b"field:data", b"") for f in letters if f[b"source"] == STREAM["social"].encode())
    if wrong := [data for data, n in posts.items() if found[data] != n]:
        out.append(f"{len(wrong)} of {posts.total()} posts are not once among those that were scored or refused")
    return out


def run(seconds: float, kills: int, seed: int, workers: int, folder: Path | None) -> int:
    """Play, kill, replay and compare; 1 where anything is wrong."""
    random_ = random.Random(seed)
    lines = lines_of(folder, seconds)
    wrong: list[str] = []
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(on_tape.s3())
        it = stack.enter_context(deployment(workers, on_tape.PLACE, ["scorer"]))
        heard = Listener(it.redis_url, PARTITIONS)
        stack.callback(heard.close)
        here = stack.enter_context(venue(lines, seconds))
        its_feed = Feed(it, here)
        said = strangers(here.symbols, seconds, seed)
        stranger = threading.Thread(target=feed, args=(it.redis_url, said), kwargs={"plain": True})
        stranger.start()
        away_s = min(on_tape.AWAY_S, seconds / 4)
        with on_tape.away_for_a_while(s3, seconds / 4, away_s):
            killed = kill_each(it, here, its_feed, seconds * 0.95, kills, random_)
            while not here.ended.wait(0.5):
                its_feed.look()
        stranger.join()
        time.sleep(HEARD_S)
        if code := its_feed.stop():
            wrong.append(f"the feed ended with {code}")
        wrong += settle(it)
        time.sleep(1.0)
        wrong += heard.wrong()
        wait_for_tape(heard)
        n = sum(map(len, heard.heard.values()))
        print(
            f"{here.sent} frames and {len(said)} plain messages and posts were sent, {n} entries are in Redis",
            flush=True,
        )
        print(
            f"S3 was away for {away_s:.0f} s; killed: " + ", ".join(f"{part} {killed[part]}" for part in PARTS),
            flush=True,
        )
        wrong += [f"{part} was killed {killed[part]} times only" for part in PARTS if killed[part] < kills]
        wrong += [f"the feed ended by itself: {its_feed.ended}"] * bool(its_feed.ended)
        wrong += compare_tape(heard)
        wrong += compare_sent(here, said, heard)
        live = result.read_of_logs(it)
        print(", ".join(f"{len(found)} {place}" for place, found in live.items()), flush=True)
        log = it.log.read_text(errors="replace")
        wrong += [f"a process ended with {code} when told to stop" for code in it.close() if code]
        again = stack.enter_context(deployment(workers))
        if code := again.command("replay", "--from-tape", "--json", TFS_TAPE=on_tape.PLACE).wait():
            raise RuntimeError(f"the replay ended with {code}: {again.log.read_text(errors='replace')[-4000:]}")
        again.drain()
        wrong += [f"replayed from the tape: {line}" for line in result.differences(result.read_of_logs(again), live)]
        again.close()
    if wrong:
        if kept := os.environ.get("TFS_CHAOS_LOG"):
            Path(kept).write_text(log)
        print(log[-4000:], file=sys.stderr)
    for line in wrong:
        print(line)
    print("different" if wrong else "equal, bit for bit")
    return int(bool(wrong))
