"""Prices and sizes of an order book out of the bytes of its message, in compiled code.

``read_msgpack`` and ``read_json`` take what feeds send: ``bids`` and right after it ``asks``, each a list of levels of two numbers. Numbers
are MessagePack doubles and whole numbers up to 32 bits; or JSON numbers, plain or as text, that one division makes exact.
Of everything else they say that they do not take it.

How they know where the levels are: the caller has had the message checked by a decoder that leaves ``bids`` and ``asks`` unread, and that
found both at the top of the message. If the bytes outside of the levels hold each of the two words once, then those are the keys; JSON
with a backslash, which could hide one more, is not to be given. So neither a repeated key nor one inside of a value is ever mistaken.
"""

from __future__ import annotations

import numpy as np

from transforms.kernel import Vector, jit
from transforms.microstructure.layout import MAX_LEVELS

_BIDS, _ASKS = int.from_bytes(b"bids", "big"), int.from_bytes(b"asks", "big")
_QUOTE, _COLON, _COMMA, _POINT, _OPEN, _CLOSE, _BLANK, _ZERO, _NINE = b'":,.[] 09'
_EXACT = 2**53
_EXACT_POWER = 22
"""Whole numbers up to 2**53 and powers of ten up to 10**22 are doubles."""


@jit
def _word(data: bytes, at: int) -> int:
    """Four bytes as a number."""
    return int(
        np.int64(data[at]) << 24 | np.int64(data[at + 1]) << 16 | np.int64(data[at + 2]) << 8 | np.int64(data[at + 3])
    )


@jit
def _after_bids(data: bytes) -> int:
    """Place behind the first ``bids``, -1 where ``asks`` comes before it or there is none."""
    for at in range(len(data) - 3):
        word = _word(data, at)
        if word == _BIDS:
            return at + 4
        if word == _ASKS:
            return -1
    return -1


@jit
def _says_no_more(data: bytes, at: int) -> bool:
    """Whether the bytes from ``at`` on hold neither of the two words."""
    for i in range(at, len(data) - 3):
        word = _word(data, i)
        if word in (_BIDS, _ASKS):
            return False
    return True


@jit
def _msgpack_side(data: bytes, at: int, levels: Vector, slot: int) -> tuple[int, int]:
    """Read an array of levels at ``at``: the place behind it, -1 where it is not such an array, and the levels used."""
    bits = levels.view(np.int64)
    end = len(data)
    if at >= end:
        return -1, 0
    first = int(np.int64(data[at]))
    at += 1
    if 0x90 <= first <= 0x9F:
        n = first - 0x90
    elif first == 0xDC and at + 2 <= end:
        n = int(np.int64(data[at]) << 8 | np.int64(data[at + 1]))
        at += 2
    else:
        return -1, 0
    for level in range(n):
        if at >= end or data[at] != 0x92:
            return -1, 0
        at += 1
        for part in range(2):
            if at >= end:
                return -1, 0
            form = int(np.int64(data[at]))
            width = 8 if form == 0xCB else 1 << (form - 0xCC) if 0xCC <= form <= 0xCE else 0
            if (form > 0x7F and width == 0) or at + width >= end:
                return -1, 0
            number = 0
            for i in range(at + 1, at + 1 + width):
                number = number << 8 | int(np.int64(data[i]))
            at += 1 + width
            if level < MAX_LEVELS:
                to = slot + part * MAX_LEVELS + level
                if form == 0xCB:
                    bits[to] = number
                else:
                    levels[to] = float(number if width else form)
    return at, min(n, MAX_LEVELS)


@jit
def read_msgpack(data: bytes, levels: Vector) -> tuple[int, int]:
    """Levels of a message into ``levels``, and how many bids and asks; (0, -1) where the general way must look at it."""
    at = _after_bids(data)
    if at < 0:
        return 0, -1
    at, n_bid = _msgpack_side(data, at, levels, 0)
    # the next key is asks, a text of four bytes
    if at < 0 or at + 5 > len(data) or data[at] != 0xA4 or _word(data, at + 1) != _ASKS:
        return 0, -1
    at, n_ask = _msgpack_side(data, at + 5, levels, 2 * MAX_LEVELS)
    if at < 0 or not _says_no_more(data, at):
        return 0, -1
    return n_bid, n_ask


@jit
def _past(data: bytes, at: int, sign: int) -> int:
    """Place behind ``sign`` and the blanks around it, -1 where it does not stand at ``at`` or ``at`` is -1."""
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
    """The digit at ``at``, -1 where there is none."""
    return int(np.int64(data[at])) - _ZERO if at < len(data) and _ZERO <= data[at] <= _NINE else -1


@jit
def _number(data: bytes, at: int) -> tuple[int, float]:
    """A number at ``at``, plain or as text: the place behind it, -1 where it is not taken, and its value.

    The quotient of two exact doubles is the double nearest to the decimal: what every correct parser gives.
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
def _json_side(data: bytes, at: int, levels: Vector, slot: int) -> tuple[int, int]:
    """As ``_msgpack_side``, of JSON."""
    at = _past(data, at, _OPEN)
    n = 0
    more = _past(data, at, _CLOSE) < 0
    while more and at >= 0:
        at, price = _number(data, _past(data, at, _OPEN))
        at, size = _number(data, _past(data, at, _COMMA))
        at = _past(data, at, _CLOSE)
        if n < MAX_LEVELS:
            levels[slot + n] = price
            levels[slot + MAX_LEVELS + n] = size
        n += 1
        further = _past(data, at, _COMMA)
        more = further >= 0
        if more:
            at = further
    return _past(data, at, _CLOSE), min(n, MAX_LEVELS)


@jit
def read_json(data: bytes, levels: Vector) -> tuple[int, int]:
    """As ``read_msgpack``, of JSON that has no backslash."""
    at = _past(data, _past(data, _after_bids(data), _QUOTE), _COLON)
    at, n_bid = _json_side(data, at, levels, 0)
    at = _past(data, _past(data, at, _COMMA), _QUOTE)
    if at < 0 or at + 4 > len(data) or _word(data, at) != _ASKS:
        return 0, -1
    at = _past(data, _past(data, at + 4, _QUOTE), _COLON)
    at, n_ask = _json_side(data, at, levels, 2 * MAX_LEVELS)
    if at < 0 or not _says_no_more(data, at):
        return 0, -1
    return n_bid, n_ask
