"""Which of Binance's two forms of trades counts, so that no trade counts twice and none is lost where a recording has both."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.recordings.binance_wire import AggTrade, Trade
from ingest.recordings.lookahead import Runs


@dataclass(slots=True)
class TradesTold:
    """The newest trades of a symbol that counted: those that came alone (``@trade``), and those in aggregates (``@aggTrade``)."""

    alone: int = -1  # the id
    alone_us: int = 0
    in_aggregate: int = -1  # the id of its last trade
    in_aggregate_us: int = 0

    def is_repeated(self, trade: Trade, recorded_alone: Runs | None) -> bool:
        """Return whether other lines give the same trades; if they do not, remember this one.

        ``recorded_alone`` has the ids of all trades that the recording has one by one, where that is known before. Then they count and
        aggregates of them do not. Else, as in a live feed, whichever comes first counts. Aggregates that do not say which trades they
        contain are compared by time.
        """
        if not isinstance(trade, AggTrade):
            if trade.id <= self.in_aggregate or (self.in_aggregate < 0 and trade.time_us <= self.in_aggregate_us):
                return True
            self.alone, self.alone_us = max(self.alone, trade.id), max(self.alone_us, trade.time_us)
            return False
        if trade.first is None or trade.last is None:
            if trade.time_us <= self.alone_us:
                return True
        elif recorded_alone is not None:
            return recorded_alone.meet(trade.first, trade.last)
        elif trade.first <= self.alone:
            return True
        else:
            self.in_aggregate = max(self.in_aggregate, trade.last)
        self.in_aggregate_us = max(self.in_aggregate_us, trade.time_us)
        return False

    def missing_between(self, trade: Trade) -> int:
        """Return how many trades of spot are missing between those told in the other form and ``trade``, as far as its ids say."""
        if not isinstance(trade, AggTrade):
            return trade.id - self.in_aggregate - 1 if self.in_aggregate >= 0 else 0
        return trade.first - self.alone - 1 if trade.first is not None and self.alone >= 0 else 0
