import json

import msgspec
import pytest

from ingest.messages.check import check_trade
from ingest.messages.decode import decode, decode_entry, encode
from ingest.messages.kinds import MAX_TIME_MS, OrderBook, SocialPost, Trade
from ingest.messages.refusal import Reason, Refused

TRADE = {
    "timestamp": 1_700_000_000_000,
    "symbol": "BTCUSDT",
    "price": 100.5,
    "size": 0.25,
    "side": "buy",
    "trade_id": 7,
}


def reason_of(kind: type, data: bytes) -> Reason:
    with pytest.raises(Refused) as caught:
        message = decode(kind, data)
        if kind is Trade:
            check_trade(message)
    assert len(caught.value.detail) <= 200
    return caught.value.reason


def changed(**fields: object) -> bytes:
    return json.dumps({**TRADE, **fields}).encode()


def test_json_messagepack_and_the_flat_form_give_the_same_message():
    expected = Trade(1_700_000_000_000, "BTCUSDT", 100.5, 0.25, "buy", 7)
    assert decode(Trade, json.dumps(TRADE).encode()) == expected
    assert decode(Trade, encode(expected)) == expected
    flat = {k.encode(): str(v).encode() for k, v in TRADE.items()}
    expected.trade_id = "7"  # a flat id is text
    assert decode_entry(Trade, flat) == expected


def test_flat_books_carry_their_sides_as_json():
    flat = {b"timestamp": b"5", b"symbol": b"A", b"bids": b'[["99.5", "2"], [99, 1]]', b"asks": b"[[100, 3]]"}
    assert decode_entry(OrderBook, flat) == OrderBook(5, "A", [(99.5, 2.0), (99.0, 1.0)], [(100.0, 3.0)])


def test_decimal_strings_are_numbers():
    assert decode(Trade, changed(price="61837.63000000", size="0.02000000")).price == 61837.63


def test_fields_that_nobody_asked_for_are_ignored():
    assert decode(Trade, changed(exchange="x")).size == 0.25


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"timestamp": 17000', Reason.UNDECODABLE),
        (b"", Reason.UNDECODABLE),
        (b"\xff\xfe\x00{", Reason.UNDECODABLE),
        (b'{"symbol": "\xff"}', Reason.UNDECODABLE),
        (b"\xc1", Reason.UNDECODABLE),
        (b'{"x":' + b"[" * 100_000, Reason.UNDECODABLE),
        (b'{"timestamp": 1, "symbol": "A", "price": 1}', Reason.MISSING_FIELD),
        (changed(price=None), Reason.WRONG_TYPE),
        (changed(price="abc"), Reason.WRONG_TYPE),
        (changed(size=True), Reason.WRONG_TYPE),
        (changed(timestamp=1.5), Reason.WRONG_TYPE),
        (changed(side="up"), Reason.WRONG_TYPE),
        (b"[1, 2]", Reason.WRONG_TYPE),
        (changed(price=float("nan")), Reason.NOT_FINITE),
        (changed(price=float("-inf")), Reason.NOT_FINITE),
        (changed(size="NaN"), Reason.NOT_FINITE),
        (changed(price=0), Reason.NOT_POSITIVE),
        (changed(size=-0.25), Reason.NOT_POSITIVE),
        (changed(size=10**400), Reason.OUT_OF_RANGE),
        (json.dumps(TRADE).replace("100.5", "1e999").encode(), Reason.OUT_OF_RANGE),
        (changed(price=1.1e15), Reason.OUT_OF_RANGE),
        (changed(next_funding=0), Reason.OUT_OF_RANGE),
        (changed(next_funding=MAX_TIME_MS + 1), Reason.OUT_OF_RANGE),
        (changed(next_funding="soon"), Reason.WRONG_TYPE),
    ],
)
def test_a_bad_trade_is_refused_with_its_own_reason(data, reason):
    assert reason_of(Trade, data) == reason


def test_a_post_needs_its_text_and_source():
    post = {"timestamp": 1, "id": "a", "text": "t", "source": "x"}
    assert decode(SocialPost, msgspec.msgpack.encode(post)).symbols is None
    assert reason_of(SocialPost, json.dumps({**post, "text": 5}).encode()) == Reason.WRONG_TYPE
