"""Why a message is refused. A refused message is counted and kept whole, with its reason, in the stream ``dead_letter``."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason codes; they are the contract with whoever reads the dead letters."""

    UNDECODABLE = "undecodable"
    """Neither JSON nor MessagePack, or cut off."""
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    """A NaN or infinite price, size or time."""
    NOT_POSITIVE = "not_positive"
    """A price or size of zero or below."""
    OUT_OF_RANGE = "out_of_range"
    """A number no market has: a price or size above 1e15, a time outside the years 1970 to 2255."""
    EMPTY_BOOK = "empty_book"
    UNSORTED_SIDE = "unsorted_side"
    CROSSED_BOOK = "crossed_book"
    BAD_SYMBOL = "bad_symbol"
    """Not 1 to 64 letters, digits and ``: . _ / -``."""
    UNKNOWN_SYMBOL = "unknown_symbol"
    """A list of symbols is configured and this is not in it."""
    FUTURE_TIME = "future_time"
    """Stamped further ahead of its receive time than ``max_future``."""
    LATE = "late"
    """Behind its symbol's watermark: rows of its time are written."""
    DUPLICATE = "duplicate"
    """This trade id or book sequence has been taken already."""
    SEQUENCE_GAP = "sequence_gap"
    """A message before it is missing; the book is unknown until the next snapshot."""
    NO_SYMBOL = "no_symbol"
    """A post that names no symbol that is known here."""
    FAILED = "failed"
    """Our own code failed on it; the log says how. Retry it once that is repaired."""


class Refused(Exception):
    """A message that is not taken, and why. ``detail`` is bounded: what it quotes came from outside."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail[:200]
        super().__init__(f"{reason}: {self.detail}" if detail else str(reason))
