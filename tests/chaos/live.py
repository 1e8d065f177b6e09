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
import random
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from ingest.cli import ExitCode
from ingest.messages.kinds import Trade
from ingest.settings import Settings
from ingest.simulate import history
from ingest.simulate.history import MARKET
from ingest.streams.backlog import backlog
from ingest.streams.membership import silent_ms
from ingest.tape.role import APPEND_S
from tests.chaos import on_tape, result
from tests.chaos.away import Said, feed
from tests.chaos.deployment import PARTITIONS, Deployment, deployment
from tests.chaos.faults import kill, restart
from tests.chaos.listener import Listener, compare_sent, compare_tape, wait_for_tape
from tests.chaos.venue import Venue, lines_of, venue

PARTS = ("feed", "router", "scorer", "worker", "writer", "tape")
SERVERS = {"Redis": restart("redis_server", "SIGKILL", 1.0), "PostgreSQL": restart("postgres", "SIGQUIT", 1.0)}
KILLED = (*PARTS, *SERVERS)
STRANGERS = ("PLAIN-1", "PLAIN-2")
"""Symbols whose books and trades come by the plain streams."""
WORKS_MS, DEAD_MS = 1000, 1500
"""A part works if it gave a sign of life so long ago, and the one before it was killed longer ago than that."""
APPEND_TAKES_S = 0.2
UP_S = 5.0
"""For how long a server is up before it is killed again."""
HEARD_S = 2.0
"""For how long a feed has had a connection before it is killed."""


