"""Finished rows on their way to the stores: one batch for each view, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from transforms.catalog import VIEW, View
from transforms.kernel import Vector, to_bytes
from transforms.kernels import versions_of


class Columns(NamedTuple):
    """n rows of one view; times are microseconds, ``values`` has shape (n, k) in the order of the catalogue, NaN is null.

    ``silent_us`` is how long the view's feed had been silent at the event times, ``versions`` are those of the kernels that made the rows,
    or None where they are not known.
    """

    view: View
    symbols: list[str]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    values: NDArray[np.float64]
    silent_us: NDArray[np.int64]
    versions: dict[str, int] | None = None


def joined(parts: Sequence[Columns]) -> Columns:
    """Return rows of one view and of the same kernels as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return Columns(
        first.view,
        [symbol for part in parts for symbol in part.symbols],
        np.concatenate([part.event_us for part in parts]),
        np.concatenate([part.created_us for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.silent_us for part in parts]),
        first.versions,
    )


class Batch:
    """Rows of one view, added one by one."""

    __slots__ = ("_created", "_event", "_live", "_silent", "_symbols", "_values", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self._symbols: list[str] = []
        self._event: list[int] = []
        self._created: list[int] = []
        self._silent: list[int] = []
        self._live: list[int] = []
        self._values: list[bytes] = []

    def __len__(self) -> int:
        return len(self._symbols)

    def add(
        self, symbol: str, event_us: int, created_us: int, values: Vector, silent_us: int = 0, *, live: bool = False
    ) -> None:
        """Add a row; ``values`` is copied. ``silent_us`` is how long the feed had been silent."""
        if live:
            self._live.append(len(self._symbols))
        self._symbols.append(symbol)
        self._event.append(event_us)
        self._created.append(created_us)
        self._silent.append(silent_us)
        self._values.append(to_bytes(values))

    def stamp(self, now_us: int) -> None:
        """Say that live rows were created at ``now_us``, just before they are written, where they were not created later."""
        for i in self._live:
            self._created[i] = max(self._created[i], now_us)

    def columns(self) -> Columns:
        """Return all rows so far."""
        values = np.frombuffer(b"".join(self._values)).reshape(len(self), len(self.view.features))
        event_us, created_us, silent_us = (np.array(x, np.int64) for x in (self._event, self._created, self._silent))
        return Columns(self.view, self._symbols, event_us, created_us, values, silent_us, versions_of(self.view))

    def newest(self) -> Columns:
        """Return what the online store keeps: the last row of each symbol."""
        every = self.columns()
        rows = list({symbol: i for i, symbol in enumerate(self._symbols)}.values())
        if len(rows) == len(self):
            return every
        return Columns(
            self.view,
            [self._symbols[i] for i in rows],
            every.event_us[rows],
            every.created_us[rows],
            every.values[rows],
            every.silent_us[rows],
            every.versions,
        )


def encode(columns: Columns) -> bytes:
    """Pack rows as one value of the outbox."""
    view, symbols, *arrays, versions = columns
    return msgspec.msgpack.encode([view.name, view.names, symbols, *(array.tobytes() for array in arrays), versions])


def vectors(columns: Columns) -> list[Any]:
    """Return rows as entries of the stream ``features``, four items each: symbol, event time and creation in ms, and values.

    The values are JSON, ``{feature: value}`` in the order of the catalogue; a null feature is null, a number reads back as the same bits.
    """
    names = columns.view.names
    dumps = msgspec.json.Encoder().encode
    events, created = (columns.event_us // 1000).tolist(), (columns.created_us // 1000).tolist()
    flat: list[Any] = []
    for i, values in enumerate(columns.values.tolist()):
        flat += (columns.symbols[i], events[i], created[i], dumps(dict(zip(names, values, strict=True))))  # NaN as null
    return flat


def decode(data: bytes) -> Columns:
    """Unpack the rows that ``encode`` packed, in the order of today's catalogue.

    A feature that was added since is null; a dropped one is left out. Rows of a release that told no silences have 0, and of one that told
    no versions None. Raise an error if the view is gone or ``data`` holds no rows.
    """
    name, names, symbols, event, created, values, *told = msgspec.msgpack.decode(data)
    view = VIEW[name]
    times = [event, created, told[0] if told else bytes(8 * len(symbols))]
    versions = told[1] if len(told) > 1 else None
    if any(len(part) != 8 * len(symbols) for part in times):
        raise ValueError(f"{len(symbols)} rows of {view.name} with {[len(part) for part in times]} bytes of times")
    packed = np.frombuffer(values).reshape(len(symbols), len(names))
    if tuple(names) != view.names:
        slot = {n: i for i, n in enumerate(names)}
        laid = np.full((len(symbols), len(view.features)), np.nan)
        for i, feature in enumerate(view.names):
            if feature in slot:
                laid[:, i] = packed[:, slot[feature]]
        packed = laid
    event_us, created_us, silent_us = (np.frombuffer(part, np.int64) for part in times)
    return Columns(view, symbols, event_us, created_us, packed, silent_us, versions)
