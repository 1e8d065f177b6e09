"""What each symbol has on a day of the tape, in numbers: a day that has the same numbers has the same messages.

The numbers of the symbols need the rows of a day to be read, so they are kept, one object a partition, with what tells that the day is as
it was: the files that it has, or, after these were rewritten (``tape.compact``), how many rows there are and the sum of their checks.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import pyarrow.compute as pc

from ingest.backfill.done import Done, Progress
from ingest.settings import Settings
from ingest.tape.columns import CHECK_BITS, FOR_ALL, IMPORT, checks_of
from ingest.tape.store import Store
from ingest.tape.table import File, Tape, TapeError, open_tape, storage

FOR_SOME = frozenset({"clock", "neighbour"})
"""Kinds of messages that name several symbols."""
KINDS_FOR_ALL = FOR_SOME | {"withdrawal"}
"""Kinds of messages that name no symbol. Other rows that name none cannot be read, and a worker refuses them."""
_COLUMNS = ["id_ms", "id_n", "kind", "symbol", "source", "recorded", "data", "fields"]


class Content(NamedTuple):
    """Of the rows of a symbol and day: how many there are, the sum of their checks, and how many came from files."""

    rows: int = 0
    check: int = 0
    imported: int = 0


Contents = dict[str, Content]
"""By symbol; ``FOR_ALL`` has the messages that name none."""


Files = Mapping[date, Sequence[File]]
"""Of each day of a partition."""


def files_of(tape: Tape) -> dict[int, dict[date, list[File]]]:
    """Return the files of each day of each log."""
    found: defaultdict[int, dict[date, list[File]]] = defaultdict(dict)
    for (partition, day), files in tape.days().items():
        if partition >= 0:
            found[partition][day] = files
    return dict(found)


def contents(tape: Tape, store: Store, partition: int, files: Files) -> list[tuple[date, Contents]]:
    """Return what the symbols have on each day of a partition, in order; read what is not kept, and keep it.

    Raise `TapeError` if the rows of a day are not those that were appended.
    """
    kept: Any = store.read(_name(partition)) or {}
    found: dict[str, Any] = {}
    for day in sorted(files):
        paths, numbers, of_day = kept.get(str(day)) or (b"", [], {})
        if paths != _hash(files[day]):
            figures = list(tape.figures(partition, day))
            if figures != numbers:
                of_day = _read(tape, partition, day)
            paths, numbers = _hash(files[day]), figures
        found[str(day)] = [paths, numbers, of_day]
    if found != kept:
        store.write(_name(partition), found)
    return [
        (date.fromisoformat(day), {symbol: Content(*numbers) for symbol, numbers in of_day.items()})
        for day, (_, _, of_day) in found.items()
    ]


def unread_rows(store: Store, partition: int, files: Files) -> int:
    """Return how many rows the days have whose files are not those that are known."""
    kept: Any = store.read(_name(partition)) or {}
    known = {day: paths for day, (paths, *_) in kept.items()}
    return sum(file.rows for day, of_day in files.items() if known.get(str(day)) != _hash(of_day) for file in of_day)


def keep(settings: Settings, version: int, partition: int, files: Files, report: Progress) -> Done:
    """Do the same in a task of its own, for what is kept."""
    contents(open_tape(settings, version), Store(settings.tape), partition, files)
    return Done()


def _name(partition: int) -> str:
    return f"contents/{partition}"


def _hash(files: Sequence[File]) -> bytes:
    return hashlib.blake2b("\n".join(sorted(file.path for file in files)).encode(), digest_size=16).digest()


def _read(tape: Tape, partition: int, day: date) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    rows = total = 0
    with storage(tape.place):
        dataset = tape.of_day(partition, day)
        which = (pc.field("day") == day) & (pc.field("partition") == partition)
        for batch in dataset.to_batches(columns=_COLUMNS, filter=which):
            rows += batch.num_rows
            symbols, kinds = batch["symbol"].to_pylist(), batch["kind"].to_pylist()
            imported = pc.equal(batch["source"], IMPORT).to_pylist()
            for symbol, kind, from_file, check in zip(symbols, kinds, imported, checks_of(batch), strict=True):
                total += check
                if symbol is None and kind in KINDS_FOR_ALL:
                    symbol = FOR_ALL
                if symbol is not None:
                    of_symbol = found[symbol]
                    of_symbol[0] += 1
                    of_symbol[1] += check
                    of_symbol[2] += from_file
    if (rows, total % CHECK_BITS) != tape.figures(partition, day):
        raise TapeError(
            f"{day} of partition {partition} has {rows:,} rows and is not what was appended; run `python -m ingest tape verify`"
        )
    return dict(found)
