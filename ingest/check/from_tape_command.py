"""``python -m ingest check consistency --from-tape``: compare served rows with what the tape gives."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from feature_repo.stores.errors import UserError
from ingest.cli import ExitCode
from transforms.times import iso_of_us

if TYPE_CHECKING:
    import redis

    from ingest.check.served_rows import RowName, Served
    from ingest.settings import Settings

SAMPLES = 20
SHOWN = 10
"""The most rows of one kind that are named."""


def run(args: argparse.Namespace) -> int:
    """Compute some symbol-days from the tape, compare them with the served rows, and print what was found."""
    import psycopg
    from rich.console import Console

    from feature_repo.stores.endpoints import postgres_url
    from ingest import settings
    from ingest.check import from_tape
    from ingest.streams import deployment
    from ingest.tape.table import open_tape

    conf = settings.load()
    tape = open_tape(conf)
    with (
        deployment.opened(conf, fix=False) as (client, conf),
        psycopg.connect(postgres_url(), autocommit=True, connect_timeout=5) as connection,
        Console(stderr=True).status("check consistency") as status,
    ):
        if others := other_settings(client, conf):
            variables = ", ".join(f"TFS_{name.upper()}" for name in others)
            raise UserError(
                f"the workers run with another {variables} than is set here; set the same, and run this again"
            )
        found = from_tape.compare_served(
            tape,
            connection,
            conf,
            from_tape.sample(args.samples or SAMPLES),
            symbols=args.symbols,
            since=date.min if args.since is None else args.since.date(),
            before=date.max if args.before is None else args.before.date(),
            progress=lambda done, of: status.update(f"check consistency: {done:,} of {of:,} messages"),
        )
    _show(found, as_json=args.json)
    return found.exit_code


def other_settings(client: redis.Redis, conf: Settings) -> list[str]:
    """Return the names of settings that rows depend on and that the owners of the partitions have otherwise."""
    from ingest.streams import keys
    from ingest.worker import basis

    found: dict[str, None] = {}
    for p in range(conf.partitions):
        saved: Any = client.hget(keys.checkpoint(p), basis.FIELD)  # type: ignore[arg-type]
        found.update(dict.fromkeys(basis.differing(saved, conf)))
    return list(found)


def _show(found: Served, *, as_json: bool) -> None:
    from rich.console import Console

    from ingest.check import result

    console = Console()
    some = list(found.features.values())
    if as_json:
        answer = {
            "check": "consistency --from-tape",
            "passed": found.exit_code == ExitCode.DONE,
            "symbol_days": [[symbol, str(day)] for symbol, day in found.days],
            "rows": found.rows,
            "equal": sum(r.compared for r in some) - found.differing,
            "differing": found.differing,
            "other_kernels": found.other_kernels,
            "outside": found.outside,
            "missing": len(found.missing),
            "extra": len(found.extra),
            "missing_rows": _named(found.missing),
            "extra_rows": _named(found.extra),
            "after_other_kernels": sorted(found.after_others),
            "holes": found.holes,
            "features": result.as_objects(some),
        }
        console.file.write(json.dumps(answer) + "\n")
        return
    result.show_by_view(some, "served against the tape", console)
    for title, rows in (("the tape gives it, not served", found.missing), ("served, not of the tape", found.extra)):
        for row in _named(rows):
            console.print(f"{title}: {row}", markup=False)
    if found.after_others:
        names = ", ".join(sorted(found.after_others)[:SHOWN])
        console.print(
            f"rows of other kernels are older than what differs: kernels that began anew then had no past: {names}",
            markup=False,
        )
    if found.holes:
        console.print(f"the tape lacks entries of these logs: {found.holes:,} holes")
    console.print(
        f"{'passed' if found.exit_code == ExitCode.DONE else 'FAILED'}: {len(found.days):,} symbol-days, {found.rows:,} rows compared, "
        f"{found.differing:,} values differ, {len(found.missing):,} rows not served, {len(found.extra):,} not of the tape; left out: "
        f"{found.other_kernels:,} rows of other kernels, {found.outside:,} before the first served one or after the newest"
    )


def _named(rows: Sequence[RowName]) -> list[str]:
    return [f"{view} {symbol} at {iso_of_us(t_us)}" for view, symbol, t_us in rows[:SHOWN]]
