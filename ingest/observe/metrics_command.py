"""``python -m ingest metrics``: the Prometheus exporter."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from typing import Any

from feature_repo.stores.errors import UserError
from ingest.cli import ExitCode
from ingest.cli.arguments import make_parser

_EXAMPLE = """\
examples:
  python -m ingest metrics                       serve http://127.0.0.1:9464/metrics until stopped
  python -m ingest metrics --once | grep outbox  print them once

one exporter a deployment: it reads Redis and PostgreSQL, so no worker opens a port; docs/metrics.md lists what it shows
exit codes: 0 done, 1 with --once a store could not be read, 2 no server is known or the port is taken
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = make_parser(subparsers, "metrics", run, "Serve the metrics of the whole deployment.", _EXAMPLE)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=9464, help="port; 0 takes a free one (default 9464)")
    parser.add_argument("--once", action="store_true", help="print the metrics and end")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.exposition import generate_latest

    from feature_repo.stores.endpoints import postgres_url, redis_url
    from feature_repo.stores.online.attempt import PASSING
    from ingest import settings
    from ingest.observe.collector import Collector
    from ingest.streams import deployment
    from ingest.streams.outage import open_redis

    conf = settings.load()
    with open_redis(redis_url()) as client:
        with contextlib.suppress(*PASSING):  # a Redis that is away is shown, and compared when it is back
            conf = deployment.check(client, conf, deployment.known_database(), fix=False)
        registry = CollectorRegistry()
        registry.register(Collector(client, postgres_url(), conf))
        if args.once:
            text = generate_latest(registry).decode()
            sys.stdout.write(text)
            away = any(line.startswith("tfs_up{") and line.endswith(" 0.0") for line in text.splitlines())
            return ExitCode.NO if away else ExitCode.DONE
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        try:
            server, thread = start_http_server(args.port, args.host, registry)
        except OSError as error:
            raise UserError(f"{args.host}:{args.port}: {error.strerror}") from error
        sys.stderr.write(f"metrics on http://{args.host}:{server.server_port}/metrics\n")
        sys.stderr.flush()
        stop.wait()
        server.shutdown()
        server.server_close()
        thread.join()
    return ExitCode.DONE
