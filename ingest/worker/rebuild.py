"""The states of kernels made again from the tape, as those of a worker that never stopped.

The entries of the tape go through a partition as in the live worker, so what was refused or late is so again. Everything that a symbol has
on the tape is read for as long as its kernels need (``reach``), because it says in which order the rest came. But books, trades, posts and
tables are given to the kernels for as long only as these need that kind: books for seconds, trades for a day or weeks.

The rebuilt partition may go on with the entries of the log, so a rebuild can follow a worker that serves, and take over at its position.

What is equal, where the tape reaches far enough back: every window, session, profile and bar, the posts of weeks and the fitted tables, to
the bit. Recursive indicators are read back for eight of their warm-ups: 1e-48 of their start is left, and the doubles are the same but for
roundings that have not met yet. The scores of the normaliser look at the open hour and the 24 before it, so behind 25 hours and the window
of the raw feature they are the same to the bit. If the tape has h hours only, 2**-h of the weight of a steady feed is missing, so the mean
is off by this share of the feature's range at most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from ingest.messages.check import known_trade_id
from ingest.messages.envelope import Envelope
from ingest.messages.kinds import Trade, time_us
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.read import START, id_numbers
from ingest.tape.columns import EVENTS, FOR_ALL, IMPORT, entries_of
from ingest.tape.read import FOREVER_MS, rows
from ingest.tape.table import Tape, TapeError, of_tape
from ingest.worker.contract import OF_CONTRACT
from ingest.worker.partition import Partition
from ingest.worker.reach import Reach, needed, needed_alone, survey
from ingest.worker.symbol import Emit, Refuse, Symbol
from transforms.catalog import VIEWS
from transforms.instrument import Instrument
from transforms.kernel import SECOND_US
from transforms.kernels import KERNEL, with_users
from transforms.times import datetime_of_us

PART = 2000
"""Entries between two looks whether a symbol needs more books than were read."""
NEW_MS = 3_600_000
"""A symbol that was first heard so long after the begin of the tape was not heard before."""
_COLUMNS = ("id_ms", "id_n", "kind", "symbol", "source", "recorded", "data", "fields")
_TTL_US = {
    feed: max(view.ttl_s for view in VIEWS if view.feed == feed) * SECOND_US
    for feed in ("book", "trade", "post", "derivatives")
}
_TTL_US["liquidation"] = _TTL_US["derivatives"]


@dataclass(slots=True)
class Rebuilt:
    """Symbols of a partition as they were made again.

    Attributes
    ----------
    partition : Partition
        Has the symbols; ``position`` is the last entry that they were given. ``replay`` lets them go on.
    missing : dict of str to dict of str to str
        By symbol and kernel, what the tape lacks; other kernels are as if they had heard everything.
    kinds : dict of str to frozenset of str
        By symbol, the kinds of messages of which the tape has any.
    """

    partition: Partition
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    kinds: dict[str, frozenset[str]] = field(default_factory=dict)

    def unheard(self, name: str) -> set[str]:
        """Return the kernels of a symbol that are made of a kind of message of which the tape has none."""
        has = self.kinds[name]
        needs = {kernel: needed_alone(kernel, 0, Instrument(), has_sides=True) for kernel in KERNEL}
        return {kernel for kernel, need in needs.items() if not need.keys() <= has}

    def parts(self) -> dict[str, dict[str, bytes]]:
        """Return the state of each symbol, also of those that left the memory."""
        found = {name: symbol.save() for name, symbol in self.partition.symbols.items()}
        return found | {name: dict(self.partition.idle.find(name) or {}) for name in self.partition.idle.names}


def rebuild(
    tape: Tape,
    settings: Settings,
    p: int,
    symbols: Collection[str],
    kernels: Collection[str] = tuple(KERNEL),
    upto: bytes | None = None,
    between: Callable[[], None] = lambda: None,
    *,
    were_new: bool = True,
) -> Rebuilt:
    """Return symbols of partition ``p`` with the states that kernels, and all that are made of them, have behind an entry.

    States of other kernels are not whole. Imported history counts, in the order of its ids. A symbol that the tape does
    not know is left out.

    Parameters
    ----------
    tape : Tape
        At the version that is read.
    settings : Settings
        Those that count; the tape must have their number of partitions, or the one that it was raised from (``table.of_tape``).
    p : int
    symbols : collection of str
    kernels : collection of str
    upto : bytes, optional
        The last entry that counts; by default the last of the log that is on the tape.
    between : callable
        Is called again and again, because this takes longer than a lease.
    were_new : bool
        Whether a symbol whose first message came long after the begin of the tape was not traded before, and so lacks nothing.
    """
    of = p % of_tape(tape, settings).partitions
    end = id_numbers(upto) if upto else (FOREVER_MS, 0)
    without_sides, whole = set[str](), set[str]()
    while True:  # once, but where sides are inferred from books, or the times of messages are not near their arrivals
        needs = {
            name: partial(
                needed, frozenset(kernels), instrument=settings.instrument(name), has_sides=name not in without_sides
            )
            for name in symbols
        }
        reaches = survey(tape, of, needs, end, between)
        for name in whole:
            reaches[name].since_ms = dict.fromkeys(reaches[name].since_ms, 0)
        past = _read(tape, settings, p, reaches, end, between)
        if found := {name for name, reach in reaches.items() if reach.without_sides}:
            without_sides |= found
            continue
        heard = {name: symbol for name in symbols if (symbol := past.find(name)) is not None}
        short = {
            name
            for name, symbol in heard.items()
            if not all(reaches[name].has(*one) for one in needs[name](_at_us(symbol)).items())
            and any(reaches[name].since_ms.values())
        }
        if not short:
            break
        whole |= short
    past.position = upto or tape.position(keys.events(p)) or past.position
    begin_ms = _begin_ms(tape, of) if were_new else FOREVER_MS
    missing = {
        name: lacks
        for name, symbol in heard.items()
        if (
            lacks := _missing(
                kernels, _at_us(symbol), reaches[name], begin_ms, settings.instrument(name), name not in without_sides
            )
        )
    }
    return Rebuilt(past, missing, {name: reaches[name].kinds for name in heard})


def begin_of(tape: Tape, settings: Settings, p: int) -> bytes:
    """Return the last entry of a log that is on the tape, behind which a rebuilt state goes on.

    Raise `TapeError` where the log was divided from another one and has none there: the tape may lack the end of that.
    """
    position = tape.position(keys.events(p))
    if position is None and p >= of_tape(tape, settings).partitions:
        raise TapeError(f"the tape has nothing of {keys.events(p)} yet; wait until the role `tape` has written of it")
    return position or START


def _read(
    tape: Tape,
    settings: Settings,
    p: int,
    reaches: Mapping[str, Reach],
    end: tuple[int, int],
    between: Callable[[], None],
) -> Partition:
    """Return a partition that was given what the tape has; stop early where a symbol needs more of its books."""

    def make(name: str, settings: Settings, emit: Emit, refuse: Refuse) -> Symbol:
        return _Rebuilding(name, settings, emit, refuse, reaches[name])

    alone = dataclasses.replace(settings, symbols=frozenset(reaches), max_symbols=max(len(reaches), 1))
    past = Partition(p, alone, make=make)
    since_ms = min((since for reach in reaches.values() for since in reach.since_ms.values()), default=0)
    windows = rows(
        tape,
        p % of_tape(tape, settings).partitions,
        source=(EVENTS, IMPORT),
        since_ms=since_ms,
        before_ms=end[0] + 1,
        symbols=[*reaches, FOR_ALL],
        columns=_COLUMNS,
    )
    for window in windows:
        entries = (entry for entry in entries_of(window) if id_numbers(entry[0]) <= end)
        while part := list(islice(entries, PART)):
            past.replay(part, between)
            if any(reach.without_sides for reach in reaches.values()):
                return past
    return past


def _at_us(symbol: Symbol) -> int:
    """Return the time to which a symbol's kernels were brought."""
    return symbol.timeline.watermark or max((t_us for t_us, *_ in symbol.timeline.held), default=0)


