"""``python -m ingest evaluate``: how good a model is on a file of labelled texts."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ingest.cli.arguments import make_parser
from ingest.sentiment import files, model_command
from ingest.sentiment.evaluate import Evaluation, evaluate, is_missing, label_indices
from ingest.sentiment.model.labels import LABELS, meaning

_TEXTS_AT_ONCE = 256


def add_parser(subparsers: Any) -> None:
    """Add ``evaluate``."""
    parser = make_parser(
        subparsers,
        "evaluate",
        run,
        "Accuracy, macro-F1, confusion and calibration of a model on a parquet or CSV file of labelled texts.",
        "example:\n  python -m ingest evaluate tweets.parquet --label-column label --labels 0=bearish,1=bullish,2=neutral",
    )
    parser.add_argument("input", type=Path, help=".parquet or .csv")
    parser.add_argument("--text-column", default="text", help="default: text")
    parser.add_argument("--label-column", default="label", help="default: label")
    labels = "what labels mean where they do not say so: 0=bearish,1=bullish,2=neutral; -1, 0 and 1 are signs"
    parser.add_argument("--labels", default="", help=labels)
    parser.add_argument("--limit", type=int, help="read this many rows only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    model_command.add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Score a labelled file and print how good the model is."""
    names = _label_names(args.labels)
    texts, labels = _labelled_rows(args)
    try:
        truth = label_indices(labels, names)
        if not texts:
            raise ValueError(f"{args.input} has no labelled rows")
    except ValueError as error:
        raise files.FileError(str(error)) from error
    model = model_command.load_model(args)
    scores: list[Any] = []
    with model_command.progress_bar() as progress:
        bar = progress.add_task("texts", total=len(texts))
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            scores += model.score(texts[start : start + _TEXTS_AT_ONCE])
            progress.update(bar, completed=len(scores))
    evaluation = evaluate(truth, scores)
    if args.json:
        print(json.dumps({"model": model.name, "revision": model.revision, **_as_dict(evaluation)}))
    else:
        _print_table(model, evaluation)


def _label_names(option: str) -> dict[str, str]:
    """Return the meaning of each label in ``--labels``, a list of ``label=meaning`` with commas between."""
    pairs = [pair.partition("=") for pair in option.split(",") if pair.strip()]
    if not all(label.strip() and meaning(name) is not None for label, _, name in pairs):
        raise files.FileError(f"--labels={option:.100}: write 0=bearish,1=bullish,2=neutral")
    return {label.strip(): name for label, _, name in pairs}


def _labelled_rows(args: argparse.Namespace) -> tuple[list[str], list[Any]]:
    rows: list[tuple[str, Any]] = []
    for table in files.read_tables(args.input, files.ROWS_A_TABLE):
        texts = files.texts(table, args.text_column, args.input)
        pairs = zip(texts, files.column(table, args.label_column, args.input), strict=True)
        rows += islice(pairs, None if args.limit is None else max(0, args.limit - len(rows)))
    labelled = [(text, label) for text, label in rows if not is_missing(label)]
    if len(labelled) < len(rows):
        print(f"{len(rows) - len(labelled)} of {len(rows)} rows have no label and are left out", file=sys.stderr)
    return [text for text, _ in labelled], [label for _, label in labelled]


def _as_dict(evaluation: Evaluation) -> dict[str, Any]:
    return {
        **asdict(evaluation),
        "f1": dict(zip(LABELS, evaluation.f1, strict=True)),
        "ece": None if evaluation.ece != evaluation.ece else evaluation.ece,
        "confusion": {
            true: dict(zip((*LABELS, "unscored"), row, strict=True))
            for true, row in zip(LABELS, evaluation.confusion, strict=True)
        },
    }


def _print_table(model: Any, evaluation: Evaluation) -> None:
    table = Table(title=f"{model.name} at {model.revision}, {evaluation.n} texts", title_justify="left")
    table.add_column("true \\ said")
    for name in (*LABELS, "unscored", "F1"):
        table.add_column(name, justify="right")
    for name, row, f1 in zip(LABELS, evaluation.confusion, evaluation.f1, strict=True):
        table.add_row(name, *map(str, row), f"{f1:.3f}")
    console = Console()
    console.print(table)
    console.print(
        f"accuracy {evaluation.accuracy:.4f}  macro-F1 {evaluation.macro_f1:.4f}  calibration error {evaluation.ece:.4f}"
    )
