"""Two days of one symbol, made by rule: trades now and then, and around the second midnight books, posts and many trades.

As a program it writes ``two_days_before.bin``: the state of this symbol at ``CUT`` and a digest of the rows behind it, as the code before
kernels had versions of their own gave them (commit 746ee2f)::

    PYTHONPATH=<a checkout of it> python tests/transforms/two_days.py
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.kernel import to_bytes
from transforms.sentiment.state import Post

S = 1_000_000
MIDNIGHT = 1_700_006_400
"""Seconds; the first day begins."""
BUSY = MIDNIGHT + 2 * 86_400 - 4_200
CUT = MIDNIGHT + 2 * 86_400 - 1_780
END = MIDNIGHT + 2 * 86_400 + 2_400
BEFORE = Path(__file__).with_name("two_days_before.bin")
ABOUT = Instrument(profile_row=0.5, funding_hours=8)

Rows = dict[int, dict[str, bytes]]
"""Bytes of the rows, by second and view."""


def engine() -> Engine:
    return Engine(ABOUT, S)


def play(of: Engine, begin: int, end: int, *, contract: bool = True) -> Rows:
    """Give an engine what happens from second ``begin`` until before ``end``, and return its rows.

    Without ``contract`` nothing is told of derivatives, which the code before did not know.
    """
    rows: Rows = {}
    for second in _seconds(begin, end):
        price = 100.0 + 0.25 * (second // 3 % 17) - 0.5 * (second // 40 % 5)
        if second >= BUSY:
            if second % 3 != 1:
                size = 1.0 + second % 5
                bids = [(price - 0.25 - 0.25 * i, size + i) for i in range(6)]
                of.book(second * S + 1, bids, [(price + 0.25 + 0.25 * i, 3.0 + second % 4) for i in range(6)])
            if second % 150 == 0:
                lean = 0.3 + 0.4 * (second % 11) / 11
                text = second * 0x9E3779B97F4A7C15 % 2**64
                of.post(second * S + 2, Post(f"p{second}", f"a{second % 5}", text, lean, 0.9 - lean, 0.1, 3, 1, 1, 10))
        bought = second // 2 % 3 == 0
        of.trade(second * S + 3, price + (0.25 if bought else -0.25), 0.5 + second % 7, 1 if bought else -1)
        if second >= BUSY and contract:
            _tell(of, second, price)
        if second >= BUSY and second % 10 < 2:
            rows[second + 1] = {view.name: to_bytes(row) for view, row in of.emit((second + 1) * S)}
    return rows


def _tell(of: Engine, second: int, price: float) -> None:
    settled_us = (second // 28_800 + 1) * 28_800 * S
    of.tell_contract(
        second * S + 4, mark=price + 0.125, index=price, funding_rate=second % 7 / 1e5, settled_us=settled_us
    )
    if second % 20 == 0:
        of.tell_contract(second * S + 5, open_interest=1000.0 + second % 331)
    if second % 46 == 0:
        of.contract.liquidate(second * S + 6, price, 1.0 + second % 9, 1 if second % 4 else -1)


def _seconds(begin: int, end: int) -> Iterator[int]:
    yield from range(begin // 300 * 300, min(end, BUSY), 300)
    yield from range(max(begin, BUSY), end, 2)


def digest(rows: Rows) -> bytes:
    return hashlib.sha256(repr(sorted((at, sorted(of.items())) for at, of in rows.items())).encode()).digest()


if __name__ == "__main__":
    made = engine()
    play(made, MIDNIGHT, CUT, contract=False)
    parts = made.save()
    rows = play(made, CUT, END, contract=False)
    BEFORE.write_bytes(zlib.compress(msgspec.msgpack.encode([parts, digest(rows)]), 9))
