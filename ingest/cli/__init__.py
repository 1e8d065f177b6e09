"""The command line: ``python -m ingest <command>``. The module of a command is imported only when that command is called."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

_LOG = logging.getLogger(__name__)
_PACKAGES = ("ingest", "feature_repo", "transforms")
_REDIS_REFUSES = re.compile(r"(?:^|caused error: )(?:MISCONF|NOREPLICAS|BUSY|DENIED|DB index is out of range)\b")
"""The server's disk is full, its replicas are away, a script takes long, it asks for a password, or has no such database: alone, or for
a command of a pipeline. The client has no class of its own for these."""

COMMANDS = {
    "demo": ("ingest.demo.command", "the whole system on this machine, in a minute"),
    "servers": ("ingest.servers.command", "Redis-compatible and PostgreSQL servers on this machine"),
    "run": ("ingest.run.command", "router, feature worker, scorer and offline writer"),
    "replay": ("ingest.replay.command", "recordings into the streams"),
    "feed": ("ingest.feeds.command", "live markets and posts into the streams"),
    "simulate": ("ingest.simulate.command", "a made-up market into the streams"),
    "status": ("ingest.observe.status_command", "what was taken, refused and written, and what waits"),
    "partitions": (
        "ingest.observe.partitions_command",
        "how many there are, and raising their number while everything runs",
    ),
    "tape": ("ingest.tape.command", "every message for good: status, verify, compact, export"),
    "lake": ("ingest.lake.command", "closed days of every view as Delta tables, for fast training joins"),
    "import": ("ingest.imports.command", "history in files of venues and vendors onto the tape"),
    "warm": ("ingest.warm.command", "states of symbols rebuilt from the tape: a new symbol, an emptied Redis"),
    "symbols": ("ingest.worker.symbols_command", "the symbols that the workers know, and which of them are idle"),
    "dead-letters": ("ingest.worker.dead_letters_command", "refused messages, with their reasons"),
    "metrics": ("ingest.observe.metrics_command", "the Prometheus exporter"),
    "drift": ("ingest.observe.drift_command", "features now against a reference day"),
    "backfill": ("ingest.backfill.command", "history into the offline store"),
    "fit-microprice": ("ingest.microprice.command", "the micro-price tables from stored history"),
    "check": ("ingest.check.command", "no look-ahead, and no dependence on the start, on any recording"),
    "features": ("ingest.research.features_command", "the feature catalogue; which features of a frame are worth it"),
    "training-frame": ("ingest.training.command", "leak-free features with labels, as Parquet"),
    "score": ("ingest.sentiment.score_command", "a file of texts through the sentiment model"),
    "evaluate": ("ingest.sentiment.evaluate_command", "the sentiment model against a labelled file"),
    "prepare-model": ("ingest.sentiment.model_command", "a hub's model into a folder that serves offline"),
}
"""The module of each command, and its line in the help."""


class ExitCode(IntEnum):
    """How a command ended: the same failure, the same code. ``docs/operations.md`` has the same table, and a test compares them."""

    DONE = 0  # the command did what it was asked to do
    NO = 1  # it ran, and the answer is no or something was left undone: a check failed, a letter is not there, no server is up
    USER_ERROR = 2  # the user can mend it: an option, a setting, a file, an address, a server that is away
    WAITING = 3  # ``check consistency`` and ``check served``: nothing differs, but rows had not reached the offline store in time
    INTERRUPTED = 130  # Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (`ExitCode`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m ingest",
        description="Streams into features, features into the online and the offline store.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:14} {about}" for name, (_, about) in COMMANDS.items()),
    )
    subparsers = parser.add_subparsers(metavar="command", required=True)
    if words and words[0] in COMMANDS:
        add_command(words[0], subparsers)
    args = parser.parse_args(words)
    try:
        _set_up_logging()
        return int(args.run(args) or ExitCode.DONE)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        if not _is_users(error):
            raise
        _LOG.debug("where it happened", exc_info=True)
        said = str(error).partition("\nLINE ")[0]  # PostgreSQL adds the line of the query, which the user did not write
        print(printable("; ".join([f"error: {said}", *getattr(error, "__notes__", ())])), file=sys.stderr)
        return ExitCode.USER_ERROR


def printable(text: str) -> str:
    """Return text in which characters that command a terminal are written as their codes: it may quote a file or its name.

    >>> printable(f"a{chr(27)}[31m é")
    'a\\\\x1b[31m é'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def add_command(name: str, subparsers: Any) -> None:
    """Import a command and add its parser."""
    module, _ = COMMANDS[name]
    importlib.import_module(module).add_parser(subparsers)


def _set_up_logging() -> None:
    from ingest.settings import log_level

    logging.basicConfig(level=log_level(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("feast").setLevel(logging.WARNING)  # Feast logs every refresh of its registry


def _is_users(error: Exception) -> bool:
    """Return whether the user can mend it and the message says enough. Any other error is a fault of this program.

    A user can mend the project's own `UserError`, what a file or a port answers, and a server that is away, full, read-only, or short
    of a password, a right, a schema or a table. A query or a script that a server does not understand is our fault.
    """
    import redis
    from psycopg import OperationalError
    from psycopg.errors import InsufficientPrivilege, InvalidSchemaName, ReadOnlySqlTransaction, UndefinedTable
    from redis.exceptions import NoPermissionError, OutOfMemoryError

    from feature_repo.stores.errors import UserError
    from feature_repo.stores.online.attempt import LOGIN_REFUSED, PASSING

    if isinstance(error, UndefinedTable):
        error.add_note("run `feast apply`, which makes the tables")
    if isinstance(error, LOGIN_REFUSED):
        error.add_note("this is Redis: correct the user and the password in TFS_REDIS_URL")
    postgres = (OperationalError, InsufficientPrivilege, InvalidSchemaName, ReadOnlySqlTransaction, UndefinedTable)
    return isinstance(error, (UserError, OSError, *postgres, *PASSING, NoPermissionError, OutOfMemoryError)) or (
        isinstance(error, redis.ResponseError) and _REDIS_REFUSES.search(str(error)) is not None
    )


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn the failing import of a library inside the block into a `UserError` that names the extra to install."""
    from feature_repo.stores.errors import UserError

    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if not library or library in _PACKAGES:
            raise
        advice = f"it comes with the extra `{extra}`: pip install -e '.[{extra}]'"
        raise UserError(f"{library} is not installed; {advice}") from error
