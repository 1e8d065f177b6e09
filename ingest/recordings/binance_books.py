"""The books of a Binance capture, by the venue's rule, out of depth diffs and snapshots.

A snapshot that names no ``symbol`` belongs to the symbol of its file; of several to the one with a diff that spans its ``lastUpdateId`` L,
and if several have one, it is refused as ambiguous. It is used if that symbol has no book or has a gap::

    held back:  [U..u] [U..u] | U <= L + 1 <= u | U == previous u + 1 | ...
                covered by L    first applied     (futures: pu == previous u)

A diff that does not follow waits for a snapshot or for the missing diff; one that never fits is refused. Where several connections (or
files) tell of a symbol, a diff that was applied already is passed over, and one that is ahead waits for the slower connection, for
`SLOWER_NS` at most, before the book counts as unknown. After a lost connection the venue may count its updates from a lower number: a
diff that seems to be applied already then waits for a snapshot as well. A diff is applied whole or
not at all: a damaged one leaves the book as it was, and the next diff then shows the gap.

A book is known as far as its snapshot went (``book``). It gives the known levels, 20 a side at most, and the depths over all of them;
once the price has passed all that is known of a side, it is unknown. A later snapshot makes it known further (``renewal``).

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping

from ingest.messages.decode import decode
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import binance_wire as wire
from ingest.recordings.binance_state import SymbolState
from ingest.recordings.book import Book
from ingest.recordings.lines import Line, Output, Parsed, Rejected

HELD_MAX = 5000  # diffs of a symbol that may wait: minutes of a feed, while a snapshot takes seconds
SNAPSHOTS_MAX = 64  # that may wait for the diff that tells their symbol


class Books:
    """Applies diffs and snapshots to the books of ``symbols``; counts in ``passed_over`` what gave no message."""

    def __init__(self, symbols: Mapping[str, SymbolState], passed_over: Counter[str]) -> None:
        self._symbols = symbols
        self._passed_over = passed_over
        self._snapshots: deque[wire.Snapshot] = deque(maxlen=SNAPSHOTS_MAX)

    def finish(self) -> Iterator[Rejected]:
        """Refuse the diffs that still wait at the end of a recording."""
        for state in self._symbols.values():
            for _, line in state.held:
                yield _gap(line)
            state.held.clear()

    def snapshot(self, payload: bytes, line: Line) -> Iterator[Output]:
        """Use a snapshot, or keep it until a diff tells whose it is; yield the books that it makes known."""
        snapshot = decode(wire.Snapshot, payload)
        wire.check_ids(snapshot.last)
        for side in (snapshot.bids, snapshot.asks):
            wire.check_levels(side, snapshot=True)
        if not (snapshot.bids or snapshot.asks):
            raise Refused(Reason.EMPTY_BOOK, "a snapshot without levels")
        if Book(snapshot.bids, snapshot.asks).crossed:
            raise Refused(Reason.CROSSED_BOOK, "a crossed snapshot")
        self._name(snapshot, line)
        self._passed_over["snapshot"] += 1
        if line.file is not None:
            line.file.is_read = True
        self._snapshots.append(snapshot)
        for name, state in self._symbols.items():
            past = not state.takes(snapshot)
            if past and snapshot.is_of(name) and state.renew(snapshot):
                self._snapshots.remove(snapshot)
                return
            if not past and snapshot.is_of(name) and any(diff.spans(snapshot.last) for diff, _ in state.held):
                self._start(state, snapshot)
                yield from self._settle(state, line)
                return

    def _name(self, snapshot: wire.Snapshot, line: Line) -> None:
        """Set the symbol of a snapshot, with the prefix of its file; refuse one that may belong to several symbols.

        Without a file, as in tests, one that fits no symbol yet stays without a name, and the first diff that spans it takes it.
        """
        if line.file is None:
            waiting = self._symbols.items() if snapshot.symbol is None else ()
            fits = frozenset(
                name for name, state in waiting if any(diff.spans(snapshot.last) for diff, _ in state.held)
            )
        elif snapshot.symbol is None:
            fits = line.file.owners.get(snapshot.last, line.file.symbols)
        else:
            fits = frozenset([line.prefix + snapshot.symbol])
        if len(fits) > 1:
            some = ", ".join(sorted(fits)[:5])
            raise Refused(Reason.AMBIGUOUS, f"a snapshot at update {snapshot.last} that names no symbol fits {some}")
        if fits:
            snapshot.symbol = next(iter(fits))

    def forget(self, name: str) -> None:
        """Forget the snapshots that wait for a diff of a symbol: a feed that starts again does not know them."""
        for snapshot in [snapshot for snapshot in self._snapshots if snapshot.symbol == name]:
            self._snapshots.remove(snapshot)

    def diff(self, state: SymbolState, diff: wire.Diff, line: Line) -> Iterator[Output]:
        """Apply a diff that was checked, or let it wait; yield the books and gaps that it gives."""
        state.hear(line.source)
        if state.last is not None and diff.last <= state.last and not state.ids_may_restart:
            if state.is_merged:
                self._passed_over["repeated diff"] += 1
                return
            raise Refused(Reason.DUPLICATE, f"update {diff.last} is applied already, the book is at {state.last}")
        if state.can_apply(diff):
            yield from self._apply(state, diff, line, line)
            yield from self._settle(state, line)
            return
        state.held.append((diff, line))
        if state.last is not None and not state.lost and not state.waits(line):
            state.lost = True
            yield Parsed("gap", state.gap(diff, line))
        for snapshot in self._snapshots:
            if (
                snapshot.is_of(diff.symbol)
                and diff.spans(snapshot.last)
                and (state.last is None or snapshot.last > state.last or state.ids_may_restart)
            ):
                self._start(state, snapshot)
                yield from self._settle(state, line)
                return
        if len(state.held) > HELD_MAX:
            yield _gap(state.held.popleft()[1])

    def _start(self, state: SymbolState, snapshot: wire.Snapshot) -> None:
        self._snapshots.remove(snapshot)
        if n_covered := state.start(snapshot):
            self._passed_over["diff before the snapshot"] += n_covered

    def _settle(self, state: SymbolState, now: Line) -> Iterator[Output]:
        """Apply the waiting diffs that follow now, and refuse those that the book has passed."""
        if not state.held:
            return
        waiting = sorted(state.held, key=lambda held: held[0].first)
        state.held.clear()
        for diff, line in waiting:
            assert state.last is not None  # noqa: S101 - only a symbol with a book settles
            if diff.last <= state.last:
                if state.is_merged and diff.last > state.began:
                    self._passed_over["repeated diff"] += 1
                else:
                    yield _gap(line)
            elif state.can_apply(diff):
                yield from self._apply(state, diff, line, now)
            else:
                state.held.append((diff, line))

    def _apply(self, state: SymbolState, diff: wire.Diff, line: Line, now: Line) -> Iterator[Output]:
        """Apply a diff that follows. Its book counts as received with ``now``, the line that made the diff fit."""
        if not state.book.apply(diff.bids, diff.asks):
            yield Rejected(line, Reason.CROSSED_BOOK, f"update {diff.last} would cross the book")
            return
        state.last, state.fresh, state.lost, state.ids_may_restart = diff.last, False, False, False
        state.renewal.note(state.book, diff)
        for snapshot in [s for s in self._snapshots if s.is_of(diff.symbol) and diff.spans(s.last)]:
            if state.renew(snapshot):
                self._snapshots.remove(snapshot)
        if state.book.passed:
            if state.passed:
                self._passed_over["diff past the known book"] += 1
            else:
                state.passed = True
                yield Parsed("gap", state.gap(diff, now))
            return
        state.passed = False
        yield Parsed("book", state.next_book(diff, now))


def _gap(line: Line) -> Rejected:
    return Rejected(line, Reason.SEQUENCE_GAP, "a diff before it is missing, and no snapshot bridges that")
