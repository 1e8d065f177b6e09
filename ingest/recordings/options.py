"""The options that name columns of tables, the same for every command that reads recordings."""

from __future__ import annotations

import argparse

from ingest.recordings.columns import GivenColumns


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--text-column``, ``--time-column``, ``--id-column``, ``--symbol-column`` and ``--symbol``."""
    parser.add_argument("--text-column", metavar="NAME", help="column of the posts' texts, where it has no common name")
    parser.add_argument("--time-column", metavar="NAME", help="of their times")
    parser.add_argument("--id-column", metavar="NAME", help="of their ids")
    parser.add_argument("--symbol-column", metavar="NAME", help="of the symbols they are about")
    parser.add_argument("--symbol", metavar="NAME", help="of trades and books in files that do not name it")


def chosen(args: argparse.Namespace) -> GivenColumns:
    """Return the columns that these options name."""
    return GivenColumns(args.text_column, args.time_column, args.id_column, args.symbol_column, args.symbol)
