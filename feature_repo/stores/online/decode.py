"""Replies of Redis as arrays: all views of all entities at once where rows have records, row by row where not.

A request asks for one field per view, the time with its record. Only where a row has no record of the columns that the
reader knows, because another writer wrote it or a writer of another catalogue, its features are asked for in a second
round trip and read as Feast's own store reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from feature_repo.stores.online.format import decode_time, event_and_silence
from feature_repo.stores.online.record import is_lone
from feature_repo.stores.online.shape import NOT_FOUND, PRESENT, Reply, Shape, Table

log = logging.getLogger(__name__)


class Reading:
    """Replies on their way to a table.

    Attributes
    ----------
    again : list of (int, int)
        Entity and view of the rows that are there without a record; `Asked.plain` are the fields to ask for.
    """

    def __init__(self, shape: Shape, replies: Sequence[Reply]) -> None:
        self._shape, self._replies = shape, replies
        self.again: list[tuple[int, int]] = []
        self._absent: list[tuple[int, int]] = []  # entity and place among the views with records
        self._words = shape.words_of(replies)
        if self._words is None:
            self._pieces = list(self._picked())

    def _picked(self) -> Iterator[bytes]:
        """Return the records of every row; note which rows have none."""
        views = [(p, v, self._shape.first[v], layout) for p, (v, layout) in enumerate(self._shape.layouts.items())]
        for i, reply in enumerate(self._replies):
            for p, v, first, layout in views:
                raw = reply[first]
                if raw is None:
                    self._absent.append((i, p))
                elif not layout.holds(raw):
                    self.again.append((i, v))
                else:
                    yield raw
                    continue
                yield layout.absent

    def table(self, plain: Sequence[Reply] = (), now_us: int | None = None) -> Table:
        """Return the table.

        Parameters
        ----------
        plain : sequence
            A reply for each row of `again`.
        now_us : int, optional
            Ttls count against it, in microseconds since the epoch; None gives values of any age.
        """
        shape = self._shape
        odd: dict[int, dict[int, bytes]] = {}  # by column and entity
        if self._words is None:
            for (i, v), reply in zip(self.again, plain, strict=True):
                self._put(i, v, reply, odd)
            self._words = shape.words(b"".join(self._pieces), len(self._replies))
        table = shape.table(self._words, self._absent, now_us)
        for v, one in enumerate(shape.asked):
            if one.layout is None:
                self._add_plain_view(table, v, now_us)
        if (table.statuses != PRESENT).any():
            hidden = (table.statuses != PRESENT)[:, shape.view_of]
            table.values[hidden] = np.nan
        for j, cells in odd.items():
            column = table.serialised(j)
            present = table.statuses[:, shape.view_of[j]] == PRESENT
            table.cells[j] = [cells.get(i, raw) if present[i] else b"" for i, raw in enumerate(column)]
        return table

    def _put(self, i: int, v: int, reply: Reply, odd: dict[int, dict[int, bytes]]) -> None:
        """Put a row that was asked for again in its place."""
        shape, layout, one = self._shape, self._shape.layouts[v], self._shape.asked[v]
        *values, time = reply
        p = shape.recorded.index(v)
        if time is None or (is_lone(time) and not layout.holds(time)):
            self._absent.append((i, p))
            if time is not None:
                _warn(one.view)
            return
        if layout.holds(time):  # written meanwhile
            piece = time
        else:
            given = dict(zip(one.features, values, strict=True))
            record, not_doubles = layout.record_of(time, [given.get(name) for name in layout.names])
            piece = layout.absent[: -len(record)] + record
            for j in shape.of_view[v]:
                at = layout.index[shape.columns[j][1]]
                if at in not_doubles:
                    odd.setdefault(j, {})[i] = not_doubles[at]
        self._pieces[i * len(shape.recorded) + p] = piece

    def _add_plain_view(self, table: Table, v: int, now_us: int | None) -> None:
        """Add a view that has no records: its values stay as they are stored."""
        shape = self._shape
        first, n = shape.first[v], len(shape.asked[v].features)
        times = [reply[first + n] for reply in self._replies]
        known = [(0, 0) if raw is None else event_and_heard(raw) for raw in times]
        event_us, heard_us = np.array(known, np.int64).reshape(-1, 2).T
        table.event_us[:, v] = event_us
        shape.withhold(table.statuses, [v], heard_us[:, None], now_us)
        table.statuses[[raw is None for raw in times], v] = NOT_FOUND
        present = (table.statuses[:, v] == PRESENT).tolist()
        place = {name: first + k for k, name in enumerate(shape.asked[v].features)}
        for j in shape.of_view[v]:
            at = place[shape.columns[j][1]]
            table.cells[j] = [(reply[at] or b"") if p else b"" for reply, p in zip(self._replies, present, strict=True)]


def event_and_heard(time: bytes) -> tuple[int, int]:
    """Return the event time and the time of the feed's last message, in microseconds since the epoch."""
    stamp, silent_us = event_and_silence(time)
    event_us = decode_time(stamp)
    return event_us, event_us - silent_us


@cache
def _warn(view: str) -> None:
    log.warning(
        "rows of %s are written without Feast's fields, and with other features than this process knows: they count as not"
        " found. Bring its definitions up to date.",
        view,
    )
