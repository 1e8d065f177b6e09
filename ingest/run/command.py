"""``python -m ingest run``: the processes of the pipeline, each restarted when it dies, none left behind when this one does."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import Any

from ingest.run.processes import Processes, _signals, _stop_in_time, _stop_with_parent
from ingest.run.roles import ROLES, work


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run",
        help="run the pipeline",
        description="Run router, feature worker, scorer and offline writer until stopped; each is a process of its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            "examples:\n  SENTIMENT_MODEL=embedded python -m ingest run\n  python -m ingest run --roles worker --workers 4\n"
            "  ray job submit -- python -m ingest run --engine ray --workers 16 --gpu-workers 1\n\n"
            "Workers share the partitions, wherever they were started. A second router or writer stands by."
        ),
    )
    parser.add_argument(
        "--roles", default=",".join(ROLES), help=f"which of them, comma-separated (default {','.join(ROLES)})"
    )
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="worker processes (default 1)")
    parser.add_argument(
        "--engine",
        choices=("embedded", "ray"),
        default="embedded",
        help="processes on this machine, or actors on a Ray cluster (default embedded)",
    )
    parser.add_argument(
        "--gpu-workers",
        type=_positive,
        default=0,
        metavar="N",
        help="of ray: scorers with a GPU each (default: one without)",
    )
    parser.add_argument("--inline", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the roles: one in this process with ``--inline``, else each in a child."""
    roles = args.roles.split(",")
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        print(f"error: no role {', '.join(unknown)}; roles are {', '.join(ROLES)}", file=sys.stderr)
        return 2
    stop = threading.Event()
    if args.engine == "ray":
        return _run_on_ray(roles, args, stop)
    if args.gpu_workers:
        print(
            "error: --gpu-workers is for --engine ray; here the scorer takes a GPU where there is one", file=sys.stderr
        )
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if args.inline:
        threading.Thread(target=_stop_in_time, args=(_signals(),), daemon=True).start()
        threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
        work(roles[0], stop)
    else:
        every = [role for role in roles for _ in range(args.workers if role == "worker" else 1)]
        with Processes(every) as processes:
            while not stop.wait(0.2):
                processes.restart_dead()
    return 0


def _run_on_ray(roles: list[str], args: argparse.Namespace, stop: threading.Event) -> int:
    from feature_repo.stores.endpoints import postgres_url, redis_url
    from ingest.run import ray_engine

    try:
        parts = ray_engine.parts(roles, args.workers, args.gpu_workers)
        addresses = {"TFS_REDIS_URL": redis_url()}
        if {"writer", "scorer"} & set(roles):
            addresses["TFS_POSTGRES_URL"] = postgres_url()
        ray_engine.run(parts, {**os.environ, **addresses}, stop)
    except ray_engine.EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r:.20} is not a number above 0")
    return int(text)
