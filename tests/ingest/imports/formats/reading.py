"""Reading one file by the format that recognises it, for the tests of formats."""

from pathlib import Path

from ingest.imports.formats.form import Context
from ingest.imports.formats.known import format_of
from ingest.imports.formats.table import head_of
from ingest.messages.kinds import Gap, OrderBook, Trade, time_us
from ingest.recordings.lines import Rejected


def read(path: Path, **given: str):
    """Return the format's name, the messages, the reasons of refusals, and the context."""
    context = Context(**given)
    found = format_of(head_of(path))
    outputs = list(found.read(path, context))
    good = [out.message for out in outputs if not isinstance(out, Rejected)]
    return found.name, good, [out.reason.value for out in outputs if isinstance(out, Rejected)], context


def told(messages) -> list[tuple]:
    """Return messages as tuples: kind, time in microseconds, and what they say."""
    rows = []
    for one in messages:
        if isinstance(one, Trade):
            rows.append(("trade", time_us(one), one.symbol, one.price, one.size, one.side))
        elif isinstance(one, OrderBook):
            rows.append(("book", time_us(one), one.symbol, one.bids, one.asks))
        else:
            assert isinstance(one, Gap)
            rows.append(("gap", time_us(one), one.symbol, one.channel))
    return rows
