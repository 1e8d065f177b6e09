"""``python -m ingest run``: the processes of the pipeline. Each is restarted when it dies and stopped when this one ends."""

from __future__ import annotations

import argparse
import signal
import threading
import time
from typing import Any

from feature_repo.stores.endpoints import lake_place
from feature_repo.stores.errors import UserError
from ingest import settings
from ingest.cli.arguments import count, make_parser
from ingest.run.processes import ROLES, WITH_LAKE, Processes, run_role, stop_with_parent_or_signal
from ingest.run.start import check_history, check_servers

LOOK_S = 0.2
"""Seconds between two looks for children that died."""
_EXAMPLE = """\
examples:
  SENTIMENT_MODEL=embedded python -m ingest run
  python -m ingest run --roles worker --workers 4
  python -m ingest run --roles worker --hand-over
  ray job submit -- python -m ingest run --engine ray --workers 16 --gpu-workers 1

Workers share the partitions, wherever they were started. A second router or writer stands by. Without its servers `run` ends at once;
a server that goes away later is waited for. A worker with other kernels than those of the running workers waits until they are gone, or
takes over from them with --hand-over.
exit codes: 0 stopped, 2 an option, a setting, a library or a server is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Run router, feature worker, scorer, offline writer, and tape and lake where there are some, until stopped; each is a process."
    every = ",".join(ROLES)
    with_lake = f"which of them, comma-separated (default {every}, and lake with TFS_LAKE)"
    add = make_parser(subparsers, "run", run, about, _EXAMPLE).add_argument
    add("--roles", default=every, help=with_lake)
    add("--workers", type=count, default=1, metavar="N", help="worker processes (default 1)")
    engines = "processes on this machine, or actors on a Ray cluster (default embedded)"
    add("--engine", choices=("embedded", "ray"), default="embedded", help=engines)
    gpu_workers = "of ray: scorers with a GPU each (default: one without)"
    add("--gpu-workers", type=count, default=0, metavar="N", help=gpu_workers)
    hand_over = "take the partitions over from workers with other kernels, which are rebuilt from the tape meanwhile"
    add("--hand-over", action="store_true", help=hand_over)
    add(
        "--cold",
        action="store_true",
        help="with --hand-over: rebuild nothing; what changed is null until it is warm again",
    )
    add("--started", type=int, default=0, help=argparse.SUPPRESS)
    add("--inline", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> None:
    """Run the roles: one in this process with ``--inline``, else each in a child."""
    roles = args.roles.split(",")
    if roles == list(ROLES) and lake_place():
        roles = list(WITH_LAKE)
    if unknown := sorted(set(roles) - set(WITH_LAKE)):
        raise UserError(f"no role {', '.join(unknown)}; roles are {', '.join(WITH_LAKE)}")
    if args.cold and not args.hand_over:
        raise UserError("--cold is for --hand-over")
    conf = settings.load()
    if not conf.tape and len(roles) > 1:
        roles = [role for role in roles if role != "tape"]
    stop = threading.Event()
    if args.engine == "ray":
        if args.hand_over:
            raise UserError(
                "--hand-over is not for --engine ray: stop the pipeline there, and start it with the new version"
            )
        _run_on_ray(roles, args, stop)
        return
    hand_over = ("cold" if args.cold else "rebuild") if args.hand_over else "wait"
    if args.gpu_workers:
        raise UserError("--gpu-workers is for --engine ray; here the scorer takes a GPU where there is one")
    if not args.inline:
        check_servers(conf, roles)
        if hand_over == "rebuild" and "worker" in roles:
            check_history(conf)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if args.inline:
        stop_with_parent_or_signal(stop)
        run_role(roles[0], stop, hand_over, args.started)
        return
    options = (
        ["--hand-over", *["--cold"] * args.cold, "--started", str(time.time_ns() // 1_000_000)]
        if args.hand_over
        else []
    )
    children = [role for role in roles for _ in range(args.workers if role == "worker" else 1)]
    with Processes(children, options=options) as processes:
        while not stop.wait(LOOK_S):
            processes.restart_dead()


def _run_on_ray(roles: list[str], args: argparse.Namespace, stop: threading.Event) -> None:
    from feature_repo.stores.endpoints import POSTGRES_VARIABLE, REDIS_VARIABLE, postgres_url, redis_url
    from ingest.run import ray_engine

    parts = ray_engine.parts(roles, args.workers, args.gpu_workers)
    check_servers(settings.load(), roles)
    addresses = {REDIS_VARIABLE: redis_url()}
    if {"writer", "scorer", "lake"} & set(roles):
        addresses[POSTGRES_VARIABLE] = postgres_url()
    ray_engine.run(parts, settings.environment(**addresses), stop)
