"""Why a book is refused that the validation finds impossible."""

from __future__ import annotations

from ingest.messages.refusal import Reason, Refused
from transforms import validation

_BOOK_FAULT = {
    validation.NOT_FINITE: Reason.NOT_FINITE,
    validation.NOT_POSITIVE: Reason.NOT_POSITIVE,
    validation.OUT_OF_RANGE: Reason.OUT_OF_RANGE,
    validation.UNSORTED: Reason.UNSORTED_SIDE,
    validation.EMPTY_SIDE: Reason.EMPTY_BOOK,
    validation.CROSSED: Reason.CROSSED_BOOK,
}


def book_refusal(fault: int) -> Refused:
    """Return why a book with this fault is refused."""
    why = "a price or size of 0 or below; negative prices are not supported" if fault == validation.NOT_POSITIVE else ""
    return Refused(_BOOK_FAULT[fault], why)
