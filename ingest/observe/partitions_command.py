"""``python -m ingest partitions``: how many partitions there are and what each does, and raising their number while everything runs."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from ingest import settings
from ingest.cli import ExitCode
from ingest.cli.arguments import count, make_parser, non_negative, pause_s
from ingest.observe.redis_state import symbols_by_partition
from ingest.settings import Settings
from ingest.streams import deployment, keys, outage, raised
from ingest.streams.backlog import ask

LOOK_S = 0.1
TELL_S = 10.0  # without a change; then it is said what the raising waits for

_EXAMPLE = """\
examples:
  python -m ingest partitions
  python -m ingest partitions --to 64

The list shows of each partition its symbols, as their states were saved last, and the entries that its log was given.
--to raises the number on a running deployment. It must be a multiple of the number of today. Each symbol moves with its state, at one
position of its log. Feeds, router, scorer and Kafka reader wait meanwhile, for seconds; nothing is lost and nothing comes twice.
All parts must be of this release. They go on with the new number by themselves; set TFS_PARTITIONS to it at the next deployment.
The work is done by the workers. Where this command is stopped, it goes on; the same command again waits for its end.
exit codes: 0 done, 1 not done in the time of --wait, 2 the number is not possible, or a server is away
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = make_parser(
        subparsers, "partitions", run, "Partitions, their symbols and rates; raise their number.", _EXAMPLE
    )
    parser.add_argument("--to", type=count, metavar="N", help="raise the number of partitions to N")
    parser.add_argument(
        "--wait", type=non_negative, metavar="SECONDS", help="with --to: give up waiting after so long (default: never)"
    )
    parser.add_argument(
        "--over", type=pause_s, default=2.0, metavar="SECONDS", help="measure rates for so long (default 2)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """List the partitions, or raise their number; return the exit code."""
    with deployment.opened(settings.load(), fix=args.to is not None) as (client, conf):
        if args.to is not None:
            return _raise(client, conf, args.to, args.wait, as_json=args.json)
        rows = _rows(client, conf.partitions, args.over)
        goal = int(client.get(keys.GOAL) or 0)  # type: ignore[arg-type]
    on_the_way = goal if goal > conf.partitions else None
    if args.json:
        print(json.dumps({"partitions": conf.partitions, "goal": on_the_way, "each": rows}))
        return ExitCode.DONE
    print(f"{conf.partitions} partitions" + (f", on the way to {goal}" if on_the_way else ""))
    for row in rows:
        print(f"{row['partition']:>6}  {row['symbols']:>6,} symbols  {row['entries_per_s']:>10,.1f} entries/s")
    return ExitCode.DONE


def _rows(client: redis.Redis, partitions: int, over_s: float) -> list[dict[str, Any]]:
    began, first = time.monotonic(), _added(client, partitions)
    symbols = symbols_by_partition(client, partitions)
    time.sleep(over_s)
    took, last = time.monotonic() - began, _added(client, partitions)
    return [
        {"partition": p, "symbols": len(symbols[p]), "entries_per_s": round(max(last[p] - first[p], 0) / took, 1)}
        for p in range(partitions)
    ]


def _added(client: redis.Redis, partitions: int) -> list[int]:
    """Return how many entries each log was ever given."""
    found = ask(client, [("XINFO STREAM", keys.events(p)) for p in range(partitions)])
    return [0 if about is None else int(about["entries-added"]) for about in found]


def _raise(client: redis.Redis, conf: Settings, goal: int, wait_s: float | None, *, as_json: bool) -> int:
    before, began = conf.partitions, time.monotonic()
    until = None if wait_s is None else began + wait_s
    done = list[bool]()

    def passes(error: Exception) -> bool:
        return outage.is_passing(error) and (until is None or time.monotonic() < until)

    # A failover or a start of Redis on the way is waited out, as by the parts.
    outage.ride_out(
        "the raising", lambda well: done.append(_wait(client, goal, until, well)), threading.Event(), passes
    )
    if not done[0]:
        print(f"not done after {wait_s:g} s; it goes on: look with `python -m ingest partitions`", file=sys.stderr)
        return ExitCode.NO
    took_s = time.monotonic() - began
    if as_json:
        print(json.dumps({"before": before, "partitions": goal, "took_s": round(took_s, 2)}))
    elif before == goal:
        print(f"there are {goal} partitions already")
    else:
        print(f"{goal} partitions, before {before}, after {took_s:.1f} s")
    return ExitCode.DONE


def _wait(client: redis.Redis, goal: int, until: float | None, well: Callable[[], None]) -> bool:
    """Ask for a number of partitions until it counts, or the time is over; return whether it counts."""
    told, told_at = "", time.monotonic()
    while (now := raised.number(client)) != goal:
        raised.ask(client, now, goal)
        if until is not None and time.monotonic() > until:
            return False
        said = _phases(client, now)
        if said != told or time.monotonic() - told_at >= TELL_S:
            hint = "" if said != told else "; every partition needs a worker: look with `python -m ingest status`"
            print(f"{now} to {goal} partitions: {said}{hint}", file=sys.stderr)
            told, told_at = said, time.monotonic()
        well()
        time.sleep(LOOK_S)
    return True


def _phases(client: redis.Redis, partitions: int) -> str:
    """Return how many partitions have come how far."""
    pipe: Any = client.pipeline(transaction=False)
    for p in range(partitions):
        pipe.get(keys.number(p))
    phases = [(found or b"").decode().partition(" ")[0] for found in pipe.execute()]
    closed, quiet = phases.count("closed"), phases.count("quiet")
    return f"{closed} are worked to their ends, {quiet} wait for others, {partitions - closed - quiet} take entries or are divided"
