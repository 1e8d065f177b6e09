"""Messages of a file as rows of the tape, each once, however often the import is killed or called again.

An import is told by ``key``: a hash of the content of its files and of what the user says of them. Beside the counts of the rows a commit
has these numbers (application transactions):

``import/<key>``
    How many messages of the file are done.
``imported/<key>``
    The same, in the last commit: the import is complete.
``content/<key>``
    Of a day of a symbol in raw tables: the check of its rows up to that number.
``tables/<table>``
    Of a raw table: with which tables and columns it is imported.
``market/<symbol>``
    The market of the symbol, as a hash of its name.
``form/<symbol>/<day>``
    In which form the trades of a day are (Binance's single trades, or aggregates of them), so that none counts twice.

All are read in the snapshot that is appended to. Another writer that sets one of them at the same time makes the commit fail as a whole;
then they are read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.stores.errors import UserError
from ingest.feeds.binance_addresses import VENUES
from ingest.imports.formats.form import UNNAMED, Market
from ingest.imports.rows import Done, Row
from ingest.streams.keys import partition_of
from ingest.tape.columns import DAY_MS, EVENTS, IMPORT, as_table
from ingest.tape.table import ConflictError, Tape, storage

NONE: Mapping[str, int] = {}
ROWS, BYTES = 100_000, 32 << 20  # a commit is made at one of them
TRIES = 20  # commits that other writers may overtake
_MARKETS = (
    "binance",
    "binance-us",
    "binance-futures",
    "binance-coinm",
    "bybit",
    "okx",
    "kraken",
    "coinbase",
    "bitmex",
    "deribit",
)
_FORMS = {"trade": 1, "aggTrade": 2}
_EPOCH = date(1970, 1, 1)


class OtherMarketError(UserError, ValueError):
    """A symbol of the tape is of another market than that of a file."""


def market_number(name: str) -> int:
    """Return a market as the number of an application transaction."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest())


class Writer:
    """Appends the rows of one import.

    Parameters
    ----------
    tape : Tape
    open_again : callable
        Opens it anew, after another writer appended.
    partitions : int
    key : str
        Empty where each row names its own.
    market : Market
        Of all symbols of the file.
    form : str
        As `Format.form`.
    done : Done
    more : mapping
        Other numbers, which go with every commit.
    """

    def __init__(
        self,
        tape: Tape,
        open_again: Callable[[], Tape],
        partitions: int,
        key: str,
        market: Market,
        form: str,
        done: Done,
        more: Mapping[str, int] = NONE,
    ) -> None:
        self.tape, self._more = tape, more
        self._open_again, self._partitions, self._key = open_again, partitions, key
        self._market, self._form, self._done = market, form, done

    def is_complete(self) -> bool:
        """Return whether the tape has all of this import."""
        return self.tape.number(f"imported/{self._key}") is not None

    def write(self, rows: Iterator[Row]) -> None:
        """Append all rows that are not on the tape yet."""
        begun: dict[str, int] = {}
        part = list[Row]()
        size = 0
        for row in rows:
            if size >= BYTES or len(part) >= ROWS:
                self._commit(part, is_last=False)
                part, size = [], 0
            key = row.key or self._key
            if key not in begun:
                begun = {key: self.begun(key)}
            if row.place > begun[key]:
                part.append(row)
                size += len(row.data)
        if part:
            self._commit(part, is_last=True)

    def begun(self, key: str) -> int:
        """Return how many messages of an import are on the tape."""
        return self.tape.number(f"import/{key}") or 0

    def _commit(self, rows: Sequence[Row], *, is_last: bool) -> None:
        for attempt in range(TRIES):
            begun = {key: self.begun(key) for key in {row.key or self._key for row in rows}}
            left = [row for row in rows if row.place > begun[row.key or self._key]]
            if not left:
                return  # the same import runs twice at once, and the other one was faster
            numbers = dict(self._more)
            for row in left:
                numbers[f"import/{row.key or self._key}"] = row.place
                if row.key:
                    numbers[f"content/{row.key}"] = row.check
            if is_last and self._key:
                numbers[f"imported/{self._key}"] = left[-1].place
            self._check_market({row.symbol for row in left}, numbers)
            counted = self._of_this_form(left, numbers)
            try:
                self.tape.commit([table_of(counted, self._partitions)], numbers)
            except ConflictError:
                if attempt == TRIES - 1:
                    raise
                self.tape = self._open_again()
                continue
            self._done.new += len(counted)
            self._done.other_form += len(left) - len(counted)
            return

    def _check_market(self, symbols: set[str], numbers: dict[str, int]) -> None:
        """Put the market of each symbol into ``numbers``; raise ``OtherMarketError`` if the tape has another one."""
        mine = market_number(self._market.name)
        for symbol in symbols:
            known = self.tape.number(f"market/{symbol}")
            if known is None:
                numbers[f"market/{symbol}"] = mine
            elif known != mine:
                of = next((name for name in (UNNAMED, *_MARKETS) if market_number(name) == known), None)
                same = f"--venue {of}" if of else "the same --venue"
                raise OtherMarketError(
                    f"the tape has {symbol:.64} of {of or 'another venue'}, and this file is of {self._market.name:.64}: give its symbols "
                    f"a name of their own, such as --prefix {self._market.name.upper():.32}:, or say with {same} that it is the same market"
                )

    def _of_this_form(self, rows: Sequence[Row], numbers: dict[str, int]) -> Sequence[Row]:
        """Return the rows of days whose trades the tape has in no other form, and put the form of new days into ``numbers``."""
        if not self._form:
            return rows
        mine, days = _FORMS[self._form], dict[tuple[str, int], bool]()
        for row in rows:
            at = row.symbol, row.id_ms // DAY_MS
            if at not in days:
                name = f"form/{row.symbol}/{at[1]}"
                known = self.tape.number(name) or self._form_heard(*at)
                days[at] = known in (None, mine)
                if days[at]:
                    numbers[name] = mine
        return [row for row in rows if days[row.symbol, row.id_ms // DAY_MS]]

    def _form_heard(self, symbol: str, day: int) -> int | None:
        """Return the form in which a live feed heard trades of a day; None if it heard none."""
        at = _EPOCH + timedelta(days=day)
        partition = partition_of(symbol, self._partitions)
        of_day = (
            (pc.field("day") == pa.scalar(at)) & (pc.field("partition") == partition) & (pc.field("source") == EVENTS)
        )
        with storage(self.tape.place):
            found = self.tape.table.to_pyarrow_dataset().head(
                1, columns=["kind"], filter=of_day & (pc.field("symbol") == symbol) & (pc.field("kind") == "trade")
            )
        if not found.num_rows:
            return None
        venue = VENUES.get(self._market.name)
        return _FORMS[venue.trades] if venue else None


def table_of(rows: Sequence[Row], partitions: int) -> pa.Table:
    """Return rows of an import as a table of the tape."""
    _, ms, n, kinds, symbols, data, *_ = zip(*rows, strict=True) if rows else ((),) * 6
    of: Mapping[str, int] = {symbol: partition_of(symbol, partitions) for symbol in set(symbols)}
    size = len(rows)
    return as_table(
        ms, n, kinds, symbols, IMPORT, [True] * size, data, [None] * size, [of[symbol] for symbol in symbols]
    )
