"""What the worker hears of missing trades, by symbol, for ``status`` and the metrics.

A fact is named ``<symbol> <what>``. The commit adds the counts to the hash ``holes:{p}`` and sets the times there. It keeps a bounded
number of names; counts of further symbols are added to those of ``*``, which is no symbol.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ingest.messages.envelope import Envelope
from ingest.messages.kinds import TRADE_CHANNEL, Gap, since_us, time_us

HOLES = "holes"  # that gaps of the channel trade tell; one that is told again, as long as it lasts, counts once
MISSING = "trades_missing"  # trades that such gaps say are missing
RECOVERED = "trades_recovered"  # trades that a feed had missed and got later
HELD_UNTIL = "held_until_ms"  # until when at the latest a feed asks for missing trades, by the clock of Redis
OTHERS = "*"
MOST = 10**9  # that one gap may count, so that no producer can make the sum overflow


class LastHoles(dict[str, tuple[int, int]]):
    """Begin and end of the last hole of each symbol, in microseconds."""

    def is_other(self, gap: Gap) -> bool:
        """Return whether a gap tells another hole than the last one of its symbol, and keep it."""
        begin, end = since_us(gap), time_us(gap)
        last_begin, last_end = self.get(gap.symbol, (-1, -1))
        if begin > 0 and (begin == last_begin or last_begin < begin < last_end):
            self[gap.symbol] = last_begin, max(end, last_end)
            return False
        self[gap.symbol] = begin, end
        return True


@dataclass(slots=True)
class Missing:
    """What was heard since the last commit."""

    counts: Counter[str] = field(default_factory=Counter)
    times: dict[str, int] = field(default_factory=dict)

    def note(self, envelope: Envelope, last: LastHoles) -> None:
        """Note what a message that was accepted says of missing trades: a recovered trade, a gap, or a hold."""
        message, kind = envelope.message, envelope.kind
        if kind == "trade":
            if message.recovered:
                self.counts[f"{message.symbol} {RECOVERED}"] += 1
        elif kind == "hold":
            end_ms = envelope.arrived_ms + max(message.until - time_us(message) // 1000, 0)
            self.times[f"{message.symbol} {HELD_UNTIL}"] = end_ms
        elif kind == "gap" and message.channel == TRADE_CHANNEL:
            self.counts[f"{message.symbol} {HOLES}"] += last.is_other(message)
            self.counts[f"{message.symbol} {MISSING}"] += min(message.missing or 0, MOST)
