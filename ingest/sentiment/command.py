"""``python -m ingest score | evaluate | prepare-model``."""

# a command prints
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from feature_repo.stores.endpoints import POSTGRES_VARIABLE
from ingest.sentiment.model.labels import LABELS, ModelError, meaning

_MODEL = "hub id, folder or `embedded` (default: SENTIMENT_MODEL, else ProsusAI/finbert)"
_PART = 4096


def add_score(subparsers: Any) -> None:
    """Add ``score``."""
    parser = _add(
        subparsers,
        "score",
        "score a file of texts",
        "Write a copy of a parquet or CSV file with columns positive, negative, neutral (null where a text says nothing), model"
        " and revision. What was scored before an interruption is kept: run the same command again."
        " Where TFS_POSTGRES_URL names a database,"
        " texts that the scorer has scored with the same model are taken from its table.",
        "python -m ingest score tweets.parquet scored.parquet --text-column text --model embedded",
    )
    parser.add_argument("input", type=Path, help=".parquet or .csv")
    parser.add_argument("output", type=Path, help=".parquet")
    parser.add_argument("--text-column", default="text", help="default: text")
    _model_options(parser)
    parser.set_defaults(run=_command(score))


def add_evaluate(subparsers: Any) -> None:
    """Add ``evaluate``."""
    parser = _add(
        subparsers,
        "evaluate",
        "hold a model against labels",
        "Accuracy, macro-F1, confusion and calibration of a model on a parquet or CSV file of labelled texts.",
        "python -m ingest evaluate tweets.parquet --label-column label --labels 0=bearish,1=bullish,2=neutral",
    )
    parser.add_argument("input", type=Path, help=".parquet or .csv")
    parser.add_argument("--text-column", default="text", help="default: text")
    parser.add_argument("--label-column", default="label", help="default: label")
    parser.add_argument(
        "--labels",
        default="",
        help="what labels mean where they do not say so: 0=bearish,1=bullish,2=neutral; -1, 0 and 1 are signs",
    )
    parser.add_argument("--limit", type=int, help="read this many rows only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _model_options(parser)
    parser.set_defaults(run=_command(evaluate))


def add_prepare_model(subparsers: Any) -> None:
    """Add ``prepare-model``."""
    parser = _add(
        subparsers,
        "prepare-model",
        "write a model to a folder that serves offline",
        "Fetch a model at its pinned revision, check that it is a sentiment classifier, and write it as safetensors.",
        "python -m ingest prepare-model models/finbert --model ProsusAI/finbert\n"
        "  SENTIMENT_MODEL=models/finbert python -m ingest run",
    )
    parser.add_argument("folder", type=Path, help="where to; made if it is not there")
    _model_options(parser, device=False)
    parser.set_defaults(run=_command(prepare))


def score(args: argparse.Namespace) -> int:
    """Score a file, a part at a time; parts that are there are not made again."""
    from ingest.sentiment.history import History

    with closing(History(os.environ.get(POSTGRES_VARIABLE))) as history:
        return _score(args, history)


def _score(args: argparse.Namespace, history: Any) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ingest.sentiment import files

    if args.output.suffix != ".parquet":
        raise files.FileError(f"{args.output}: the output is written as .parquet")
    model = _load(args)
    parts = args.output.with_suffix(".parts")
    _begin(parts, args, model)
    made: list[Path] = []
    with _progress() as progress:
        bar = progress.add_task("texts", total=files.count(args.input) if args.input.is_file() else None)
        for i, table in enumerate(files.read(args.input, _PART)):
            made.append(parts / f"{i:08d}.parquet")
            if not made[-1].is_file():
                said = _unless_known(model, history, files.texts(table, args.text_column, args.input))
                for at, name in enumerate(LABELS):
                    values = [None if s is None else s[at] for s in said]
                    table = _with_column(table, name, pa.array(values, pa.float64()))
                for name, value in (("model", model.name), ("revision", model.revision)):
                    table = _with_column(table, name, pa.array([value] * len(said), pa.string()))
                _write(table, made[-1])
            progress.advance(bar, table.num_rows)
    if not made:
        raise files.FileError(f"{args.input} has no rows")
    temporary = args.output.with_name(args.output.name + ".new")
    with pq.ParquetWriter(temporary, pq.read_schema(made[0])) as writer:
        for path in made:
            writer.write_table(pq.read_table(path))
    temporary.replace(args.output)
    for path in (*made, parts / "begun.json"):
        path.unlink()
    parts.rmdir()
    print(f"{args.output}: scored with {model.name} at {model.revision}", file=sys.stderr)
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Score a labelled file and print how good it was."""
    from itertools import islice

    from ingest.sentiment import files
    from ingest.sentiment.evaluate import evaluate as held_against
    from ingest.sentiment.evaluate import is_missing, label_indices

    names = _mapping(args.labels)
    rows: list[tuple[str, Any]] = []
    for table in files.read(args.input, _PART):
        pairs = zip(
            files.texts(table, args.text_column, args.input),
            files.column(table, args.label_column, args.input),
            strict=True,
        )
        rows += islice(pairs, None if args.limit is None else max(0, args.limit - len(rows)))
    n_read = len(rows)
    rows = [(text, label) for text, label in rows if not is_missing(label)]
    if len(rows) < n_read:
        print(f"{n_read - len(rows)} of {n_read} rows have no label and are left out", file=sys.stderr)
    try:
        truth = label_indices([label for _, label in rows], names)
        if not rows:
            raise ValueError(f"{args.input} has no labelled rows")
    except ValueError as error:
        raise files.FileError(str(error)) from error
    model = _load(args)
    said: list[Any] = []
    with _progress() as progress:
        bar = progress.add_task("texts", total=len(rows))
        for start in range(0, len(rows), 256):
            said += model.score([text for text, _ in rows[start : start + 256]])
            progress.update(bar, completed=len(said))
    found = held_against(truth, said)
    if args.json:
        print(json.dumps({"model": model.name, "revision": model.revision, **_as_dict(found)}))
    else:
        _print_table(model, found)
    return 0


def prepare(args: argparse.Namespace) -> int:
    """Write a model to a folder."""
    from ingest.sentiment.model.loading import prepare as write

    name, revision = _which(args)
    loaded = write(name, revision, args.folder)
    print(f"{args.folder}: {loaded.name} at {loaded.revision}; serve it with SENTIMENT_MODEL={args.folder}")
    return 0


def _add(subparsers: Any, name: str, about: str, description: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=about,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"example:\n  {example}",
    )
    return parser


def _model_options(parser: argparse.ArgumentParser, *, device: bool = True) -> None:
    parser.add_argument("--model", help=_MODEL)
    parser.add_argument("--revision", help="commit of a hub id (default: SENTIMENT_REVISION, else the pinned one)")
    if device:
        parser.add_argument("--device", help="cuda or cpu (default: a GPU where there is one)")


def _command(function: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """``function`` with its expected errors told in one line, exit code 2."""

    def run(args: argparse.Namespace) -> int:
        from ingest.sentiment.files import FileError

        try:
            return function(args)
        except (ModelError, FileError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return run


def _unless_known(model: Any, history: Any, texts: list[str]) -> list[Any]:
    """Scores of texts; one that occurs twice, or that ``social_scores`` knows, is not scored again."""
    from ingest.sentiment.history import text_hash

    hashes = [text_hash(text) for text in texts]
    distinct = dict(zip(hashes, texts, strict=True))
    scores: dict[bytes, Any] = history.find(distinct, model.name, model.revision)
    left = [h for h in distinct if h not in scores]
    scores.update(zip(left, model.score([distinct[h] for h in left]), strict=True))
    return [scores[h] for h in hashes]


def _mapping(text: str) -> dict[str, str]:
    """What ``--labels`` says.

    Raises
    ------
    FileError
        It is not ``label=meaning`` with commas between.
    """
    from ingest.sentiment.files import FileError

    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(label.strip() and meaning(said) is not None for label, _, said in pairs):
        raise FileError(f"--labels={text:.100}: write 0=bearish,1=bullish,2=neutral")
    return {label.strip(): said for label, _, said in pairs}


def _which(args: argparse.Namespace) -> tuple[str, str | None]:
    """The model that the options, or else the environment, name; a revision in the environment is of its model."""
    name = args.model or os.environ.get("SENTIMENT_MODEL") or "ProsusAI/finbert"
    revision = args.revision or (None if args.model else os.environ.get("SENTIMENT_REVISION")) or None
    return name, revision


def _load(args: argparse.Namespace) -> Any:
    from ingest.sentiment.model.model import load

    name, revision = _which(args)
    return load(name, revision=revision, device=args.device)


def _progress() -> Any:
    """A bar on standard error, shown on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _begin(parts: Path, args: argparse.Namespace, model: Any) -> None:
    """Make the folder of parts, or go on with one that the same command began."""
    from ingest.sentiment.files import FileError

    stat = args.input.stat() if args.input.is_file() else None
    begun = {
        "input": str(args.input.resolve()),
        "size": stat and stat.st_size,
        "changed": stat and stat.st_mtime_ns,
        "text_column": args.text_column,
        "model": model.name,
        "revision": model.revision,
    }
    note = parts / "begun.json"
    if note.is_file():
        if json.loads(note.read_text()) != begun:
            raise FileError(f"{parts} was begun with another input or model; remove it to start again")
        return
    parts.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(begun))


