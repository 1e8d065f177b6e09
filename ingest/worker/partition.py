"""One partition of the worker: entries of its log in, rows and a checkpoint out.

Two places of the log matter, and both stand in the checkpoint::

    ---- in the saved state ----|state_id ---- rows written ----|last_id ---- to be processed ----> position

Rows are committed many times a second, up to ``last_id``. The state is large and is saved every few seconds. The next owner restores the
state and processes the entries in between again, without giving their rows. The kernels read no clock, so its state is then the same, to
the bit, as that of the owner before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ingest.messages.envelope import Origin, checked_entry
from ingest.messages.kinds import Leave
from ingest.messages.refusal import Refused
from ingest.settings import Settings
from ingest.streams.handing import CODE_FIELD
from ingest.streams.keys import partition_of
from ingest.streams.read import START
from ingest.worker import basis, rows, versions
from ingest.worker.idle import FIELD, KEPT, Idle
from ingest.worker.idle_load import AwayError
from ingest.worker.missing import LastHoles, Missing
from ingest.worker.neighbours import Told, as_told
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Make, Symbols
from transforms.catalog import VIEWS, View
from transforms.kernel import Vector
from transforms.saved import VersionError

HEARD = frozenset({"book", "trade", "gap", "tick"})  # kinds of messages that say how far a symbol's market feed is

FROM_FEED = frozenset({"clock", "hold"})
"""Kinds with which a feed says how far its connection is; they open no symbol."""


@dataclass(slots=True)
class Pending:
    """What has happened since the last commit, which ended at ``after``; ``counts`` is what the commit adds to the counters.

    ``missing`` is what it adds to the hash of missing trades, ``told`` is for the logs of other symbols, before the commit.
    """

    batches: dict[str, rows.Batch] = field(default_factory=lambda: {v.name: rows.Batch(v) for v in VIEWS})
    dead: list[tuple[Origin, Refused]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    missing: Missing = field(default_factory=Missing)
    told: list[Told] = field(default_factory=list)
    entries: int = 0
    n_rows: int = 0
    after: bytes = START


class Partition:
    """State of a partition. It does no I/O: the worker gives it entries and writes what is ``pending``.

    Of recorded symbols it tells nothing to those that follow them, because the log has that, unless ``tells_recorded``.

    Attributes
    ----------
    position, last_id, state_id : bytes
        The last entry that was processed, the last whose rows are written, the last that is in the saved state.
    entries : int
        How many entries the log had up to ``position``, since it began; of an opened partition only (``opening``).
    unsaved : int
        Entries processed since the state was saved.
    left : int
        Symbols that left the memory and may have left it unused.
    has_foreign : bool
        Whether the restored state had symbols that are of other partitions now; the next commit of a saved state deletes them.
    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        load_idle: Callable[[str], bytes | None] = lambda _: None,
        make: Make = Symbol,
        *,
        tells_recorded: bool = False,
    ) -> None:
        self.number = number
        self._tells_recorded = tells_recorded
        self._load_idle = load_idle
        self._basis = basis.encode(settings)
        self._saved_basis: bytes | None = None
        self._code, self._saved_code = versions.code(), b""
        self.idle = Idle(load_idle, KEPT * settings.max_symbols, settings.is_known)
        self.symbols = Symbols(
            settings,
            self._emit,
            self._keep_refused,
            most=settings.max_symbols,
            make=make,
            recall=self.idle.find,
            opened=self.idle.remove,
        )
        self.position = self.last_id = self.state_id = START
        self.entries = 0
        self.unsaved = 0
        self.left = 0
        self.has_foreign = False
        self.pending = Pending()
        self._followers = settings.followers()
        self._partitions = settings.partitions if settings.configured else 0
        self._max_future_ms = settings.max_future_ms
        self._max_age_ms = settings.max_age_ms
        self._saved: dict[str, dict[str, bytes]] = {}
        self._dropped: set[bytes] = set()
        self._saved_idle = self.idle.save()
        self._touched: set[str] = set()
        self._last_holes = LastHoles()
        self._now_us = 0

    def process(self, entry_id: bytes, fields: Mapping[bytes, bytes], now_us: int) -> str | None:
        """Process one entry; return the symbol whose market feed was heard, if one was.

        ``now_us`` is when the rows that the entry completes become available. Raise `AwayError` where the state of an idle symbol cannot be
        read now; the entry is not processed then, and is to be given again.
        """
        before, self.position = self.position, entry_id
        self.pending.entries += 1
        self.entries += 1
        self._now_us = now_us
        try:
            return self._process(entry_id, fields)
        except AwayError:
            self.position = before
            self.pending.entries -= 1
            self.entries -= 1
            raise

    def _process(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> str | None:
        try:
            envelope = checked_entry(entry_id, fields, self._max_future_ms, self._max_age_ms)
        except Exception as error:  # one entry must not stop the partition, whatever is wrong with it or with our code
            self.symbols.refuse((entry_id, fields), error)
            return None
        if envelope.kind == "withdrawal":
            with_posts = [name for name, has_posts in self.idle.names.items() if has_posts]
            self._touched.update(self.symbols.withdraw(envelope, with_posts))
            return None
        kind, message = envelope.kind, envelope.message
        if kind in FROM_FEED:
            self._touched.update(self.symbols.hear_feed(envelope))
            if kind == "hold" and (symbol := self.symbols.get(message.symbol)):
                self.pending.missing.note(envelope, self._last_holes, symbol.engine)
            return None
        if kind == "neighbour":
            self._touched.update(self.symbols.hear_neighbour(envelope))
            self.symbols.accepted[kind] += 1
            return None
        if kind == "leave":
            self._leave(message)
            return None
        if (symbol := self.symbols.accept(envelope)) is None:
            return None
        self._touched.add(symbol.name)
        if kind == "gap" or (kind == "trade" and message.recovered) or (kind == "tick" and message.lost):
            self.pending.missing.note(envelope, self._last_holes, symbol.engine)
        if symbol.ticks_from_ms and kind in ("book", "trade") and symbol.ticks_from_ms <= envelope.arrived_ms:
            symbol.ticks_from_ms = 0  # its feed was lost, and this message comes from another one or from its next run
        return symbol.name if kind in HEARD else None

    def _leave(self, message: Leave) -> None:
        """Let a symbol leave the memory, if nothing came since the owner decided so and no row is to come."""
        name = message.symbol
        symbol = self.symbols.get(name)
        if not message.forget:
            if symbol is None or symbol.timeline.arrivals != message.arrivals or symbol.waits_for_time():
                return
            self.pending.counts["forgotten.symbols"] += len(self.idle.add(symbol))
        else:
            self.idle.remove(name)
            self.pending.counts["forgotten.symbols"] += 1
        self.left += self.symbols.pop(name, None) is not None
        self._touched.discard(name)
        self._last_holes.pop(name, None)
        self._dropped.update(f"{name} {part}".encode() for part in self._saved.pop(name, ()))

    def is_foreign(self, name: str) -> bool:
        """Return whether a symbol is of another partition since the number of partitions was raised."""
        return self._partitions > 0 and partition_of(name, self._partitions) != self.number

    def is_live(self, name: str) -> bool:
        """Return whether the newest message of a symbol came from a live feed."""
        symbol = self.symbols.get(name)
        return symbol is not None and not symbol.recorded

    def _emit(self, symbol: Symbol, view: View, t_us: int, values: Vector) -> None:
        created_us = max(t_us, symbol.received_us if symbol.recorded else self._now_us)
        silent_us = symbol.engine.silence_us(view, t_us)
        self.pending.batches[view.name].add(symbol.name, t_us, created_us, values, silent_us, live=not symbol.recorded)
        self.pending.n_rows += 1
        if self._followers and (self._tells_recorded or not symbol.recorded):
            names = self._followers.get(symbol.name)
            if names and (row := as_told(symbol, view, t_us, names)):
                self.pending.told.append((self.position, row))
        if found := symbol.engine.out_of_range:
            self.pending.counts.update({f"out_of_range.{feature}": n for feature, n in found.items()})
            found.clear()

    def _keep_refused(self, entry: Origin, refused: Refused) -> None:
        self.pending.dead.append((entry, refused))

    def replay(self, entries: Iterable[Origin], between: Callable[[], None] = lambda: None) -> None:
        """Process entries whose rows are written already: the state moves on, and no row is given; call ``between`` before each."""
        for entry_id, fields in entries:
            between()
            self.process(entry_id, fields, 0)
        self.unsaved += self.pending.entries
        self.pending = Pending()
        self.symbols.take_counts()

    def take_pending(self, now_us: int = 0) -> Pending:
        """Return everything that is pending, for one commit at ``now_us``; nothing is pending afterwards.

        Many rows of one turn can take seconds to make, and none can be read before. So live rows count as created now.
        """
        pending, self.pending = self.pending, Pending()
        pending.counts.update(self.symbols.take_counts())
        for batch in pending.batches.values():
            if len(batch):
                batch.stamp(now_us)
                pending.counts[f"rows.{batch.view.name}"] += len(batch)
        pending.after, self.last_id = self.last_id, self.position
        self.unsaved += pending.entries
        return pending

    def must_save(self) -> bool:
        """Return whether the next commit must save the state, because the server has other settings or kernels than count here."""
        return self._saved_basis != self._basis or self._saved_code != self._code

    def with_settings(self, settings: Settings, between: Callable[[], None] = lambda: None) -> Partition:
        """Return this partition as it goes on with other settings; its next commit saves the state and the settings together.

        Rows of ``context`` that wait for neighbours which are others from now on are pending then, with what was told.
        """
        after = Partition(self.number, settings, self._load_idle)
        state = {}
        for name, symbol in self.symbols.items():
            between()
            context = symbol.engine.context
            if context is not None and context.neighbours != settings.neighbours(name):
                symbol.emit_context(symbol.timeline.boundary)
            state.update({f"{name} {part}".encode(): data for part, data in symbol.save().items()})
        after.restart(after.restore(state, between))
        after.idle.take_over(self.idle)
        after.pending = self.pending
        after._last_holes = self._last_holes
        after.position, after.last_id, after.state_id = self.position, self.last_id, self.state_id
        after.entries, after.unsaved, after.left = self.entries, self.unsaved, self.left
        after._saved, after._saved_idle, after._saved_basis = self._saved, self._saved_idle, self._saved_basis
        after._saved_code = self._saved_code
        after._dropped, after._touched = self._dropped, set(after.symbols)
        after.has_foreign = self.has_foreign
        return after

    def save(self, between: Callable[[], None] = lambda: None) -> dict[bytes, bytes]:
        """Return the state at ``position``: the parts of the checkpoint that changed since the last save.

        ``between`` is called before each symbol, because a thousand symbols take longer than a lease.
        """
        changed = {}
        for name in self._touched:
            between()
            saved = self._saved.setdefault(name, {})
            for part, data in self.symbols[name].save().items():
                if saved.get(part) != data:
                    changed[f"{name} {part}".encode()] = saved[part] = data
        self._touched.clear()
        names = self.idle.save()
        if names != self._saved_idle:
            changed[FIELD] = self._saved_idle = names
        changed |= self._last_holes.changed()
        if self.must_save():
            changed[basis.FIELD] = self._saved_basis = self._basis
            changed[CODE_FIELD.encode()] = self._saved_code = self._code
        self.unsaved = 0
        changed[b"state_id"] = self.state_id = self.position
        return changed

    def take_moves(self) -> tuple[list[bytes], dict[str, bytes], list[str]]:
        """Return what else the commit of a saved state does: parts to delete, states of idle symbols to add, and to delete."""
        dropped, self._dropped = sorted(self._dropped), set()
        return dropped, *self.idle.take_changes()

    def restore(
        self, checkpoint: Mapping[bytes, bytes], between: Callable[[], None] = lambda: None
    ) -> dict[str, dict[str, bytes]]:
        """Restore a checkpoint; ``position`` is then the last entry in its state. ``between`` is called as ``save`` does.

        Return the symbols that stay as they are here, because their state has another format or grid, with that state.
        """
        self.last_id = checkpoint.get(b"last_id", checkpoint.get(b"state_id", START))
        self.position = self.state_id = checkpoint.get(b"state_id", self.last_id)
        self._saved_basis = checkpoint.get(basis.FIELD)
        self._saved_code = checkpoint.get(CODE_FIELD.encode(), b"")
        self._last_holes.restore(checkpoint)
        self.idle.restore(checkpoint.get(FIELD))
        self._saved_idle = self.idle.save()
        for name in [name for name in self.idle.names if self.is_foreign(name)]:
            self.idle.remove(name)
            self.has_foreign = True
        for name in [name for name in self._last_holes if self.is_foreign(name)]:
            del self._last_holes[name]
        parts: dict[str, dict[str, bytes]] = {}
        for key, data in checkpoint.items():
            name, _, part = key.decode().partition(" ")
            if part and self.is_foreign(name):
                self._dropped.add(key)
                self.has_foreign = True
            elif part:
                parts.setdefault(name, {})[part] = data
        refused = {}
        for name, saved in parts.items():
            between()
            self._saved[name] = saved  # of refused ones as well: their parts are deleted when they leave
            try:
                begins_anew = self.symbols.open(name, saved).engine.anew
            except VersionError:
                refused[name] = saved
                continue
            if begins_anew:
                self._touched.add(name)
        return refused

    def find(self, name: str) -> Symbol | None:
        """Return a symbol, also an idle one; None where it was not heard. Raise `AwayError` as ``process``."""
        if (symbol := self.symbols.get(name)) is None and name in self.idle.names:
            symbol = self.symbols.recalled(name)
        return symbol

    def install(self, name: str, parts: Mapping[str, bytes]) -> None:
        """Let a symbol, open, idle or new, go on with another state of ``position``."""
        self.symbols.open(name, parts)
        self._touched.add(name)

    def restart(self, refused: Mapping[str, Mapping[str, bytes]]) -> None:
        """Let symbols whose state was refused go on where that state was, with the kernels as they are here."""
        for name, parts in refused.items():
            symbol = self.symbols.get(name) or self.symbols.open(name)
            symbol.restart(parts)
            self._touched.add(name)
        self.replay([])  # forget the rows that this gave: they are written
