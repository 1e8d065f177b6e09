"""What a format read, as rows on their way to the tape: each with its time of arrival, its place in the file, and its bytes.

The order of the rows is that of ``id_ms`` and ``id_n``, so they need not be sorted before they are written: ``id_n`` is made of the
microseconds within the millisecond, the place in the file, and some bits of the key of the import, which keep the order of two imports the
same for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

from feature_repo.stores.errors import UserError
from ingest.imports.formats.form import Arrived
from ingest.messages.decode import encode
from ingest.messages.kinds import time_us
from ingest.recordings.lines import Rejected

LOOKED_AT = 10_000  # the first messages, which tell whether a file begins with the newest
_US_AT, _PLACE_AT = 52, 16  # the bits of id_n where the microseconds and the place begin
_PLACES = 1 << (_US_AT - _PLACE_AT)


class OrderError(UserError, ValueError):
    """The rows of a file are not in the order of time, and their format needs it."""


class Ordered(Protocol):
    """What says how the rows of a source are ordered, as `Format` does."""

    @property
    def keeps_order(self) -> bool:
        """Whether messages are written in the order in which they are yielded."""

    @property
    def needs_order(self) -> bool:
        """Whether the rows must be in the order of time."""


class Row(NamedTuple):
    """A message on its way to the tape.

    ``place`` is its number in the file, from 1. A row of a raw table names its own import: ``key`` and ``check``, the check of the import's
    rows up to this one.
    """

    place: int
    id_ms: int
    id_n: int
    kind: str
    symbol: str
    data: bytes
    key: str = ""
    check: int = 0


@dataclass(slots=True)
class Done:
    """What an import did.

    Attributes
    ----------
    read : Counter of str
        Messages of the file by kind.
    new : int
        Rows that were added to the tape by this call.
    earlier : int
        Messages of days of raw tables that the tape had before, and that were not read.
    refused : Counter of str
    other_form : int
        Trades that were passed over because the tape has the trades of their day in another form.
    symbols : set of str
    first_ms, last_ms : int
        The first and the last time of arrival.
    was_done : bool
        Whether the same import was complete before.
    """

    read: Counter[str] = field(default_factory=Counter)
    new: int = 0
    earlier: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    other_form: int = 0
    symbols: set[str] = field(default_factory=set)
    first_ms: int = 0
    last_ms: int = 0
    was_done: bool = False


def rows_of(
    outputs: Iterable[Any], form: Ordered, name: str, key: str, done: Done, keep: Callable[[Rejected], None]
) -> Iterator[Row]:
    """Yield the rows of what a format read, and count them; give refusals to ``keep``."""
    tag = int(key[:4], 16)
    arrivals = _arrivals(outputs, form, name, done, keep)
    first = list(islice(arrivals, LOOKED_AT))
    times = [at_us for at_us, _, _ in first]
    newest_first = (
        not form.keeps_order and len(times) > 1 and times[0] > times[-1] and times == sorted(times, reverse=True)
    )
    for place, (at_us, kind, message) in enumerate(chain(first, arrivals), 1):
        ms, us = divmod(at_us, 1000)
        at = _PLACES - place if newest_first else place
        symbol = message.symbol
        if message.received is None:
            message.received = time_us(message) // 1000
        done.read[kind] += 1
        done.symbols.add(symbol)
        done.first_ms = min(done.first_ms or ms, ms)
        done.last_ms = max(done.last_ms, ms)
        yield Row(place, ms, us << _US_AT | at << _PLACE_AT | tag, kind, symbol, encode(message))


def _arrivals(
    outputs: Iterable[Any], form: Ordered, name: str, done: Done, keep: Callable[[Rejected], None]
) -> Iterator[tuple[int, str, Any]]:
    """Yield the time of arrival in microseconds, the kind and the message of each; else the event time."""
    newest = 0
    for output in outputs:
        if isinstance(output, Rejected):
            done.refused[str(output.reason)] += 1
            told = f"{output.reason}: {output.detail}"
            if len(done.reasons) < 3 and told not in done.reasons:
                done.reasons.append(told)
            keep(output)
            continue
        kind, message = output[0], output[1]
        if isinstance(output, Arrived):
            at_us = output.arrived_ms * 1000
        else:
            received = message.received
            at_us = time_us(message) if received is None else received * 1000
        if form.keeps_order:
            at_us = newest = max(newest, at_us)
        elif form.needs_order and at_us < newest:
            raise OrderError(
                f"{name} is not in the order of time (message {done.read.total() + 1:,}), and each row changes what those before it made: "
                "sort it by its time of receipt, then import it"
            )
        newest = max(newest, at_us)
        yield at_us, kind, message
