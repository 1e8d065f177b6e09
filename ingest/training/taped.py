"""The trades of the tape as prices of labels and as sampling bars.

All trades count that a venue made, each once: also one that arrived too late for the features, since a label is about the market and not
about what was heard in time. They are sorted by event time, then by whole-number trade id, then by arrival, in files of an hour each in a
temporary folder, so memory does not grow with the history.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.stores.offline.join.latest import NONE
from feature_repo.training.bars import Trades
from feature_repo.training.prices import Ints, parts
from feature_repo.training.sources import Rows
from ingest.messages.check import check_gap, check_trade, known_trade_id
from ingest.messages.envelope import checked_entry
from ingest.messages.kinds import TRADE_CHANNEL, Tick, Trade, since_us, time_us
from ingest.messages.refusal import Refused
from ingest.settings import Settings
from ingest.tape.columns import EVENTS, IMPORT, entries_of
from ingest.tape.read import FOREVER_MS, rows
from ingest.tape.table import Tape, of_tape
from transforms.catalog import ORDER_FLOW

HOUR_US: Final = 3600 * 1_000_000
AROUND_MS: Final = 600_000
"""What arrives so much before and after the time of the trades is read too. What came from a recording is read whenever it arrived."""
PART_ROWS: Final = 10_000  # entries that are Python objects at a time
_COLUMNS: Final = ("id_ms", "id_n", "kind", "symbol", "source", "recorded", "data", "fields")
_TRADE: Final = np.dtype(
    [("t_us", "i8"), ("price", "f8"), ("size", "f8"), ("side", "i1"), ("has_id", "?"), ("id", "i8"), ("rank", "i8")]
)
_SIDE: Final = {"buy": 1, "sell": -1, None: 0}


class TapedTrades:
    """Trades of some symbols from the tape; a `prices.Source`. A context manager, which deletes its files at its end.

    Attributes
    ----------
    refused : collections.Counter
        How many entries were no good trades, by reason.
    """

    def __init__(self, settings: Settings) -> None:
        self.ttl_us = ORDER_FLOW.ttl_s * 1_000_000
        self.refused: Counter[str] = Counter()
        self._settings = settings
        self._folder = TemporaryDirectory(prefix="tfs-trades-")
        self._numbers: dict[str, int] = {}
        self._hours: defaultdict[str, set[int]] = defaultdict(set)
        self._newest_us: dict[str, int] = {}
        self._holes: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)

    def __enter__(self) -> TapedTrades:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def reading(self) -> AbstractContextManager[None]:
        """Do nothing: what was loaded does not change."""
        return nullcontext()

    def load(self, tape: Tape, symbols: Sequence[str], begin_us: int, end_us: int) -> None:
        """Read the trades with event times from ``begin_us`` to ``end_us``, and the holes among them."""
        since_ms, before_ms = max(begin_us // 1000 - AROUND_MS, 0), max(end_us // 1000 + AROUND_MS, 0)
        is_trade, is_recorded = pc.field("kind") == "trade", pc.field("recorded")
        is_market = pc.field("kind").isin(["trade", "gap", "tick"])
        for p in range(of_tape(tape, self._settings).partitions):
            of_symbols: dict[str, Any] = {"source": (EVENTS, IMPORT), "symbols": symbols}
            heard = rows(
                tape, p, **of_symbols, columns=_COLUMNS, since_ms=since_ms, before_ms=before_ms, where=is_market
            )
            later = rows(tape, p, **of_symbols, columns=_COLUMNS, since_ms=before_ms, where=is_market & is_recorded)
            for window in chain(heard, later):
                for start in range(0, window.num_rows, PART_ROWS):
                    self._take(window.slice(start, PART_ROWS), begin_us, end_us)
            # Whether history goes on behind what was read says if a label lacks prices because of a hole or of the end.
            columns = ("id_ms", "id_n", "symbol", "source")
            for window in rows(
                tape, p, **of_symbols, columns=columns, since_ms=before_ms, where=is_trade & ~is_recorded
            ):
                for symbol in pc.unique(window["symbol"]).to_pylist():
                    self._newest_us[symbol] = max(self._newest_us.get(symbol, NONE), end_us)

    def newest_us(self, symbol: str) -> int:
        """Return the event time of the newest trade of a symbol, or a later one than was asked for; -1 where it has none."""
        return self._newest_us.get(symbol, NONE)

    def read(self, symbol: str, begin_us: int, end_us: int) -> Rows:
        """Return the trades of a symbol with event times from ``begin_us`` to ``end_us``, both included."""
        hours = sorted(h for h in self._hours[symbol] if begin_us // HOUR_US <= h <= end_us // HOUR_US)
        found = np.concatenate([np.empty(0, _TRADE), *(self._hour(symbol, hour) for hour in hours)])
        found = found[(found["t_us"] >= begin_us) & (found["t_us"] <= end_us)]
        nothing = np.zeros(len(found))
        t_us, price = (np.ascontiguousarray(found[name]) for name in ("t_us", "price"))
        silence_us = nothing.astype(np.int64)
        holes = self._holes_of(symbol)
        return Rows(t_us, t_us, price, nothing, silence_us, self.ttl_us, holes, are_corrected=False)

    def pieces(self, symbol: str, begin_us: int, end_us: int) -> Iterator[Trades]:
        """Yield the trades of a time in order, an hour at a time, for sampling bars. Sizes are in base units; both ends are included."""
        holes = self._holes_of(symbol)
        base = self._settings.instrument(symbol).base
        last_us, n_holes = NONE, 0
        for hour in sorted(self._hours[symbol]):
            found = self._hour(symbol, hour)
            found = found[(found["t_us"] >= begin_us) & (found["t_us"] <= end_us)]
            t_us = np.concatenate([[last_us], found["t_us"]]).astype(np.int64)
            part = n_holes + parts(t_us, np.ones(len(t_us), np.bool_), FOREVER_MS, holes)[1:]
            sizes = [
                base(size, price) for size, price in zip(found["size"].tolist(), found["price"].tolist(), strict=True)
            ]
            yield Trades(t_us[1:], found["price"].copy(), np.array(sizes), found["side"].copy(), part)
            last_us, n_holes = int(t_us[-1]), int(part[-1])

    def _take(self, window: pa.Table, begin_us: int, end_us: int) -> None:
        """Sort a part of the tape into the files."""
        found: defaultdict[tuple[str, int], list[tuple[Any, ...]]] = defaultdict(list)
        for symbol, (entry_id, fields) in zip(window["symbol"].to_pylist(), entries_of(window), strict=True):
            if fields[b"kind"] == b"tick" and b"lost" not in fields.get(b"data", b""):
                continue
            try:
                message = checked_entry(
                    entry_id, fields, self._settings.max_future_ms, self._settings.max_age_ms
                ).message
                t_us = time_us(message)
                newest_us = self._newest_us.get(symbol, NONE)
                if isinstance(message, Trade):
                    check_trade(message)
                    self._newest_us[symbol] = max(newest_us, t_us)
                    if begin_us <= t_us <= end_us:
                        found[symbol, t_us // HOUR_US].append((t_us, *_values(message)))
                elif isinstance(message, Tick):  # the feed was lost: what came since the newest trade is not known
                    self._holes[symbol].append((newest_us if newest_us != NONE else t_us - 1, t_us))
                elif message.channel == TRADE_CHANNEL:
                    check_gap(message)
                    self._holes[symbol].append((since_us(message) or t_us - 1, t_us))
            except Refused as why:
                self.refused[str(why.reason)] += 1
        for (symbol, hour), trades in found.items():
            self._hours[symbol].add(hour)
            with self._path(symbol, hour).open("ab") as file:
                file.write(np.array(trades, _TRADE).tobytes())

    def _hour(self, symbol: str, hour: int) -> NDArray[np.void]:
        """Return the trades of an hour in order, each once."""
        found = np.fromfile(self._path(symbol, hour), _TRADE)
        found = found[np.lexsort((found["rank"], found["t_us"]))]  # stable: then by arrival
        by_id = np.lexsort((found["id"], found["t_us"]))
        same = [found[name][by_id[1:]] == found[name][by_id[:-1]] for name in ("t_us", "id", "has_id")]
        is_repeated = np.zeros(len(found), np.bool_)
        is_repeated[by_id[1:]] = np.logical_and.reduce(same) & found["has_id"][by_id[1:]]
        return np.asarray(found[~is_repeated])

    def _holes_of(self, symbol: str) -> Ints:
        return np.array(self._holes.get(symbol, []), np.int64).reshape(-1, 2)

    def _path(self, symbol: str, hour: int) -> Path:
        number = self._numbers.setdefault(symbol, len(self._numbers))
        return Path(self._folder.name, f"{number}-{hour}")


def _values(trade: Trade) -> tuple[float, float, int, bool, int, int]:
    """Return what `_TRADE` has behind the time. A text id is told from others by a hash of eight bytes."""
    number = known_trade_id(trade.trade_id)
    rank = number if isinstance(number, int) else 0
    text = number if isinstance(number, str) else ""
    identity = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), signed=True) if text else rank
    return trade.price, trade.size, _SIDE[trade.side], number is not None, identity, rank
