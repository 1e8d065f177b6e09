"""Compiled reading of an order book's prices and sizes from the bytes of its message.

``read_msgpack`` and ``read_json`` read what feeds send: ``bids`` and right after it ``asks``, each a list of levels of two numbers. The
numbers are MessagePack doubles and whole numbers up to 32 bits, or JSON numbers, plain or as text, whose value one division gives exactly.
For every other message they return (0, -1): the general decoder must read it.

How they find the levels: the caller's decoder, which leaves ``bids`` and ``asks`` undecoded, has found both keys at the top of the message.
If the bytes outside the levels hold each of the two words once, these are the keys. So a repeated key, or a key inside a value, is never
read by mistake. JSON with a backslash could hide one more key, so the caller does not pass it.
"""

from __future__ import annotations

import numpy as np

from transforms.kernel import Vector, jit
from transforms.microstructure.layout import capacity

_BIDS, _ASKS = int.from_bytes(b"bids", "big"), int.from_bytes(b"asks", "big")
_QUOTE, _COLON, _COMMA, _POINT, _OPEN, _CLOSE, _BLANK, _ZERO, _NINE = b'":,.[] 09'
_EXACT, _EXACT_POWER = 2**53, 22  # whole numbers up to 2**53 and powers of ten up to 10**22 are doubles

# MessagePack: a form byte, then for numbers and long arrays the bytes of the value
_SMALL_INT_MAX, _UINT8, _UINT32, _DOUBLE = 0x7F, 0xCC, 0xCE, 0xCB
_SMALL_ARRAY, _SMALL_ARRAY_MAX, _ARRAY16, _PAIR, _TEXT_OF_4 = 0x90, 0x9F, 0xDC, 0x92, 0xA4


@jit
def _word(data: bytes, at: int) -> int:
    """Return the four bytes at ``at`` as a number."""
    high = np.int64(data[at]) << 8 | np.int64(data[at + 1])
    return int(high << 16 | np.int64(data[at + 2]) << 8 | np.int64(data[at + 3]))


@jit
def _next_key(data: bytes, at: int) -> int:
    """Return the place behind the next of the two words, -1 where there is none."""
    for i in range(at, len(data) - 3):
        if _word(data, i) in (_BIDS, _ASKS):
            return i + 4
    return -1


@jit
def _after_bids(data: bytes) -> int:
    """Return the place behind the first ``bids``, -1 where ``asks`` comes before it or there is none."""
    at = _next_key(data, 0)
    return at if at >= 0 and _word(data, at - 4) == _BIDS else -1


@jit
def _msgpack_side(data: bytes, at: int, levels: Vector, slot: int, room: int) -> tuple[int, int]:
    """Read the first ``room`` levels of a side at ``at`` to ``slot`` of a book.

    Return the place behind the side (-1: no such array) and how many levels it has.
    """
    bits = levels.view(np.int64)
    end = len(data)
    if at >= end:
        return -1, 0
    first = int(np.int64(data[at]))
    at += 1
    if _SMALL_ARRAY <= first <= _SMALL_ARRAY_MAX:
        n = first - _SMALL_ARRAY
    elif first == _ARRAY16 and at + 2 <= end:
        n = int(np.int64(data[at]) << 8 | np.int64(data[at + 1]))
        at += 2
    else:
        return -1, 0
    for level in range(n):
        if at >= end or data[at] != _PAIR:
            return -1, 0
        at += 1
        for part in range(2):
            if at >= end:
                return -1, 0
            form = int(np.int64(data[at]))
            width = 8 if form == _DOUBLE else 1 << (form - _UINT8) if _UINT8 <= form <= _UINT32 else 0
            if (form > _SMALL_INT_MAX and width == 0) or at + width >= end:
                return -1, 0
            number = 0
            for i in range(at + 1, at + 1 + width):
                number = number << 8 | int(np.int64(data[i]))
            at += 1 + width
            if level < room:
                to = slot + part * room + level
                if form == _DOUBLE:
                    bits[to] = number
                else:
                    levels[to] = float(number if width else form)
    return at, n


