"""The entries of a period of the tape, from all logs together, in the order of their ids."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import merge

from feature_repo.stores.errors import UserError
from ingest.cli.arguments import moment, names
from ingest.streams.read import id_numbers
from ingest.tape.columns import FOR_ALL
from ingest.tape.read import FOREVER_MS, entries
from ingest.tape.table import Tape

LogEntry = tuple[bytes, int, dict[bytes, bytes]]
"""The id, the partition of the log, and the fields."""


def in_order(
    tape: Tape,
    partitions: int,
    since: datetime | None = None,
    before: datetime | None = None,
    symbols: Sequence[str] = (),
) -> Iterator[LogEntry]:
    """Yield the entries of all logs that arrived from ``since`` until ``before``, in the order of their ids; None is no bound.

    Of ``symbols`` only what names them is given, and what is for all symbols, such as a withdrawn post.
    """
    since_ms = 0 if since is None else round(since.timestamp() * 1000)
    before_ms = FOREVER_MS if before is None else round(before.timestamp() * 1000)
    wanted = [*symbols, FOR_ALL] if symbols else None

    def of(p: int) -> Iterator[tuple[tuple[int, int], LogEntry]]:
        for entry_id, fields in entries(tape, p, since_ms=since_ms, before_ms=before_ms, symbols=wanted):
            yield id_numbers(entry_id), (entry_id, p, fields)

    for _, entry in merge(*map(of, range(partitions)), key=lambda one: (one[0], one[1][1])):
        yield entry


def add_tape_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--from-tape`` and what of the tape is read, to a command that also reads files."""
    add = parser.add_argument
    add("--from-tape", action="store_true", help="read the tape at TFS_TAPE instead of files")
    add("--symbols", type=names, default=[], metavar="A,B", help="of the tape only these symbols")
    add("--since", type=moment, metavar="TIME", help="of the tape only what arrived then or later, UTC")
    add("--before", type=moment, metavar="TIME", help="of the tape only what arrived before then")


def check_tape_options(args: argparse.Namespace) -> None:
    """Raise `UserError` unless there are files, or ``--from-tape`` without files; its other options need it."""
    if args.from_tape and args.paths:
        raise UserError("give files, or --from-tape, not both")
    if not args.from_tape and not args.paths:
        raise UserError("give files, or --from-tape")
    if not args.from_tape and (args.symbols or args.since or args.before):
        raise UserError("--symbols, --since and --before go with --from-tape")
    if args.since and args.before and args.since >= args.before:
        raise UserError("--since must be before --before")
