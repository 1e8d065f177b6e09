"""``python -m tests.chaos.raise_partitions --to 16 --kills 6``: more partitions while messages come and parts are killed.

A live feed and a producer of the plain streams write ``--rate`` messages a second of symbols of their own. On the way `ingest partitions
--to` is called. While it runs, workers, router, offline writer and tape are killed (SIGKILL) at random times, and so is the command, which
is started again; `run` starts the parts again.

Then the tape is read without a server, in one run that nothing cuts, and every row of the database is compared with those that it gives,
bit for bit: each row is there once, with these values, and no other. Every message that was written was accepted, and none was refused.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest import settings
from ingest.messages.decode import encode
from ingest.messages.header import symbol_of
from ingest.messages.kinds import OrderBook, Trade
from ingest.publish.outlet import Outlet
from ingest.recordings.lines import Parsed
from ingest.streams import keys, outage, raised
from ingest.streams.backlog import counters
from ingest.streams.read import id_numbers
from ingest.tape import verify
from ingest.tape.read import entries
from ingest.tape.table import open_tape
from ingest.worker import kernels
from ingest.worker.partition import Partition
from tests.chaos.deployment import PARTITIONS, Deployment, deployment
from tests.chaos.hand_over import Rows, found, taken

STEP_S = 0.05
"""Between two batches of a producer."""
PATIENCE_S = 300.0
ROLES = ("worker", "worker", "worker", "router", "writer", "tape")
STREAM = {"book": "order_book", "trade": "market_data"}


def produce(url: str, names: Sequence[str], rate: int, seed: int, plain: bool, stop: Any, tell: Any) -> None:
    """Write books and trades until told to stop, as a live feed or into the plain streams; tell how many."""
    client = outage.open_redis(url)
    outlet = Outlet(client, settings.load({"TFS_PARTITIONS": str(PARTITIONS)}))
    draw = random.Random(seed)
    mids = {name: 100.0 * (n + 1) for n, name in enumerate(names)}
    began, written = time.monotonic(), 0
    while not stop.is_set():
        batch = [_message(draw, mids) for _ in range(min(int((time.monotonic() - began) * rate) - written, 2000))]
        if plain:
            with client.pipeline(transaction=True) as pipe:
                for kind, message in batch:
                    pipe.xadd(STREAM[kind], {"data": encode(message)})
                pipe.execute()
        else:
            outlet.write([Parsed(kind, message) for kind, message in batch])
        written += len(batch)
        time.sleep(STEP_S)
    tell.send(written)


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
    conf = settings.load({"TFS_PARTITIONS": str(PARTITIONS), "TFS_TAPE": place})
    tape = open_tape(conf)
    out: Rows = {}
    for p in range(PARTITIONS):
        partition = Partition(p, conf)
        for n, (entry_id, fields) in enumerate(entries(tape, p), 1):
            log = keys.partition_of(symbol_of(fields), len(last))
            if id_numbers(entry_id) <= id_numbers(last[log]):
                partition.process(entry_id, fields, 0)
            if n % 10_000 == 0:
                taken(partition, out)
        taken(partition, out)
    return out


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


def raise_number(it: Deployment, to: int, kills: int, draw: random.Random) -> tuple[float, Counter[str]]:
    """Raise the number, with so many kills at random times on the way; return for how long it took, and what was killed."""
    killed: Counter[str] = Counter()
    began = time.monotonic()
    command = it.command("partitions", "--to", str(to))
    for _ in range(kills):
        time.sleep(draw.uniform(0.0, 1.0))
        role = draw.choice((*ROLES, "command"))
        if role == "command":
            command.kill()
            command.wait()
            command = it.command("partitions", "--to", str(to))
            killed[role] += 1
            continue
        for child in it.children(role)[:1] if role != "worker" else draw.sample(it.children(role), 1):
            child.kill()
            killed[role] += 1
    while raised.number(it.client) != to and time.monotonic() - began < PATIENCE_S:
        time.sleep(0.05)
    took_s = time.monotonic() - began
    assert command.wait(60) == 0, it.log.read_text(errors="replace")[-4000:]
    return took_s, killed


def run(to: Sequence[int], kills: int, rate: int, n_symbols: int, seed: int, around_s: float) -> list[str]:
    """Run once, print the figures, and return what is wrong."""
    context, draw = multiprocessing.get_context("spawn"), random.Random(seed)
    stop, partitions = context.Event(), to[-1]
    with tempfile.TemporaryDirectory() as name, deployment(2, str(Path(name, "tape"))) as it:
        sources, ends = [], []
        for plain, share in ((False, 0.6), (True, 0.4)):
            told, tell = context.Pipe(duplex=False)
            names = [f"{'P' if plain else 'F'}{n}" for n in range(n_symbols // 2)]
            about = (it.redis_url, names, round(rate * share), seed + plain, plain, stop, tell)
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
        conf = settings.load({"TFS_PARTITIONS": str(PARTITIONS), "TFS_TAPE": str(Path(name, "tape"))})
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
    add("--seed", type=int, default=0, help="other messages and times (default 0)")
    args = parser.parse_args()
    kernels.warm_up()
    return int(bool(run(args.to, args.kills, args.rate, args.symbols, args.seed, args.around)))


if __name__ == "__main__":
    sys.exit(main())
