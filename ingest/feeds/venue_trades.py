"""Trades that a venue's feed may have missed, told as gaps of the channel ``trade``; nobody asks the venue for them.

Where the ids of a venue are consecutive for each symbol, a jump tells how many are missing. Of every other venue, what happened between
the last trade before a lost connection and the moment at which the next one is there is unknown.
"""

from __future__ import annotations

from contextlib import suppress

from ingest.messages.check import known_trade_id
from ingest.messages.kinds import Trade, time_us
from ingest.messages.refusal import Refused
from ingest.recordings.lines import NS_PER_MS, Line, Parsed
from ingest.recordings.trade_gaps import gap_of
from ingest.recordings.trade_ids import Heard, TradeIds

CONSECUTIVE = frozenset({"COINBASE"})
"""Venues whose ids are consecutive for each symbol, as cryptofeed names them. https://docs.cdp.coinbase.com/exchange"""


class VenueTrades:
    """The trades of the symbols of one venue.

    >>> trades = VenueTrades("COINBASE")
    >>> [trades.take(Trade(1000 * i, "A", 1.0, 1.0, trade_id=i)) for i in (1, 2, 2)]
    [[], [], None]
    >>> [gap.message.missing for gap in trades.take(Trade(5000, "A", 1.0, 1.0, trade_id=5))]
    [2]
    """

    def __init__(self, venue: str) -> None:
        self._is_consecutive = venue in CONSECUTIVE
        self._last: dict[str, Trade] = {}
        self._ids: dict[str, TradeIds] = {}

    def take(self, trade: Trade) -> list[Parsed] | None:
        """Return the gaps to tell before a trade; None if it repeats one."""
        last = self._last.get(trade.symbol)
        if last is None or time_us(trade) >= time_us(last):
            self._last[trade.symbol] = trade
        number = _number(trade.trade_id)
        if not self._is_consecutive or number is None:
            return []
        ids = self._ids.setdefault(trade.symbol, TradeIds())
        heard = ids.note(number, trade)
        if heard is Heard.REPEATS:
            return None
        if heard in (Heard.JUMPS, Heard.ANEW) and last is not None:
            missing = ids.holes[-1].missing if heard is Heard.JUMPS else None  # ids of another series tell no number
            return [gap_of(last.symbol, last, time_us(trade), missing, _line(trade.received or 0))]
        return []

    def missed(self, symbol: str, until_us: int, received_ms: int) -> list[Parsed]:
        """Return the gap from the last trade of a symbol up to a time, none where no trade was heard."""
        last = self._last.get(symbol)
        if last is None or until_us <= time_us(last):
            return []
        return [gap_of(symbol, last, until_us, None, _line(received_ms))]


def _line(received_ms: int) -> Line:
    return Line("live", 0, received_ms * NS_PER_MS, b"", False)


def _number(trade_id: int | str | None) -> int | None:
    with suppress(Refused):  # the worker refuses the trade
        number = known_trade_id(trade_id)
        return number if isinstance(number, int) else None
    return None
