"""The model of a command: its options, loading it, and ``python -m ingest prepare-model``, which writes it to a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ingest.cli.arguments import make_parser
from ingest.settings import DEFAULT_MODEL, sentiment_model


def add_model_options(parser: argparse.ArgumentParser, *, device: bool = True) -> None:
    """Add ``--model``, ``--revision`` and, unless the command computes nothing, ``--device``."""
    model = f"hub id, folder or `embedded` (default: SENTIMENT_MODEL, else {DEFAULT_MODEL})"
    parser.add_argument("--model", help=model)
    parser.add_argument("--revision", help="commit of a hub id (default: SENTIMENT_REVISION, else the pinned one)")
    if device:
        parser.add_argument("--device", help="cuda or cpu (default: a GPU where there is one)")


def load_model(args: argparse.Namespace) -> Any:
    """Load the model of the options."""
    from ingest.sentiment.model.model import load  # torch takes seconds to import

    name, revision = _chosen_model(args)
    return load(name, revision=revision, device=args.device)


def _chosen_model(args: argparse.Namespace) -> tuple[str, str | None]:
    """Return the name and revision that the options give, else those of the environment.

    The environment's revision belongs to the environment's model, so it is not used with ``--model``.
    """
    name, revision = sentiment_model()
    return args.model or name, args.revision or (None if args.model else revision)


def progress_bar() -> Any:
    """Return a bar on standard error that shows on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def add_parser(subparsers: Any) -> None:
    """Add ``prepare-model``."""
    parser = make_parser(
        subparsers,
        "prepare-model",
        run,
        "Fetch a model at its pinned revision, check that it is a sentiment classifier, and write it as safetensors.",
        "example:\n  python -m ingest prepare-model models/finbert --model ProsusAI/finbert\n"
        "  SENTIMENT_MODEL=models/finbert python -m ingest run",
    )
    parser.add_argument("folder", type=Path, help="where to; made if it is not there")
    add_model_options(parser, device=False)


def run(args: argparse.Namespace) -> None:
    """Write a model to a folder."""
    from ingest.sentiment.model.loading import prepare  # torch again

    loaded = prepare(*_chosen_model(args), args.folder)
    print(f"{args.folder}: {loaded.name} at {loaded.revision}; serve it with SENTIMENT_MODEL={args.folder}")
