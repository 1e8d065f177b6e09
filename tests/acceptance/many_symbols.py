"""``python -m tests.acceptance.many_symbols``: symbols that speak once and then no more, while a listed one goes on.

A worker in a process of its own, with the role ``tape`` beside it, on servers of their own. Each partition is filled with as many
invented symbols as may be open there. It prints the memory of the worker before, with all of them, and after they left, the longest time
between two of its signs of life, on the clock and of the processor, and whether a lease was lost or a message of the listed symbol refused.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import redis

from ingest import settings
from ingest.messages.kinds import OrderBook, Trade
from ingest.publish.publisher import Publisher
from ingest.servers import embedded
from ingest.streams import keys
from ingest.streams.membership import LEASE_MS, Member
from ingest.tape import role
from ingest.worker.worker import Worker

LISTED = "LISTEDUSDT"
PATIENCE_S = 600.0


class Report(NamedTuple):
    """What the worker tells: its memory, the longest time between two signs of life since the last report, and how many symbols are open.

    ``longest_cpu_s`` is the most processor time between two.
    """

    mib: float
    longest_s: float
    longest_cpu_s: float
    symbols: int


class Result(NamedTuple):
    """The memory of the worker before, with all symbols, and after they left; its longest silence; lost leases; refusals."""

    before_mib: float
    most_mib: float
    after_mib: float
    longest_s: float
    longest_cpu_s: float
    leases_lost: int
    listed_refused: int
    listed_heard: int


def work(environ: Mapping[str, str], url: str, orders: Connection) -> None:
    """Be the worker; report when asked, and end at None."""
    os.environ.update(environ)
    client = redis.Redis.from_url(url)
    worker = Worker(client, settings.load())
    worker.open()
    beats = Beats(worker._member)
    while True:
        if orders.poll():
            if orders.recv() is None:
                worker.close()
                return
            symbols = sum(len(partition.symbols) for partition in worker._partitions.values())
            orders.send(Report(_mib(), *beats.longest, symbols))
            beats.longest = 0.0, 0.0
        worker.step()


class Beats:
    """Measures the time between two signs of life of a worker, on the clock and of the processor."""

    def __init__(self, member: Member) -> None:
        self.longest = 0.0, 0.0
        self._beat = member.beat
        self._last = time.perf_counter(), time.process_time()
        member.beat = self.beat  # type: ignore[method-assign]

    def beat(self, **how: Any) -> list[Any]:
        """Give a sign of life."""
        lost = self._beat(**how)
        now = time.perf_counter(), time.process_time()
        wall_s, cpu_s = now[0] - self._last[0], now[1] - self._last[1]
        self.longest = max(self.longest[0], wall_s), max(self.longest[1], cpu_s)
        self._last = now
        return lost


def _mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def names_of(partitions: int, each: int) -> list[str]:
    """Invented names, so many of each partition."""
    found: dict[int, list[str]] = {p: [] for p in range(partitions)}
    for i in count():
        name = f"INVENTED{i}"
        of = found[keys.partition_of(name, partitions)]
        if len(of) < each:
            of.append(name)
        if all(len(of) == each for of in found.values()):
            return [name for of in found.values() for name in of]
    raise AssertionError


def measure(url: str, folder: Path, partitions: int, each: int, *, trades: bool, forget_s: int, emit_ms: int) -> Result:
    """Let ``each`` symbols of every partition speak once, and wait until they have left the memory."""
    listed = folder / "instruments.toml"
    listed.write_text(f"[{LISTED}]\n")
    environ = {
        "TFS_PARTITIONS": str(partitions), "TFS_MAX_SYMBOLS": str(each), "TFS_FORGET_S": str(forget_s), "TFS_INSTRUMENTS": str(listed),
        "TFS_EMIT_INTERVAL_MS": str(emit_ms), "TFS_TAPE": str(folder / "tape"),
    }  # fmt: skip
    client = redis.Redis.from_url(url)
    client.flushall()
    stop = threading.Event()
    tape = threading.Thread(target=role.run, args=(redis.Redis.from_url(url), settings.load(environ), stop))
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(environ, url, there))
    process.start()
    there.close()  # so that nobody waits for a report of a process that died
    tape.start()
    heard = 0

    def say(names: list[str], *, with_trades: bool) -> None:
        seconds, micros = client.time()  # type: ignore[misc]
        now = seconds * 1000 + micros // 1000
        with Publisher(client, partitions) as publisher:
            for name in names:
                publisher.publish("book", OrderBook(now, name, [(99.0, 1.0)], [(101.0, 1.0)], received=now))
                if with_trades:
                    publisher.publish("trade", Trade(now, name, 100.0, 1.0, "buy", received=now))

    def report() -> Report:
        here.send("report")
        found: Report = here.recv()
        return found

    def until(is_so: Callable[[Report], bool]) -> list[Report]:
        nonlocal heard
        found = []
        deadline = time.monotonic() + PATIENCE_S
        while not found or not is_so(found[-1]):
            assert time.monotonic() < deadline, found[-1]
            say([LISTED], with_trades=True)
            heard += 2
            time.sleep(0.5)
            found.append(report())
        return found

    try:
        names = names_of(partitions, each)
        say(
            names[:1], with_trades=trades
        )  # what is made once, when the first symbol comes and leaves, is there from then on
        until(lambda told: told.symbols == 1 and _idle(client, partitions) == 1)
        before = report()
        say(names, with_trades=trades)
        full = until(lambda told: told.symbols == partitions * each + 1)
        emptied = until(lambda told: told.symbols == 1)
        settled = until(lambda told: told.symbols == 1 and _idle(client, partitions) == partitions * each)
        time.sleep(5.0)  # their states are saved, and the memory is given back with that
        settled.append(report())
        every = (fields for stream in keys.letter_streams(partitions) for _, fields in client.xrange(stream))
        refused = sum(LISTED.encode() in b"".join(fields.values()) for fields in every)
        fences: Any = client.mget([keys.fence(p) for p in range(partitions)])
        lost = sum(int(fence) for fence in fences) - partitions
        every_report = (*full, *emptied, *settled)
        longest = max(told.longest_s for told in every_report), max(told.longest_cpu_s for told in every_report)
        most = max(told.mib for told in (*full, *emptied))
        return Result(before.mib, most, settled[-1].mib, *longest, lost, refused, heard)
    finally:
        with contextlib.suppress(OSError):  # it died
            here.send(None)
        process.join(60)
        stop.set()
        tape.join()


def _idle(client: redis.Redis, partitions: int) -> int:
    return sum(client.hlen(keys.idle(p)) for p in range(partitions))  # type: ignore[misc]


def main() -> int:
    """Print the figures; 1 where one is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.many_symbols", description=__doc__)
    parser.add_argument("--partitions", type=int, default=10)
    parser.add_argument("--each", type=int, default=1000, help="symbols of a partition (default 1000)")
    parser.add_argument("--trades", action="store_true", help="a trade of each too: its rows go on for five minutes")
    parser.add_argument("--emit-ms", type=int, default=1000, help="the grid (default 1000)")
    parser.add_argument("--forget-s", type=int, default=30, help="silence after which a symbol leaves (default 30)")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        data.chmod(0o711)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        endpoints = stack.enter_context(embedded.running(data, durable=False))
        found = measure(
            endpoints.redis_url, folder, args.partitions, args.each, trades=args.trades, forget_s=args.forget_s, emit_ms=args.emit_ms
        )  # fmt: skip
    print(found)
    print(f"after/before {found.after_mib / found.before_mib:.3f}, load {os.getloadavg()[0]:.1f}")
    is_well = found.after_mib <= 1.2 * found.before_mib and not found.leases_lost and not found.listed_refused
    return 0 if is_well and found.longest_s < LEASE_MS / 2000 else 1


if __name__ == "__main__":
    sys.exit(main())
