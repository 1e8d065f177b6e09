"""Trades of a venue from before its feed began, asked for by REST, and put on the tape as imported history."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from feature_repo.stores.errors import UserError
from ingest.feeds.binance_addresses import VENUES, Allowance, Venue
from ingest.feeds.binance_recovery import IN_MICROSECONDS, PAGE, REFUSALS
from ingest.feeds.binance_rest import Rest
from ingest.feeds.binance_venue import StatusError
from ingest.imports.formats.form import Market
from ingest.imports.rows import Done, rows_of
from ingest.imports.writing import Writer
from ingest.messages.check import known_trade_id
from ingest.messages.decode import decode
from ingest.messages.kinds import Trade, time_us
from ingest.messages.refusal import Refused
from ingest.recordings.binance_answers import is_same, read_answer
from ingest.recordings.binance_wire import Answer
from ingest.recordings.lines import Line, Parsed
from ingest.recordings.trade_ids import TradeIds
from ingest.settings import Settings
from ingest.streams import keys
from ingest.tape.columns import EVENTS, IMPORT, entries_of
from ingest.tape.read import FOREVER_MS, rows
from ingest.tape.table import Tape, of_tape, open_to_append

TRIES = 5  # of one page
FIRST_PAUSE_S = 0.5  # and twice as long after each further failure
_COLUMNS = ("id_ms", "id_n", "kind", "symbol", "source", "recorded", "data", "fields")


@dataclass(slots=True)
class Fetched:
    """What a venue gave.

    Attributes
    ----------
    trades : list of Trade
        Without a hole, oldest first, up to the first trade that the feed heard, which is not among them.
    ended : str
        Why there are no older ones.
    is_all : bool
        Whether the first one is the first trade of the symbol.
    new : int
        How many of them the tape did not have.
    """

    trades: list[Trade] = field(default_factory=list)
    ended: str = ""
    is_all: bool = False
    new: int = 0


def fetch(
    tape: Tape, settings: Settings, market: str, symbol: str, since_us: int, most: int, told: Callable[[int], None]
) -> Fetched:
    """Ask a venue for the trades of a symbol from a time on, ``most`` at most, and put on the tape what it does not have.

    ``told`` is called with how many were given so far. Raise `UserError` where the tape has no trade of its feed, or the venue refuses.
    """
    venue = VENUES[market]
    if not symbol.startswith(venue.prefix):
        raise UserError(f"{symbol} is not of {market}, whose symbols begin with {venue.prefix}")
    first = _first_heard(tape, settings, symbol)
    found = asyncio.run(_ask(venue, symbol, first, since_us, most, told))
    if found.trades:
        _put(settings, market, symbol, found)
    return found


def _first_heard(tape: Tape, settings: Settings, symbol: str) -> Trade:
    """Return the first trade that a feed heard."""
    p = keys.partition_of(symbol, of_tape(tape, settings).partitions)
    for trade in _on_tape(tape, p, EVENTS, symbol, 0):
        if isinstance(known_trade_id(trade.trade_id), int):
            return trade
    raise UserError(
        f"the tape has no trade of {symbol} from a feed, so the trades before could not be joined to it: start the feed, and wait until "
        "the role `tape` has written (some ten seconds)"
    )


def _on_tape(tape: Tape, p: int, source: str, symbol: str, since_ms: int, before_ms: int = FOREVER_MS) -> list[Trade]:
    found: list[Trade] = []
    which = {"source": source, "symbols": [symbol], "columns": _COLUMNS, "since_ms": since_ms, "before_ms": before_ms}
    for window in rows(tape, p, **which):  # type: ignore[arg-type]
        for _, fields in entries_of(window):
            if fields[b"kind"] == b"trade" and b"data" in fields:
                found.append(decode(Trade, fields[b"data"]))
        if source == EVENTS and found:
            break
    return found


async def _ask(
    venue: Venue, symbol: str, first: Trade, since_us: int, most: int, told: Callable[[int], None]
) -> Fetched:
    """Ask page by page, backwards from the first trade that the feed heard."""
    import aiohttp

    found = Fetched()
    pages: list[list[Trade]] = []
    known, n = first, 0
    async with aiohttp.ClientSession() as http:
        rest = Rest(http, Allowance(venue.weight_a_minute))
        try:
            while not found.ended:
                page, found.ended, found.is_all = await _page(rest, venue, symbol, known)
                if page:
                    pages.append(page)
                    known, n = page[0], n + len(page)
                    told(n)
                if found.ended:
                    break
                if time_us(known) < since_us:
                    found.ended = "older ones were not asked for"
                elif n >= most:
                    found.ended = f"--most {most} was reached"
        finally:
            await rest.close()
    every = [trade for page in reversed(pages) for trade in page]
    newest_old = next((i for i, trade in enumerate(every) if time_us(trade) >= since_us), len(every))
    found.trades = every[max(newest_old - 1, 0) :]  # with one before the time: it tells the price then
    found.is_all = found.is_all and len(found.trades) == len(every)
    return found


async def _page(rest: Rest, venue: Venue, symbol: str, known: Trade) -> tuple[list[Trade], str, bool]:
    """Return the trades of one page before a known one, why there are none before these, and whether these are the first of all."""
    last = int(known_trade_id(known.trade_id) or 0)
    begin = max(last - PAGE + 1, 0)
    if last == 0:
        return [], "it is the first trade of the symbol", True
    trades, why = await _answered(rest, venue, symbol, begin)
    if not trades and begin == 0:  # some symbols count from 1
        trades, why = await _answered(rest, venue, symbol, 1)
    ids = [int(known_trade_id(trade.trade_id) or 0) for trade in trades]
    if not trades or last not in ids:
        return [], why or "the venue gave other trades than those that were asked for", False
    at = ids.index(last)
    if not is_same(known, trades[at]):
        raise UserError(
            f"trade {last} of {symbol} is another one at the venue than was heard: name the venue of its feed"
        )
    start = next((i + 1 for i in reversed(range(at)) if ids[i] + 1 != ids[i + 1]), 0)
    if start:
        return trades[start:at], f"the venue lacks trades before {ids[start]}", False
    is_first = begin == 0
    return trades[:at], "it is the first trade of the symbol" if is_first else "", is_first


async def _answered(rest: Rest, venue: Venue, symbol: str, begin: int) -> tuple[list[Trade], str]:
    """Return the trades from an id on, or none and why. Raise `UserError` where the venue gives none to anybody here."""
    import aiohttp

    name = symbol.removeprefix(venue.prefix)
    query = {"symbol": name, "fromId": str(begin), "limit": str(PAGE)}
    headers = IN_MICROSECONDS if venue.has_micros else None
    why = ""
    for attempt in range(TRIES):
        try:
            body = await rest.get(venue.old_trades, query, venue.weight_of_trades, headers=headers)
            answer = Answer(symbol, venue.trades, begin, False, msgspec.Raw(body))
            return _read(answer), ""
        except (TimeoutError, OSError, ValueError, aiohttp.ClientError, Refused) as error:
            why = f"{type(error).__name__}: {error}"[:200]
            if isinstance(error, StatusError) and error.status in REFUSALS:
                raise UserError(f"the venue gives no old trades of {name}: {error}") from None
            if isinstance(error, Refused):
                break
            await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
    return [], f"the venue gave no more ({why})"


def _read(answer: Answer) -> list[Trade]:
    line = Line("", 0, time.time_ns(), b"", False)
    trades = read_answer(answer, TradeIds(), line, 0)
    for trade in trades:
        trade.received, trade.recovered = None, False
    return trades


class _AsTheyCome:
    """Trades of a venue are in the order of time."""

    keeps_order = needs_order = False


def _put(settings: Settings, market: str, symbol: str, found: Fetched) -> None:
    """Put trades on the tape that it does not have, as one import."""

    def opened() -> Tape:
        return open_to_append(settings, settings.deployment)

    tape = opened()
    n = of_tape(tape, settings).partitions
    p = keys.partition_of(symbol, n)
    span = time_us(found.trades[0]) // 1000, time_us(found.trades[-1]) // 1000 + 1
    there = {trade.trade_id for trade in _on_tape(tape, p, IMPORT, symbol, *span)}
    new = [trade for trade in found.trades if trade.trade_id not in there]
    if not new:
        return
    said = [market, symbol, new[0].trade_id, new[-1].trade_id, len(new)]
    key = hashlib.sha256(msgspec.msgpack.encode(said)).hexdigest()
    done = Done()
    parsed = (Parsed("trade", trade) for trade in new)
    as_rows = rows_of(parsed, _AsTheyCome(), market, key, done, lambda _: None)
    Writer(tape, opened, n, key, Market(market), VENUES[market].trades, done).write(as_rows)
    found.new = done.new