@jit
def read_msgpack(data: bytes, levels: Vector) -> tuple[int, int]:
    """Read the levels of a message into a flat or deep book, as many as it has room for.

    Return how many bids and asks the message has, (0, -1) for the general decoder.
    """
    room = capacity(levels)
    at = _after_bids(data)
    if at < 0:
        return 0, -1
    at, n_bid = _msgpack_side(data, at, levels, 0, room)
    if at < 0 or at + 5 > len(data) or data[at] != _TEXT_OF_4 or _word(data, at + 1) != _ASKS:
        return 0, -1
    at, n_ask = _msgpack_side(data, at + 5, levels, 2 * room, room)
    if at < 0 or _next_key(data, at) >= 0:
        return 0, -1
    return n_bid, n_ask


@jit
def _past(data: bytes, at: int, sign: int) -> int:
    """Return the place behind ``sign`` and the blanks around it, -1 where it is not at ``at`` or ``at`` is -1."""
    if at < 0:
        return -1
    while at < len(data) and data[at] == _BLANK:
        at += 1
    if at >= len(data) or data[at] != sign:
        return -1
    at += 1
    while at < len(data) and data[at] == _BLANK:
        at += 1
    return at


@jit
def _digit(data: bytes, at: int) -> int:
    """Return the digit at ``at``, -1 where there is none."""
    return int(np.int64(data[at])) - _ZERO if at < len(data) and _ZERO <= data[at] <= _NINE else -1


@jit
def _number(data: bytes, at: int) -> tuple[int, float]:
    """Read a number, plain or as text; return the place behind it, -1 where only the general decoder can read it, and its value.

    The quotient of two exact doubles is the double nearest to the decimal: the value of every correct parser.
    """
    if at < 0 or at >= len(data):
        return -1, 0.0
    quoted = data[at] == _QUOTE
    if quoted:
        at += 1
    digit = _digit(data, at)
    if digit < 0 or (digit == 0 and _digit(data, at + 1) >= 0):
        return -1, 0.0
    number, power, places = np.int64(0), 1.0, -1
    while digit >= 0:
        number = number * 10 + digit
        if number > _EXACT:
            return -1, 0.0
        if places >= 0:
            places += 1
            power *= 10.0
        at += 1
        digit = _digit(data, at)
        if places < 0 and at < len(data) and data[at] == _POINT:
            places = 0
            at += 1
            digit = _digit(data, at)
    if places == 0 or places > _EXACT_POWER:
        return -1, 0.0
    if quoted:
        if at >= len(data) or data[at] != _QUOTE:
            return -1, 0.0
        at += 1
    return at, float(number) / power


@jit
def _json_side(data: bytes, at: int, levels: Vector, slot: int, room: int) -> tuple[int, int]:
    """Do the same as ``_msgpack_side`` for JSON."""
    at = _past(data, at, _OPEN)
    n = 0
    more = _past(data, at, _CLOSE) < 0
    while more and at >= 0:
        at, price = _number(data, _past(data, at, _OPEN))
        at, size = _number(data, _past(data, at, _COMMA))
        at = _past(data, at, _CLOSE)
        if n < room:
            levels[slot + n] = price
            levels[slot + room + n] = size
        n += 1
        comma = _past(data, at, _COMMA)
        more = comma >= 0
        at = comma if more else at
    return _past(data, at, _CLOSE), n


@jit
def read_json(data: bytes, levels: Vector) -> tuple[int, int]:
    """Do the same as ``read_msgpack`` for JSON without a backslash."""
    room = capacity(levels)
    at = _past(data, _past(data, _after_bids(data), _QUOTE), _COLON)
    at, n_bid = _json_side(data, at, levels, 0, room)
    at = _past(data, _past(data, at, _COMMA), _QUOTE)
    if at < 0 or at + 4 > len(data) or _word(data, at) != _ASKS:
        return 0, -1
    at = _past(data, _past(data, at + 4, _QUOTE), _COLON)
    at, n_ask = _json_side(data, at, levels, 2 * room, room)
    if at < 0 or _next_key(data, at) >= 0:
        return 0, -1
    return n_bid, n_ask
