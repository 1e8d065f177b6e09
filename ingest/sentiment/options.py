"""What the three commands of this room share: the options of the model, loading it, and a progress bar."""

from __future__ import annotations

import argparse
from typing import Any

from ingest.settings import DEFAULT_MODEL, sentiment_model

ROWS_A_TABLE = 4096


def add_model_options(parser: argparse.ArgumentParser, *, device: bool = True) -> None:
    """Add ``--model``, ``--revision`` and, unless the command computes nothing, ``--device``."""
    parser.add_argument(
        "--model", help=f"hub id, folder or `embedded` (default: SENTIMENT_MODEL, else {DEFAULT_MODEL})"
    )
    parser.add_argument("--revision", help="commit of a hub id (default: SENTIMENT_REVISION, else the pinned one)")
    if device:
        parser.add_argument("--device", help="cuda or cpu (default: a GPU where there is one)")


def chosen_model(args: argparse.Namespace) -> tuple[str, str | None]:
    """Return the name and revision that the options give, else those of the environment.

    The environment's revision belongs to the environment's model, so it is not used with ``--model``.
    """
    name, revision = sentiment_model()
    return args.model or name, args.revision or (None if args.model else revision)


def load_model(args: argparse.Namespace) -> Any:
    """Load the model of the options."""
    from ingest.sentiment.model.model import load  # torch takes seconds to import

    name, revision = chosen_model(args)
    return load(name, revision=revision, device=args.device)


def progress_bar() -> Any:
    """Return a bar on standard error that shows on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
