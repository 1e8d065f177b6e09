"""``python -m ingest score``: a copy of a file of texts with the probabilities of each text."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.stores.endpoints import POSTGRES_VARIABLE, given
from ingest.cli.arguments import make_parser
from ingest.sentiment import files, model_command
from ingest.sentiment.history import History, text_hash
from ingest.sentiment.model.labels import LABELS


def add_parser(subparsers: Any) -> None:
    """Add ``score``."""
    parser = make_parser(
        subparsers,
        "score",
        run,
        "Write a copy of a parquet or CSV file with columns positive, negative, neutral (null where a text says nothing), model"
        " and revision. What was scored before an interruption is kept: run the same command again. Where TFS_POSTGRES_URL"
        " names a database, texts that the scorer has scored with the same model are taken from its table.",
        "example:\n  python -m ingest score tweets.parquet scored.parquet --text-column text --model embedded",
    )
    parser.add_argument("input", type=Path, help=".parquet or .csv")
    parser.add_argument("output", type=Path, help=".parquet")
    parser.add_argument("--text-column", default="text", help="default: text")
    model_command.add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Score a file part by part. Parts that an interrupted run wrote are not scored again."""
    if args.output.suffix != ".parquet":
        raise files.FileError(f"{args.output}: the output is written as .parquet")
    with closing(History(given(POSTGRES_VARIABLE))) as history:
        model = model_command.load_model(args)
        folder = args.output.with_suffix(".parts")
        _begin(folder, args, model)
        parts = _score_parts(args, model, history, folder)
    if not parts:
        raise files.FileError(f"{args.input} has no rows")
    _join(parts, args.output)
    for path in (*parts, folder / "begun.json"):
        path.unlink()
    folder.rmdir()
    print(f"{args.output}: scored with {model.name} at {model.revision}", file=sys.stderr)


def _begin(folder: Path, args: argparse.Namespace, model: Any) -> None:
    """Make the folder of parts, or check that the same command began it."""
    stat = args.input.stat() if args.input.is_file() else None
    begun = {
        "input": str(args.input.resolve()),
        "size": stat and stat.st_size,
        "changed": stat and stat.st_mtime_ns,
        "text_column": args.text_column,
        "model": model.name,
        "revision": model.revision,
    }
    note = folder / "begun.json"
    if note.is_file():
        if json.loads(note.read_text()) != begun:
            raise files.FileError(f"{folder} was begun with another input or model; remove it to start again")
        return
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(begun))


def _score_parts(args: argparse.Namespace, model: Any, history: History, folder: Path) -> list[Path]:
    parts: list[Path] = []
    with model_command.progress_bar() as progress:
        bar = progress.add_task("texts", total=files.count(args.input) if args.input.is_file() else None)
        for i, table in enumerate(files.read_tables(args.input, files.ROWS_A_TABLE)):
            parts.append(folder / f"{i:08d}.parquet")
            if not parts[-1].is_file():
                scores = _score_unknown(model, history, files.texts(table, args.text_column, args.input))
                temporary = parts[-1].with_suffix(".new")
                pq.write_table(_with_scores(table, scores, model), temporary)
                temporary.replace(parts[-1])
            progress.advance(bar, table.num_rows)
    return parts


def _score_unknown(model: Any, history: History, texts: list[str]) -> list[Any]:
    """Return the scores of texts. A text that repeats, or that is in ``social_scores``, is not scored again."""
    hashes = [text_hash(text) for text in texts]
    distinct = dict(zip(hashes, texts, strict=True))
    scores: dict[bytes, Any] = {}
    scores |= history.find(distinct, model.name, model.revision)
    left = [h for h in distinct if h not in scores]
    scores.update(zip(left, model.score([distinct[h] for h in left]), strict=True))
    return [scores[h] for h in hashes]


def _with_scores(table: Any, scores: list[Any], model: Any) -> Any:
    columns = {
        name: pa.array([None if score is None else score[i] for score in scores], pa.float64())
        for i, name in enumerate(LABELS)
    }
    columns |= {
        name: pa.array([value] * len(scores), pa.string())
        for name, value in (("model", model.name), ("revision", model.revision))
    }
    for name, values in columns.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, values)
    return table


def _join(parts: list[Path], output: Path) -> None:
    """Write the parts to one file, whole or not at all."""
    temporary = output.with_name(output.name + ".new")
    with pq.ParquetWriter(temporary, pq.read_schema(parts[0])) as writer:
        for path in parts:
            writer.write_table(pq.read_table(path))
    temporary.replace(output)
