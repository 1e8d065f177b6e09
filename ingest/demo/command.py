"""``python -m ingest demo``: the whole system on this machine, from the streams to the three calls, checked."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

import feature_repo
from feature_repo.stores.endpoints import Endpoints, default_data_dir, masked
from ingest import settings as conf
from ingest.cli import ExitCode
from ingest.cli.arguments import make_parser
from ingest.demo.feed import DemoError, Feed, recordings, simulation
from ingest.demo.sessions import write_instruments
from ingest.publish.readers import NotReadError
from ingest.recordings.columns import add_column_options, given_columns
from ingest.recordings.recording import find_out
from ingest.run.processes import Processes
from ingest.servers import embedded
from ingest.streams import deployment
from ingest.streams.backlog import counters
from ingest.streams.outage import open_redis

SYMBOLS = ("SIM-BTC", "SIM-ETH", "SIM-SOL")
HISTORY_S = 16_200
"""4 h 30 min: what the slowest feature, an indicator of 250 one-minute bars, needs."""
LIVE_S = 6.0
DEFINITIONS = Path(feature_repo.__file__).parent
_EXAMPLE = """\
examples:
  python -m ingest demo
  python -m ingest demo spot_btcusdt.jsonl.gz spot_ethusdt.jsonl.gz
  python -m ingest demo trades.csv --symbol BTCUSDT

what a recording holds is shown and checked; what it lacks is told, with what to give
exit codes: 0 all of it was right, 1 a value, a count or a process was not, or nothing of a file could be read,
            2 an option, a file or a server is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = (
        "Start the servers and the pipeline, apply the definitions, feed a simulated market or the named recordings through the "
        "streams, show the three calls, and draw what the stores hold as demo/report.html. What it wrote stays in the data folder; "
        "`servers up` serves it again."
    )
    parser = make_parser(subparsers, "demo", run, about, _EXAMPLE)
    add = parser.add_argument
    add("recordings", nargs="*", type=Path, metavar="PATH", help="recordings to replay at their own times")
    add("--seed", type=int, default=0, help="of the simulated market (default 0)")
    add_column_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo; the code is 0 only if all of it was right."""
    console = Console()
    began = time.monotonic()
    find_out(
        args.recordings, given_columns(args)
    )  # tell now, not after the servers have started, what is wrong with a file
    try:
        with embedded.running() as endpoints:
            addresses = f"{masked(endpoints.redis_url)} and {masked(endpoints.postgres_url)}"
            console.print(f"[bold]servers[/] {addresses}", highlight=False, soft_wrap=True)
            demo(args, console, endpoints)
    except (DemoError, NotReadError) as error:
        console.print(f"[bold red]not right:[/] {error}", markup=True, highlight=False)
        return ExitCode.NO
    console.print(f"[bold green]all of it was right[/], in {time.monotonic() - began:.0f} s")
    return ExitCode.DONE


def demo(args: argparse.Namespace, console: Console, endpoints: Endpoints) -> None:
    """Feed the pipeline, read both stores and check what they hold. Raise `DemoError` if a value, a count or a process is wrong."""
    tape = str(default_data_dir() / "tape")
    environ = {"SENTIMENT_MODEL": "embedded", "TFS_TAPE": tape, **conf.environment(**endpoints.environment())}
    settings = conf.load(environ)
    if not args.recordings:
        path = default_data_dir() / "demo" / "instruments.toml"
        write_instruments(path, settings, SYMBOLS, datetime.now(UTC) - timedelta(seconds=HISTORY_S))
        environ["TFS_INSTRUMENTS"] = str(path)
        settings = conf.load(environ)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(open_redis(endpoints.redis_url))
        settings = deployment.check(client, settings, endpoints.postgres_url)
        processes = stack.enter_context(
            Processes(["scorer", "router", "writer", *(["tape"] if settings.tape else [])], environ)
        )
        apply(console, environ)
        before = counters(client, settings.partitions)
        feed = Feed(client, settings, processes, console)
        # imported here because that takes seconds, in which the pipeline starts
        from feast import FeatureStore

        from ingest.demo import data, read, report

        store = FeatureStore(repo_path=str(DEFINITIONS))

        def done() -> dict[str, int]:
            return {name: n - before.get(name, 0) for name, n in counters(client, settings.partitions).items()}

        if args.recordings:
            heard = recordings(feed, args.recordings, given_columns(args))
            read.show(feed, store, heard.symbols, heard)
            page = report.write(store, settings, heard.symbols, heard.span_us, done(), None)
        else:
            with simulation(feed, SYMBOLS, args.seed, HISTORY_S):
                with console.status(f"live for {LIVE_S:.0f} s"):
                    delays_ms = data.watch(store, SYMBOLS, LIVE_S)
                read.show(feed, store, SYMBOLS, None)
                now_us = time.time_ns() // 1000
                span_us = (now_us - HISTORY_S * 1_000_000, now_us)
                page = report.write(store, settings, SYMBOLS, span_us, done(), delays_ms)
        read.summary(console, done())
        console.print(f"[bold]drawn[/] {page}", highlight=False, soft_wrap=True)
        if processes.restarts:
            raise DemoError(f"a process of the pipeline died {processes.restarts} times; its log is above")


def apply(console: Console, environ: Mapping[str, str]) -> None:
    """Run ``feast apply`` as a user does."""
    console.print(f"[bold]feast apply[/] {DEFINITIONS.name}")
    command = [str(Path(sys.executable).with_name("feast")), "-c", str(DEFINITIONS), "apply"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    if done.returncode:
        raise DemoError(f"feast apply failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
