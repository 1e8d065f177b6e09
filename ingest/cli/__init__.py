"""The command line: ``python -m ingest <command>``, one module a command, imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "demo": ("ingest.demo.command", "add_parser", "the whole system on this machine, in a minute"),
    "servers": ("ingest.servers.command", "add_parser", "Redis-compatible and PostgreSQL servers on this machine"),
    "run": ("ingest.run.command", "add_parser", "router, feature worker, scorer and offline writer"),
    "replay": ("ingest.replay.command", "add_parser", "recordings into the streams"),
    "feed": ("ingest.feeds.command", "add_parser", "live markets and posts into the streams"),
    "simulate": ("ingest.simulate.command", "add_parser", "a made-up market into the streams"),
    "status": ("ingest.observe.status_command", "add_parser", "what was taken, refused and written, and what waits"),
    "dead-letters": ("ingest.streams.dead_letters_command", "add_parser", "refused messages, with their reasons"),
    "metrics": ("ingest.observe.metrics_command", "add_parser", "the Prometheus exporter"),
    "drift": ("ingest.observe.drift_command", "add_parser", "features now against a reference day"),
    "backfill": ("ingest.backfill.command", "add_parser", "history into the offline store"),
    "fit-microprice": ("ingest.microprice.command", "add_parser", "the micro-price tables from stored history"),
    "check": ("ingest.check.command", "add_parser", "no look-ahead, and no dependence on the start, on any recording"),
    "features": ("ingest.cli.features", "add_parser", "the feature catalogue, as Markdown or JSON"),
    "training-frame": (
        "ingest.cli.training_frame",
        "add_parser",
        "leak-free features with a forward return, as Parquet",
    ),
    "score": ("ingest.sentiment.score_command", "add_parser", "a file of texts through the sentiment model"),
    "evaluate": ("ingest.sentiment.evaluate_command", "add_parser", "the sentiment model against a labelled file"),
    "prepare-model": (
        "ingest.sentiment.prepare_command",
        "add_parser",
        "a hub's model into a folder that serves offline",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m ingest",
        description="Streams into features, features into the online and the offline store.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:14} {about}" for name, (_, _, about) in COMMANDS.items()),
    )
    subparsers = parser.add_subparsers(metavar="command", required=True)
    if arguments and arguments[0] in COMMANDS:
        module, function, _ = COMMANDS[arguments[0]]
        getattr(importlib.import_module(module), function)(subparsers)
    args = parser.parse_args(arguments)
    logging.basicConfig(
        level=os.environ.get("TFS_LOG_LEVEL") or "INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("feast").setLevel(logging.WARNING)  # it reports every refresh of its registry
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return 130
    except _expected() as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _expected() -> tuple[type[Exception], ...]:
    """Errors that tell the user what to do; anything else is a fault of ours and shows its trace."""
    from psycopg import OperationalError
    from redis.exceptions import ConnectionError as RedisAwayError
    from redis.exceptions import TimeoutError as RedisSlowError

    from feature_repo.stores.errors import UserError

    return UserError, OperationalError, RedisAwayError, RedisSlowError
