"""The ages of the online rows and the features that are null or say invalid in them, of the symbols that the checkpoints know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import redis

from feature_repo.project import project
from feature_repo.stores.online.decode import Reading
from feature_repo.stores.online.format import SymbolKeys, decode_time, time_field
from feature_repo.stores.online.record import Doubles, layout_of
from feature_repo.stores.online.shape import Asked, Shape
from ingest.observe.redis_state import spread
from transforms.catalog import VIEWS, View

SYMBOLS_MAX = 1000  # symbols whose ages one look reads
NULLS_MAX = 200  # symbols whose values one look reads
VALID = frozenset({"book_valid", "trade_valid", "trade_valid_bars"})
"""Features that are 0 while the market is not known."""


@dataclass(frozen=True, slots=True)
class Ages:
    """Age in microseconds of a view's online row, by symbol."""

    view: View
    by_symbol: Mapping[str, int]

    def is_fresh(self, symbol: str) -> bool:
        """Return whether the row exists and is not past its view's ttl."""
        age = self.by_symbol.get(symbol)
        return age is not None and age <= self.view.ttl_s * 1_000_000


def ages(client: redis.Redis, symbols: Sequence[str], now_us: int) -> list[Ages]:
    """Return the ages of every view, in one round trip; a view leaves out a symbol without a row."""
    some = spread(symbols, SYMBOLS_MAX)
    rows = _fields(client, some, [time_field(view.name) for view in VIEWS])
    return [
        Ages(view, {s: now_us - decode_time(row[i]) for s, row in zip(some, rows, strict=True) if row[i]})
        for i, view in enumerate(VIEWS)
    ]


class Shares(NamedTuple):
    """Shares of the fresh rows, by view and feature, for views with a fresh row.

    ``null``: of those in which the feature is null. ``invalid``: of those in which one of `VALID` is 0.
    """

    null: dict[tuple[str, str], float]
    invalid: dict[tuple[str, str], float]


def shares(client: redis.Redis, found: Sequence[Ages]) -> Shares:
    """Return how many of the fresh rows have a null, and how many say that they are invalid."""
    shares = Shares({}, {})
    for about in found:
        view = about.view
        fresh = spread([s for s in about.by_symbol if about.is_fresh(s)], NULLS_MAX)
        if not fresh:
            continue
        values = _values(client, view, fresh)
        for name, column in zip(view.names, values.T, strict=True):
            shares.null[view.name, name] = float(np.isnan(column).mean())
            if name in VALID:
                shares.invalid[view.name, name] = float((column == 0).mean())
    return shares


def _values(client: redis.Redis, view: View, symbols: Sequence[str]) -> Doubles:
    """Return the rows of a view: from their records, or field by field where another writer wrote them."""
    asked = Asked(view.name, view.names, layout_of(view.names, tuple(f.dtype for f in view.features)))
    shape = Shape((asked,))
    reading = Reading(shape, _fields(client, symbols, shape.fields.names))
    plain = _fields(client, [symbols[i] for i, _ in reading.again], asked.plain)
    return reading.table(plain).values


def _fields(client: redis.Redis, symbols: Sequence[str], fields: Sequence[bytes]) -> list[list[bytes | None]]:
    pipe: Any = client.pipeline(transaction=False)
    for key in SymbolKeys(project(), "symbol").keys(symbols):
        pipe.hmget(key, list(fields))
    return list(pipe.execute())
