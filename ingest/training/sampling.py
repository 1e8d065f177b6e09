"""The trades that a training frame needs from the tape: prices of its labels, and the ends of its bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from feature_repo.stores.errors import UserError
from feature_repo.training.bars import Bars, moments
from feature_repo.training.definitions import Label
from feature_repo.training.prices import Ints
from ingest.settings import Settings, load
from ingest.tape.table import open_tape
from ingest.training.taped import TapedTrades
from transforms.times import us_of_datetime, us_of_duration


class NoTradesError(UserError, RuntimeError):
    """There are no trades to sample or to label; the message says what to do."""


def tape_version() -> dict[str, Any]:
    """Return the place of the tape and its newest version."""
    settings = _with_tape()
    return {"place": settings.tape, "version": open_tape(settings).table.version()}


def _with_tape() -> Settings:
    settings = load()
    if not settings.tape:
        raise NoTradesError("trades are read from the tape, and TFS_TAPE names none")
    return settings


@contextmanager
def trades(
    symbols: Sequence[str], start: datetime, end: datetime, definitions: Sequence[Label], version: int | None = None
) -> Iterator[TapedTrades]:
    """Open the trades of a frame from `start` to `end` with these labels, of the newest version of the tape or of another one."""
    settings = _with_tape()
    longest = [max(label.longest_pause, timedelta(minutes=1)) for label in definitions]
    ahead = max(
        (label.horizon + pause for label, pause in zip(definitions, longest, strict=True)), default=timedelta(0)
    )
    with TapedTrades(settings) as taped:
        begin_us = us_of_datetime(start) - us_of_duration(max(longest))
        taped.load(open_tape(settings, version), symbols, begin_us, us_of_datetime(end + ahead))
        yield taped


def ends(
    taped: TapedTrades, bars: Bars, symbols: Sequence[str], start: datetime, end: datetime
) -> dict[str, Iterator[Ints]]:
    """Return the times of each symbol from `start` to `end` at which its bars end. The first bar begins at `start`."""
    begin_us, end_us = us_of_datetime(start), us_of_datetime(end)
    return {symbol: moments(bars, taped.pieces(symbol, begin_us, end_us)) for symbol in symbols}
