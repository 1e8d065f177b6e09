"""What Binance's futures say of a contract: mark price, open interest and forced orders, as messages of this project.

The mark price comes every second or every three, with the index, the rate of funding and the time of the next settlement. Open interest is
the answer to a question (REST), which a recording of our feed has as a line. ``forceOrder`` tells at most one forced order a second and
symbol, the newest of that second. Several connections or files may tell the same, which counts once.

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams, and the same of COIN-M futures
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from ingest.messages.check import check_derivatives, check_header, check_liquidation
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import EARLIEST_MS, LIQUIDATION_CHANNEL, MAX_TIME_MS, Gap, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import binance_contract_wire as wire
from ingest.recordings.binance_state import SymbolState
from ingest.recordings.binance_wire import time_us
from ingest.recordings.lines import Line, Output, Parsed
from ingest.recordings.markets import FUTURES, same_market

_SIDE = {"BUY": "buy", "SELL": "sell"}


class Contracts:
    """Reads what is said of contracts; ``open_symbol`` returns the state of a symbol, a new one if it has none."""

    def __init__(
        self, open_symbol: Callable[[str], SymbolState], passed_over: Counter[str], max_future_ms: int
    ) -> None:
        self._open = open_symbol
        self._passed_over = passed_over
        self._max_future_ms = max_future_ms

    def _state(self, name: str, t_us: int, line: Line) -> SymbolState:
        """Check name and time, and return the state of the symbol, which is one of futures."""
        check_header(name, t_us, line.received_ms, self._max_future_ms)
        state = self._open(name)
        state.market = same_market(state.market, FUTURES)
        return state

    def mark(self, mark: wire.MarkPrice, line: Line) -> Iterator[Output]:
        """Yield what a mark price tells, and before the first one of a connection the gap of liquidations that ends with it."""
        name, t_us = line.prefix + mark.symbol, mark.time_us
        state = self._state(name, t_us, line)
        if t_us <= state.marked_us:
            self._passed_over["mark price"] += 1
            return
        ms, us = time_fields(t_us)
        settled_ms = time_us(mark.next_funding) // 1000
        message = Derivatives(
            ms,
            name,
            mark.price,
            mark.index,
            mark.funding_rate,
            settled_ms if EARLIEST_MS <= settled_ms <= MAX_TIME_MS else None,  # 0 of a contract that expires
            received=line.received_ms,
            timestamp_us=us,
        )
        check_derivatives(message)
        if state.begins_liquidations:
            state.begins_liquidations = False
            since, since_us = time_fields(state.marked_us)
            gap = Gap(ms, name, line.received_ms, us, LIQUIDATION_CHANNEL, since or None, since_us)
            yield Parsed("gap", gap)
        state.marked_us = t_us
        yield Parsed("derivatives", message)

    def interest(self, told: wire.OpenInterest, line: Line) -> Iterator[Output]:
        """Yield the open interest that an answer tells.

        The venue's time may be that of the last change, and the answer says that it is so still. So it counts at the time of the newest
        mark price before it, where that is later.
        """
        name = line.prefix + told.symbol
        state = self._state(name, told.time_us, line)
        t_us = max(told.time_us, state.marked_us)
        if t_us <= state.interest_us:
            self._passed_over["open interest"] += 1
            return
        ms, us = time_fields(t_us)
        message = Derivatives(ms, name, open_interest=told.contracts, received=line.received_ms, timestamp_us=us)
        check_derivatives(message)
        state.interest_us = t_us
        yield Parsed("derivatives", message)

    def liquidation(self, told: wire.ForcedOrder, line: Line) -> Iterator[Output]:
        """Yield a forced order, as it was filled."""
        order = told.order
        name, t_us = line.prefix + order.symbol, order.time_us
        side = _SIDE.get(order.side)
        if side is None:
            raise Refused(Reason.WRONG_TYPE, f"side {order.side!r:.20} is neither BUY nor SELL")
        ms, us = time_fields(t_us)
        price, size = order.average_price or order.price, order.filled or order.size
        message = Liquidation(ms, name, side, price, size, line.received_ms, us)
        state = self._state(name, t_us, line)
        check_liquidation(message)
        identity = told.time, t_us, side, price, size
        if identity in state.forced:
            self._passed_over["liquidation"] += 1
            return
        state.forced.append(identity)
        yield Parsed("liquidation", message)
