"""``python -m ingest check served``: compare the log of what was served with the offline rows."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.stores.errors import UserError
from ingest.cli import ExitCode
from ingest.cli.arguments import make_parser, moment, names, non_negative

if TYPE_CHECKING:
    from ingest.check.served_log import Found

ABOUT = "what the log of served values has equals the offline rows"
_EXAMPLE = """\
examples:
  python -m ingest check served
  python -m ingest check served --since 2026-11-28 --before 2026-11-29 --symbols BTCUSDT,ETHUSDT --json
  python -m ingest check served /mnt/served --lag 2

readers write the log where TFS_SERVED_LOG names a folder: a sample of the answers of get_online_features, TFS_SERVED_SHARE of them
each row of it is compared with the offline row of its symbol and event time, bit for bit; null equals only null; and what was withheld as
too old, or was not the newest row, is held against the times of the offline rows

exit codes: 0 all equal; 1 a value differs, a row is wrong, or there was nothing to compare; 2 an option, a file or a server is wrong;
            3 nothing differs, but rows waited for the offline writer until the end
"""


def add_parser(checks: Any) -> None:
    """Add ``served`` to the checks."""
    add = make_parser(checks, "served", run, ABOUT, _EXAMPLE).add_argument
    add("folder", nargs="?", type=Path, metavar="FOLDER", help="of the log (default: TFS_SERVED_LOG)")
    add("--symbols", type=names, default=[], help="only these, comma-separated")
    add("--since", type=moment, metavar="TIME", help="only reads from this date or ISO time on, UTC")
    add("--before", type=moment, metavar="TIME", help="only reads before this one")
    add(
        "--lag",
        type=non_negative,
        default=1.0,
        metavar="S",
        help="a row that was made so long before a read should have been served (default 1)",
    )
    add("--wait", type=non_negative, default=10.0, metavar="S", help="longest wait for the offline writer (default 10)")
    add("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Compare, and print what was found."""
    import psycopg
    from rich.console import Console

    from feature_repo.stores.endpoints import SERVED_VARIABLE, postgres_url, served_log
    from feature_repo.stores.online.served_file import files
    from ingest import settings
    from ingest.check import served_log as check
    from ingest.streams import deployment, keys

    folder = args.folder
    if folder is None:
        if (given := served_log()) is None:
            raise UserError(f"name the folder of the log, or set {SERVED_VARIABLE}")
        folder, _ = given
    since = args.since or datetime.min.replace(tzinfo=UTC)
    before = args.before or datetime.max.replace(tzinfo=UTC)
    paths = files(folder, since.date(), before.date())
    conf = settings.load()
    with (
        deployment.opened(conf, fix=False) as (client, conf),
        psycopg.connect(postgres_url(), autocommit=True, connect_timeout=5) as connection,
        Console(stderr=True).status("check served") as status,
    ):
        behind = check.wait_for_writer(client, conf.partitions, args.wait)
        found = check.compare(
            paths,
            connection,
            since,
            before,
            late=lambda symbol: keys.partition_of(symbol, conf.partitions) in behind,
            lag_s=args.lag,
            symbols=args.symbols,
            progress=lambda done, of: status.update(f"check served: {done:,} of {of:,} files"),
        )
    _show(found, as_json=args.json)
    return found.exit_code


def _show(found: Found, *, as_json: bool) -> None:
    from rich.console import Console

    from ingest.check import result
    from ingest.check.served_log import FAULTS

    console = Console()
    some = list(found.features.values())
    equal = sum(r.compared for r in some) - found.differing
    kinds = ("compared", "expired", "not_found", "waiting", "unknown", *FAULTS)
    if as_json:
        answer = {
            "check": "served",
            "passed": found.exit_code == ExitCode.DONE,
            "files": found.files,
            "reads": found.counts.reads,
            "sampled": found.counts.sampled,
            "dropped": found.counts.dropped,
            "rows": {kind: found.rows[kind] for kind in kinds},
            "equal": equal,
            "differing": found.differing,
            "other_kernels": found.other_kernels,
            "named": found.named,
            "features": result.as_objects(some),
        }
        console.file.write(json.dumps(answer) + "\n")
        return
    result.show_by_view(some, "served against offline", console)
    for kind, rows in found.named.items():
        for row in rows:
            console.print(f"{kind} ({FAULTS[kind]}): {row}", markup=False)
    if found.other_kernels:
        console.print(
            f"{found.other_kernels:,} of the values that differ are of rows of other kernels than were served"
        )
    verdict = {ExitCode.DONE: "passed", ExitCode.WAITING: "not finished"}.get(found.exit_code, "FAILED")
    counted = ", ".join(f"{found.rows[kind]:,} {kind.replace('_', ' ')}" for kind in kinds if found.rows[kind])
    console.print(
        f"{verdict}: {found.files:,} files of {found.counts.reads:,} reads, {found.counts.sampled:,} sampled, {found.counts.dropped:,} "
        f"dropped; rows: {counted or 'none'}; {equal:,} values equal, {found.differing:,} differ"
    )
