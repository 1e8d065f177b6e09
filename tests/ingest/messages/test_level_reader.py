"""Where the readers put prices and sizes, and which messages they leave to the general decoder."""

from __future__ import annotations

import msgspec
import pytest

from ingest.messages.level_reader import read_json, read_msgpack
from transforms.kernel import COMPILED, zeros
from transforms.limits import MAX_LEVELS
from transforms.microstructure.layout import (
    FLAT_ASK_PRICE,
    FLAT_ASK_SIZE,
    FLAT_BID_PRICE,
    FLAT_BID_SIZE,
    FLAT_DEPTH_GIVEN,
    FLAT_SIZE,
    empty,
)

pytestmark = pytest.mark.skipif(
    not COMPILED, reason="numba is absent or TFS_NUMBA is 0: there is only the general decoder"
)
READERS = [(read_msgpack, msgspec.msgpack.encode), (read_json, msgspec.json.encode)]


@pytest.mark.parametrize(("read", "encode"), READERS)
def test_each_number_stands_at_its_offset_of_a_flat_book(read, encode):
    levels = zeros(FLAT_SIZE)
    message = {"bids": [[99, 1], [98.5, 2]], "asks": [[100, 3]], "symbol": "A"}
    assert read(encode(message), levels) == (2, 1)
    found = [float(levels[at]) for at in (FLAT_BID_PRICE, FLAT_BID_SIZE, FLAT_ASK_PRICE, FLAT_ASK_SIZE)]
    assert found == [99.0, 1.0, 100.0, 3.0]
    assert (float(levels[FLAT_BID_PRICE + 1]), float(levels[FLAT_BID_SIZE + 1])) == (98.5, 2.0)


@pytest.mark.parametrize(("read", "encode"), READERS)
def test_levels_that_a_book_has_no_room_for_are_counted_and_a_deep_book_takes_them(read, encode):
    side = [[100 + i, 1] for i in range(MAX_LEVELS + 5)]
    data = encode({"bids": side, "asks": side[:3]})
    levels, deep = zeros(FLAT_SIZE), empty(MAX_LEVELS + 5)
    assert read(data, levels) == read(data, deep) == (MAX_LEVELS + 5, 3)
    assert float(levels[FLAT_BID_PRICE + MAX_LEVELS - 1]) == 119.0 and float(levels[FLAT_BID_SIZE]) == 1.0
    assert not any(levels[FLAT_DEPTH_GIVEN:]) and not any(deep[4 * (MAX_LEVELS + 5) :])
    assert [float(deep[MAX_LEVELS + 4]), float(deep[2 * (MAX_LEVELS + 5) + 2])] == [124.0, 102.0]


@pytest.mark.parametrize(("read", "encode"), READERS)
@pytest.mark.parametrize(
    "message",
    [
        {"asks": [[1, 1]], "bids": [[2, 1]]},
        {"bids": [[1, 1]]},
        {"bids": [[1, 1]], "symbol": "A", "asks": [[2, 1]]},
        {"bids": [[1, 1]], "asks": [[2, 1]], "note": "bids"},
        {"bids": [[1, None]], "asks": [[2, 1]]},
        {},
    ],
)
def test_any_other_shape_is_left_to_the_general_decoder(read, encode, message):
    assert read(encode(message), zeros(FLAT_SIZE)) == (0, -1)
