"""A backfill from the tape: find the days that are new or changed, and compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psycopg

from feature_repo.stores.errors import UserError
from ingest.backfill import table
from ingest.backfill.days import contents, neighbours, records
from ingest.backfill.days.cluster import process_on_ray, processors
from ingest.backfill.days.contents import Contents, files_of
from ingest.backfill.days.plan import Plan, base_of, chain, plan, share_out
from ingest.backfill.days.work import Shared, process
from ingest.backfill.done import Done, Progress
from ingest.backfill.together import process_together
from ingest.microprice import tables as microprice
from ingest.settings import Settings
from ingest.tape import verify
from ingest.tape.columns import FOR_ALL
from ingest.tape.store import Store
from ingest.tape.table import TapeError, of_tape, open_tape
from transforms.catalog import VIEW

APART_ROWS = 500_000
"""From so many unread rows on, partitions are read in tasks of their own."""
Days = dict[int, list[tuple[date, Contents]]]
"""What each partition has on each of its days, in order."""


@dataclass(slots=True)
class Backfilled:
    """What a backfill from the tape did.

    Attributes
    ----------
    done : Done
        Its counts; ``skipped`` are the rows of days that were passed over.
    computed, passed : int
        Days of symbols whose rows were written, and that were done and unchanged.
    again : dict of str to list of date
        Days of symbols that had been done and were computed again, because messages came to one of them or to one before.
    other_settings : set of str
        The symbols among these whose rows were of other settings or other kernels.
    """

    done: Done
    computed: int = 0
    passed: int = 0
    again: dict[str, list[date]] = field(default_factory=dict)
    other_settings: set[str] = field(default_factory=set)


def backfill_from_tape(
    url: str,
    settings: Settings,
    *,
    symbols: Sequence[str] = (),
    since: date = date.min,
    before: date = date.max,
    views: Sequence[str] = tuple(VIEW),
    delay_ms: int = 1000,
    jobs: int | None = None,
    engine: str = "processes",
    refused_folder: Path | None = None,
    progress: Progress = lambda done: None,
) -> Backfilled:
    """Write the rows of what the tape has into the offline tables.

    The rows are those of a live worker that is given the same messages, bit for bit; only ``created_timestamp`` differs. Days that an
    earlier call did and that are unchanged are passed over without being read. Days to which messages came are computed again, with all
    later days of the symbol, and their rows are replaced (``records``).

    Raise `TapeError` if the tape is not as it was appended, `StorageError` if it cannot be read, `OtherRunError` if another call begins.

    Parameters
    ----------
    url : str
        Of the database.
    settings : Settings
        ``tape`` says where the tape is.
    symbols : sequence of str
        Only these; all if there are none.
    since, before : date
        New days are computed from the one until the other; ``before`` is not included.
    views : sequence of str
        Only the rows of these are written, and only their old ones replaced. The kernels of all run, because a day begins at the states
        of the day before.
    delay_ms : int
        How long after its event time a row counts as available: ``created_timestamp - event_timestamp``.
    jobs : int or None
        Tasks that run at once. Symbols are shared out among them. None is one process, or the processors of the cluster.
    engine : str
        ``processes`` on this machine, or ``ray``.
    refused_folder : Path or None
        Gets files of what is refused, ``backfill-tape-*.jsonl``, of the machine that computes the symbol.
    """
    tape, store = open_tape(settings), Store(settings.tape)
    settings = of_tape(tape, settings)
    if lost := verify.lost_days(tape, settings.partitions):
        raise TapeError(f"{lost} days of partitions have no rows any more; run `python -m ingest tape verify`")
    on_ray = engine == "ray"
    jobs = jobs or (processors() if on_ray else 1)
    together = process_on_ray if on_ray else process_together
    with psycopg.connect(url, autocommit=True, application_name="tfs backfill") as connection:
        table.prepare(connection)
        run = records.begin(connection)
        tables = microprice.load(connection)
        before_this = records.load(connection, symbols)
    version = tape.table.version()
    files = files_of(tape)
    unread = {p: rows for p, of_days in files.items() if (rows := contents.unread_rows(store, p, of_days))}
    if (jobs > 1 or on_ray) and len(unread) > 1 and sum(unread.values()) > APART_ROWS:
        together(contents.keep, [(settings, version, p, files[p]) for p in unread], jobs, Done(), progress)
    days = {partition: contents.contents(tape, store, partition, of_days) for partition, of_days in files.items()}
    plans = []
    for symbol, partition in sorted(_symbols(days, settings, symbols).items()):
        base = base_of(settings, symbol, delay_ms * 1000)
        of_symbol = tables.get(symbol, ())
        near = neighbours.of_symbol(settings, symbol, days)
        links = list(chain(symbol, days[partition], base, of_symbol, near))
        one = Plan(symbol, partition, base, chain=links, tables=of_symbol, neighbours=neighbours.last_days(near))
        known = before_this.get(symbol, {})
        plans.append(plan(one, known, store.has, since, before, views))
    due = [one for one in plans if one.units or one.stale]
    found = Backfilled(Done(of=sum(one.rows for one in due)))
    _count(found, plans)
    shared = Shared(settings, url, version, run, delay_ms * 1000, refused_folder, tuple(views))
    tasks = share_out(due, jobs)
    if due and (on_ray or len(tasks) > 1):
        found.done = together(process, [(task, shared) for task in tasks], jobs, found.done, progress)
    elif due:
        before_it = found.done
        found.done += process(tasks[0], shared, lambda part: progress(before_it + part))
    return found


def _symbols(days: Days, settings: Settings, wanted: Sequence[str]) -> dict[str, int]:
    """Return the symbols to compute, with their partitions."""
    found: dict[str, int] = {}
    for partition, of_partition in days.items():
        for _, of_day in of_partition:
            found.update(dict.fromkeys(of_day.keys() - {FOR_ALL}, partition))
    if unknown := sorted(set(wanted) - found.keys()):
        raise UserError(f"the tape has no message of {', '.join(unknown[:5])}")
    taken = set(wanted) or settings.symbols
    return {name: partition for name, partition in found.items() if not taken or name in taken}


def _count(found: Backfilled, plans: Sequence[Plan]) -> None:
    for one in plans:
        found.computed += sum(unit.is_written and not unit.is_tail for unit in one.units)
        found.passed += len(one.passed)
        rows = sum(record.rows for record in one.passed)
        found.done.skipped += rows
        found.done.made += rows
        if one.again:
            found.again[one.symbol] = one.again
            if one.has_other_settings:
                found.other_settings.add(one.symbol)
