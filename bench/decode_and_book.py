"""Messages of the wire through decoding and the microstructure kernel, a second of one core, a row emitted each second.

Prints one JSON object a line, ``size`` the encoding. A message is an order book of 20 levels a side, 50 a second, as
``book_kernel`` makes them; it is decoded, checked and folded in as the worker does. We know of no library that does the
same, so there is no peer. Time is the core's own, so that what else the machine does is not counted.

    python -m bench.decode_and_book
"""

from __future__ import annotations

import json
import time

import msgspec

from bench.book_kernel import SECOND, feed
from ingest.messages.decode import encode
from ingest.messages.flat_book import decode_book
from ingest.messages.kinds import OrderBook, time_us
from transforms.compiling import warm_up
from transforms.instrument import Instrument
from transforms.kernel import zeros
from transforms.microstructure import kernel
from transforms.validation import OK, check_book

MESSAGES = 20_000
ROUNDS = 5


def wire() -> dict[str, list[bytes]]:
    """The same books in both encodings."""
    books = []
    for i, (t_us, book) in enumerate(feed(MESSAGES)):
        levels = [list(zip(book[at : at + 20], book[at + 20 : at + 40], strict=True)) for at in (0, 40)]
        sides = [[(float(price), float(size)) for price, size in side] for side in levels]
        books.append(OrderBook(t_us // 1000, "SIM-BTC", sides[0], sides[1], i, t_us // 1000))
    return {"json": [msgspec.json.encode(b) for b in books], "msgpack": [encode(b) for b in books]}


def messages_per_second(data: list[bytes]) -> float:
    """One pass over encoded books."""
    state = kernel.init(Instrument(size_digits=2), SECOND)
    row = zeros(kernel.FEATURES)
    boundary = 0
    begin = time.process_time()
    for text in data:
        message = decode_book({b"data": text})
        t_us = time_us(message)
        if t_us > boundary:
            if boundary:
                kernel.emit(state, boundary, row)
            boundary = -(-t_us // SECOND) * SECOND
        assert check_book(message.levels, message.n_bid, message.n_ask) == OK
        kernel.step_book(state, t_us, message.levels, message.n_bid, message.n_ask)
    return len(data) / (time.process_time() - begin)


if __name__ == "__main__":
    warm_up()
    for size, data in wire().items():
        messages_per_second(data[:1000])
        record = {
            "bench": "decode_and_book",
            "size": size,
            "ours": round(max(messages_per_second(data) for _ in range(ROUNDS))),
            "peer_name": None,
            "peer": None,
            "ratio": None,
            "unit": "messages/s/core",
        }
        print(json.dumps(record), flush=True)