def _with_column(table: Any, name: str, values: Any) -> Any:
    if name in table.column_names:
        table = table.drop_columns([name])
    return table.append_column(name, values)


def _write(table: Any, path: Path) -> None:
    """Write a part whole or not at all."""
    import pyarrow.parquet as pq

    temporary = path.with_suffix(".new")
    pq.write_table(table, temporary)
    temporary.replace(path)


def _as_dict(found: Any) -> dict[str, Any]:
    return {
        "n": found.n,
        "unscored": found.unscored,
        "accuracy": found.accuracy,
        "macro_f1": found.macro_f1,
        "f1": dict(zip(LABELS, found.f1, strict=True)),
        "ece": None if found.ece != found.ece else found.ece,
        "confusion": {
            true: dict(zip((*LABELS, "unscored"), row, strict=True))
            for true, row in zip(LABELS, found.confusion, strict=True)
        },
    }


def _print_table(model: Any, found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{model.name} at {model.revision}, {found.n} texts", title_justify="left")
    table.add_column("true \\ said")
    for name in (*LABELS, "unscored", "F1"):
        table.add_column(name, justify="right")
    for name, row, f1 in zip(LABELS, found.confusion, found.f1, strict=True):
        table.add_row(name, *map(str, row), f"{f1:.3f}")
    console = Console()
    console.print(table)
    console.print(f"accuracy {found.accuracy:.4f}  macro-F1 {found.macro_f1:.4f}  calibration error {found.ece:.4f}")
