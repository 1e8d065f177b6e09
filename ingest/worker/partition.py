"""One partition in the worker: entries of its log in, rows and a checkpoint out.

Two places of the log matter, and both stand in the checkpoint::

    ---- in the saved state ----|state_id ---- rows written ----|last_id ---- to be taken ----> position

Rows are made final many times a second, up to ``last_id``; the state is large and is saved every few seconds. Whoever opens the
partition restores the state and takes the entries in between again without giving their rows: the kernels read no clock, so the state
is then, to the bit, that of the owner before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ingest.messages.check import check_header
from ingest.messages.envelope import Entry, Envelope, from_entry
from ingest.messages.refusal import Reason, Refused
from ingest.settings import Settings
from ingest.streams.read import START
from ingest.worker import rows
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Symbols
from transforms.catalog import VIEWS, View
from transforms.engine import VersionError
from transforms.kernel import Vector


@dataclass(slots=True)
class Pending:
    """What has happened since the last commit."""

    batches: dict[str, rows.Batch] = field(default_factory=lambda: {v.name: rows.Batch(v) for v in VIEWS})
    dead: list[tuple[Entry, Refused]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    n_rows: int = 0


class Partition:
    """State of a partition. It does no I/O: the worker feeds it and writes what is ``pending``.

    Attributes
    ----------
    position, last_id, state_id:
        The last entry that was taken, the last whose rows are written, the last that is in the saved state.
    unsaved:
        Entries taken since the state was saved.
    """

    def __init__(self, number: int, settings: Settings) -> None:
        self.number = number
        self.symbols = Symbols(settings, self._emit, self._keep_refused, most=settings.max_symbols)
        self.position = self.last_id = self.state_id = START
        self.unsaved = 0
        self.pending = Pending()
        self._max_future_ms = settings.max_future_ms
        self._saved: dict[bytes, bytes] = {}
        self._touched: set[str] = set()
        self._now_us = 0

    def process(self, entry_id: bytes, fields: Mapping[bytes, bytes], now_us: int) -> Symbol | None:
        """Take one entry of the log; ``now_us`` is when rows that it completes become available.

        Returns
        -------
        Symbol or None
            The symbol that accepted it, None where the entry was refused.
        """
        self.pending.entries += 1
        self.position = entry_id
        self._now_us = now_us
        try:
            envelope = self._open(entry_id, fields)
        except Exception as error:  # an entry must not stop a partition, whatever is wrong with it or with our code
            self.symbols.refuse((entry_id, fields), error)
            return None
        symbol = self.symbols.accept(envelope)
        if symbol is not None:
            self._touched.add(symbol.name)
        return symbol

    def _open(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Envelope:
        """Decode an entry and check its symbol and its times."""
        envelope = from_entry(entry_id, fields)
        message, received_ms = envelope.message, envelope.received_ms
        arrived_ms = int(entry_id.partition(b"-")[0])
        if received_ms > arrived_ms + self._max_future_ms:
            raise Refused(Reason.FUTURE_TIME, "its receive time is ahead of its arrival here")
        check_header(message.symbol, message.timestamp, received_ms or arrived_ms, self._max_future_ms)
        if envelope.kind == "post":  # a score that nobody can have yet would be held for ever
            check_header(message.symbol, message.available, arrived_ms, self._max_future_ms)
        return envelope

    def _emit(self, symbol: Symbol, view: View, t_us: int, values: Vector) -> None:
        created_us = max(t_us, symbol.received_us if symbol.recorded else self._now_us)
        silent_us = symbol.engine.silence_us(view, t_us)
        self.pending.batches[view.name].add(symbol.name, t_us, created_us, values, silent_us)
        self.pending.n_rows += 1

    def _keep_refused(self, entry: Entry, refused: Refused) -> None:
        self.pending.dead.append((entry, refused))

    def replay(self, entries: Iterable[Entry]) -> None:
        """Take entries again whose rows were written before: the state moves on, and nothing is given."""
        for entry_id, fields in entries:
            self.process(entry_id, fields, 0)
        self.unsaved += self.pending.entries
        self.pending = Pending()
        self.symbols.take_counts()

    def take_pending(self) -> Pending:
        """All that is pending, for one commit; nothing is pending afterwards."""
        pending, self.pending = self.pending, Pending()
        pending.counts = self.symbols.take_counts()
        for batch in pending.batches.values():
            if len(batch):
                pending.counts[f"rows.{batch.view.name}"] += len(batch)
        self.last_id = self.position
        self.unsaved += pending.entries
        return pending

    def save(self) -> dict[bytes, bytes]:
        """The state at ``position``: the parts of the checkpoint that changed since it was saved before."""
        changed = {}
        for name in self._touched:
            for part, data in self.symbols[name].save().items():
                key = f"{name} {part}".encode()
                if self._saved.get(key) != data:
                    changed[key] = self._saved[key] = data
        self._touched.clear()
        self.unsaved = 0
        changed[b"state_id"] = self.state_id = self.position
        return changed

    def restore(self, checkpoint: Mapping[bytes, bytes], between: Callable[[], None] = lambda: None) -> list[str]:
        """Take a stored checkpoint: ``position`` is then where its state was saved.

        ``between`` is called before each symbol: a thousand of them take longer than a lease.

        Returns
        -------
        list of str
            Symbols whose state was saved by other kernels or another grid: it is not taken, and what they have here stays.
        """
        self.last_id = checkpoint.get(b"last_id", checkpoint.get(b"state_id", START))
        self.position = self.state_id = checkpoint.get(b"state_id", self.last_id)
        parts: dict[str, dict[str, bytes]] = {}
        for key, data in checkpoint.items():
            name, _, part = key.decode().partition(" ")
            if part:
                parts.setdefault(name, {})[part] = data
        refused = []
        for name, saved in parts.items():
            between()
            try:
                self.symbols.restore(name, saved)
            except VersionError:
                refused.append(name)
                continue
            self._saved.update({f"{name} {part}".encode(): data for part, data in saved.items()})
        return refused
