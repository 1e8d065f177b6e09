"""A fit reads only history that is over, and its table is used only for rows after that history."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest.cli.arguments import moment
from ingest.microprice.span import SpanError, span_of

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)


def test_by_default_the_history_ends_today_and_the_table_is_used_from_the_next_midnight_on():
    span = span_of(None, None, None, NOW)
    assert (span.before, span.usable_from) == (moment("2026-11-23"), moment("2026-11-24"))


@pytest.mark.parametrize(
    ("dates", "wrong"),
    [
        ((None, "2026-11-24", None), "in the future"),
        (("2026-11-20", "2026-11-20", None), "is not before --before"),
        ((None, "2026-11-20", "2026-11-19T23:59:59.999"), "would know their future"),
        ((None, "2026-11-20", "2027-01-01"), "31 days ahead"),
    ],
)
def test_dates_that_would_look_ahead_or_make_no_sense_are_refused(dates, wrong):
    since, end, usable = (None if text is None else moment(text) for text in dates)
    with pytest.raises(SpanError, match=wrong):
        span_of(since, end, usable, NOW)
