"""What must be known before lines are parsed, because a later line decides it. Files are read for it only where the question arises.

- To which symbol a snapshot belongs that names none, in a file of several symbols: to the one that has a diff which spans it. Update
  ids of USD-M futures are one series over all symbols, so several may fit; then the snapshot is refused.
- Which trades are recorded one by one, where other lines hold aggregates of trades: an aggregate of such trades is passed over, and any
  other one counts.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ingest.messages.kinds import MAX_INTEGER
from ingest.recordings.lines import read_lines
from ingest.recordings.survey import Survey

_ABSENT = msgspec.Raw()
Owners = Mapping[int, frozenset[str]]
"""For the ``lastUpdateId`` of each snapshot that names no symbol, the symbols that have a diff which spans it."""


class _Ids(msgspec.Struct):
    """The ids of a line of a capture."""

    data: msgspec.Raw = _ABSENT
    e: Any = None
    s: Any = None
    first: Any = msgspec.field(name="U", default=None)
    last: Any = msgspec.field(name="u", default=None)
    before: Any = msgspec.field(name="pu", default=None)
    trade: Any = msgspec.field(name="t", default=None)
    type: Any = msgspec.field(name="X", default=None)
    snapshot: Any = msgspec.field(name="lastUpdateId", default=None)
    symbol: Any = None
    prefix: Any = None


_ids = msgspec.json.Decoder(_Ids).decode


class Runs:
    """Whole numbers as runs of consecutive ones.

    >>> runs = Runs([5, 6, 7, 10])
    >>> runs.meet(1, 4), runs.meet(7, 8), runs.meet(8, 9)
    (False, True, False)
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        ids = np.unique(np.asarray(numbers, dtype=np.int64))
        breaks = np.flatnonzero(np.diff(ids) > 1)
        self._first: list[int] = ids[np.concatenate(([0], breaks + 1))].tolist() if len(ids) else []
        self._last: list[int] = ids[np.concatenate((breaks, [len(ids) - 1]))].tolist() if len(ids) else []

    def meet(self, first: int, last: int) -> bool:
        """Return whether one of the numbers ``first`` to ``last`` is among them."""
        i = bisect_right(self._first, last) - 1
        return i >= 0 and self._last[i] >= first


@dataclass(frozen=True, slots=True)
class Lookahead:
    """What was found: the owners of snapshots by file, and by symbol the ids of the trades that are recorded one by one."""

    owners: Mapping[Path, Owners] = field(default_factory=dict)
    trades: Mapping[str, Runs] = field(default_factory=dict)


def look_ahead(files: Sequence[Survey]) -> Lookahead:
    """Read those files whose later lines decide what earlier ones mean."""
    captures = [one for one in files if one.market and not one.is_table]
    asking = [one for one in captures if one.snapshots and len(_possible(one, captures)) != 1]
    names = frozenset().union(*(_possible(one, captures) for one in asking))
    both = {"trade", "aggTrade"} <= frozenset().union(*(one.forms for one in captures))
    spans: dict[str, array[int]] = defaultdict(lambda: array("q"))
    trades: dict[str, array[int]] = defaultdict(lambda: array("q"))
    snapshots: dict[Path, set[int]] = {one.path: set() for one in asking}
    for one in captures:
        if not (one.symbols & names or one in asking or (both and "trade" in one.forms)):
            continue
        for name, told in _read(one):
            if told.snapshot is not None and told.symbol is None and one.path in snapshots and _is_id(told.snapshot):
                snapshots[one.path].add(told.snapshot)
            elif name in names and _is_id(told.first) and _is_id(told.last):
                begin = told.first - 1
                spans[name].extend((min(begin, told.before) if _is_id(told.before) else begin, told.last))
            elif both and told.e == "trade" and _is_id(told.trade) and is_market_trade(told.type):
                trades[name].append(told.trade)
    ranges = {name: np.asarray(of_symbol, dtype=np.int64).reshape(-1, 2) for name, of_symbol in spans.items()}
    owners = {
        one.path: {
            last: frozenset(
                name
                for name in _possible(one, captures) & ranges.keys()
                if np.any((ranges[name][:, 0] <= last) & (last < ranges[name][:, 1]))
            )
            for last in snapshots[one.path]
        }
        for one in asking
    }
    return Lookahead(owners, {name: Runs(numbers) for name, numbers in trades.items()})


def symbols_of_snapshots(one: Survey, files: Sequence[Survey]) -> frozenset[str]:
    """Return the symbols to which snapshots of a file may belong: its own, or any where it names none."""
    return _possible(one, [other for other in files if other.market and not other.is_table])


def _possible(one: Survey, captures: Sequence[Survey]) -> frozenset[str]:
    return one.symbols or frozenset().union(*(other.symbols for other in captures))


def is_market_trade(kind: object) -> bool:
    """Return whether Binance's trade type ``X`` is that of a trade in the order book; spot's trades have none.

    Others are ``INSURANCE_FUND`` and ``ADL`` (auto-deleveraging), which are settled outside the book, and ``NA``, which is no trade.
    """
    return kind is None or (isinstance(kind, str) and kind.upper() == "MARKET")


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < MAX_INTEGER


def _read(one: Survey) -> Iterator[tuple[str, _Ids]]:
    """Yield the symbol, with its prefix, and the ids of each line of a capture; damaged lines are left to the parser."""
    prefix = one.prefix or ""
    for line in read_lines(one.path):
        try:
            told = _ids(line.data.partition(b" ")[2]) if line.stamped else None
            if told is not None and told.data:
                told = _ids(told.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if told is None:
            continue
        if told.e == "recording" and isinstance(told.prefix, str) and one.prefix is None:
            prefix = told.prefix
        yield (prefix + told.s if isinstance(told.s, str) else ""), told
