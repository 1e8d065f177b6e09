"""A message on its way to its symbol, whether it comes from a stream, a file or a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingest.messages.decode import decode_entry
from ingest.messages.flat_book import decode_book
from ingest.messages.kinds import KIND, OrderBook
from ingest.messages.refusal import Reason, Refused

Entry = tuple[bytes, Mapping[bytes, bytes]]
"""Id and fields of a stream entry, as they came."""
NO_ENTRY: Entry = (b"", {})


class Envelope(msgspec.Struct, gc=False):
    """A decoded message and what must be known of its way.

    Attributes
    ----------
    kind : str
        A key of ``kinds.KIND``.
    message : Message
        The struct of that kind; a book of a stream is a ``FlatBook``.
    recorded : bool
        Whether it comes from a recording: then no wall clock makes time pass for its symbol.
    received_ms : int
        When the feed received it; 0 where the message does not say.
    origin : Entry
        The stream entry that it came from, kept for the dead letter and the checkpoint; ``NO_ENTRY`` where there was none.
    """

    kind: str
    message: Any
    recorded: bool = True
    received_ms: int = 0
    origin: Entry = NO_ENTRY

    def save(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Return id and fields of the entry, as a checkpoint holds them; ``from_entry`` makes the envelope of them again."""
        entry_id, fields = self.origin
        return entry_id, list(fields.items())


def from_entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Envelope:
    """Decode an entry of a partition log.

    Raises
    ------
    Refused
        ``wrong_type`` (no such kind), or as ``decode.decode_entry``.
    """
    kind = fields.get(b"kind", b"").decode(errors="replace")
    form = KIND.get(kind)
    if form is None:
        raise Refused(Reason.WRONG_TYPE, f"kind {kind!r:.40} is none of {', '.join(KIND)}")
    message: Any = decode_book(fields) if form is OrderBook else decode_entry(form, fields)
    return Envelope(kind, message, b"recorded" in fields, getattr(message, "received", None) or 0, (entry_id, fields))
