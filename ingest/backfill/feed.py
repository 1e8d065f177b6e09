"""The messages of a backfill on their way to their symbols, which are the same as in the live worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ingest.backfill import table
from ingest.backfill.done import Done, Progress
from ingest.messages.envelope import Envelope
from ingest.messages.kinds import MicropriceTable, Neighbour, ScoredPost, Tick, WithdrawnPost, time_us
from ingest.recordings.lines import Rejected
from ingest.recordings.refused import RefusedFile
from ingest.settings import Settings
from ingest.worker.neighbours import Leaders, as_told
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Symbols
from transforms.catalog import View
from transforms.kernel import Vector

CHECK_EVERY = 2000
"""Messages between two checks whether enough rows are collected to write them."""
Tables = Mapping[str, Sequence[MicropriceTable]]
"""The fitted microprice tables of each symbol, in the order of the times from which they are used."""


class Feed:
    """The messages of a task on their way to their symbols, with each symbol's microprice tables at their times.

    Rows go to ``writer``; ``done`` counts what is accepted and refused, and the symbols; ``refused`` keeps what is refused. Rows of a
    symbol that others follow are given to these at once. Of one that another task computes, ``overhear`` takes the messages.
    """

    def __init__(
        self,
        settings: Settings,
        tables: Tables,
        writer: table.Writer,
        done: Done,
        report: Progress,
        refused: RefusedFile,
    ) -> None:
        self._symbols = Symbols(
            settings,
            self._add,
            lambda origin, why: refused.keep_message(origin[1].get(b"message"), why),
        )
        self._followers = settings.followers()
        self._leaders = Leaders(settings)
        self._refused = refused
        self._grid_ms = settings.emit_interval_ms
        listed = settings.symbols or tables.keys()
        self._tables = {name: deque(of_symbol) for name, of_symbol in tables.items() if name in listed}
        self._writer = writer
        self._done = done
        self._report = report
        done.taken, done.refused = self._symbols.accepted, self._symbols.refused
        self._unchecked = 0
        self._last: dict[str, int] = {}
        self._last_post: dict[str, int] = {}
        self._overheard: dict[str, int] = {}

    def _add(self, symbol: Symbol, view: View, t_us: int, values: Vector) -> None:
        self._writer.add(symbol.name, view, t_us, values, symbol.engine.silence_us(view, t_us))
        names = self._followers.get(symbol.name)
        if names and (row := as_told(symbol, view, t_us, names)) is not None:
            self._tell(row)

    def _tell(self, row: Neighbour) -> None:
        self._symbols.hear_neighbour(Envelope("neighbour", row, received_ms=row.received or 0))

    def overhear(self, kind: str, message: Any) -> None:
        """Take a message of a symbol that this task does not compute, for those that follow it."""
        name = message.symbol
        if name in self._followers:
            self._overheard[name] = max(-(-time_us(message) // 1000), self._overheard.get(name, 0))
            for row in self._leaders.accept(kind, message):
                self._tell(row)

    def accept(self, kind: str, message: Any) -> None:
        """Give a message to its symbol. A refused one is counted by its reason."""
        name = message.symbol
        if kind == "post":
            self._last_post[name] = max(message.available, self._last_post.get(name, 0))
        else:
            t_us = time_us(message)
            self._last[name] = max(-(-t_us // 1000), self._last.get(name, 0))
            if name in self._tables:
                self._install_tables(name, t_us // 1000)
        origin = b"", {b"message": message}
        self._symbols.accept(Envelope(kind, message, received_ms=message.received or 0, origin=origin))
        self._unchecked += 1
        if self._unchecked == CHECK_EVERY:
            self._unchecked = 0
            self._writer.flush()
            self._report(self._done)

    def refuse(self, rejected: Rejected) -> None:
        """Count and keep a refused line or row."""
        self._done.refused[str(rejected.reason)] += 1
        self._refused.keep_line(rejected)

    def accept_post(self, post: ScoredPost | WithdrawnPost) -> None:
        """Give a scored post to its symbol, or a withdrawal to the symbols that have its post."""
        if isinstance(post, WithdrawnPost):
            self._symbols.accept(Envelope("withdrawal", post))
        else:
            self.accept("post", post)

    def _install_tables(self, name: str, until_ms: int) -> None:
        """Give a symbol the tables that are used from ``until_ms`` or before; it applies each at its time."""
        tables = self._tables[name]
        while tables and tables[0].usable_from <= until_ms:
            self._symbols.accept(Envelope("microprice", tables.popleft()))

    def close(self, name: str) -> None:
        """Emit the last rows of a symbol, up to the boundary after its newest message, and forget it."""
        if name not in self._symbols:
            return  # it accepted no message
        self._symbols.pop(name).accept(Envelope("tick", Tick(self._end_ms(name), name)))
        self._done.symbols.add(name)

    def _end_ms(self, name: str) -> int:
        """Return the boundary after the newest message of a symbol, which has the tables until then."""
        last = self._last.get(name) or self._last_post.get(name, 0)
        end = -(-last // self._grid_ms) * self._grid_ms
        if name in self._tables:
            self._install_tables(name, end)
        return end

    def end(self) -> None:
        """Let those that others follow tell their last rows, then close every open symbol."""
        for name in self._symbols.keys() & self._followers.keys():
            self._symbols[name].pass_time(self._end_ms(name) * 1000)
        for name, last in self._overheard.items():
            self.overhear("tick", Tick(-(-last // self._grid_ms) * self._grid_ms, name))
        for name in list(self._symbols):
            self.close(name)
