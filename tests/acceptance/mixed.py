"""``python -m tests.acceptance.mixed --events 1000000``: a mixed market that comes in every way, and gives the same bits.

Books, trades, derivatives, liquidations, posts and gaps of perpetuals, their spot markets and other venues, some of them late, and some so
late that they are refused. Two symbols lead, others follow them, their pair, their asset's venues or another follower, in the same
partition and in others. The rows of each way are taken out of PostgreSQL, and compared as the text that PostgreSQL writes of a double,
which names that double and no other:

- a recording, replayed into one partition of one worker: all others are held against this one;
- replayed into five partitions of three workers that die again and again, and with the tape of these logs;
- backfilled from the recording, and its market alone imported onto a tape and backfilled from there;
- the same messages live, with workers that die; the tape of these logs backfilled, and replayed into an empty deployment;
- live, with workers so slow that rows of leaders come too late for some that follow: that log's own tape gives the same rows.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import redis

from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest.backfill.days.run import backfill_from_tape
from ingest.backfill.run import backfill
from ingest.check.recording import StandIn
from ingest.imports import run as imports
from ingest.messages.kinds import Clock, Tick
from ingest.publish.publisher import Publisher
from ingest.recordings.columns import COMMON
from ingest.replay import replay
from ingest.replay.entries import of_exports, replay_entries
from ingest.sentiment.history import History
from ingest.sentiment.scorer import Scorer
from ingest.servers import embedded
from ingest.settings import Settings
from ingest.streams import keys, read
from ingest.streams.backlog import backlog, counters
from ingest.tape.export import export
from ingest.tape.role import Follower
from ingest.tape.table import open_tape, open_to_append
from ingest.worker import kernels
from ingest.worker.neighbours import Leaders
from ingest.worker.worker import Worker
from tests.acceptance.mixed_market import INSTRUMENTS, MIDNIGHT_MS, alone, record, with_scores
from tests.acceptance.place import Place, Rows
from tests.chaos.result import differences
from transforms.catalog import CONTEXT, SENTIMENT, SOCIAL, VIEWS

WORKERS, PARTITIONS = 3, 5
OF_POSTS = frozenset({SENTIMENT.name, SOCIAL.name, "normalized"})
"""Views that an import, which has no posts, cannot give."""


class Team:
    """Workers that share the partitions and take turns; each dies now and then, and another begins in its place."""

    def __init__(self, place: Place, settings: Settings, n: int, every: float, seed: int = 0) -> None:
        self._place, self._settings, self._every = place, settings, every
        self._random = random.Random(seed)
        self._tape = (
            Follower(place.client, open_to_append(settings, ""), settings.partitions) if settings.tape else None
        )
        self._workers = [self._made() for _ in range(n)]
        self._read = self._turns = self.deaths = 0

    def _made(self) -> Worker:
        worker = Worker(self._place.client, self._settings, _clock, _clock)
        worker.open()
        return worker

    def step(self) -> None:
        """Give each worker a turn."""
        for worker in self._workers:
            self._step(worker)

    def _step(self, worker: Worker) -> None:
        self._read += worker.step()
        if self._read > self._every * (self.deaths + 1):
            self.deaths += 1
            i = self._random.randrange(len(self._workers))
            self._workers[i]._member.leave()  # its leases end at once, and it writes nothing more
            self._workers[i] = self._made()
        self._turns += 1
        if self._turns % 50 == 0:
            self._place.store(self._settings.partitions)
            if self._tape:
                self._tape.step()

    def process(self, p: int) -> None:
        """Return when all that a log has is processed, and its rows are in the logs of those that follow."""
        client = self._place.client
        last: Any = client.xrevrange(keys.events(p), count=1)
        while not last or read.is_newer(last[0][0], client.hget(keys.checkpoint(p), "last_id") or read.START):  # type: ignore[arg-type]
            self._step(next((worker for worker in self._workers if p in worker.holds()), self._workers[0]))

    def process_all(self) -> None:
        """Return when nothing waits in any log; what is told meanwhile counts."""
        while backlog(self._place.client, self._settings.partitions).events:
            self.step()

    def close(self) -> None:
        """Write everything to the stores and the tape."""
        self.process_all()
        assert self.deaths or self._read <= self._every, "no worker died"
        for worker in self._workers:
            worker.close()
        self._place.store(self._settings.partitions)
        if self._tape:
            while self._tape.step():
                pass
            self._tape.append()


def _clock() -> int:
    return (MIDNIGHT_MS + 86_400_000) * 1000


def replayed(place: Place, settings: Settings, produce: Callable[[], object], workers: int, every: float) -> Rows:
    """The rows of what ``produce`` writes while workers, and a scorer, read it."""
    place.client.flushall()
    stop = threading.Event()
    team = Team(place, settings, workers, every)
    scorer = Scorer(place.client, StandIn(), settings, History(None))
    with ThreadPoolExecutor(2) as pool:
        scoring, producing = pool.submit(scorer.run, stop), pool.submit(produce)
        try:
            while not producing.done():
                team.step()
        finally:
            stop.set()
        producing.result()
        scoring.result()
    team.close()
    return place.take()


def live(place: Place, settings: Settings, recording: Path, every: float, *, hurried: bool) -> Rows:
    """The rows of the same messages, published live: each leader's row comes at once, or, ``hurried``, when its worker has come so far."""
    place.client.flushall()
    team = Team(place, settings, WORKERS, every, seed=1)
    leaders = Leaders(settings)
    chance = random.Random(2)
    last: dict[str, int] = {}
    with Publisher(place.client, settings.partitions) as publisher:
        due = 0
        for kind, message in with_scores(recording, settings):
            publisher.publish(kind, message)
            if kind != "post":  # a replay ends a symbol behind the last message of its market
                last[message.symbol] = max(last.get(message.symbol, 0), message.timestamp)
            if hurried and (due := due - 1) < 0:
                due = chance.randrange(1, 200)
                publisher.flush()
                team.step()
            elif not hurried and leaders.accept(kind, message):
                publisher.flush()
                team.process(keys.partition_of(message.symbol, settings.partitions))
        publisher.flush()
        team.process_all()
        ends = {symbol: -(-at // 1000) * 1000 for symbol, at in last.items()}
        for symbol, end in ends.items():  # rows that wait for neighbours still do
            publisher.publish("clock", Clock(end + settings.allowed_lateness_ms + 1, [symbol]))
        publisher.flush()
        team.process_all()
        for symbol, end in ends.items():
            publisher.publish("tick", Tick(end, symbol))
    team.close()
    return place.take()


def run(place: Place, events: int, seed: int = 11, deaths: int = 20) -> list[str]:
    """Go every way, with so many deaths of workers on each, print what came out, and return what is wrong."""
    with psycopg.connect(place.url) as connection:
        migrate(connection, [table_of_view(view) for view in VIEWS])
    recording = place.folder / "recording.jsonl"
    kinds = record(recording, events, seed)
    n = kinds.total()
    print(f"{n} messages: {dict(kinds)}", flush=True)
    conf = replace(Settings(), instruments=INSTRUMENTS, forget_s=10**6)
    one, several = replace(conf, partitions=1), replace(conf, partitions=PARTITIONS)
    tapes = {name: replace(several, tape=str(place.folder / name)) for name in ("replay", "live", "hurried", "import")}
    every = n / deaths
    wrong: list[str] = []
    began = time.monotonic()

    def told(way: str, rows: Rows, wanted: Rows, without: frozenset[str] = frozenset()) -> None:
        nonlocal began
        here, there = ({view: of for view, of in all_.items() if view not in without} for all_ in (rows, wanted))
        found = differences(here, there)
        wrong.extend(f"{way}: {line}" for line in found)
        verdict = "different" if found else "equal"
        seconds, began = time.monotonic() - began, time.monotonic()
        print(f"{way}: {sum(map(len, here.values()))} rows, {verdict}, {seconds:.0f} s", flush=True)

    wanted = replayed(place, one, partial(replay, [recording], place.client, one), 1, n * 10)
    refused = {name: count for name, count in counters(place.client, 1).items() if name.startswith("refused.")}
    n_rows = sum(map(len, wanted.values()))
    print(f"replayed into one partition: {n_rows} rows, which the others must equal; {refused}", flush=True)
    began = time.monotonic()
    wrong += [f"only {refused} were refused"] * (not refused.get("refused.late"))
    wrong += [f"no value of {name}" for name in unheard(wanted)]

    again = tapes["replay"]
    rows = replayed(place, again, partial(replay, [recording], place.client, again), WORKERS, every)
    told(f"replayed into {PARTITIONS} partitions of {WORKERS} workers that die", rows, wanted)
    backfill_from_tape(place.url, again, jobs=2)
    told("backfilled from the tape of these logs", place.take(), wanted)
    backfill([recording], place.url, one, jobs=2, load_model=StandIn, delay_ms=2000)
    told("backfilled from the recording", place.take(), wanted)
    for job in imports.plan([alone(recording)], COMMON):
        imports.run(job, tapes["import"], place.folder, lambda _: None)
    backfill_from_tape(place.url, tapes["import"], jobs=2, delay_ms=3000)
    told("imported and backfilled", place.take(), wanted, OF_POSTS)

    told("live", live(place, tapes["live"], recording, every, hurried=False), wanted)
    backfill_from_tape(place.url, tapes["live"], jobs=2, delay_ms=4000)
    told("backfilled from the tape of the live logs", place.take(), wanted)
    path = place.folder / "live.jsonl"
    export(
        open_tape(tapes["live"]),
        tapes["live"],
        path,
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(2200, 1, 1, tzinfo=UTC),
    )
    entries = of_exports([path], PARTITIONS)
    rows = replayed(place, several, partial(replay_entries, entries, place.client, PARTITIONS), 2, every)
    told("replayed from the tape of the live logs", rows, wanted)

    hurried = live(place, tapes["hurried"], recording, every, hurried=True)
    told("live, hurried: all but what waits for leaders", hurried, wanted, frozenset({CONTEXT.name}))
    late = sum(hurried[CONTEXT.name].get(key) != values for key, values in wanted[CONTEXT.name].items())
    wrong += ["no row of a leader came late"] * (not late)
    backfill_from_tape(place.url, tapes["hurried"], jobs=2, delay_ms=5000)
    told(f"backfilled from its tape, {late} rows of context as leaders came late", place.take(), hurried)
    return wrong


def unheard(rows: Rows) -> list[str]:
    """The features of derivatives and context that are null in every row, where the market is long enough for them."""
    found = []
    for view in VIEWS:
        of_view = [values.split(b"\t") for values in rows[view.name].values()]
        hour = len({key.partition(b" ")[2] for key in rows[view.name]}) > 3_700
        for i, name in enumerate(view.names):
            if name.endswith(("_60m", "_1h")) and not hour:
                continue
            if view.name in ("derivatives", CONTEXT.name) and all(values[i] == rb"\N" for values in of_view):
                found.append(name)
    return found


def main() -> int:
    """1 where anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.mixed", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="about so many messages (default 1,000,000)")
    parser.add_argument("--seed", type=int, default=11, help="another market")
    args = parser.parse_args()
    kernels.warm_up()
    with tempfile.TemporaryDirectory(prefix="tfs-") as name, tempfile.TemporaryDirectory() as folder:
        Path(name).chmod(0o711)  # the servers may run as another user
        with (
            embedded.running(Path(name), durable=False) as servers,
            redis.Redis.from_url(servers.redis_url) as client,
            psycopg.connect(servers.postgres_url, autocommit=True) as postgres,
        ):
            wrong = run(Place(client, postgres, servers.postgres_url, Path(folder)), args.events, args.seed)
    for line in wrong:
        print(line)
    print("different" if wrong else "equal, bit for bit")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
