"""Replies of Redis as arrays: all views of all entities at once where rows have records, row by row where not.

A request asks for one field per view, the time with its record. Only where a row has no record of the columns that the
reader knows, because another writer wrote it or a writer of another catalogue, its features are asked for in a second
round trip and read as Feast's own store reads them.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from google.protobuf.message import DecodeError

from feature_repo.stores.errors import UserError
from feature_repo.stores.online.format import decode_time, event_and_silence, time_field
from feature_repo.stores.online.record import Ints, head_of, is_lone
from feature_repo.stores.online.shape import NOT_FOUND, PRESENT, Reply, Shape, Table

log = logging.getLogger(__name__)

_NO_TIME = (DecodeError, OverflowError, struct.error)  # what the bytes of no event time raise


class UnreadableRowError(UserError, ValueError):
    """The time field of a row holds no event time, so nobody knows how old its values are."""

    def __init__(self, view: str, row: int) -> None:
        super().__init__(
            f"row {row} of the request has a field {time_field(view).decode()} that holds no event time: another program wrote it."
            " Delete the field; the row counts as not found until the next one is written"
        )


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
        views = [(v, self._shape.first[v], layout) for v, layout in self._shape.layouts.items()]
        for i, reply in enumerate(self._replies):
            for v, first, layout in views:
                raw = reply[first]
                if raw is None:
                    self._absent.append((i, v))
                elif not layout.holds(raw):
                    self.again.append((i, v))
                else:
                    yield raw
                    continue
                yield layout.absent

    def table(self, plain: Sequence[Reply] = (), now_us: int | None = None) -> Table:
        """Return the table; raise `UnreadableRowError` where a row's time field holds no event time.

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
        event_us, heard_us = shape.times(self._words)
        plain_views = [v for v, one in enumerate(shape.asked) if one.layout is None]
        for v in plain_views:
            self._add_times(v, event_us, heard_us)
        statuses = shape.statuses(heard_us, now_us)
        for i, v in self._absent:
            statuses[i, v] = NOT_FOUND
        table = Table(shape, statuses, event_us, shape.values(self._words))
        hidden = statuses != PRESENT
        if np.count_nonzero(hidden):
            table.values[hidden[:, shape.view_of]] = np.nan
        for v in plain_views:
            self._add_cells(v, table)
        for j, cells in odd.items():
            column = table.serialised(j)
            present = table.statuses[:, shape.view_of[j]] == PRESENT
            table.cells[j] = [cells.get(i, raw) if present[i] else b"" for i, raw in enumerate(column)]
        return table

    def heads(self, plain: Sequence[Reply] = ()) -> Ints:
        """Return what the time field of each row begins with, once `table` was made; `created_us` reads it."""
        shape = self._shape
        assert self._words is not None  # noqa: S101 - `table` sets it
        heads = shape.heads(self._words)
        for (i, v), reply in zip(self.again, plain, strict=True):
            heads[i, v] = head_of(reply[-1] or b"")
        for v, one in enumerate(shape.asked):
            if one.layout is None:
                at = shape.first[v] + len(one.features)
                heads[:, v] = [head_of(reply[at] or b"") for reply in self._replies]
        return heads

    def _put(self, i: int, v: int, reply: Reply, odd: dict[int, dict[int, bytes]]) -> None:
        """Put a row that was asked for again in its place."""
        shape, layout, one = self._shape, self._shape.layouts[v], self._shape.asked[v]
        *values, time = reply
        if time is None or (is_lone(time) and not layout.holds(time)):
            self._absent.append((i, v))
            if time is not None:
                _warn(one.view)
            return
        if layout.holds(time):  # written meanwhile
            piece = time
        else:
            given = dict(zip(one.features, values, strict=True))
            try:
                record, not_doubles = layout.record_of(time, [given.get(name) for name in layout.names])
            except _NO_TIME as error:
                raise UnreadableRowError(one.view, i) from error
            piece = layout.absent[: -len(record)] + record
            for j in shape.of_view[v]:
                at = layout.index[shape.columns[j][1]]
                if at in not_doubles:
                    odd.setdefault(j, {})[i] = not_doubles[at]
        self._pieces[i * len(shape.recorded) + shape.recorded.index(v)] = piece

    def _add_times(self, v: int, event_us: Ints, heard_us: Ints) -> None:
        """Add the times of a view that has no records."""
        at = self._shape.first[v] + len(self._shape.asked[v].features)
        for i, reply in enumerate(self._replies):
            if (raw := reply[at]) is None:
                self._absent.append((i, v))
            else:
                try:
                    event_us[i, v], heard_us[i, v] = event_and_heard(raw)
                except _NO_TIME as error:
                    raise UnreadableRowError(self._shape.asked[v].view, i) from error

    def _add_cells(self, v: int, table: Table) -> None:
        """Add the values of a view that has no records, as they are stored."""
        shape, present = self._shape, (table.statuses[:, v] == PRESENT).tolist()
        place = {name: shape.first[v] + k for k, name in enumerate(shape.asked[v].features)}
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
