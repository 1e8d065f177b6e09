"""The entries of a period of the tape, from all logs together, in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from heapq import merge

import msgspec
import pyarrow as pa

from ingest.messages.decode import encode
from ingest.messages.kinds import Tick, time_us
from ingest.settings import Settings
from ingest.tape.columns import EVENTS, FOR_ALL, IMPORT, entries_of
from ingest.tape.read import FOREVER_MS, WINDOW_ROWS, rows
from ingest.tape.table import Tape, of_tape

LogEntry = tuple[bytes, int, dict[bytes, bytes]]
"""The id, the partition of the log, and the fields."""

_COLUMNS = ("id_ms", "id_n", "kind", "symbol", "source", "recorded", "data", "fields")
PART_ROWS = 10_000
_Id = tuple[int, int]


def in_order(
    tape: Tape,
    settings: Settings,
    since: datetime | None = None,
    before: datetime | None = None,
    symbols: Sequence[str] = (),
    *,
    imported: bool = False,
) -> Iterator[LogEntry]:
    """Return the entries of all logs that arrived from ``since`` until ``before``, in the order of their ids; None is no bound.

    Of ``symbols`` only what names them is given, and what is for all symbols, such as a withdrawn post. With ``imported`` the messages of
    files are among them, and at the end a tick for each symbol whose newest entry is one of these: time passes to the next boundary of
    the grid, as it does at the end of a replayed file.

    Raise `TapeError` if the tape has another number of partitions.
    """
    return _in_order(tape, of_tape(tape, settings), since, before, symbols, imported=imported)


def _in_order(
    tape: Tape,
    settings: Settings,
    since: datetime | None,
    before: datetime | None,
    symbols: Sequence[str],
    *,
    imported: bool,
) -> Iterator[LogEntry]:
    ends = _Ends(settings.emit_us)

    def of(p: int) -> Iterator[tuple[_Id, LogEntry]]:
        last: _Id = (-1, 0)
        for part in _parts(
            rows(
                tape,
                p,
                source=(EVENTS, IMPORT) if imported else EVENTS,
                since_ms=0 if since is None else round(since.timestamp() * 1000),
                before_ms=FOREVER_MS if before is None else round(before.timestamp() * 1000),
                symbols=[*symbols, FOR_ALL] if symbols else None,
                columns=_COLUMNS,
                window_rows=WINDOW_ROWS // settings.partitions,  # each partition has a window at a time
            )
        ):
            ids = zip(part["id_ms"].to_pylist(), part["id_n"].to_pylist(), strict=True)
            about = zip(part["symbol"].to_pylist(), part["source"].to_pylist(), strict=True)
            for at, (symbol, source), (entry_id, fields) in zip(ids, about, entries_of(part), strict=True):
                if imported:
                    ends.note(p, symbol, fields[b"data"] if source == IMPORT else None)
                if at <= last:  # two files gave one id, or two logs that stand together, and a log has each id once
                    at = last[0], last[1] + 1
                    entry_id = b"%d-%d" % at
                last = at
                yield at, (entry_id, p, fields)

    newest: _Id = (0, 0)
    for at, entry in merge(*map(of, range(settings.partitions)), key=lambda one: (one[0], one[1][1])):
        newest = at
        yield entry
    yield from ends.ticks(newest)


def _parts(windows: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield windows in parts, so that few rows are Python objects at a time."""
    for window in windows:
        for start in range(0, window.num_rows, PART_ROWS):
            yield window.slice(start, PART_ROWS)


class _Time(msgspec.Struct):
    timestamp: int
    timestamp_us: int | None = None


_time_of = msgspec.msgpack.Decoder(_Time).decode


class _Ends:
    """Where the history of each symbol ends whose newest entry came from a file."""

    def __init__(self, emit_us: int) -> None:
        self._emit_us = emit_us
        self._last_us: dict[tuple[int, str], int] = {}

    def note(self, partition: int, symbol: str | None, imported: bytes | None) -> None:
        """Note the next entry of a symbol, with its bytes if it came from a file."""
        if symbol is None or symbol == FOR_ALL:
            return
        key = partition, symbol
        if imported is None:
            self._last_us.pop(key, None)
        else:
            self._last_us[key] = max(self._last_us.get(key, 0), time_us(_time_of(imported)))

    def ticks(self, newest: _Id) -> Iterator[LogEntry]:
        """Yield a tick for each of these symbols, with ids behind ``newest``."""
        for (p, symbol), last_us in sorted(self._last_us.items(), key=lambda one: (one[1], one[0])):
            end_ms = -(-last_us // self._emit_us) * self._emit_us // 1000
            newest = max((end_ms, 0), (newest[0], newest[1] + 1))
            fields = {b"kind": b"tick", b"data": encode(Tick(end_ms, symbol)), b"recorded": b"1"}
            yield b"%d-%d" % newest, p, fields
