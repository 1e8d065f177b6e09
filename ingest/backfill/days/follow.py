"""One symbol in a backfill from the tape: its entries through the same partition as in the live worker, and its state between days."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from ingest.backfill.days.neighbours import Told
from ingest.backfill.days.plan import Plan, Unit
from ingest.messages.decode import encode
from ingest.messages.envelope import Envelope, from_entry
from ingest.messages.kinds import MicropriceTable, Tick
from ingest.settings import Settings
from ingest.worker.partition import Partition, Pending


class Followed:
    """A symbol that goes from day to day.

    It is alone in its partition, so no other symbol can take its place there (``TFS_MAX_SYMBOLS``).

    Parameters
    ----------
    plan : Plan
    settings : Settings
    saved : Any
        What ``save`` returned at the end of the day before; None before the first.

    Attributes
    ----------
    unit : Unit
        The day at hand.
    """

    def __init__(self, plan: Plan, settings: Settings, saved: Any = None) -> None:
        self.plan = plan
        self.unit: Unit
        self._partition = Partition(plan.partition, settings)
        self._ahead_ms = settings.max_future_ms
        self._emit_us = settings.emit_us
        parts, is_idle, from_ms = saved or ({}, False, 0)
        self._tables_from_ms = int(from_ms)
        self._tables = deque(table for table in plan.tables if table.usable_from > self._tables_from_ms)
        if parts:
            symbol = self._partition.symbols.open(plan.symbol, parts)
            if is_idle:
                self._partition.idle.add(symbol)
                del self._partition.symbols[plan.symbol]

    def process(self, entry_id: bytes, fields: Mapping[bytes, bytes], *, imported: bool = False) -> None:
        """Process an entry, and before an imported one the fitted tables that are used from its time on.

        The log of a live deployment has its tables itself; history from files has none.
        """
        if imported and self._tables:
            self._install_tables(int(entry_id.partition(b"-")[0]) + self._ahead_ms)
        self._partition.process(entry_id, fields, 0)

    def _install_tables(self, until_ms: int) -> None:
        while self._tables and self._tables[0].usable_from <= until_ms:
            table = self._tables.popleft()
            self._tables_from_ms = table.usable_from
            self._partition.symbols.accept(_held_as_entry(table))

    def hear(self, told: Told) -> None:
        """Take a neighbour's row that the log does not have."""
        fields = {b"kind": b"neighbour", b"data": encode(told.row), b"recorded": b"1"}
        self._partition.process(b"%d-%d" % told.at, fields, 0)

    def has_rows(self) -> int:
        """Return how many rows and refused entries wait to be taken."""
        return self._partition.pending.n_rows + len(self._partition.pending.dead)

    def take(self) -> Pending:
        """Return the rows, the refusals and the counts since the last call."""
        return self._partition.take_pending()

    def save(self) -> list[Any]:
        """Return the state, as bytes of its parts."""
        name = self.plan.symbol
        symbol = self._partition.symbols.get(name)
        parts = symbol.save() if symbol is not None else dict(self._partition.idle.find(name) or {})
        return [parts, symbol is None, self._tables_from_ms]

    def close(self) -> None:
        """Give the rows after the last message, up to the next boundary of the grid, if it came from a recording.

        Time passes for a live symbol by what its log has, and a later day begins at the state before this.
        """
        symbol = self._partition.symbols.get(self.plan.symbol)
        if symbol is None or not symbol.recorded:
            return
        last_us = symbol.timeline.last_us()
        end_ms = -(-last_us // self._emit_us) * self._emit_us // 1000
        self._install_tables(end_ms)
        symbol.accept(Envelope("tick", Tick(end_ms, self.plan.symbol)))


def _held_as_entry(table: MicropriceTable) -> Envelope:
    """Return a table as an entry of the log, as which it is saved while it waits for its time."""
    fields = {b"kind": b"microprice", b"data": encode(table), b"recorded": b"1"}
    return from_entry(b"%d-0" % table.usable_from, fields)
