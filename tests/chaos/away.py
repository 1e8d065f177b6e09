"""``python -m tests.chaos.away router:10 redis:60``: a part is away while feeds go on, and not one sound message may be refused.

Every feed is a process: one writes into the logs as a live feed does, one into the plain streams as a stranger's producer does. Each has
busy symbols, of 100 books and 5 trades a second, and quiet ones, of which nothing is heard for seconds. No message has an id or a number
by which a repeat could be told.

``router:S`` kills the router and starts it after S seconds. ``redis:S`` freezes Redis (SIGSTOP). ``restart:S`` stops it and starts it with
its data. ``older:S`` kills it and starts it with its data of S seconds ago: the live feed writes again what it lost. A stranger's producer
does not, and so it has no part in such a case. Cases joined by a plus happen one after the other in one deployment. Then no message may be
refused, each must be accepted once, and the rows of the database must be those of the same messages in the order of their times, without a
server: the same bits. Symbols follow each other, in the same log and in others: the rows of ``context`` are compared with what the database
says of the others (``away_followers``).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime

import psycopg
from psycopg import sql

from ingest import settings
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.publish.outlet import Outlet
from ingest.recordings.lines import Parsed
from ingest.recordings.own import KIND_OF_STREAM
from ingest.simulate.history import Simulated
from ingest.streams import dead_letters, keys, outage
from ingest.streams.backlog import counters
from ingest.worker import kernels
from ingest.worker.partition import Partition
from tests.chaos import away_followers
from tests.chaos.away_followers import Bits
from tests.chaos.deployment import DRAIN_S, PARTITIONS, Deployment, append, deployment
from tests.chaos.tape import INSTRUMENTS, Entry
from transforms.catalog import CONTEXT, VIEWS
from transforms.times import us_of_datetime

Said = tuple[str, Simulated]
BEFORE_S, AFTER_S = 4.0, 12.0
"""How long the feeds go on before and after."""
START_S = 3.0
"""How long the feeds have to start."""
STREAM = {kind: stream for stream, kind in KIND_OF_STREAM.items()}
EVERY_MS = {"busy": {"book": 10, "trade": 200}, "quiet": {"book": 7_000, "trade": 11_000}}


def messages(names: list[str], seed: int, start_ms: int, seconds: float) -> list[Said]:
    """What a feed says, by time; half of the symbols are quiet. No book has the time of a trade."""
    out: list[Said] = []
    for number, name in enumerate(names):
        draw = random.Random(f"{seed} {name}")
        mid = 100.0 * (number + 1)
        for kind, every in EVERY_MS["quiet" if number % 2 else "busy"].items():
            at = start_ms + draw.randrange(every)
            while at < start_ms + seconds * 1000:
                mid *= 1 + draw.gauss(0, 1e-5)
                ms = at // 10 * 10 + (3 if kind == "trade" else 0)
                price, size = round(mid, 2), round(draw.uniform(0.1, 5), 3)
                out.append((kind, _message(kind, ms, name, price, size, draw)))
                at += max(10, round(every * draw.uniform(0.6, 1.4)))
    out.sort(key=lambda said: said[1].timestamp)
    return out


def _message(kind: str, ms: int, name: str, price: float, size: float, draw: random.Random) -> OrderBook | Trade:
    if kind == "trade":
        return Trade(ms, name, price, size, draw.choice(("buy", "sell")), received=ms + 2)
    bids = [(round(price - 0.01 * k, 2), size + k) for k in range(1, 6)]
    asks = [(round(price + 0.01 * k, 2), draw.uniform(0.1, 5)) for k in range(1, 6)]
    return OrderBook(ms, name, bids, asks, received=ms + 2)


def feed(url: str, said: list[Said], *, plain: bool) -> None:
    """Write messages when they are due, through any trouble."""
    client = outage.open_redis(url)
    outlet = Outlet(client, settings.load({"TFS_PARTITIONS": str(PARTITIONS)}))
    at = number = 0
    while at < len(said):
        now_ms = time.time_ns() // 1_000_000
        due = at
        while due < len(said) and (said[due][1].received or 0) <= now_ms and due < at + 500:
            due += 1
        if due == at:
            time.sleep(0.002)
            continue
        if plain:
            batch = []
            for kind, message in said[at:due]:
                number += 1
                batch.append(Entry(STREAM[kind], f"{now_ms}-{number}", {b"data": encode(message)}))
            append(client, batch, time.monotonic() + DRAIN_S)
        else:
            outlet.write([Parsed(kind, message) for kind, message in said[at:due]])
        at = due


def take_away(it: Deployment, what: str, seconds: float) -> None:
    """Let a part be away for some seconds."""
    if what == "router":
        before = it.client.get(keys.owner("router"))
        it.crash("router")
        time.sleep(seconds)
        it.start("router")
        give_up = time.monotonic() + DRAIN_S
        while it.client.get(keys.owner("router")) in (before, None):  # a part ends where Redis is away at its start
            assert time.monotonic() < give_up, "the router does not start"
            time.sleep(0.1)
    elif what == "redis":
        it.redis_server.signal("SIGSTOP")
        time.sleep(seconds)
        it.redis_server.signal("SIGCONT")
    elif what == "older":
        folder = it.redis_server.orders["folder"]
        subprocess.run(["cp", "-a", folder, f"{folder}.kept"], check=True)  # keeps the owners
        time.sleep(seconds)
        it.stop_server(it.redis_server, "SIGKILL")
        shutil.rmtree(folder)
        os.rename(f"{folder}.kept", folder)
        it.redis_server.start()
        it.wait_for(it.redis_server)
    else:
        it.stop_server(it.redis_server, "SIGTERM")
        time.sleep(seconds)
        it.redis_server.start()
        it.wait_for(it.redis_server)


def expected(said: list[Said]) -> Bits:
    """The rows of the same messages in the order of their times, up to the last message of each symbol."""
    conf = settings.load({"TFS_PARTITIONS": str(PARTITIONS), "TFS_INSTRUMENTS": str(INSTRUMENTS)})
    partitions = {p: Partition(p, conf) for p in range(PARTITIONS)}
    ends = {message.symbol: message.timestamp for _, message in said}
    told: list[tuple[str, OrderBook | Trade | Tick]] = [*said]
    told += [("tick", Tick((end // 1000 + 1) * 1000, name)) for name, end in ends.items()]
    for number, (kind, message) in enumerate(told, 1):
        p = keys.partition_of(message.symbol, PARTITIONS)
        partitions[p].process(
            b"%d-%d" % (message.timestamp + 2, number),
            {b"kind": kind.encode(), b"data": encode(message)},
            message.timestamp * 1000,
        )
    out: Bits = {}
    for partition in partitions.values():
        for batch in partition.pending.batches.values():
            view, symbols, event, _, values, *_ = batch.columns()
            for name, at, row in zip(symbols, event.tolist(), values.tolist(), strict=True):
                if at <= ends[name] * 1000:
                    out[view.name, name, at] = [[None if x != x else float(x).hex() for x in row]]
    assert out
    return out


def found(url: str) -> Bits:
    """The rows of the database."""
    out: Bits = {}
    with psycopg.connect(url) as connection:
        for view in VIEWS:
            names = sql.SQL(", ").join(map(sql.Identifier, view.names))
            query = sql.SQL("SELECT symbol, event_timestamp, {} FROM {}").format(names, sql.Identifier(view.name))
            for name, at, *row in connection.execute(query):
                assert isinstance(at, datetime)
                cells = [None if x is None else float(x).hex() for x in row]
                out.setdefault((view.name, name, us_of_datetime(at)), []).append(cells)
    return out


def faults_of(case: str) -> list[tuple[str, float]]:
    """Return what is away, and for how many seconds; raise ValueError for another case."""
    out = []
    for fault in case.split("+"):
        what, _, seconds = fault.partition(":")
        if what not in ("router", "redis", "restart", "older"):
            raise ValueError(f"{fault}: router, redis, restart or older, a colon, and seconds")
        out.append((what, float(seconds)))
    return out


def run(case: str, seed: int, pairs: int = 1, before_s: float = BEFORE_S, after_s: float = AFTER_S) -> list[str]:
    """Run one case, print its figures, and return what is wrong.

    Each feed has ``pairs`` busy symbols and as many quiet ones.
    """
    faults = faults_of(case)
    away_s = sum(seconds for _, seconds in faults)
    with deployment(1) as it:
        give_up = time.monotonic() + DRAIN_S
        while not all(it.client.exists(keys.owner(seat)) for seat in ("router", "writer", *range(PARTITIONS))):
            assert time.monotonic() < give_up, "the parts do not start"
            time.sleep(0.1)
        start_ms = time.time_ns() // 1_000_000 + round(START_S * 1000)
        kinds = ("LIVE",) if any(what == "older" for what, _ in faults) else ("LIVE", "PLAIN")
        names = {kind: [f"{kind}-{n}" for n in range(2 * pairs)] for kind in kinds}
        said = {kind: messages(names[kind], seed, start_ms, before_s + away_s + after_s) for kind in names}
        context = multiprocessing.get_context("spawn")
        feeds = [
            context.Process(target=feed, args=(it.redis_url, said[kind]), kwargs={"plain": kind == "PLAIN"})
            for kind in names
        ]
        for one in feeds:
            one.start()
        time.sleep(START_S + before_s)
        for what, seconds in faults:
            take_away(it, what, seconds)
        for one in feeds:
            one.join(away_s + after_s + DRAIN_S)
        every = sorted((one for part in said.values() for one in part), key=lambda one: one[1].timestamp)
        ends = {message.symbol: message.timestamp for _, message in every}
        wanted = expected(every)
        have: Bits = {}
        give_up = time.monotonic() + 30
        rows: Bits = {}
        while len(have) < len(wanted) and time.monotonic() < give_up:  # until time has passed for quiet symbols
            time.sleep(0.5)
            it.drain()
            rows = found(it.postgres_url)
            have = {key: of for key, of in rows.items() if key[0] != CONTEXT.name and key[2] <= ends[key[1]] * 1000}
        counted = counters(it.client, PARTITIONS)
        letters = Counter(letter.reason for letter in dead_letters.oldest(it.client, PARTITIONS))
        codes = [*(one.exitcode for one in feeds), *it.close()]
    accepted = sum(number for name, number in counted.items() if name in ("accepted.book", "accepted.trade"))
    other = sum(key not in have or have[key] != rows for key, rows in wanted.items()) + len(have.keys() - wanted.keys())
    conf = settings.load({"TFS_INSTRUMENTS": str(INSTRUMENTS)})
    wrong_of_others, ages = away_followers.wrong(rows, conf)
    print(
        f"{case}, seed {seed}: {len(every)} messages, accepted: {accepted}, refused: {letters.total()} "
        f"{dict(letters) or ''}, rows: {len(wanted)}, different: {other}; rows of context by what the leader had told: {dict(ages)}",
        flush=True,
    )
    wrong = [f"{len(every)} messages, but {accepted} were accepted"] * (accepted != len(every))
    wrong += [f"refused: {dict(letters)}"] * bool(letters)
    wrong += [f"{other} of {len(wanted)} rows differ"] * bool(other)
    wrong += wrong_of_others[:5]
    wrong += [f"a process ended with {codes}"] * any(codes)
    return wrong


def main() -> int:
    """Every case that is asked for; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.away", description=__doc__)
    parser.add_argument("cases", nargs="+", help="such as router:10, redis:60 or restart:1+router:1")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other messages (default 0)")
    parser.add_argument(
        "--pairs", type=int, default=1, help="busy symbols of each feed, and as many quiet ones (default 1)"
    )
    args = parser.parse_args()
    kernels.warm_up()
    wrong = []
    for case in args.cases:
        wrong += run(case, args.seed, args.pairs)
    for line in wrong:
        print(line)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
