"""``python -m tests.chaos.hand_over --rounds 10 --kills 3``: two versions of a kernel take over from each other while both are killed.

Two trees of the code: this one, and a copy in which one kernel has another formula and version. A feed writes ``--rate`` messages a second
into the logs. In each round a worker of the other tree is started with ``--hand-over``. Workers, its own and the owner's, are killed
(SIGKILL) at random times on the way; `run` starts them again. When all is handed over, the workers of the version before are stopped.

Then the tape is read by both trees, without a server, and every row of the database is compared with theirs, bit for bit: each grid second
must be there once; the features that the kernel makes must be those of one of the trees, and switch no more often than there are rounds;
they may never be null where both have a value; every other value must be that of both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from ingest import settings
from ingest.messages.kinds import OrderBook, Trade
from ingest.publish.outlet import Outlet
from ingest.recordings.lines import Parsed
from ingest.streams import handing, keys, outage
from ingest.streams.backlog import counters
from ingest.streams.read import id_numbers
from ingest.tape.read import entries
from ingest.tape.table import open_tape
from ingest.worker import kernels
from ingest.worker.partition import Partition
from tests.chaos.deployment import PARTITIONS, Deployment, deployment
from tests.chaos.tape import INSTRUMENTS
from transforms.catalog import VIEWS
from transforms.kernels import KERNEL, with_users
from transforms.times import us_of_datetime

HERE = Path(__file__).parent.parent.parent
Rows = dict[tuple[str, str, int], list[str | None]]
"""By view, symbol and event time: the values of a row."""
CHANGES = {
    "trade_rate": ("transforms/order_flow/trade_rate.py", "state[o] += 0.1", "state[o] += 0.2"),
    "lead": (
        "transforms/context/lead.py",
        "state[o + 1 + second % LONG] = y",
        "state[o + 1 + second % LONG] = 2.0 * y",
    ),
    "trade_volume": ("transforms/order_flow/volume.py", "state[at + _TRADES] += 1.0", "state[at + _TRADES] += 2.0"),
}
"""By kernel: a line of its formula, and another one. What was counted stands in its state."""
STEP_S = 0.05
"""Between two batches of the feed."""
PATIENCE_S = 500.0


def other_tree(folder: Path, kernel: str) -> Path:
    """Copy the code, and change the formula and the version of a kernel."""
    tree = folder / "tree"
    for package in ("transforms", "feature_repo", "ingest", "tests"):
        shutil.copytree(HERE / package, tree / package, ignore=shutil.ignore_patterns("*cache*", "data"))
    tree.chmod(0o755)
    path, old, new = CHANGES[kernel]
    for name, before, after in ((path, old, new), ("transforms/kernels.py", f'"{kernel}", 1,', f'"{kernel}", 2,')):
        text = (tree / name).read_text()
        assert text.count(before) == 1, (name, before)
        (tree / name).write_text(text.replace(before, after))
    return tree


def feed(url: str, names: Sequence[str], rate: int, seed: int, stop: Any, tell: Any) -> None:
    """Write books and trades in the order of their times, 20 books for a trade, until it is told to stop; tell how many."""
    client = outage.open_redis(url)
    outlet = Outlet(client, settings.load({"TFS_PARTITIONS": str(PARTITIONS)}))
    draw = random.Random(seed)
    mids = {name: 100.0 * (n + 1) for n, name in enumerate(names)}
    began, written = time.monotonic(), 0
    while not stop.is_set():
        now_ms = time.time_ns() // 1_000_000
        batch = []
        for _ in range(min(int((time.monotonic() - began) * rate) - written, 2000)):
            name = draw.choice(names)
            mids[name] *= 1 + draw.gauss(0, 1e-5)
            price, size = round(mids[name], 2), round(draw.uniform(0.1, 5), 3)
            if draw.random() < 0.05:
                side = draw.choice(("buy", "sell"))
                batch.append(Parsed("trade", Trade(now_ms, name, price, size, side, received=now_ms)))
            else:
                bids = [(round(price - 0.01 * k, 2), size + k) for k in range(1, 6)]
                asks = [(round(price + 0.01 * k, 2), size + k) for k in range(1, 6)]
                batch.append(Parsed("book", OrderBook(now_ms, name, bids, asks, received=now_ms)))
        outlet.write(batch)
        written += len(batch)
        time.sleep(STEP_S)
    tell.send(written)


def expect(place: str, last: Sequence[str]) -> Rows:
    """The rows of what is on the tape up to the last entry of each partition, as the code here makes them."""
    conf = settings.load({"TFS_PARTITIONS": str(PARTITIONS), "TFS_TAPE": place, "TFS_INSTRUMENTS": str(INSTRUMENTS)})
    tape = open_tape(conf)
    out: Rows = {}
    for p in range(PARTITIONS):
        partition = Partition(p, conf)
        for n, entry in enumerate(entries(tape, p), 1):
            if id_numbers(entry[0]) > id_numbers(last[p].encode()):
                break
            partition.process(*entry, 0)
            if n % 10_000 == 0:
                taken(partition, out)
        taken(partition, out)
    return out


def taken(partition: Partition, out: Rows) -> None:
    """Add the rows that a partition has given since."""
    for batch in partition.take_pending().batches.values():
        if len(batch):
            view, symbols, event, _, values, *_ = batch.columns()
            for name, at, row in zip(symbols, event.tolist(), values.tolist(), strict=True):
                out[view.name, name, at] = [None if x != x else float(x).hex() for x in row]


def expected_by(tree: Path, place: str, last: Sequence[str], to: Path, numba: str) -> Rows:
    """The same, as the code of a tree makes them."""
    command = [sys.executable, "-m", "tests.chaos.hand_over", "--expect", place, ",".join(last), str(to)]
    subprocess.run(command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree), "TFS_NUMBA": numba}, check=True)
    return pickle.loads(to.read_bytes())  # type: ignore[no-any-return]  # noqa: S301 - our own file


def found(url: str) -> dict[tuple[str, str, int], list[list[str | None]]]:
    """The rows of the database."""
    out: dict[tuple[str, str, int], list[list[str | None]]] = {}
    with psycopg.connect(url) as connection:
        for view in VIEWS:
            names = sql.SQL(", ").join(map(sql.Identifier, view.names))
            query = sql.SQL("SELECT symbol, event_timestamp, {} FROM {}").format(names, sql.Identifier(view.name))
            for name, at, *row in connection.execute(query):
                cells = [None if x is None else float(x).hex() for x in row]
                out.setdefault((view.name, name, us_of_datetime(at)), []).append(cells)
    return out


def compare(have: dict[Any, list[list[str | None]]], first: Rows, second: Rows, kernel: str, most: int) -> list[str]:
    """What is wrong: ``first`` and ``second`` are the rows of both versions, which may take turns ``most`` times."""
    wrong: Counter[str] = Counter()
    changed = {feature for name in with_users({kernel}) for feature in KERNEL[name].features}
    turns: dict[tuple[str, str], list[int]] = {}
    for key in sorted(first):
        of_key = have.get(key, [])
        if len(of_key) != 1:
            wrong[f"rows that are there {len(of_key)} times"] += 1
            continue
        names = next(view.names for view in VIEWS if view.name == key[0])
        for name, value, one, other in zip(names, of_key[0], first[key], second[key], strict=True):
            if name not in changed:
                wrong["values of other features that differ"] += not value == one == other
            elif value not in (one, other):
                wrong["changed features that are null" if value is None else "changed features of neither version"] += 1
            elif one != other:
                of_feature = turns.setdefault((key[1], name), [])
                if not of_feature or of_feature[-1] != (value == other):
                    of_feature.append(value == other)
    wrong["rows of no message"] += len(have.keys() - first.keys())
    wrong["features that took turns too often"] += sum(len(of) - 1 > most for of in turns.values())
    if not any(len(of) > 1 for of in turns.values()):
        wrong["no feature of the new version was seen"] += 1
    return [f"{what}: {n}" for what, n in sorted(wrong.items()) if n]


class Versions:
    """The workers of both trees in one deployment."""

    def __init__(self, it: Deployment, trees: Sequence[Path], numba: str, draw: random.Random) -> None:
        self.it, self.trees, self.numba, self.draw = it, trees, numba, draw
        self.now = 0
        self.killed: Counter[str] = Counter()
        self.run = self.start(0)

    def start(self, tree: int) -> subprocess.Popen[bytes]:
        words = ("run", "--roles", "worker", *(("--hand-over",) if tree != self.now else ()))
        run = self.it.command(*words, tree=self.trees[tree], TFS_NUMBA=self.numba)
        self.it.add("worker", run)
        return run

    def codes(self) -> set[str]:
        return set(handing.codes(self.it.client, list(range(PARTITIONS)))) - {""}

    def wait(self, seconds: float = PATIENCE_S, *, other_than: str = "") -> bool:
        """Wait until all states are of one code, another one than that."""
        deadline = time.monotonic() + seconds
        while len(codes := self.codes()) != 1 or codes == {other_than}:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def hand_over(self, kills: int) -> float:
        """Let the other tree take over, with so many kills at random times on the way; return for how long it took."""
        (before,) = self.codes()
        began = time.monotonic()
        newcomer = self.start(1 - self.now)
        for _ in range(kills):
            self.wait(self.draw.uniform(0.0, 12.0 if self.numba == "1" else 6.0), other_than=before)
            whose = self.draw.choice(("owner", "newcomer"))
            for child in psutil.Process((self.run if whose == "owner" else newcomer).pid).children():
                child.kill()
                self.killed[whose] += 1
        assert self.wait(other_than=before), self.it.log.read_text(errors="replace")[-4000:]
        took = time.monotonic() - began
        self.it.end(self.run)
        self.run, self.now = newcomer, 1 - self.now
        return took


def run(
    rounds: int, kills: int, rate: int, n_symbols: int, kernel: str, seed: int, before_s: float, numba: str = "1"
) -> list[str]:
    """Run the rounds, print the figures, and return what is wrong."""
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    stop = context.Event()
    with tempfile.TemporaryDirectory() as name, deployment(0, str(Path(name, "tape"))) as it:
        folder = Path(name)
        trees = HERE, other_tree(folder, kernel)
        if numba == "1":
            compiled = [sys.executable, "-m", "ingest.worker.kernels"]
            subprocess.run(compiled, cwd=trees[1], env={**os.environ, "PYTHONPATH": str(trees[1])}, check=True)
        both = Versions(it, trees, numba, random.Random(seed))
        names = [f"S{n}" for n in range(n_symbols)]
        source = context.Process(target=feed, args=(it.redis_url, names, rate, seed, stop, tell), daemon=True)
        source.start()
        assert both.wait(), it.log.read_text(errors="replace")[-4000:]
        time.sleep(before_s)
        took = [both.hand_over(kills) for _ in range(rounds)]
        time.sleep(before_s)
        stop.set()
        written = told.recv()
        source.join()
        it.drain()
        codes = [it.end(both.run)]
        it.drain()
        codes += it.stop("tape")
        last = [it.client.hget(keys.checkpoint(p), "last_id").decode() for p in range(PARTITIONS)]  # type: ignore[union-attr]
        counted = counters(it.client, PARTITIONS)
        have = found(it.postgres_url)
        log = it.log.read_text(errors="replace")
        codes += it.close()
        first, second = (expected_by(tree, str(folder / "tape"), last, folder / "rows", numba) for tree in trees)
    accepted = counted.get("accepted.book", 0) + counted.get("accepted.trade", 0)
    wrong = compare(have, first, second, kernel, rounds)
    wrong += [f"{written} messages, but {accepted} were accepted"] * (accepted != written)
    wrong += [f"a process ended with {codes}"] * any(codes)
    wrong += ["a kernel began anew"] * ("begin anew" in log)
    print(
        f"{kernel}, seed {seed}: {written} messages, {rate} a second; {rounds} hand-overs of {min(took):.1f} to {max(took):.1f} s, "
        f"{both.killed.total()} kills {dict(both.killed)}; {len(first)} rows, wrong: {wrong or 'nothing'}",
        flush=True,
    )
    return wrong


def main() -> int:
    """Run once; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.hand_over", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=10, help="hand-overs, there and back by turns (default 10)")
    add("--kills", type=int, default=3, help="in each of them (default 3)")
    add("--rate", type=int, default=2000, help="messages a second (default 2000)")
    add("--symbols", type=int, default=20, help="of the feed (default 20)")
    add("--kernel", choices=CHANGES, default="trade_volume", help="the one that changes (default trade_volume)")
    add("--before", type=float, default=70.0, help="seconds before the first hand-over and after the last (default 70)")
    add("--seed", type=int, default=0, help="other messages and times (default 0)")
    add("--expect", nargs=3, metavar=("TAPE", "LAST", "TO"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.expect:
        place, last, to = args.expect
        Path(to).write_bytes(pickle.dumps(expect(place, last.split(","))))
        return 0
    kernels.warm_up()
    return int(bool(run(args.rounds, args.kills, args.rate, args.symbols, args.kernel, args.seed, args.before)))


if __name__ == "__main__":
    sys.exit(main())
