"""The compiled reader of levels against the general way: the same book to the bit, or the same refusal."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.messages.decode import encode
from ingest.messages.flat_book import FlatBook, decode_any, decode_book, decode_fast
from ingest.messages.kinds import OrderBook, time_us
from ingest.messages.refusal import Refused
from transforms.kernel import COMPILED, to_bytes
from transforms.microstructure.layout import capacity

compiled = pytest.mark.skipif(not COMPILED, reason="numba is absent or TFS_NUMBA is 0: there is only the general way")

BIDS = [(99.5, 2.0), (99.25, 1.0)]
ASKS = [(100.0, 3.0), (100.75, 0.125)]
BOOK = OrderBook(1_700_000_000_000, "BTCUSDT", BIDS, ASKS, 7, 1_700_000_000_002)
PLAIN = {"timestamp": 1, "symbol": "A", "bids": [[99, 1]], "asks": [[100, 2]]}


def facts(book: FlatBook) -> tuple[Any, ...]:
    """All that the kernels may look at."""
    room = capacity(book.levels)
    used = [
        n
        for at, count in ((0, book.n_bid), (2 * room, book.n_ask))
        for n in (*range(at, at + count), *range(at + room, at + room + count))
    ]
    prices = struct.pack(f"{len(used)}d", *(book.levels[i] for i in used))
    return time_us(book), book.symbol, book.n_bid, book.n_ask, prices, book.sequence, book.received, repr(book.depth)


def outcome(decoder: Any, data: bytes) -> Any:
    try:
        return facts(decoder({b"data": data}))
    except Refused as refused:
        return refused.reason, refused.detail


def assert_agrees(data: bytes) -> None:
    assert outcome(decode_book, data) == outcome(decode_any, data), data


def both(message: Any) -> list[bytes]:
    return [msgspec.msgpack.encode(message), msgspec.json.encode(message), json.dumps(message).encode()]


@compiled
@pytest.mark.parametrize("data", [encode(BOOK), msgspec.json.encode(BOOK), *both(PLAIN)])
def test_what_feeds_send_is_taken_by_the_compiled_reader(data):
    book = decode_fast(data)
    assert book is not None
    assert facts(book) == facts(decode_any({b"data": data}))


@compiled
def test_venues_decimal_strings_are_taken_by_the_compiled_reader():
    sides = {"bids": [["61837.63000000", "0.02000000"]], "asks": [["61837.64", "1"], ["61838", "12.5"]]}
    book = decode_fast(json.dumps({**PLAIN, **sides}).encode())
    assert book is not None
    assert [float(book.levels[i]) for i in (0, 20, 40, 41, 60, 61)] == [61837.63, 0.02, 61837.64, 61838.0, 1.0, 12.5]


@compiled
@pytest.mark.parametrize("n", [0, 1, 15, 16, 19, 20, 21, 300])
def test_all_levels_are_taken_however_many_a_side_has(n):
    sides = {"bids": [[1000.0 - i, i + 0.5] for i in range(n)], "asks": [[1001 + i, 70_000 + i] for i in range(n)]}
    for data in both({**PLAIN, **sides}):
        book = decode_fast(data)
        assert book is not None and (book.n_bid, book.n_ask) == (n, n)
        assert_agrees(data)


@compiled
@pytest.mark.parametrize("times", [{"timestamp_us": 1_700_000_000_000_250}, {"timestamp": 0, "timestamp_us": 5}])
def test_a_book_in_microseconds_is_taken_by_the_compiled_reader(times: dict[str, int]) -> None:
    for data in both({"symbol": "A", "bids": [[99, 1]], "asks": [[100, 2]], **times}):
        book = decode_fast(data)
        assert book is not None and time_us(book) == times["timestamp_us"]
        assert_agrees(data)


DEPTHS: list[Any] = [
    [[1.5, 2.5, None], [0, 3, 3]], [["1.5", 2, 3], [None, None, None]], [[1, 2], [1, 2, 3]], [[1, 2, 3]], [], {}, 5, "x", [[1, 2, 3], None],
    [[-1, 2, 3], [1, 2, 3]], [[float("nan"), 2, 3], [1, 2, 3]], [[True, 2, 3], [1, 2, 3]], [["x", 2, 3], [1, 2, 3]], None,
]  # fmt: skip


@pytest.mark.parametrize("depth", DEPTHS, ids=repr)
def test_a_depth_is_decoded_or_refused_as_in_the_general_way(depth):
    for data in (*both({**PLAIN, "depth": depth}), msgspec.msgpack.encode({"depth": depth, **PLAIN})):
        assert_agrees(data)


def test_a_depth_travels_in_every_encoding_and_in_the_flat_form():
    expected = ((1.5, 2.5, None), (0.0, 3.0, 3.0))
    message = {**PLAIN, "depth": [[1.5, 2.5, None], [0, 3, 3]]}
    flat = {k.encode(): (v if isinstance(v, str) else json.dumps(v)).encode() for k, v in message.items()}
    for fields in (*({b"data": data} for data in both(message)), flat):
        assert decode_book(fields).depth == expected


LEVEL_FAULTS: list[Any] = [
    None, 5, "x", {}, [1], [1, 2, 3], [None, 1], [True, 1], ["", 1], ["x", 1], ["NaN", 1], ["inf", 1], ["1e5", 1], [" 1", 1], ["1.", 1],
    [".5", 1], ["01", 1], ["+1", 1], ["-1", 1], [-1, 1], [0, 1], [1e300, 1], [0.1 + 0.2, 1], [2**53, 1], [2**53 + 1, 1], [2**63, 1],
    [2**64 - 1, 1], [-(2**63), 1], [5e-324, 1], ["0." + "0" * 30 + "1", 1], ["9" * 400, 1], [[1], 1], [b"1", 1], [1.5, "0x1"], ["1_000", 1],
    ["0.1000000000000000055511151231257827", 1], ["9007199254740993", 1], ["0.00000000", "0"], ["١", 1],
]  # fmt: skip


@pytest.mark.parametrize("side", ["bids", "asks"])
@pytest.mark.parametrize("place", [0, 25])
@pytest.mark.parametrize("level", LEVEL_FAULTS, ids=repr)
def test_a_level_that_feeds_do_not_send_gives_the_value_or_the_refusal_of_the_general_way(side, place, level):
    levels: list[Any] = [[100.0 + i, 1.0] for i in range(30)]
    levels[place] = level
    for data in (msgspec.msgpack.encode({**PLAIN, side: levels}), msgspec.json.encode({**PLAIN, side: levels})):
        assert_agrees(data)


A, B = [[1.0, 2.0]], [[3.0, 4.0]]


def pairs(*items: tuple[Any, Any]) -> bytes:
    """A MessagePack map that may repeat keys."""
    return bytes([0x80 + len(items)]) + b"".join(msgspec.msgpack.encode(x) for pair in items for x in pair)


HEAD = (("timestamp", 1), ("symbol", "A"))


@pytest.mark.parametrize(
    "data",
    [
        pairs(*HEAD, ("bids", A), ("asks", B), ("bids", B)),
        pairs(*HEAD, ("bids", "x"), ("bids", A), ("asks", B)),
        pairs(*HEAD, ("bids", A), ("asks", B), ("asks", "x")),
        pairs(*HEAD, ("asks", A), ("bids", B)),
        pairs(*HEAD, ("x", {"bids": A, "asks": B})),
        pairs(*HEAD, ("x", {"bids": A, "asks": B}), ("bids", B), ("asks", A)),
        pairs(("timestamp", 1), ("symbol", "bids"), ("bids", A), ("asks", B)),
        pairs(("timestamp", 1), ("symbol", "asks"), ("bids", A), ("asks", B)),
        pairs(*HEAD, ("bids", A), ("x", 1), ("asks", B)),
        pairs(*HEAD, ("bids", None), ("asks", B)),
        pairs(*HEAD, ("bids", A)),
        pairs(*HEAD, ("bids", A), ("asks", B), ("sequence", 0x5C626964), ("received", int.from_bytes(b"bids", "big"))),
        pairs(("timestamp", "x"), ("symbol", "A"), ("bids", A), ("asks", B)),
        pairs(("timestamp", 1), ("symbol", 5), ("bids", A), ("asks", B)),
        pairs(*HEAD, ("bids", A), ("asks", B)) + b"\x00",
        pairs(*HEAD, ("bids", A), ("asks", B))[:-1],
        b'{"timestamp":1,"symbol":"A","bids":[[1,2]],"asks":[[3,4]],"bids":[[5,6]]}',
        b'{"timestamp":1,"symbol":"A","bids":[["x",2]],"bids":[[1,2]],"asks":[[3,4]]}',
        rb'{"timestamp":1,"symbol":"A","b\u0069ds":[[1,2]],"\u0061sks":[[3,4]],"x":{"bids":[[5,6]],"asks":[[7,8]]}}',
        rb'{"x":{"bids":[[5,6]],"asks":[[7,8]]},"timestamp":1,"symbol":"A","b\u0069ds":[[1,2]],"\u0061sks":[[3,4]]}',
        b'{"timestamp":1,"symbol":"A","bids ":[[1,2]],"asks":[[3,4]]}',
        b'{"timestamp":1,"symbol":"A","xbids":[[1,2]],"asks":[[3,4]]}',
        b'{"timestamp":1,"symbol":"A","bids":[[1,2],],"asks":[[3,4]]}',
        b'{"timestamp":1,"symbol":"A","bids":[[1,2]] , "asks" : [ [ 3 , 4 ] ] }',
        b'{"timestamp":1,"symbol":"A","bids":[[1,2]],\n"asks":[[3,4]]}',
        b'{"timestamp":1,"symbol":"A","bids":[[01,2]],"asks":[[3,4]]}',
        b'{"timestamp":1,"symbol":"A","bids":[[1.,2]],"asks":[[3,4]]}',
        b'{"timestamp":1,"symbol":"A","bids":[[1,2]],"asks":[[3e0,4E+1]]}',
        b'{"timestamp":1,"symbol":"A","bids":[[NaN,2]],"asks":[[3,Infinity]]}',
        b'{"timestamp":1,"symbol":"A","bids":[[1e999,2]],"asks":[[3,4]]}',
        b'{"timestamp":1,"symbol":"A","bids":[],"asks":[]}',
        b'{"timestamp":1,"symbol":"A","bids":[ ],"asks":[[]]}',
        b'{"timestamp":1,"symbol":"A","bids":[[1,2]],"asks":[[3,4]]}x',
        b'{"timestamp":1,"symbol":"A","bids":[[1,2]],"asks":' + b"[" * 100_000,
        b'{"timestamp":1,"symbol":"A","bids":[[1,2]],"asks":[[3,4',
        b'{"timestamp":1,"symbol":"\xff","bids":[[1,2]],"asks":[[3,4]]}',
        b"[1]",
        b"",
        b"\xc1",
    ],
)  # fmt: skip
def test_a_message_of_another_shape_gives_the_value_or_the_refusal_of_the_general_way(data):
    assert_agrees(data)


@settings(deadline=None)  # the first example may compile
@given(st.integers(0, 2**53 + 9), st.integers(0, 25), st.booleans())
def test_a_decimal_is_the_double_nearest_to_it(number, places, quoted):
    text = f"{number:0{places + 1}d}"
    text = f"{text[:-places]}.{text[-places:]}" if places else text
    token = f'"{text}"' if quoted else text
    data = b'{"timestamp":1,"symbol":"A","bids":[[%b,1]],"asks":[[1,1]]}' % token.encode()
    assert float(decode_book({b"data": data}).levels[0]) == float(text)
    assert_agrees(data)


@settings(deadline=None)
@given(st.floats(width=64), st.integers(-(2**63), 2**64 - 1))
def test_messagepack_numbers_keep_their_bits(number, whole):
    data = msgspec.msgpack.encode({**PLAIN, "bids": [[number, whole]]})
    assert_agrees(data)
    assert to_bytes(decode_book({b"data": data}).levels)[:8] == struct.pack("<d", number)


@compiled
@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_bytes_give_the_value_or_the_refusal_of_the_general_way(generator: random.Random):
    for data in (encode(BOOK), msgspec.json.encode(BOOK)):
        for _ in range(100):
            spoilt = bytearray(data)
            for _ in range(generator.randrange(1, 4)):
                at = generator.randrange(len(spoilt))
                how = generator.randrange(4)
                if how == 0:
                    spoilt[at] = generator.randrange(256)
                elif how == 1:
                    del spoilt[at : at + generator.randrange(1, 9)]
                elif how == 2:
                    spoilt[at:at] = spoilt[at : at + generator.randrange(1, 20)]
                else:
                    spoilt[at] ^= 1 << generator.randrange(8)
                spoilt = spoilt or bytearray(b"{")
            assert_agrees(bytes(spoilt))
