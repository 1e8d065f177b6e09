"""What the worker hears of missing trades, by symbol, for ``status`` and the metrics.

A fact is named ``<symbol> <what>``. The commit adds the counts to the hash ``holes:{p}`` and sets the times there. It keeps a bounded
number of names; counts of further symbols are added to those of ``*``, which is no symbol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from ingest.messages.envelope import Envelope
from ingest.messages.kinds import TRADE_CHANNEL, since_us, time_us
from transforms.engine import Engine

HOLES = "holes"  # that gaps of the channel trade tell; one that is told again, as long as it lasts, counts once
MISSING = "trades_missing"  # trades that such gaps say are missing
RECOVERED = "trades_recovered"  # trades that a feed had missed and got later
HELD_UNTIL = "held_until_ms"  # until when at the latest a feed asks for missing trades, by the clock of Redis
OTHERS = "*"
FIELD = b"last_holes"  # of the checkpoint
MOST = 10**9  # that one gap may count, so that no producer can make the sum overflow


class LastHoles(dict[str, tuple[int, int]]):
    """Begin and end of the last hole of each symbol, in microseconds."""

    _saved = msgspec.msgpack.encode({})

    def is_other(self, name: str, begin: int, end: int) -> bool:
        """Return whether a hole is another one than the last of its symbol, and keep it."""
        last_begin, last_end = self.get(name, (-1, -1))
        if begin > 0 and (begin == last_begin or last_begin < begin < last_end):
            self[name] = last_begin, max(end, last_end)
            return False
        self[name] = begin, end
        return True

    def changed(self) -> dict[bytes, bytes]:
        """Return the field of the checkpoint, if it changed since the last call."""
        before, self._saved = self._saved, msgspec.msgpack.encode(self)
        return {FIELD: self._saved} if self._saved != before else {}

    def restore(self, checkpoint: Mapping[bytes, bytes]) -> None:
        """Take over the holes of a checkpoint, if it has the field."""
        if saved := checkpoint.get(FIELD):
            self.update(msgspec.msgpack.decode(saved, type=dict[str, tuple[int, int]]))
            self._saved = saved


@dataclass(slots=True)
class Missing:
    """What was heard since the last commit."""

    counts: Counter[str] = field(default_factory=Counter)
    times: dict[str, int] = field(default_factory=dict)

    def note(self, envelope: Envelope, last: LastHoles, engine: Engine) -> None:
        """Note what a message that was accepted says of missing trades: a recovered trade, a gap, a hold, or a tick of a lost feed.

        The engine of the symbol knows the hole of a tick already. A feed that comes back tells the same one.
        """
        message, kind = envelope.message, envelope.kind
        if kind == "trade":
            if message.recovered:
                self.counts[f"{message.symbol} {RECOVERED}"] += 1
        elif kind == "hold":
            end_ms = envelope.arrived_ms + max(message.until - time_us(message) // 1000, 0)
            self.times[f"{message.symbol} {HELD_UNTIL}"] = end_ms
        elif kind == "tick" and message.lost:
            self.counts[f"{message.symbol} {HOLES}"] += last.is_other(message.symbol, *engine.last_hole_us())
        elif kind == "gap" and message.channel == TRADE_CHANNEL:
            self.counts[f"{message.symbol} {HOLES}"] += last.is_other(
                message.symbol, since_us(message), time_us(message)
            )
            self.counts[f"{message.symbol} {MISSING}"] += min(message.missing or 0, MOST)
