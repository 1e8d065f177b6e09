"""What is known of the trades of a symbol whose ids are followed (``whole_trades``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.messages.kinds import Trade
from ingest.recordings.lines import Line, Parsed
from ingest.recordings.trade_ids import TradeIds


class Rule(NamedTuple):
    """What is done where trades of a symbol are missing.

    Attributes
    ----------
    hold_ms : int
        How long messages are held back for them; 0 tells the hole at once.
    lateness_ms : int
        How far a message may lie behind the newest one of its symbol: older trades would come too late.
    is_live : bool
        Whether the lines are of a live feed of ours, which asks the venue and says when a connection is there again.
    """

    hold_ms: int = 0
    lateness_ms: int = 0
    is_live: bool = False


TOLD_AT_ONCE = Rule()


@dataclass(slots=True)
class Followed:
    """What is known of the trades of a symbol; ``source`` is the file of the feed that says so by notes."""

    rule: Rule = TOLD_AT_ONCE
    ids: TradeIds = field(default_factory=TradeIds)
    given_us: int = 0  # the newest time of its books and trades
    is_told: bool = False  # that trades behind the newest one are missing: the next trade does not hold anything back
    source: str = ""

    def give(self, t_us: int) -> None:
        """Note that a message of a time was given, or that time passed up to there."""
        if t_us > self.given_us:
            self.given_us = t_us


@dataclass(slots=True)
class Held:
    """The messages of a symbol that are held back."""

    line: Line  # with which it began
    given_us: int  # the newest time that was given before
    until_ms: int
    is_open: bool = False  # trades behind the newest one may be missing
    away_ms: int = 0  # since when its connection is lost; 0 where it is not
    end_ms: int = 0  # when the venue first answered that it has no later trade
    outputs: list[Parsed] = field(default_factory=list)  # in the order in which they came
    recovered: list[Trade] = field(default_factory=list)  # trades that fill holes


class Closing(NamedTuple):
    """A hole of unknown content: the trade before it, and whether the connection is there again that brings the trades after it."""

    before: Trade
    is_back: bool


class Wanted(NamedTuple):
    """Trades to ask for: from the id ``first`` up to ``last``, None for all there are; until ``until_ms``."""

    symbol: str
    first: int
    last: int | None
    until_ms: int
