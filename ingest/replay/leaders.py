"""Rows of neighbours among the entries of a tape that holds imported history: an import puts none there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingest.messages.envelope import from_entry
from ingest.messages.refusal import Refused
from ingest.publish.placed import entries_of
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.keys import stream
from ingest.streams.read import id_numbers
from ingest.tape.period import LogEntry
from ingest.worker.neighbours import Leaders


def with_rows(entries: Iterator[LogEntry], settings: Settings) -> Iterator[LogEntry]:
    """Yield the entries, and behind each recorded one that finishes a row of a symbol that others follow, that row for their logs.

    Rows that were recorded with their messages are made anew with the others. Before ticks that follow one another stand the rows that they
    finish, as where a replay of files ends.
    """
    leaders = Leaders(settings)
    logs = {keys.events(p): p for p in range(settings.partitions)}
    last: dict[int, tuple[int, int]] = {}
    ticks: list[LogEntry] = []

    def placed(entry_id: tuple[int, int], p: int, fields: dict[bytes, bytes]) -> LogEntry:
        before = last.get(p, (0, 0))
        last[p] = entry_id if entry_id > before else (before[0], before[1] + 1)
        return b"%d-%d" % last[p], p, fields

    def finished_by(entry: LogEntry) -> Iterator[LogEntry]:
        entry_id, _, fields = entry
        try:
            envelope = from_entry(entry_id, fields)
        except Refused:
            return
        message: Any = envelope.message
        for row in leaders.accept(envelope.kind, message):
            for place, of_row in entries_of("neighbour", row, settings.partitions):
                yield placed(id_numbers(entry_id), logs[stream(place)], {**of_row, b"recorded": b"1"})

    def ended() -> Iterator[LogEntry]:
        for tick in ticks:
            yield from finished_by(tick)
        for entry_id, p, fields in ticks:
            yield placed(id_numbers(entry_id), p, fields)
        ticks.clear()

    for entry in entries:
        entry_id, p, fields = entry
        is_recorded, kind = fields.get(b"recorded") == b"1", fields.get(b"kind")
        if is_recorded and kind == b"tick":
            ticks.append(entry)
            continue
        yield from ended()
        if is_recorded and kind == b"neighbour":
            continue
        yield placed(id_numbers(entry_id), p, fields)
        if is_recorded:
            yield from finished_by(entry)
    yield from ended()
