"""Our own messages as JSON lines."""

from __future__ import annotations

import pytest

from ingest.messages.kinds import Gap, OrderBook, SocialPost, Trade
from ingest.messages.refusal import Reason
from ingest.recordings.lines import Line, Parsed, Rejected
from ingest.recordings.own import parse

T0 = 1_700_000_000_000


def line(data: bytes) -> Line:
    return Line("a.jsonl", 1, 0, data, False)


def test_the_fields_tell_the_kind_and_what_was_not_received_counts_as_received_when_it_happened() -> None:
    book = parse(line(b'{"timestamp":1700000000005,"symbol":"A","bids":[["1.5",2]],"asks":[[2,"3"]],"sequence":9}'), 0)
    trade = parse(
        line(
            b'{"timestamp":"1700000000005","symbol":"A","price":"1.5","size":2,"side":"buy","received":1700000000008}'
        ),
        0,
    )
    post = parse(line(b'{"timestamp":1700000000005,"id":"x","text":"up","source":"s","symbols":["A"]}'), 0)

    assert book == Parsed("book", OrderBook(T0 + 5, "A", [(1.5, 2.0)], [(2.0, 3.0)], 9, received=T0 + 5))
    assert trade == Parsed("trade", Trade(T0 + 5, "A", 1.5, 2.0, "buy", received=T0 + 8))
    assert post == Parsed("social", SocialPost(T0 + 5, "x", "up", "s", symbols=["A"], received=T0 + 5))


def test_a_line_of_the_kind_gap_tells_missing_trades() -> None:
    hole = b'{"kind":"gap","timestamp":1700000000005,"symbol":"A","channel":"trade","since":1700000000001,"missing":3}'
    assert parse(line(hole), 0) == Parsed("gap", Gap(T0 + 5, "A", T0 + 5, channel="trade", since=T0 + 1, missing=3))
    assert parse(line(b'{"kind":"gap","timestamp":1700000000005,"symbol":"A"}'), 0) == Parsed(
        "gap", Gap(T0 + 5, "A", T0 + 5)
    )
    backwards = parse(line(hole.replace(b"00001,", b"00006,")), 0)
    assert isinstance(backwards, Rejected) and backwards.reason == Reason.OUT_OF_RANGE
    other = parse(line(b'{"kind":"spot","timestamp":1700000000005,"symbol":"A","price":1,"size":2}'), 0)
    assert isinstance(other, Parsed) and other.kind == "trade", "a word of the producer's own"


def test_the_stream_tells_the_kind_where_it_is_given() -> None:
    trade = parse(line(b'{"stream":"market_data","timestamp":1700000000005,"symbol":"A","price":1,"size":2}'), 0)
    no_book = parse(line(b'{"stream":"order_book","timestamp":1700000000005,"symbol":"A","price":1,"size":2}'), 0)
    assert trade == Parsed("trade", Trade(T0 + 5, "A", 1.0, 2.0, received=T0 + 5))
    assert isinstance(no_book, Rejected)
    assert no_book.reason == Reason.MISSING_FIELD


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.UNDECODABLE),
        (b"rubbish", Reason.UNDECODABLE),
        (b'{"timestamp":5', Reason.UNDECODABLE),
        (b"17", Reason.WRONG_TYPE),
        (b"{}", Reason.MISSING_FIELD),
        (b'{"stream":"elsewhere","timestamp":5}', Reason.WRONG_TYPE),
        (b'{"timestamp":1700000000005,"price":1,"size":1}', Reason.MISSING_FIELD),
        (b'{"timestamp":1700000000005,"symbol":"A B","price":1,"size":1}', Reason.BAD_SYMBOL),
        (b'{"timestamp":0,"symbol":"A","price":1,"size":1}', Reason.OUT_OF_RANGE),
        (b'{"timestamp":1700000000009,"symbol":"A","price":1,"size":1,"received":1700000000005}', Reason.FUTURE_TIME),
        (
            b'{"timestamp":1700000000005,"symbol":"A","price":1,"size":1,"trade_id":99999999999999999999}',
            Reason.OUT_OF_RANGE,
        ),
        (b'{"timestamp":1700000000005,"id":"x","text":"\\ud800","source":"s"}', Reason.UNDECODABLE),
        (b'{"timestamp":1700000000005,"id":"x","text":5,"source":"s"}', Reason.WRONG_TYPE),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, reason: Reason) -> None:
    refused = parse(line(data), 3)
    assert isinstance(refused, Rejected)
    assert (refused.line, refused.reason) == (line(data), reason)


def test_a_withdrawal_needs_no_text_and_counts_from_when_it_was_received() -> None:
    told = b'{"id":"7","source":"s","deleted":true}'
    assert parse(line(told), 0, received_ms=T0) == Parsed(
        "social", SocialPost(T0, "7", "", "s", received=T0, deleted=True)
    )
    timed = parse(line(b'{"id":"7","source":"s","deleted":true,"timestamp":1700000000005}'), 0)
    assert timed == Parsed("social", SocialPost(T0 + 5, "7", "", "s", received=T0 + 5, deleted=True))
    for bad in (told, b'{"id":"7","deleted":true}', b'{"id":"7","source":"s","deleted":false}'):
        assert isinstance(parse(line(bad), 0), Rejected)
