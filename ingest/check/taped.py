"""The messages of a period of the tape, as the checks read them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from msgspec import structs

from ingest.check.recording import Arrival
from ingest.messages.envelope import checked_entry
from ingest.messages.kinds import KIND
from ingest.messages.refusal import Refused
from ingest.replay.leaders import with_rows
from ingest.settings import Settings
from ingest.tape.period import in_order
from ingest.tape.table import Tape

_TAKEN = frozenset({"book", "trade", "derivatives", "liquidation", "gap", "neighbour", "post", "withdrawal"})
_PASSED_OVER = frozenset(kind.encode() for kind in KIND.keys() - _TAKEN)
"""Entries with which a worker lets time pass or lets a symbol leave its memory, and tables, for which the checks have a stand-in."""


class TapedMessages:
    """The messages of logs and of imported files in the order of arrival; each iteration reads the tape again, a part at a time.

    Posts have the scores that they got live. Attributes are those of ``recording.Messages``.

    Raise `TapeError` if the tape has another number of partitions.
    """

    def __init__(
        self,
        tape: Tape,
        settings: Settings,
        symbols: Sequence[str] = (),
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> None:
        self._tape, self._settings = tape, settings
        self._period = since, before, symbols
        self.symbols: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.unread: list[str] = []

    def __iter__(self) -> Iterator[Arrival]:
        limits = self._settings.max_future_ms, self._settings.max_age_ms
        self.refused = Counter()
        with_posts: defaultdict[int, dict[str, None]] = defaultdict(dict)
        for entry_id, p, fields in with_rows(
            in_order(self._tape, self._settings, *self._period, imported=True), self._settings
        ):
            if fields.get(b"kind") in _PASSED_OVER:
                continue
            try:
                envelope = checked_entry(entry_id, fields, *limits)
            except Refused as why:
                self.refused[str(why.reason)] += 1
                continue
            message: Any = envelope.message
            if envelope.kind == "withdrawal":
                for name in with_posts[p]:
                    yield "withdrawal", structs.replace(message, symbol=name)
                continue
            if envelope.kind == "neighbour":
                for name in self.symbols.intersection(message.symbols):
                    yield "neighbour", structs.replace(message, symbol=name)
                continue
            if envelope.kind == "post":
                with_posts[p][message.symbol] = None
            self.symbols.add(message.symbol)
            yield envelope.kind, message
