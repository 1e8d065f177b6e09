"""A new snapshot for a book that is known, so that it is known further.

A snapshot is some diffs old when it arrives. So from the time on when one is due, the diffs that are applied to the book are kept, and are
applied again to the snapshot. The result takes the place of the book if both have the same best levels.
"""

from __future__ import annotations

from collections import deque

from ingest.recordings import binance_wire as wire
from ingest.recordings.book import Book
from transforms.limits import MAX_LEVELS

KEPT_MAX = 300  # half a minute of a feed; a snapshot takes seconds


class Renewal:
    """The diffs of one symbol that were applied since its price came near the end of the known book."""

    __slots__ = ("_diffs",)

    def __init__(self) -> None:
        self._diffs: deque[wire.Diff] = deque(maxlen=KEPT_MAX)

    @property
    def due(self) -> bool:
        """Whether a new snapshot is due."""
        return bool(self._diffs)

    def note(self, book: Book, diff: wire.Diff) -> None:
        """Note a diff that was applied to ``book``."""
        if book.fading:
            self._diffs.append(diff)
        else:
            self._diffs.clear()

    def clear(self) -> None:
        """Forget the diffs: the book begins anew."""
        self._diffs.clear()

    def renewed(self, book: Book, snapshot: wire.Snapshot) -> Book | None:
        """Return the book that a snapshot and the kept diffs after it make, None if they do not meet or do not agree with ``book``."""
        if not any(diff.spans(snapshot.last) for diff in self._diffs):
            return None
        new = Book(snapshot.bids, snapshot.asks)
        if not all(new.apply(diff.bids, diff.asks) for diff in self._diffs if diff.last > snapshot.last):
            return None
        for ours, theirs in zip(book.best(MAX_LEVELS), new.best(MAX_LEVELS), strict=True):
            if any(a != b for a, b in zip(ours, theirs, strict=False)):
                return None
        return new
