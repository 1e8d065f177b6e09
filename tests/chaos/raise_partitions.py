"""``python -m tests.chaos.raise_partitions --to 16 --kills 6``: more partitions while messages come and parts are killed.

A live feed and a producer of the plain streams write ``--rate`` messages a second of symbols of their own. On the way `ingest partitions
--to` is called. While it runs, workers, router, offline writer and tape are killed (SIGKILL) at random times, and so is the command, which
is started again; `run` starts the parts again. With ``--cluster`` Redis is a cluster of three masters and three replicas, and masters are
killed too, after a time in which the replica lacked what they had acknowledged. Some symbols follow others (instruments.toml).

Then the tape is read without a server, in one run that nothing cuts, and every row of the database is compared with those that it gives,
bit for bit: each row is there once, with these values, and no other. Every message that was written was accepted, and none was refused.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from ingest import settings
from ingest.cli import ExitCode
from ingest.messages.decode import decode_entry, encode
from ingest.messages.header import symbol_of
from ingest.messages.kinds import Neighbour, OrderBook, Trade
from ingest.publish.outlet import Outlet
from ingest.recordings.lines import Parsed
from ingest.streams import keys, move, outage, raised
from ingest.streams.backlog import counters
from ingest.streams.move import Batch, Record
from ingest.streams.read import id_numbers
from ingest.tape import verify
from ingest.tape.read import entries
from ingest.tape.table import open_tape
from ingest.worker import kernels
from ingest.worker.partition import Partition
from tests.chaos.cluster import cluster_of_six
from tests.chaos.deployment import PARTITIONS, Deployment, deployment
from tests.chaos.hand_over import Rows, found, taken
from tests.chaos.tape import INSTRUMENTS

STEP_S = 0.05
"""Between two batches of a producer."""
MOST = 500
"""Messages at once: a batch that takes longer than ``TFS_IDLE_AFTER_MS`` to be written is late."""
PATIENCE_S = 300.0
MASTERS = 4
"""So many times as likely as another part a master of a cluster is killed."""
ROLES = ("worker", "worker", "worker", "router", "writer", "tape")
SOURCE = "chaos"
STREAM = {"book": "order_book", "trade": "market_data"}


def produce(
    url: str, replicas: int, names: Sequence[str], rate: int, seed: int, plain: bool, stop: Any, tell: Any
) -> None:
    """Write books and trades until told to stop, as a live feed or into the plain streams; tell how many."""
    client = outage.open_redis(url, replicas)
    outlet = Outlet(client, settings.load({"TFS_PARTITIONS": str(PARTITIONS)}))
    draw = random.Random(seed)
    mids = {name: 100.0 * (n + 1) for n, name in enumerate(names)}
    began, written = time.monotonic(), 0
    while not stop.is_set():
        batch = [_message(draw, mids) for _ in range(min(int((time.monotonic() - began) * rate) - written, MOST))]
        if plain:
            append_plain(client, written, batch)
        else:
            outlet.write([Parsed(kind, message) for kind, message in batch])
        written += len(batch)
        time.sleep(STEP_S)
    tell.send(written)


def append_plain(client: redis.Redis, before: int, batch: Sequence[tuple[str, Any]]) -> None:
    """Append messages to the plain streams, through any trouble, each once: their numbers, behind ``before``, are markers there."""
    records = [
        (STREAM[kind], Record(SOURCE, (n, 0), ["data", encode(m)])) for n, (kind, m) in enumerate(batch, before + 1)
    ]
    batches = [Batch(place, of_place) for place, of_place in move.by_place(records).items()]
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            move.append(client, batches, is_new=True)
            return
        except redis.RedisError:
            if time.monotonic() > give_up:
                raise
            time.sleep(STEP_S)


def _message(draw: random.Random, mids: dict[str, float]) -> tuple[str, Any]:
    now_ms, name = time.time_ns() // 1_000_000, draw.choice(list(mids))
    mids[name] *= 1 + draw.gauss(0, 1e-5)
    price, size = round(mids[name], 2), round(draw.uniform(0.1, 5), 3)
    if draw.random() < 0.05:
        return "trade", Trade(now_ms, name, price, size, draw.choice(("buy", "sell")), received=now_ms)
    bids = [(round(price - 0.01 * k, 2), size + k) for k in range(1, 6)]
    asks = [(round(price + 0.01 * k, 2), size + k) for k in range(1, 6)]
    return "book", OrderBook(now_ms, name, bids, asks, received=now_ms)


def expect(place: str, last: Sequence[bytes]) -> Rows:
    """The rows of what is on the tape up to the last entry of each log, in one run over each partition of the beginning."""
    conf = _settings(place)
    tape = open_tape(conf)
    out: Rows = {}
    for p in range(PARTITIONS):
        partition = Partition(p, conf)
        for n, (entry_id, fields) in enumerate(entries(tape, p), 1):
            log = keys.partition_of(_symbol_of(fields), len(last))
            if id_numbers(entry_id) <= id_numbers(last[log]):
                partition.process(entry_id, fields, 0)
            if n % 10_000 == 0:
                taken(partition, out)
        taken(partition, out)
    return out


def _settings(place: str) -> settings.Settings:
    return settings.load({"TFS_PARTITIONS": str(PARTITIONS), "TFS_TAPE": place, "TFS_INSTRUMENTS": str(INSTRUMENTS)})


def _symbol_of(fields: dict[bytes, bytes]) -> str:
    """Return a symbol that an entry is for."""
    if fields.get(b"kind") == b"neighbour":
        return decode_entry(Neighbour, fields).symbols[0]
    return symbol_of(fields)


def compare(have: dict[Any, list[list[str | None]]], rows: Rows) -> list[str]:
    """What is wrong with the rows of the database."""
    wrong: Counter[str] = Counter()
    for key, row in rows.items():
        of_key = have.get(key, [])
        wrong["rows missing"] += not of_key
        wrong["rows doubled"] += len(of_key) > 1
        wrong["rows different"] += any(one != row for one in of_key)
    wrong["rows of no message"] += len(have.keys() - rows.keys())
    return [f"{what}: {n}" for what, n in sorted(wrong.items()) if n]


def _number(client: redis.Redis) -> int:
    with contextlib.suppress(redis.RedisError):  # a failover
        return raised.number(client)
    return 0


def raise_number(it: Deployment, to: int, kills: int, draw: random.Random) -> tuple[float, Counter[str]]:
    """Raise the number, with so many kills at random times on the way; return for how long it took, and what was killed."""
    killed: Counter[str] = Counter()
    began = time.monotonic()
    command = it.command("partitions", "--to", str(to))
    for _ in range(kills):
        time.sleep(draw.uniform(0.0, 1.0))
        role = draw.choice((*ROLES, "command", *(("master",) * MASTERS if it.cluster else ())))
        if it.cluster and role == "master":
            it.cluster.kill_master(draw)
            killed[role] += 1
            continue
        if role == "command":
            command.kill()
            command.wait()
            command = it.command("partitions", "--to", str(to))
            killed[role] += 1
            continue
        for child in it.children(role)[:1] if role != "worker" else draw.sample(it.children(role), 1):
            child.kill()
            killed[role] += 1
    while _number(it.client) != to and time.monotonic() - began < PATIENCE_S:
        if command.poll() == ExitCode.USER_ERROR:  # a server was away when it began
            command = it.command("partitions", "--to", str(to))
        time.sleep(0.05)
    took_s = time.monotonic() - began
    assert command.wait(60) == 0, it.log.read_text(errors="replace")[-4000:]
    return took_s, killed


def run(
    to: Sequence[int], kills: int, rate: int, n_symbols: int, seed: int, around_s: float, *, is_cluster: bool = False
) -> list[str]:
    """Run once, print the figures, and return what is wrong."""
    context, draw = multiprocessing.get_context("spawn"), random.Random(seed)
    stop, partitions = context.Event(), to[-1]
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        cluster, replicas = (stack.enter_context(cluster_of_six()), 1) if is_cluster else (None, 0)
        it = stack.enter_context(deployment(2, str(Path(name, "tape")), (), cluster, replicas))
        sources, ends = [], []
        for plain, share in ((False, 0.6), (True, 0.4)):
            told, tell = context.Pipe(duplex=False)
            names = [f"{'P' if plain else 'F'}{n}" for n in range(n_symbols // 2)]
            about = (it.redis_url, replicas, names, round(rate * share), seed + plain, plain, stop, tell)
            sources.append(context.Process(target=produce, args=about, daemon=True))
            ends.append(told)
        for source in sources:
            source.start()
        time.sleep(around_s)
        steps = []
        for number in to:
            steps.append(raise_number(it, number, kills, draw))
            time.sleep(around_s)
        stop.set()
        written = sum(told.recv() for told in ends)
        for source in sources:
            source.join()
        it.drain(partitions)
        codes = it.stop("worker")
        it.drain(partitions)
        codes += it.stop("tape")
        last: list[Any] = [it.client.hget(keys.checkpoint(p), "last_id") or b"0-0" for p in range(partitions)]
        counted = counters(it.client, partitions)
        have = found(it.postgres_url)
        conf = _settings(str(Path(name, "tape")))
        logs = [verify.log(it.client, open_tape(conf), p, partitions, PARTITIONS) for p in range(partitions)]
        codes += it.close()
        rows = expect(str(Path(name, "tape")), last)
    wrong = compare(have, rows)
    accepted = counted.get("accepted.book", 0) + counted.get("accepted.trade", 0)
    refused = {what: n for what, n in counted.items() if what.startswith("refused.") and n}
    wrong += [f"{written} messages, but {accepted} were accepted"] * (accepted != written)
    wrong += [f"refused: {refused}"] * bool(refused)
    wrong += [f"a process ended with {codes}"] * any(codes)
    wrong += [f"the log of {log.partition} and the tape differ at {log.differs_at}" for log in logs if log.differs_at]
    killed = sum((of for _, of in steps), Counter[str]())
    took = ", ".join(f"{s:.1f}" for s, _ in steps)
    print(
        f"seed {seed}: {written} messages, {rate} a second; {PARTITIONS} to {', '.join(map(str, to))} partitions in {took} s, "
        f"{killed.total()} kills {dict(killed)}; {len(rows)} rows, wrong: {wrong or 'nothing'}",
        flush=True,
    )
    return wrong


def main() -> int:
    """Run once; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.raise_partitions", description=__doc__)
    add = parser.add_argument
    add("--to", type=int, nargs="+", default=[16], help="numbers of partitions, one after the other (default 16)")
    add("--kills", type=int, default=6, help="on the way to each (default 6)")
    add("--rate", type=int, default=2000, help="messages a second (default 2000)")
    add("--symbols", type=int, default=40, help="of both producers (default 40)")
    add("--around", type=float, default=30.0, help="seconds before and after each raising (default 30)")
    add(
        "--cluster", action="store_true", help="on a Redis Cluster, with TFS_REDIS_REPLICAS=1, and kill its masters too"
    )
    add("--seed", type=int, default=0, help="other messages and times (default 0)")
    args = parser.parse_args()
    kernels.warm_up()
    about = (args.to, args.kills, args.rate, args.symbols, args.seed, args.around)
    return int(bool(run(*about, is_cluster=args.cluster)))


if __name__ == "__main__":
    sys.exit(main())
