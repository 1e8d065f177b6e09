"""A task of a backfill from the tape: some symbols, from day to day.

A day of a partition is read once for all symbols of the task. At its end the state of each symbol is kept, then its rows and the word that
the day is done are written, in one transaction a symbol. A task that dies has lost the day at hand.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psycopg
import pyarrow.compute as pc

from ingest.backfill import table
from ingest.backfill.days.contents import FOR_SOME, KINDS_FOR_ALL
from ingest.backfill.days.follow import Followed
from ingest.backfill.days.neighbours import Told, told
from ingest.backfill.days.plan import Plan, Unit
from ingest.backfill.days.records import Writer
from ingest.backfill.done import Done, Progress
from ingest.messages.envelope import from_entry
from ingest.messages.refusal import Refused
from ingest.recordings.refused import RefusedFile
from ingest.settings import Settings
from ingest.streams.read import id_numbers
from ingest.tape.columns import DAY_MS, EVENTS, FOR_ALL, IMPORT, entries_of
from ingest.tape.lines import line_of
from ingest.tape.read import day_ms, rows
from ingest.tape.store import Store
from ingest.tape.table import Tape, TapeError, open_tape
from transforms.catalog import VIEW
from transforms.compiling import warm_up

CHECK_EVERY = 2000
"""Messages between two checks whether enough rows are collected to write them."""
_COLUMNS = ("id_ms", "id_n", "kind", "symbol", "source", "recorded", "data", "fields")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all tasks of a run have in common.

    Attributes
    ----------
    version : int
        Of the table of the tape.
    run : int
        The number of the run (``records``).
    refused : Path or None
        The folder for files of what is refused.
    views : tuple of str
        The views whose rows are written.
    """

    settings: Settings
    url: str
    version: int
    run: int
    delay_us: int
    refused: Path | None = None
    views: tuple[str, ...] = tuple(VIEW)


def process(plans: Sequence[Plan], shared: Shared, report: Progress) -> Done:
    """Compute the symbols of a task, one partition after the other."""
    warm_up()
    done = Done()
    units = sorted(unit.fingerprint for plan in plans for unit in plan.units)
    name = f"backfill-tape-{hashlib.blake2b(b''.join(units), digest_size=6).hexdigest()}.jsonl"
    by_partition: defaultdict[int, list[Plan]] = defaultdict(list)
    for plan in plans:
        by_partition[plan.partition].append(plan)
    with (
        psycopg.connect(shared.url, autocommit=True, application_name="tfs backfill") as connection,
        RefusedFile(shared.refused and shared.refused / name) as refused,
    ):
        views = [VIEW[name] for name in shared.views]
        task = _Task(shared, Writer(connection, shared.run, shared.delay_us, views), done, refused, report)
        for partition, of_partition in sorted(by_partition.items()):
            task.process(partition, of_partition)
    return done


class _Task:
    def __init__(self, shared: Shared, writer: Writer, done: Done, refused: RefusedFile, report: Progress) -> None:
        self._settings = shared.settings
        self._tape = open_tape(shared.settings, shared.version)
        self._store = Store(shared.settings.tape)
        self._writer = writer
        self._done = done
        self._refused = refused
        self._report = report

    def process(self, partition: int, plans: Sequence[Plan]) -> None:
        """Compute the symbols of one partition."""
        days: defaultdict[date, list[tuple[Plan, Unit]]] = defaultdict(list)
        for plan in plans:
            self._writer.begin(plan)
            for unit in plan.units:
                if not unit.is_tail:
                    days[unit.day].append((plan, unit))
        others = {plan.symbol: plan.other_bases for plan in plans}
        at: dict[str, Followed] = {}
        for day, units in sorted(days.items()):
            at = {
                plan.symbol: at_begin(plan, unit, at.get(plan.symbol), self._settings, self._store)
                for plan, unit in units
            }
            for plan, _ in units:
                for base in others[plan.symbol]:
                    self._store.delete(plan.states(day, base))
            self._read(partition, day, at)
            for one in at.values():
                self._store.replace(one.plan.states(day), one.unit.fingerprint.hex(), one.save())
            self._write(at.values(), complete=True)
            for plan in [plan for plan, unit in units if plan.units[-1].is_tail and plan.units[-2] is unit]:
                self._close(plan, at[plan.symbol])
        for plan in plans:
            if plan.units and plan.units[-1].is_tail and len(plan.units) == 1:
                self._close(plan, at_begin(plan, plan.units[-1], None, self._settings, self._store))
            self._writer.delete_rest(plan)
            self._done.symbols.add(plan.symbol)

    def _close(self, plan: Plan, one: Followed) -> None:
        one.unit = plan.units[-1]
        one.close()
        self._write([one], complete=True)

    def _read(self, partition: int, day: date, at: Mapping[str, Followed]) -> None:
        lasts = {name: last for one in at.values() for name, last in one.plan.neighbours.items()}
        rows_told = told(self._tape, self._settings, partition, day, lasts)
        for n in follow(self._tape, partition, day, at, told=rows_told):
            self._done.lines += n
            if sum(one.has_rows() for one in at.values()) >= table.ROWS:
                self._write(at.values())
            self._report(self._done)

    def _write(self, followed: Iterable[Followed], *, complete: bool = False) -> None:
        """Collect what waits; count it, and keep what was refused. A complete day is written."""
        written = []
        for one in followed:
            pending = one.take()
            for name, n in pending.counts.items():
                what, _, kind = name.partition(".")
                if what in ("accepted", "refused"):
                    (self._done.taken if what == "accepted" else self._done.refused)[kind] += n
            for (entry_id, fields), why in pending.dead:
                self._refused.keep_entry(line_of(entry_id, one.plan.partition, fields), why)
            columns = {name: batch.columns() for name, batch in pending.batches.items() if len(batch)}
            if one.unit.is_written and (columns or complete):
                self._writer.collect(one.plan, one.unit, columns)
                written.append((one.plan, one.unit))
        if complete:
            for plan, unit in written:
                self._writer.write(plan, unit)
            self._writer.clear()
        self._done.made, self._done.new = self._writer.made, self._writer.new


