"""``python -m ingest check consistency``: compare what a running system serves with what it stored, or that with the tape."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.stores.errors import UserError
from ingest.check import from_tape_command
from ingest.cli import ExitCode
from ingest.cli.arguments import count, day, make_parser, names
from transforms.times import iso_of_us

if TYPE_CHECKING:
    from ingest.check.consistency import Consistency, Read

ABOUT = "on a running system, values served online equal the offline ones"
SAMPLES = 100
_EXAMPLE = """\
examples:
  python -m ingest check consistency
  python -m ingest check consistency --symbols BTCUSDT,ETHUSDT --rounds 60 --json
  python -m ingest check consistency --from-tape --samples 5 --since 2026-11-20

each row that was served is compared with the offline row of its symbol and event time, bit for bit; null equals only null

--from-tape compares the offline rows that were served with what the messages on the tape give, of days of symbols chosen at random;
            rows of other kernels are counted, and not compared; days are of arrival (UTC). A day costs a day where a backfill from the
            tape kept the state of the day before; else all days of the symbol before it are computed too

exit codes: 0 all equal; 1 a value differs, a row is missing offline, or there was nothing to compare; 2 an option or a server is wrong;
            3 nothing differs, but rows waited for the offline writer until the end
"""


def add_parser(checks: Any) -> None:
    """Add ``consistency`` to the checks."""
    add = make_parser(checks, "consistency", run, ABOUT, _EXAMPLE).add_argument
    add("--symbols", type=names, default=[], help="comma-separated (default: of all that the workers know)")
    add(
        "--samples",
        type=count,
        metavar="N",
        help="symbols a round, at most (default 100); with --from-tape symbol-days (20)",
    )
    add("--rounds", type=int, default=3, metavar="N", help="times that each is read (default 3)")
    add("--every", type=float, default=1.0, metavar="S", help="seconds between rounds (default 1)")
    add("--wait", type=float, default=10.0, metavar="S", help="longest wait for the offline writer (default 10)")
    add("--from-tape", action="store_true", help="compare served rows with what the tape at TFS_TAPE gives")
    add("--since", type=day, metavar="DATE", help="of the tape only days from this one on, UTC")
    add("--before", type=day, metavar="DATE", help="of the tape only days before this one")
    add("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Read, compare, store the outcome for the exporter, and print it."""
    if args.from_tape:
        return from_tape_command.run(args)
    if args.since or args.before:
        raise UserError("--since and --before go with --from-tape")
    import psycopg
    from feast import FeatureStore
    from rich.console import Console

    import feature_repo
    from feature_repo.stores.endpoints import postgres_url
    from ingest import settings
    from ingest.check import consistency
    from ingest.observe.redis_state import spread, symbols
    from ingest.streams import deployment

    conf = settings.load()
    store = FeatureStore(repo_path=str(Path(feature_repo.__file__).parent))
    store.config.online_store.enforce_ttl = False
    store._get_provider().online_store.served = None  # these reads feed no model
    with (
        deployment.opened(conf, fix=False) as (client, conf),
        psycopg.connect(postgres_url(), autocommit=True, connect_timeout=5) as connection,
        Console(stderr=True).status("check consistency"),
    ):
        some = spread(args.symbols or symbols(client, conf.partitions), args.samples or SAMPLES)
        reads: list[Read] = []
        for n in range(args.rounds if some else 0):
            if n:
                time.sleep(args.every)
            reads += consistency.read_online(store, client, some)
        found = consistency.compare(reads, client, connection, conf.partitions, wait_s=args.wait)
        consistency.keep(client, found)
    _show(found, len(some), as_json=args.json)
    return found.exit_code


def _where(read: Read) -> str:
    return f"{read.view.name} {read.symbol} at {iso_of_us(read.t_us)}"


def _show(found: Consistency, n_symbols: int, *, as_json: bool) -> None:
    from rich.console import Console

    from ingest.check import result

    console = Console()
    outcomes = found.outcomes()
    some = list(found.features.values())
    if as_json:
        answer = {"check": "consistency", "passed": found.exit_code == ExitCode.DONE, "rows": found.rows, **outcomes}
        answer["missing_rows"] = [_where(read) for read in found.missing]
        answer["waiting_rows"] = [_where(read) for read in found.waiting]
        answer["features"] = result.as_objects(some)
        console.file.write(json.dumps(answer) + "\n")
        return
    result.show_by_view(some, "online against offline", console)
    for title, reads in (("missing offline", found.missing), ("waiting for the offline writer", found.waiting)):
        for read in reads[:10]:
            console.print(f"{title}: {_where(read)}", markup=False)
    verdict = {ExitCode.DONE: "passed", ExitCode.WAITING: "not finished"}.get(found.exit_code, "FAILED")
    counts = ", ".join(f"{n:,} values {outcome}" for outcome, n in outcomes.items())
    console.print(f"{verdict}: {n_symbols} symbols, {found.rows:,} rows; {counts}")
