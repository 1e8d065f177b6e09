"""What the workers and the tape know of symbols: which ones lack their past."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import redis

from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.idle_state import parts_of
from ingest.tape.columns import EVENTS, FOR_ALL, IMPORT
from ingest.tape.read import FOREVER_MS
from ingest.tape.table import StorageError, Tape, storage
from ingest.worker.idle_load import AwayError, IdleLoad
from ingest.worker.reach import MARKET
from ingest.worker.symbol import Symbol
from transforms.saved import VersionError

STORAGE_S = 30.0
"""So long the state of an idle symbol is waited for."""


def saved(client: redis.Redis, settings: Settings, idle: IdleLoad, p: int, name: str) -> Symbol | None:
    """Return a symbol as the workers saved it last, open or idle; None where they have none, or one of another format or grid.

    Raise `StorageError` where the state of an idle symbol cannot be read.
    """
    symbol = Symbol(name, settings, lambda *_: None, lambda *_: None)
    names = list(symbol.save())
    found: Any = client.hmget(keys.checkpoint(p), [f"{name} {part}" for part in names])
    parts = {part: data for part, data in zip(names, found, strict=True) if data is not None}
    if "order" not in parts:
        packed = _idle(idle, p, name)
        if packed is None:
            return None
        parts = parts_of(packed)
    try:
        symbol.restore(parts)
    except VersionError:
        return None
    return symbol


def _idle(idle: IdleLoad, p: int, name: str) -> bytes | None:
    until = time.monotonic() + STORAGE_S
    while True:
        try:
            return idle.load(p, name)
        except AwayError as why:  # it is read in a thread; the next attempt finds it
            if time.monotonic() >= until:
                raise StorageError(str(why)) from None
            time.sleep(0.1)


def on_tape(tape: Tape, p: int, since: date, between: Callable[[], None]) -> dict[str, int]:
    """Return the symbols of a partition that have a book or a trade on the tape since a day, with the arrival of their first trade in ms.

    It is ``FOREVER_MS`` for a symbol without trades. ``between`` is called again and again.
    """
    found: dict[str, int] = {}
    which = pc.field("source").isin([EVENTS, IMPORT]) & pc.field("kind").isin(MARKET)
    with storage(tape.place):
        for partition, day in tape.days():
            if partition != p or day < since:
                continue
            batches = tape.of_day(p, day).to_batches(columns=["id_ms", "kind", "symbol"], filter=which)
            for batch in batches:
                between()
                firsts = pa.table(batch).group_by(["symbol", "kind"]).aggregate([("id_ms", "min")])
                for name, kind, first_ms in zip(
                    *(firsts[column].to_pylist() for column in ("symbol", "kind", "id_ms_min")), strict=True
                ):
                    if name is not None and name != FOR_ALL:
                        found[name] = min(found.get(name, FOREVER_MS), first_ms if kind == "trade" else FOREVER_MS)
    return found


def lacks_past(symbol: Symbol | None, first_ms: int, settings: Settings) -> bool:
    """Return whether a symbol, as the workers have it, lacks what the tape has: its first trade there arrived at ``first_ms``.

    The time of that trade is not known, but that it is not later than ``TFS_MAX_FUTURE_MS`` behind its arrival.
    """
    if symbol is None or symbol.engine.anew:
        return True
    first_us = symbol.engine.first_trade_us() or FOREVER_MS
    return first_us > (first_ms + settings.max_future_ms) * 1000 if first_ms < FOREVER_MS else False


def kept(mine: Symbol | None, theirs: Symbol, missing: Mapping[str, str]) -> list[str]:
    """Return the kernels of which the tape lacks something, where the worker has heard the symbol for longer than the tape."""
    if mine is None:
        return []
    first_us = theirs.engine.first_trade_us()
    is_older = not first_us or first_us > (mine.engine.first_trade_us() or first_us)
    return sorted(missing) if is_older else []
