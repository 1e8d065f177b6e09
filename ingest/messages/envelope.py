"""A message on its way to its symbol, whether it comes from a stream, a file or a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingest.messages.check import check_header, check_hold, check_neighbour
from ingest.messages.decode import decode_entry
from ingest.messages.flat_book import decode_book
from ingest.messages.kinds import KIND, OrderBook, time_us
from ingest.messages.refusal import Reason, Refused

Origin = tuple[bytes, Mapping[bytes, Any]]
"""Id and fields of the stream entry that a message came from; ``NO_ORIGIN`` where it came from no stream.

A backfill has no entries: it puts the message itself in the field ``message``, to keep it where it is refused.
"""
NO_ORIGIN: Origin = (b"", {})
AGED = frozenset({"book", "trade", "derivatives", "liquidation", "gap"})
"""Kinds whose live messages may be too old: the age of a post was checked when it was scored, and a table is published again as it was."""
HEARD_LIVE = b"live"
"""The value of the field ``recorded`` of a replayed entry that was heard live: it is refused as too old where it was refused so then."""
_KINDS = {name.encode(): (name, form) for name, form in KIND.items()}


class Envelope(msgspec.Struct, gc=False):
    """A decoded message and what is known of its way."""

    kind: str
    message: Any  # the struct that ``kinds.KIND`` names for ``kind``, or a ``FlatBook``
    recorded: bool = True  # whether it comes from a recording: then no wall clock makes time pass for its symbol
    received_ms: int = 0  # when the feed received it; 0 where the message does not say
    origin: Origin = NO_ORIGIN  # kept for the dead letter and the checkpoint

    @property
    def arrived_ms(self) -> int:
        """When the entry arrived in its log, 0 where it came from no stream."""
        return int(self.origin[0].partition(b"-")[0] or 0)

    def save(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Return the entry as a checkpoint holds it; ``from_entry`` makes the envelope of it again."""
        return self.origin[0], list(self.origin[1].items())


def from_entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Envelope:
    """Decode an entry of a partition log, or raise ``Refused``."""
    known = _KINDS.get(fields.get(b"kind", b""))
    if known is None:
        kind = fields.get(b"kind", b"").decode(errors="replace")
        raise Refused(Reason.WRONG_TYPE, f"kind {kind!r:.40} is none of {', '.join(KIND)}")
    kind, form = known
    message: Any = decode_book(fields) if form is OrderBook else decode_entry(form, fields)
    received_ms = getattr(message, "received", None) or 0
    return Envelope(kind, message, b"recorded" in fields, received_ms, (entry_id, fields))


def checked_entry(entry_id: bytes, fields: Mapping[bytes, bytes], max_future_ms: int, max_age_ms: int) -> Envelope:
    """Decode an entry of a partition log and check its times by its arrival, or raise ``Refused``."""
    envelope = from_entry(entry_id, fields)
    message, received_ms = envelope.message, envelope.received_ms
    arrived_ms = int(entry_id.partition(b"-")[0])
    if received_ms > arrived_ms + max_future_ms:
        raise Refused(Reason.FUTURE_TIME, "its receive time is ahead of its arrival here")
    is_aged = envelope.kind in AGED and (not envelope.recorded or fields[b"recorded"] == HEARD_LIVE)
    age_ms = max_age_ms if is_aged else None
    check_header(message.symbol, time_us(message), received_ms or arrived_ms, max_future_ms, age_ms)
    if envelope.kind == "hold":
        check_hold(message)
    if envelope.kind == "neighbour":
        check_neighbour(message)
    if envelope.kind == "post":  # a score stamped far ahead would be held until then
        check_header(message.symbol, message.available * 1000, arrived_ms, max_future_ms)
    return envelope
