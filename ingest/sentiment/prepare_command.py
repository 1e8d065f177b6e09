"""``python -m ingest prepare-model``: a model written to a folder that serves offline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ingest.cli.arguments import make_parser
from ingest.cli.exit_codes import ExitCode
from ingest.sentiment import options


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
    options.add_model_options(parser, device=False)


def run(args: argparse.Namespace) -> int:
    """Write a model to a folder."""
    from ingest.sentiment.model.loading import prepare

    loaded = prepare(*options.chosen_model(args), args.folder)
    print(f"{args.folder}: {loaded.name} at {loaded.revision}; serve it with SENTIMENT_MODEL={args.folder}")
    return ExitCode.DONE