def at_begin(plan: Plan, unit: Unit, before: Followed | None, settings: Settings, store: Store) -> Followed:
    """Return the symbol of a plan at the start of a day: ``before`` where that is at the end of the day before, else from a kept state."""
    if before is None or before.unit.fingerprint != unit.before:
        saved = None
        if unit.before:
            previous = next(one for one in plan.chain if one.fingerprint == unit.before)
            saved = store.read(plan.state(previous))
            if saved is None:
                raise TapeError(
                    f"the state of {plan.symbol} at the end of {previous.day} is damaged; delete {plan.state(previous)} in the folder "
                    f"_backfill of the tape and run this again"
                )
        before = Followed(plan, settings, saved)
    before.unit = unit
    return before


def follow(
    tape: Tape,
    partition: int,
    day: date,
    at: Mapping[str, Followed],
    sources: Sequence[str] = (EVENTS, IMPORT),
    told: Iterable[Told] = (),
) -> Iterator[int]:
    """Give symbols what the tape has of a day, in order; yield again and again how many entries were read since.

    ``told`` are rows of neighbours, each given before the entries that arrived after it was finished.
    """
    begin_ms = day_ms(day)
    n = 0
    waiting = iter(told)
    first = next(waiting, None)
    for window in rows(
        tape,
        partition,
        source=sources,
        since_ms=begin_ms,
        before_ms=begin_ms + DAY_MS,
        symbols=[*at, FOR_ALL],
        columns=_COLUMNS,
    ):
        names = window["symbol"].to_pylist()
        imported = pc.equal(window["source"], IMPORT).to_pylist()
        for (entry_id, fields), name, is_imported in zip(entries_of(window), names, imported, strict=True):
            if first is not None:
                now = id_numbers(entry_id)
                while first is not None and first.at < now:
                    _tell(first, at)
                    first = next(waiting, None)
            if name is None or name == FOR_ALL:
                for one in _concerned(entry_id, fields, at):
                    one.process(entry_id, fields)
            else:
                at[name].process(entry_id, fields, imported=is_imported)
            n += 1
            if n % CHECK_EVERY == 0:
                yield CHECK_EVERY
    while first is not None:
        _tell(first, at)
        first = next(waiting, None)
    if n % CHECK_EVERY:
        yield n % CHECK_EVERY


def _tell(told: Told, at: Mapping[str, Followed]) -> None:
    for name in told.row.symbols:
        if name in at:
            at[name].hear(told)


def _concerned(entry_id: bytes, fields: Mapping[bytes, bytes], at: Mapping[str, Followed]) -> Iterable[Followed]:
    """Return the symbols to which a message is given that names none itself: those that a clock or a row is for, or all for another."""
    kind = fields.get(b"kind", b"").decode(errors="replace")
    if kind not in KINDS_FOR_ALL:
        return ()
    if kind not in FOR_SOME:
        return at.values()
    try:
        names = from_entry(entry_id, fields).message.symbols
    except Refused:
        return ()
    return [at[name] for name in names if name in at]
