"""What a replay or a simulation did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ingest.messages.kinds import Message, SocialPost


@dataclass(slots=True)
class Counts:
    """Every line is published, refused or ignored; gaps and ticks are published besides.

    Attributes
    ----------
    lines:
        Lines and rows read.
    published:
        Messages by kind: ``book``, ``trade``, ``gap``, ``tick``, ``social``.
    refused:
        Lines by reason.
    ignored:
        Sound lines that give no message.
    first_ms, last_ms:
        Event times of the first and last book, trade or gap as published; 0 without one.
    last_event:
        The last event time of each symbol; of posts, where a symbol has nothing else.
    """

    lines: int = 0
    published: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    ignored: int = 0
    first_ms: int = 0
    last_ms: int = 0
    last_event: dict[str, int] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        """Symbols seen, sorted."""
        return sorted(self.last_event)

    def add(self, kind: str, message: Message | SocialPost) -> None:
        """Count a message that is published."""
        self.published[kind] += 1
        if isinstance(message, SocialPost) or kind == "tick":
            return
        t = message.timestamp
        self.first_ms = min(self.first_ms or t, t)
        self.last_ms = max(self.last_ms, t)
        self.last_event[message.symbol] = max(self.last_event.get(message.symbol, 0), t)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "lines": self.lines,
            "published": dict(sorted(self.published.items())),
            "refused": dict(sorted(self.refused.items())),
            "ignored": self.ignored,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "symbols": self.symbols,
        }
