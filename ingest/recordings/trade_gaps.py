"""The messages that tell missing trades, and the order in which a hole is filled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ingest.messages.kinds import TRADE_CHANNEL, Gap, Trade, time_fields, time_us
from ingest.recordings.lines import Line, Parsed


def gap_of(name: str, before: Trade | None, until_us: int, missing: int | None, line: Line) -> Parsed:
    """Return the note that trades of a symbol are missing, behind ``before`` and up to a time; one may have the time of ``before``."""
    since = (None, None) if before is None else time_fields(time_us(before))
    timestamp, timestamp_us = time_fields(until_us)
    gap = Gap(timestamp, name, line.received_ms, timestamp_us=timestamp_us, channel=TRADE_CHANNEL, missing=missing)
    gap.since, gap.since_us = since
    return Parsed("gap", gap)


def in_order(
    outputs: Iterable[Parsed], gaps: Sequence[tuple[Trade, Parsed]], found: Sequence[tuple[Trade, Parsed]]
) -> Iterator[Parsed]:
    """Yield what was held back in the order in which it came, with gaps and trades where they belong by time.

    A gap comes directly behind the trade before the hole, because rows of later times must know of it.
    """
    inserts = sorted(
        [(time_us(trade), _number(trade), 1, output) for trade, output in gaps]
        + [(time_us(trade), _number(trade), 0, output) for trade, output in found],
        key=lambda insert: insert[:3],
        reverse=True,
    )
    for output in outputs:
        message = output.message
        t_us = time_us(message)
        number = _number(message) if isinstance(message, Trade) else -1
        while inserts and (inserts[-1][0] <= t_us or inserts[-1][1] < number):
            yield inserts.pop()[3]
        yield output
    while inserts:
        yield inserts.pop()[3]


def _number(trade: Trade) -> int:
    return trade.trade_id if isinstance(trade.trade_id, int) else -1
