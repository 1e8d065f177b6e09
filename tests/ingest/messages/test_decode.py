import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.messages.check import check_trade
from ingest.messages.decode import decode, decode_entry, encode
from ingest.messages.flat_book import decode_book
from ingest.messages.kinds import MAX_TIME_MS, Gap, OrderBook, SocialPost, Trade, time_fields, time_us
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


MS, US = 1_700_000_000_000, 1_700_000_000_000_250
BOTH, NEITHER = "both timestamp and timestamp_us", "neither timestamp nor timestamp_us"


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"timestamp": MS}, MS * 1000),
        ({"timestamp_us": US}, US),
        ({"timestamp": MS, "timestamp_us": None}, MS * 1000),
        ({"timestamp": None, "timestamp_us": US}, US),
        ({"timestamp": 0, "timestamp_us": US}, US),  # as producers with fixed fields send it, ours among them
        ({"timestamp": 0}, 0),
        ({"timestamp": MS, "timestamp_us": US}, BOTH),
        ({"timestamp": MS, "timestamp_us": 0}, BOTH),
        ({"timestamp_us": None}, NEITHER),
        ({}, NEITHER),
    ],
)
@pytest.mark.parametrize("kind", [Trade, OrderBook, Gap])
def test_the_event_time_is_in_milliseconds_or_in_microseconds_and_one_of_them_is_given(
    kind: type, times: dict[str, int | None], expected: int | str
) -> None:
    known = {"symbol": "A", "price": 1.5, "size": 2.0, "bids": [[1, 2]], "asks": [[3, 4]], **times}
    flat = {name.encode(): b"" if v is None else json.dumps(v).strip('"').encode() for name, v in known.items()}
    for entry in ({b"data": json.dumps(known).encode()}, {b"data": msgspec.msgpack.encode(known)}, flat):
        for decoder in (decode_entry, lambda kind, entry: decode_book(entry)) if kind is OrderBook else (decode_entry,):
            if isinstance(expected, str):
                with pytest.raises(Refused, match=expected):
                    decoder(kind, entry)
            else:
                assert time_us(decoder(kind, entry)) == expected


def test_no_field_of_a_trade_is_lost() -> None:
    trade = Trade(0, "A", 1.5, 2.0, "sell", "x7", MS, MS + 1, US, recovered=True)
    assert not {None, False} & {getattr(trade, name) for name in Trade.__struct_fields__[1:]}, (
        "give the new field a value here"
    )
    assert decode(Trade, encode(trade)) == decode(Trade, msgspec.json.encode(trade)) == trade


@given(us=st.integers(0, 2**53), symbol=st.text(max_size=3), price=st.floats(allow_nan=False))
def test_a_message_of_any_time_comes_back_from_either_encoding(us: int, symbol: str, price: float) -> None:
    ms, rest = time_fields(us)
    trade = Trade(ms, symbol, price, 1.0, timestamp_us=rest)
    assert time_us(trade) == us
    assert decode(Trade, encode(trade)) == trade
    if price - price == 0.0:
        assert decode(Trade, msgspec.json.encode(trade)) == trade
    book = OrderBook(ms, symbol, [(1.0, 2.0)], [(3.0, 4.0)], timestamp_us=rest)
    assert time_us(decode_book({b"data": encode(book)})) == us


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
        (changed(next_funding=1_700_000_000), Reason.OUT_OF_RANGE),  # seconds
        (changed(next_funding="soon"), Reason.WRONG_TYPE),
    ],
)
def test_a_bad_trade_is_refused_with_its_own_reason(data, reason):
    assert reason_of(Trade, data) == reason


def test_a_post_needs_its_text_and_source():
    post = {"timestamp": 1, "id": "a", "text": "t", "source": "x"}
    assert decode(SocialPost, msgspec.msgpack.encode(post)).symbols is None
    assert reason_of(SocialPost, json.dumps({**post, "text": 5}).encode()) == Reason.WRONG_TYPE
