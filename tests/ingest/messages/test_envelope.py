"""An entry of a log as a message on its way, and back."""

from __future__ import annotations

import pytest

from ingest.messages.decode import encode
from ingest.messages.envelope import NO_ORIGIN, Envelope, from_entry
from ingest.messages.flat_book import FlatBook
from ingest.messages.kinds import Gap, OrderBook, Tick, Trade
from ingest.messages.refusal import Refused

TRADE = Trade(5, "A", 1.0, 2.0, "buy", 7, received=9)


def test_an_entry_tells_kind_message_recording_and_receive_time() -> None:
    fields = {b"kind": b"trade", b"data": encode(TRADE), b"recorded": b"1"}
    assert from_entry(b"10-1", fields) == Envelope("trade", TRADE, True, 9, (b"10-1", fields))
    del fields[b"recorded"]
    assert not from_entry(b"10-1", fields).recorded


@pytest.mark.parametrize(("kind", "message"), [("tick", Tick(5, "A")), ("gap", Gap(5, "A"))])
def test_a_message_without_a_receive_time_has_none(kind: str, message: Tick | Gap) -> None:
    assert from_entry(b"10-1", {b"kind": kind.encode(), b"data": encode(message)}).received_ms == 0


def test_a_book_comes_as_the_kernels_read_it() -> None:
    book = OrderBook(5, "A", [(1.0, 1.0)], [(2.0, 1.0)], 3)
    message = from_entry(b"10-1", {b"kind": b"book", b"data": encode(book)}).message
    assert isinstance(message, FlatBook) and (message.n_bid, message.n_ask, message.sequence) == (1, 1, 3)


@pytest.mark.parametrize("fields", [{}, {b"kind": b"\xff"}, {b"kind": b"social"}])
def test_an_entry_of_no_known_kind_is_refused(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(Refused, match="wrong_type"):
        from_entry(b"10-1", fields)


def test_a_saved_entry_keeps_its_fields_in_their_order_and_gives_the_same_envelope() -> None:
    fields = {b"recorded": b"1", b"kind": b"trade", b"data": encode(TRADE), b"extra": b"\xff"}
    envelope = from_entry(b"10-1", fields)
    entry_id, pairs = envelope.save()
    assert (entry_id, pairs) == (b"10-1", list(fields.items()))
    assert from_entry(entry_id, dict(pairs)) == envelope


def test_a_message_from_no_stream_has_no_origin_and_counts_as_recorded() -> None:
    envelope = Envelope("trade", TRADE)
    assert envelope.recorded and envelope.origin is NO_ORIGIN
