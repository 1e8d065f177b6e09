"""``python -m ingest backfill``: write history to the offline tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.stores.errors import UserError
from ingest.cli.arguments import count, duration_ms, make_parser, moment_ms, names
from ingest.publish.report import report_unread
from ingest.recordings.columns import add_column_options, column_of_table, given_columns
from transforms.times import ms_of_datetime

if TYPE_CHECKING:
    from ingest.backfill.days.run import Backfilled
    from ingest.backfill.done import Done
    from ingest.imports.tables.raw import Source
    from ingest.settings import Settings

_EXAMPLE = """\
examples:
  python -m ingest backfill btcusdt.jsonl.gz ethusdt.jsonl.gz
  python -m ingest backfill history/*.jsonl.gz --jobs 8 --available-after 250ms
  python -m ingest backfill tweets.parquet btcusdt.jsonl.gz --time-column posted --symbol-column ticker
  python -m ingest backfill trades.parquet books.csv --symbol OKCOIN:BTC-CNY
  python -m ingest backfill --table market.trades --table market.books --jobs 8 --since 2026-01-01
  python -m ingest backfill --table fills --column size=lots --column fills:received=
  python -m ingest backfill --from-tape --symbols BTCUSDT --since 2026-01-01 --jobs 8
  python -m ingest backfill --from-tape --features vpin

--table reads raw tables (or views) of the offline database, the days of each symbol in order, and computes everything each time, without a
tape. `python -m ingest import --table` puts them on the tape, so that another day costs a day (--from-tape).
  trades  time, symbol, price, size, side (buy, sell or NULL) or is_buyer_maker, trade_id, next_funding, received, arrival
  books   time, symbol, bids, asks (arrays or jsonb of [price, size], best first; both NULL: the feed lost its place), sequence,
          received, arrival, and with --column depth=NAME the depths of a message
time and received are timestamps or whole milliseconds, next_funding is whole milliseconds. side, trade_id, next_funding, sequence,
received and arrival may be missing. --column gives the column of a field that has another name, with TABLE: for one table only;
FIELD= says that there is no such column. An index on (symbol, time) makes reading fast.

.parquet and .csv hold trades (columns price, size, side, ...), books (bids and asks, or bid_px_0, bid_qty_0, ask_px_0, ...) or posts.
Text and .csv may be packed: .gz, .zst, .bz2, .xz, or the only file of a .zip.
A row's created_timestamp is its event_timestamp plus --available-after. Give the delay of your live pipeline, so that training sees
history as late as it was available live. Rows are marked as recomputed: they take the place of those that an earlier backfill made of the
same time, and never that of a row that was served. Training reads them where nothing was served, or first of all with
`training-frame --history recomputed`.
--features writes only the views that hold these features, such as one that was added.
Of files, give all days of a symbol in one call, because kernels remember days.
Run the command again after it was stopped: finished symbol-days are skipped, and no row is written twice.

--from-tape reads the tape at TFS_TAPE. What a symbol was at the end of each day is kept there, so another day begins at that: days that are
done and unchanged are passed over. A day to which messages came is computed again with all later ones, and its rows are replaced.
--since and --before then choose whole days (UTC) of arrival.

exit codes: 0 all was read (what is refused is counted and kept), 1 nothing could be read of a file that has rows,
            2 an option, a file, a table or the database is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Compute the features of recordings and write them to the offline store; needs no Redis."
    parser = make_parser(subparsers, "backfill", run, about, _EXAMPLE)
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="PATH", help="files, as for replay")
    add("--table", action="append", default=[], metavar="NAME", help="a raw table of trades or books (several times)")
    given = "the table's column for a field"
    add("--column", type=column_of_table, action="append", default=[], metavar="[TABLE:]FIELD=NAME", help=given)
    add("--from-tape", action="store_true", help="read the tape at TFS_TAPE instead of files, a day at a time")
    add("--symbols", type=names, default=[], metavar="A,B", help="of the tape only these symbols")
    add(
        "--since",
        type=moment_ms,
        metavar="DATE",
        help="of raw tables: events from here on; of the tape: new days from here on",
    )
    add(
        "--before",
        type=moment_ms,
        metavar="DATE",
        help="of raw tables: events before here; of the tape: new days before here",
    )
    wanted = "write only the views that hold these features (default all)"
    add("--features", type=names, default=[], metavar="A,B", help=wanted)
    available = "how long after its event time a row was available: 250ms, 1s, 5m (default 1s)"
    add("--available-after", type=duration_ms, default=1000, metavar="TIME", help=available)
    add("--jobs", type=count, metavar="N", help="processes; symbols are shared out (default 1, on Ray the processors)")
    engines = "of the tape: processes here, or tasks on a Ray cluster (default processes)"
    add("--engine", choices=("processes", "ray"), default="processes", help=engines)
    kept = "folder for files of what is refused, with reasons (default: refused in the data folder)"
    add("--refused", type=Path, metavar="PATH", help=kept)
    add_column_options(parser)
    add("--json", action="store_true", help="print the counts as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Read the files or the tables and write what is new."""
    from rich.console import Console
    from rich.progress import Progress

    from feature_repo.stores.endpoints import default_data_dir, postgres_url
    from ingest import settings
    from ingest.backfill.report import as_json, days_as_json, days_text, text
    from ingest.backfill.run import backfill

    conf = settings.load()

    def load_model() -> Any:
        from ingest.sentiment.model.model import load  # torch takes seconds to import, and most histories have no posts

        return load(conf.sentiment_model, revision=conf.sentiment_revision)

    _check_options(args)
    url = postgres_url()
    refused_folder = args.refused or default_data_dir() / "refused"
    source = _source(args, url)
    console = Console(stderr=True)
    with Progress(console=console, disable=args.json or not console.is_terminal) as bar:
        task = bar.add_task("backfill", total=None)

        def show(done: Done) -> None:
            about = f"backfill: {done.lines:,} lines, {done.taken.total():,} messages"
            bar.update(task, total=done.of or None, completed=done.lines, description=about)

        if args.from_tape:
            found = _backfill_tape(args, url, conf, refused_folder, show)
            bar.stop()
            print(json.dumps(days_as_json(found)) if args.json else days_text(found, refused_folder))
            return 0
        done = backfill(
            args.paths,
            url,
            conf,
            source=source,
            views=_views(args.features),
            delay_ms=args.available_after,
            jobs=args.jobs or 1,
            columns=given_columns(args),
            load_model=load_model,
            refused_folder=refused_folder,
            progress=show,
        )
    print(json.dumps(as_json(done)) if args.json else text(done, refused_folder))
    return report_unread(done.unread)


def _check_options(args: argparse.Namespace) -> None:
    if args.from_tape:
        if args.paths or args.table or args.column:
            raise UserError("give files, --table or --from-tape, not several of them")
        if args.since and args.before and args.since >= args.before:
            raise UserError("--since must be before --before")
        return
    if not args.paths and not args.table:
        raise UserError("give files, --table, or --from-tape")
    if args.symbols or args.engine != "processes":
        raise UserError("--symbols and --engine go with --from-tape")


def _backfill_tape(
    args: argparse.Namespace, url: str, conf: Settings, refused_folder: Path, show: Callable[[Done], None]
) -> Backfilled:
    from ingest.backfill.days.run import backfill_from_tape

    before = date.max if args.before is None else (args.before + timedelta(days=1, microseconds=-1)).date()
    return backfill_from_tape(
        url,
        conf,
        symbols=args.symbols,
        since=date.min if args.since is None else args.since.date(),
        before=before,
        views=_views(args.features),
        delay_ms=args.available_after,
        jobs=args.jobs,
        engine=args.engine,
        refused_folder=refused_folder,
        progress=show,
    )


def _views(features: Sequence[str]) -> list[str]:
    """Return the views that hold some features, in order; all views for none."""
    from transforms.catalog import VIEWS

    known = {name for view in VIEWS for name in view.names}
    if unknown := [name for name in features if name not in known]:
        raise UserError(f"there is no feature {', '.join(unknown[:5])}; `python -m ingest features` lists them")
    return [view.name for view in VIEWS if not features or set(view.names) & set(features)]


def _source(args: argparse.Namespace, url: str) -> Source | None:
    """Describe the raw tables that are asked for; None without ``--table``."""
    from ingest.imports.tables.raw import RawTableError, open_source

    if not args.table:
        if args.column:
            raise RawTableError("--column goes with --table")
        return None
    since_ms, until_ms = (None if at is None else ms_of_datetime(at) for at in (args.since, args.before))
    return open_source(url, args.table, args.column, since_ms, until_ms)
