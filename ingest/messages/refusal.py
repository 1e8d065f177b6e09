"""Why a message is refused. A refused message is counted and kept whole, with its reason, in the stream ``dead_letter``."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason codes, as programs that read the dead letters know them."""

    UNDECODABLE = "undecodable"  # neither JSON nor MessagePack, or cut off
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"  # a NaN or infinite price, size or time
    NOT_POSITIVE = "not_positive"  # a price or size of zero or below
    # An impossible number: a price or size above 1e15, a time outside the years 1970 to 2255
    OUT_OF_RANGE = "out_of_range"
    EMPTY_BOOK = "empty_book"
    UNSORTED_SIDE = "unsorted_side"
    CROSSED_BOOK = "crossed_book"
    BAD_SYMBOL = "bad_symbol"  # not 1 to 64 letters, digits (of any script) and ``: . _ / -``
    # The settings list symbols and this is not among them, or too many are open
    UNKNOWN_SYMBOL = "unknown_symbol"
    AMBIGUOUS = "ambiguous"  # a snapshot that names no symbol fits several symbols of its recording
    OTHER_MARKET = "other_market"  # a message of another market than the earlier ones of its symbol, such as a perpetual's among spot's
    FUTURE_TIME = "future_time"  # stamped further ahead of its receive time than ``max_future``
    TOO_OLD = "too_old"  # stamped before 2009, which is a wrong unit, or live and further behind its receive time than ``max_age``
    LATE = "late"  # behind its symbol's watermark: the rows of its time are written already
    DUPLICATE = "duplicate"  # a message with this trade id or book sequence was accepted before
    SEQUENCE_GAP = "sequence_gap"  # a book before it is missing; the book is unknown until the next one
    NO_SYMBOL = "no_symbol"  # the post names no symbol that is known here
    FAILED = "failed"  # an error of our own code, told in the process log. Retry the message once the code is repaired


class Refused(Exception):
    """A message is refused. ``detail`` is cut to 200 characters, because it quotes text from outside."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail[:200]
        super().__init__(f"{reason}: {self.detail}" if detail else str(reason))