class Feed:
    """The live feed as a process, which is started again whenever it ends.

    Attributes
    ----------
    ended : list of int
        The codes with which it ended by itself: 2 where Redis was away when it started.
    """

    def __init__(self, it: Deployment, of: Venue) -> None:
        self._it, self._of = it, of
        self._process = self._start()
        self.ended: list[int] = []

    def _start(self) -> subprocess.Popen[bytes]:
        addresses = ("--stream-url", f"ws://{self._of.url}", "--rest-url", f"http://{self._of.url}/depth")
        return self._it.command("feed", "binance", *self._of.symbols, "--json", *addresses)

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
    """Kill each part so often within some seconds, if the venue plays so long; return how often each was.

    The servers are killed a quarter as often. Every second kill of the tape comes in the middle of an append or just behind it, the others
    at any time.
    """
    wanted = dict.fromkeys(PARTS, kills) | dict.fromkeys(SERVERS, -(-kills // 4))
    killed: Counter[str] = Counter()
    at: dict[str, float] = dict.fromkeys(KILLED, 0.0)
    workers = len(it.children("worker"))
    end = time.monotonic() + seconds
    while (left := sum(wanted.values()) - killed.total()) and not of.ended.is_set():
        of.ended.wait(max(0.1, random_.uniform(0.3, 1.5) * (end - time.monotonic()) / left))
        its_feed.look()
        silent = silent_ms(it.client, [part for part in PARTS if part != "feed"])

        def works(part: str, silent: dict[str, dict[str, int]] = silent) -> bool:
            if part == "feed":
                return of.heard_s() > HEARD_S
            if part in SERVERS:
                return time.monotonic() - at[part] > UP_S
            processes = workers if part == "worker" else 1
            return (time.monotonic() - at[part]) * 1000 > DEAD_MS and sum(
                ms < WORKS_MS for ms in silent[part].values()
            ) >= processes

        found = [part for part in KILLED if killed[part] < wanted[part] and works(part)]
        if found:  # of those that were killed least: the scorer takes long to start
            least = min(killed[part] / wanted[part] for part in found)
            part = random_.choice([part for part in found if killed[part] / wanted[part] == least])
            if part == "tape" and killed[part] % 2:
                on_tape.wait_for_append(APPEND_S + 2)
                time.sleep(random_.uniform(0, APPEND_TAKES_S))
            if part == "feed":
                its_feed.kill()
            elif not SERVERS.get(part, kill(part))(it, random_):
                continue
            killed[part] += 1
            at[part] = time.monotonic()
    return killed


def strangers(symbols: list[str], seconds: float, seed: int) -> list[Said]:
    """Return the plain messages of some seconds from now on, and posts about all symbols; some of both are refused."""
    start = time.time_ns() // 1_000_000 + 1000
    end = start + round(seconds * 1000)
    said: list[Said] = [*history(start, end, symbols=STRANGERS, seed=seed, kinds=MARKET)]
    trades = [message for _, message in said if isinstance(message, Trade)]
    said += [("trade", replace(trade, price=-1.0)) for trade in trades[::20]]
    posts = list(history(start, end, symbols=(*symbols, *STRANGERS), seed=seed, kinds=("social",)))
    said += posts
    said += [
        ("social", replace(post, id=f"{post.id}-none", text="no market is named", symbols=[]))
        for _, post in posts[::10]
    ]
    return sorted(said, key=lambda one: one[1].received or 0)


def hurt(
    it: Deployment, s3: on_tape.S3, here: Venue, said: list[Said], seconds: float, kills: int, seed: int
) -> list[str]:
    """Play while parts are killed and S3 is away, until the feed has what it missed; print what happened, and return what is wrong."""
    its_feed = Feed(it, here)
    stranger = threading.Thread(target=feed, args=(it.redis_url, said), kwargs={"plain": True})
    stranger.start()
    away_s = min(on_tape.AWAY_S, seconds / 4)
    with on_tape.away_for_a_while(s3, seconds / 4, away_s):
        killed = kill_each(it, here, its_feed, seconds * 0.95, kills, random.Random(seed))
        while not here.ended.wait(0.5):
            its_feed.look()
    stranger.join()
    while here.heard_s() < Settings().recover_s + HEARD_S:  # it has asked for what it missed, or told it
        time.sleep(0.5)
        its_feed.look()
    code = its_feed.stop()
    print(f"{here.sent} frames and {len(said)} plain messages and posts were sent; S3 was away for {away_s:.0f} s")
    print(f"the feed found no Redis at its start {len(its_feed.ended)} times")
    print("killed: " + ", ".join(f"{part} {killed[part]} times" for part in KILLED), flush=True)
    wrong = [f"{part} was killed {killed[part]} times only" for part in PARTS if killed[part] < kills]
    wrong += [f"the feed ended by itself with {code}" for code in its_feed.ended if code != ExitCode.USER_ERROR]
    return [*wrong, *[f"the feed ended with {code}"] * bool(code)]


def settle(it: Deployment, heard: Listener) -> list[str]:
    """Return when all is processed and on the tape, and the worker is stopped: while it works, it makes time pass for quiet symbols."""
    for _ in range(20):
        it.drain()
        wrong = [f"a worker ended with {code}" for code in it.stop("worker") if code]
        if wrong or not backlog(it.client, PARTITIONS).events:
            break
        it.start("worker")
    it.drain()
    time.sleep(1.0)  # the listener reads the end
    wait_for_tape(heard)
    n = sum(map(len, heard.heard.values()))
    print(f"{n} entries entered Redis; {on_tape.half_done()} files are of appends that were killed before their commit")
    return wrong + heard.wrong()


def replayed(workers: int, live: result.Result) -> list[str]:
    """Replay the tape into an empty deployment, and compare with what the live one had."""
    with deployment(workers) as again:
        if code := again.command("replay", "--from-tape", "--json", TFS_TAPE=on_tape.PLACE).wait():
            raise RuntimeError(f"the replay ended with {code}: {again.log.read_text(errors='replace')[-4000:]}")
        again.drain()
        found = result.read_of_logs(again)
        again.close()
    return [f"replayed from the tape: {line}" for line in result.differences(found, live)]


def run(seconds: float, kills: int, seed: int, workers: int, folder: Path | None) -> int:
    """Play, kill, replay and compare; 1 where anything is wrong."""
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(on_tape.s3())
        it = stack.enter_context(deployment(workers, on_tape.PLACE, ["scorer"]))
        heard = stack.enter_context(contextlib.closing(Listener(it.redis_url)))
        here = stack.enter_context(venue(lines_of(folder, seconds), seconds))
        said = strangers(here.symbols, seconds, seed)
        wrong = hurt(it, s3, here, said, seconds, kills, seed)
        wrong += settle(it, heard)
        wrong += compare_tape(heard)
        wrong += compare_sent(here, said, heard)
        live = result.read_of_logs(it)
        print(", ".join(f"{len(found)} {place}" for place, found in live.items()), flush=True)
        log = it.log.read_text(errors="replace")
        wrong += [f"a process ended with {code} when told to stop" for code in it.close() if code]
        wrong += replayed(workers, live)
    return result.told(wrong, log)
