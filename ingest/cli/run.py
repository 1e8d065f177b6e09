"""``python -m ingest run``: the processes of the pipeline, each restarted when it dies, none left behind when this one does."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

_LOG = logging.getLogger(__name__)
ROLES = ("worker", "router", "scorer", "writer")
RESTART_S = 1.0
STOP_S = 20.0
GRACE_S = 4.0
"""A part that was asked to stop and has not by then ends as it is, for what was not committed is taken again: its kernels may be
compiling, or a server may keep it waiting."""


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
    from ingest import ray_engine

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


def work(role: str, stop: threading.Event) -> None:
    """Do one role's work until ``stop`` is set."""
    from feature_repo.stores.endpoints import postgres_url, redis_url
    from feature_repo.stores.redis_client import address_of_url, connect
    from ingest import settings

    conf = settings.load()
    with connect(address_of_url(redis_url()), "redis") as client:
        if role == "worker":
            from ingest.worker import Worker

            Worker(client, conf).run(stop)
        elif role == "router":
            from ingest import router

            router.run(client, conf.partitions, stop)
        elif role == "writer":
            from ingest import offline_writer

            offline_writer.run(client, postgres_url(), conf.partitions, stop)
        else:
            from ingest.sentiment import scorer

            scorer.run(client, conf, stop, postgres_url=postgres_url())


class Child(NamedTuple):
    """A process, the role it does, and when it was started."""

    role: str
    process: subprocess.Popen[bytes]
    since: float


class Processes:
    """Child processes that end with this one: each watches the pipe that is its standard input. A role may occur more than once."""

    def __init__(self, roles: list[str], environ: dict[str, str] | None = None) -> None:
        self._environ = environ
        self.restarts = 0
        self._children = [Child(role, self._start(role), time.monotonic()) for role in roles]

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ingest", "run", "--roles", role, "--inline"]
        # a session of its own: Ctrl-C reaches the parent alone, which then stops the children in order
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=self._environ, start_new_session=True)  # noqa: S603  # our own program

    def start(self, role: str) -> None:
        """Start one more process for ``role``."""
        self._children.append(Child(role, self._start(role), time.monotonic()))

    def restart_dead(self) -> None:
        """Start again whatever has died, at most once a second."""
        for i, (role, process, since) in enumerate(self._children):
            if process.poll() is not None and time.monotonic() - since >= RESTART_S:
                _LOG.error("%s ended with code %s and is started again", role, process.returncode)
                self.restarts += 1
                self._close(process)
                self._children[i] = Child(role, self._start(role), time.monotonic())

    @staticmethod
    def _close(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *about: object) -> None:
        deadline = time.monotonic() + STOP_S
        for child in self._children:
            child.process.terminate()
        for role, process, _ in self._children:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _LOG.error("%s did not stop within %.0f s and is killed", role, STOP_S)
                process.kill()
                process.wait()
            self._close(process)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r:.20} is not a number above 0")
    return int(text)


def _stop_with_parent(stop: threading.Event) -> None:
    """Stop when the parent is gone, however it went: then the pipe at standard input ends."""
    while os.read(0, 1024):
        pass
    stop.set()
    _end_soon()


def _signals() -> int:
    """What can be read from once a signal has come, though the main thread may not hear of it while it is in compiled code."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    return reader


def _stop_in_time(signals: int) -> None:
    os.read(signals, 1)
    _end_soon()


def _end_soon() -> None:
    time.sleep(GRACE_S)
    _LOG.error("it did not stop within %.0f s and ends as it is; what was not committed is taken again", GRACE_S)
    os._exit(1)
