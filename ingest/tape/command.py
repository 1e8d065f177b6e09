"""``python -m ingest tape``: what is on the tape, whether it is right, its closed days rewritten, a period of it as a file."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import redis
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from feature_repo.stores.endpoints import NoServerError, redis_url
from feature_repo.stores.errors import UserError
from ingest import settings
from ingest.cli import ExitCode
from ingest.cli.arguments import count, make_parser, moment, names
from ingest.settings import Settings
from ingest.streams import deployment, keys
from ingest.streams.outage import open_redis
from ingest.tape import compact, verify
from ingest.tape.export import export
from ingest.tape.table import Tape, of_tape, open_tape, storage

_EXAMPLE = """\
examples:
  python -m ingest tape status
  python -m ingest tape verify
  python -m ingest tape export hour.jsonl.gz --since 2026-11-20T10:00 --before 2026-11-20T11:00
  python -m ingest replay hour.jsonl.gz
"""
_CODES = "exit codes: 0 done, 2 an option, TFS_TAPE or the storage is wrong"


def add_parser(subparsers: Any) -> None:
    """Add the command and its actions."""
    about = "Every message that entered a log, for good, in a Delta Lake table at TFS_TAPE."
    actions = make_parser(subparsers, "tape", None, about, _EXAMPLE).add_subparsers(metavar="action", required=True)
    parser = make_parser(
        actions,
        "status",
        status,
        "Print for each day messages, symbols, gaps that feeds told, others (letters, posts as written), bytes, files.",
        _CODES,
    )
    parser.add_argument("--days", type=count, default=14, metavar="N", help="the newest N days (default 14)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    codes = "exit codes: 0 right, 1 an entry is lost, doubled or changed, 2 TFS_TAPE or the storage is wrong"
    about = "Read the whole tape and compare it with what was counted when it was appended, and with what the logs still hold."
    parser = make_parser(actions, "verify", run_verify, about, codes)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    about = "Rewrite the days before today, sorted by symbol and entry; delete what was replaced a week ago. The role does it too."
    make_parser(actions, "compact", run_compact, about, _CODES)
    about = "Write the entries that arrived in a period as a file that `replay` plays again; .gz packs it."
    add = make_parser(actions, "export", run_export, about, _EXAMPLE + _CODES).add_argument
    add("path", type=Path, metavar="PATH", help="the file to write")
    add("--since", type=moment, required=True, metavar="TIME", help="first arrival, UTC, such as 2026-11-20T10:00")
    add("--before", type=moment, required=True, metavar="TIME", help="the end; it is not in the file")
    add("--symbols", type=names, default=[], metavar="A,B", help="only these")
    add("--imported", action="store_true", help="also what `import` put there from files")


@dataclass
class About:
    """What the tape has of a day, over all partitions; ``holes`` are the gaps that feeds told."""

    messages: int = 0
    others: int = 0  # dead letters and posts as written
    bytes: int = 0
    files: int = 0
    compacted: bool = True
    symbols: set[str] = field(default_factory=set)
    holes: int = 0


def look(tape: Tape, n_days: int) -> dict[date, About]:
    """Return what the newest days have."""
    found: defaultdict[date, About] = defaultdict(About)
    held = tape.days()
    newest = sorted({day for _, day in held})[-n_days:]
    for (p, day), files in held.items():
        if day not in newest:
            continue
        about, rows = found[day], sum(file.rows for file in files)
        about.messages += rows if p >= 0 else 0
        about.others += rows if p < 0 else 0
        about.bytes += sum(file.size for file in files)
        about.files += len(files)
        about.compacted &= tape.number(f"compacted/{p}/{day}") == rows
    with storage(tape.place):
        dataset = tape.table.to_pyarrow_dataset()
        for day, about in found.items():
            which = (pc.field("day") == day) & (pc.field("partition") >= 0)
            for batch in dataset.to_batches(columns=["symbol", "kind"], filter=which):
                about.symbols.update(name for name in pc.unique(batch["symbol"]).to_pylist() if name not in (None, "-"))
                about.holes += pc.sum(pc.equal(batch["kind"], "gap")).as_py() or 0
    return dict(sorted(found.items()))


def status(args: argparse.Namespace) -> int:
    """Print what the tape has."""
    conf = settings.load()
    tape = open_tape(conf)
    found = look(tape, args.days)
    lost = {stream: n for stream in _streams(conf) if (n := tape.number(f"holes/{stream}"))}
    if args.json:
        days = {str(day): {**vars(about), "symbols": sorted(about.symbols)} for day, about in found.items()}
        print(json.dumps({"place": tape.place, "days": days, "streams_with_lost_entries": lost}))
        return ExitCode.DONE
    table = Table(title=f"{tape.place}, version {tape.table.version()}", title_justify="left", box=SIMPLE)
    for name in (
        "day",
        "messages",
        "symbols",
        "gaps",
        "others",
        "MB",
        "bytes each",
        "files",
        "rewritten",
    ):
        table.add_column(name, justify="left" if name == "day" else "right", no_wrap=True)
    for day, about in found.items():
        each = f"{about.bytes / max(about.messages + about.others, 1):.1f}"
        cells = (about.messages, len(about.symbols), about.holes, about.others)
        figures = f"{about.bytes / 1e6:,.1f}", each, f"{about.files:,}", "yes" if about.compacted else "no"
        table.add_row(str(day), *(f"{n:,}" for n in cells), *figures)
    console = Console()
    console.print(table)
    for stream, n in lost.items():
        console.print(f"{stream} had lost entries before the tape could read them, {n} times", style="red")
    return ExitCode.DONE


def _streams(conf: Settings) -> list[str]:
    """Return the streams that the tape may have; a number of partitions that was raised is known where Redis answers."""
    with contextlib.suppress(redis.RedisError, UserError), open_redis(redis_url()) as client:
        conf = deployment.adopted(client, conf)
    n = conf.partitions
    return [*map(keys.events, range(n)), *keys.letter_streams(n), keys.WRITTEN]


def run_verify(args: argparse.Namespace) -> int:
    """Read everything and compare."""
    conf = settings.load()
    tape = open_tape(conf)
    days = list(verify.days(tape))
    wrong = [
        f"{day.day} of partition {day.partition} has {day.rows:,} rows, and {day.appended_rows:,} were appended"
        + ("" if day.rows != day.appended_rows else "; they are not the same")
        for day in days
        if not day.is_right
    ]
    of = of_tape(tape, conf).partitions
    if lost := verify.lost_days(tape, of):
        wrong.append(f"{lost} days of partitions have no rows any more")
    compared: int | None = 0
    try:
        with deployment.opened(conf, fix=False) as (client, conf):
            for p in range(conf.partitions):
                found = verify.log(client, tape, p, conf.partitions, of)
                compared = (compared or 0) + found.compared
                if found.differs_at:
                    wrong.append(f"the log of partition {p} and the tape differ at entry {found.differs_at}")
    except NoServerError:
        compared = None
    rows = sum(day.rows for day in days)
    if args.json:
        print(json.dumps({"rows": rows, "days": len(days), "compared_with_logs": compared, "wrong": wrong}))
    else:
        for line in wrong:
            print(f"wrong: {line}")
        logs = "no Redis is known" if compared is None else f"{compared:,} of them are still in the logs"
        print(
            f"{rows:,} rows in {len(days)} days of partitions were read; {logs}{'' if wrong else '; all of it is right'}"
        )
    return ExitCode.NO if wrong else ExitCode.DONE


def run_compact(args: argparse.Namespace) -> int:
    """Rewrite every closed day."""
    tape = open_tape(settings.load())
    days = compact.open_days(tape, datetime.now(UTC))
    for p, day in days:
        compact.compact(tape, p, day)
    deleted = compact.delete_replaced(tape)
    print(f"{len(days)} days of partitions were rewritten; {deleted} files that were replaced before are deleted")
    return ExitCode.DONE


def run_export(args: argparse.Namespace) -> int:
    """Write a period as a file."""
    if args.before - args.since <= timedelta(0):
        raise UserError("--before must be later than --since")
    conf = settings.load()
    n = export(open_tape(conf), conf, args.path, args.since, args.before, args.symbols, imported=args.imported)
    print(f"{n:,} entries are in {args.path}; `python -m ingest replay {args.path}` plays them again")
    return ExitCode.DONE
