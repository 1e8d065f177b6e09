"""What the worker hears of missing trades, by symbol, for ``status`` and the metrics.

A fact is named ``<symbol> <what>``. The commit adds the counts to the hash ``holes:{p}`` and sets the times there. It keeps a bounded
number of names; counts of further symbols are added to those of ``*``, which is no symbol.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ingest.messages.envelope import Envelope
from ingest.messages.kinds import TRADE_CHANNEL, time_us

HOLES = "holes"  # gaps of the channel trade
MISSING = "trades_missing"  # trades that such gaps say are missing
RECOVERED = "trades_recovered"  # trades that a feed had missed and got later
HELD_UNTIL = "held_until_ms"  # until when at the latest a feed asks for missing trades, by the clock of Redis
OTHERS = "*"
MOST = 10**9  # that one gap may count, so that no producer can make the sum overflow


@dataclass(slots=True)
class Missing:
    """What was heard since the last commit."""

    counts: Counter[str] = field(default_factory=Counter)
    times: dict[str, int] = field(default_factory=dict)

    def note(self, envelope: Envelope) -> None:
        """Note what a message that was accepted says of missing trades: a recovered trade, a gap, or a hold."""
        message, kind = envelope.message, envelope.kind
        if kind == "trade":
            if message.recovered:
                self.counts[f"{message.symbol} {RECOVERED}"] += 1
        elif kind == "hold":
            end_ms = envelope.arrived_ms + max(message.until - time_us(message) // 1000, 0)
            self.times[f"{message.symbol} {HELD_UNTIL}"] = end_ms
        elif kind == "gap" and message.channel == TRADE_CHANNEL:
            self.counts[f"{message.symbol} {HOLES}"] += 1
            self.counts[f"{message.symbol} {MISSING}"] += min(message.missing or 0, MOST)
