"""The options of the commands that read recordings or the tape."""

from __future__ import annotations

import argparse

from feature_repo.stores.errors import UserError
from ingest.cli.arguments import moment, names


def add_tape_options(parser: argparse.ArgumentParser, *, symbols: bool = True) -> None:
    """Add ``--from-tape`` and what of the tape is read, to a command that also reads files.

    Without ``symbols`` the command has an option of that name itself, also for files.
    """
    add = parser.add_argument
    add("--from-tape", action="store_true", help="read the tape at TFS_TAPE instead of files")
    if symbols:
        add("--symbols", type=names, default=[], metavar="A,B", help="of the tape only these symbols")
    add("--since", type=moment, metavar="TIME", help="of the tape only what arrived then or later, UTC")
    add("--before", type=moment, metavar="TIME", help="of the tape only what arrived before then")


def check_tape_options(args: argparse.Namespace, *, symbols: bool = True) -> None:
    """Raise `UserError` unless there are files, or ``--from-tape`` without files; its other options need it."""
    if args.from_tape and args.paths:
        raise UserError("give files, or --from-tape, not both")
    if not args.from_tape and not args.paths:
        raise UserError("give files, or --from-tape")
    if not args.from_tape and (args.since or args.before or (symbols and args.symbols)):
        raise UserError(f"{'--symbols, ' if symbols else ''}--since and --before go with --from-tape")
    if args.since and args.before and args.since >= args.before:
        raise UserError("--since must be before --before")
