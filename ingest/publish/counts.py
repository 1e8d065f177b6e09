"""What a feed, a replay or a simulation published and refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ingest.messages.kinds import Message, SocialPost, time_us
from ingest.recordings.lines import Output, Rejected


@dataclass(slots=True)
class Counts:
    """Counts of lines and messages. Every line is published, refused or ignored; gaps and ticks are published besides.

    Attributes
    ----------
    lines : int
        Lines and rows read.
    published : Counter of str
        Messages by kind: ``book``, ``trade``, ``gap``, ``tick``, ``clock``, ``hold``, ``neighbour``, ``social``.
    refused : Counter of str
        Lines by reason.
    ignored : int
        Good lines that give no message.
    passed_over : Counter of str
        The same by what they are, where a recording is read.
    unread : list of str
        A sentence for each file of which nothing could be read.
    first_ms, last_ms : int
        Event times of the first and last book, trade or gap as published, the last one rounded up; 0 without one.
    first_post_ms : int
        The time of the first post.
    last_event : dict of str to int
        The last event time of each symbol with a book, trade or gap, in milliseconds, rounded up.
    last_of : dict of (str, str) to int
        The same by symbol and kind.
    """

    lines: int = 0
    published: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    ignored: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    first_ms: int = 0
    last_ms: int = 0
    first_post_ms: int = 0
    last_event: dict[str, int] = field(default_factory=dict)
    last_of: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        """The symbols of the messages, sorted."""
        return sorted(self.last_event)

    def add(self, kind: str, message: Message | SocialPost) -> None:
        """Count a message that is published."""
        self.published[kind] += 1
        first = time_us(message) // 1000
        if isinstance(message, SocialPost):
            self.first_post_ms = min(self.first_post_ms or first, first)
            return
        if kind in ("tick", "clock", "hold", "neighbour"):
            return
        t = -(-time_us(message) // 1000)
        self.first_ms = min(self.first_ms or first, first)
        self.last_ms = max(self.last_ms, t)
        symbol = message.symbol
        self.last_event[symbol] = max(self.last_event.get(symbol, 0), t)
        self.last_of[symbol, kind] = max(self.last_of.get((symbol, kind), 0), t)

    def add_output(self, output: Output) -> None:
        """Count a message that is published, or a line that is refused."""
        if isinstance(output, Rejected):
            self.refused[output.reason] += 1
        else:
            self.add(*output)

    def as_json(self) -> dict[str, Any]:
        """Return the counts as ``--json`` prints them; what only recordings have is there where it is not empty."""
        found = {
            "lines": self.lines,
            "published": dict(sorted(self.published.items())),
            "refused": dict(sorted(self.refused.items())),
            "ignored": self.ignored,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "symbols": self.symbols,
        }
        if self.passed_over:
            found["passed_over"] = dict(sorted(self.passed_over.items()))
        if self.unread:
            found["unread"] = self.unread
        return found