def _begin_ms(tape: Tape, p: int) -> int:
    return min(
        (file.first_ms for (number, _), files in tape.days().items() if number == p for file in files), default=0
    )


def _missing(
    kernels: Collection[str], at_us: int, reach: Reach, begin_ms: int, instrument: Instrument, has_sides: bool
) -> dict[str, str]:
    """Return what the tape lacks of what each kernel needs.

    A symbol whose first message came long after the begin of the tape is new, and lacks nothing.
    """
    if reach.first_ms > begin_ms + NEW_MS:
        return {}
    found = {}
    for kernel in with_users(kernels):
        for kind, need in needed_alone(kernel, at_us, instrument, has_sides=has_sides).items():
            if need.since_us <= 0:
                found[kernel] = "all trades: the buckets of vpin_bucket count from the first one"
            elif not reach.has(kind, need):
                since = datetime_of_us(need.since_us).isoformat(" ", "minutes")
                what = f"{kind.removesuffix('s')}s since {since[:16]}"
                found[kernel] = what + (f", or {need.bars} bars" if need.bars else "")
    return found


class _Rebuilding(Symbol):
    """A symbol whose kernels are given what they need and no more; its order is that of everything."""

    __slots__ = ("_last_row_us", "reach")

    def __init__(self, name: str, settings: Settings, emit: Emit, refuse: Refuse, reach: Reach) -> None:
        super().__init__(name, settings, emit, refuse)
        self.reach = reach
        self._last_row_us = 0

    def _apply(self, t_us: int, envelope: Envelope) -> None:
        message, kind = envelope.message, envelope.kind
        if kind == "gap":
            kind = message.channel
        elif kind == "withdrawal":
            kind = "post"
        heard_us = time_us(message) if isinstance(message, OF_CONTRACT) else t_us
        self._last_row_us = max(self._last_row_us, heard_us + _TTL_US.get(kind, 0))
        since_ms = self.reach.since_ms.get(kind)
        if since_ms is None or envelope.arrived_ms < since_ms:
            if isinstance(message, Trade):
                self._held_ids.discard(known_trade_id(message.trade_id))
            return
        if kind == envelope.kind:
            self.reach.note(envelope, t_us)
        super()._apply(t_us, envelope)

    def _emit_rows(self, t_us: int) -> None:
        self.engine.emit(t_us)  # the normaliser is made of rows

    def _waits(self) -> bool:
        last_us = max(self._last_row_us, self.engine.last_row_us())
        return 0 < self.timeline.boundary <= last_us or self.timeline.waits()
