"""Online equals offline, on a running system: each row that a reader is served equals the offline row of that time, bit for bit.

All views of some symbols are read online with Feast in one request, for some rounds a second apart. Each row is then looked up
offline by symbol and event time. A worker writes online first, so a row may not be offline yet: the check waits until the
partition's log, and then its outbox, have passed the time of the read. A row that is not offline then is missing, which is a
fault. A row whose outbox has not come so far by the deadline is waiting, and counts as neither.

The ttl is not applied: values that are too old to be served must be equal too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
import redis
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from psycopg import sql

from feature_repo.stores.offline.tables.schema import table_of_view
from ingest.check.result import Key, Result, results
from ingest.cli import ExitCode
from ingest.observe.redis_state import CONSISTENCY
from ingest.streams import keys
from ingest.streams.backlog import EVENTS, OUTBOX, streams
from transforms.catalog import VIEWS, View
from transforms.times import datetime_of_us

POLL_S = 0.05
SKEW_US = 1_000_000
"""How far the worker's clock, which stamps rows, may be ahead of Redis's clock, which stamps reads."""

RowKey = tuple[str, str, int]
"""View, symbol and event time (µs)."""


class Read(NamedTuple):
    """One row of a view as it was served; ``read_ms`` is Redis's time just after."""

    symbol: str
    view: View
    t_us: int
    values: list[float]
    read_ms: int

    @property
    def key(self) -> RowKey:
        """Return which row it is."""
        return self.view.name, self.symbol, self.t_us


@dataclass(slots=True)
class Consistency:
    """What was found: one result per feature, and the rows that have no offline row."""

    features: dict[Key, Result] = field(default_factory=results)
    rows: int = 0
    missing: list[Read] = field(default_factory=list)
    waiting: list[Read] = field(default_factory=list)

    def outcomes(self) -> dict[str, int]:
        """Return the number of values by outcome, as the exporter shows them."""
        differing = sum(r.differing for r in self.features.values())
        return {
            "equal": sum(r.compared for r in self.features.values()) - differing,
            "differing": differing,
            "missing": sum(len(read.values) for read in self.missing),
            "waiting": sum(len(read.values) for read in self.waiting),
        }

    @property
    def exit_code(self) -> ExitCode:
        """Return NO if a value differs, a row is missing or nothing was compared; WAITING if rows only wait; else DONE."""
        found = self.outcomes()
        if found["differing"] or found["missing"] or not (found["equal"] or found["waiting"]):
            return ExitCode.NO
        return ExitCode.WAITING if found["waiting"] else ExitCode.DONE


def read_online(store: Any, client: redis.Redis, symbols: Sequence[str]) -> list[Read]:
    """Read the newest row of every view and symbol through Feast. The ttl must be off in ``store``."""
    wanted = [(view, name) for view in VIEWS for name in view.names]
    response = store.get_online_features(
        features=[f"{view.name}:{name}" for view, name in wanted],
        entity_rows=[{"symbol": s} for s in symbols],
        full_feature_names=True,  # two views may have a feature of one name
    ).proto
    served = dict(zip(response.metadata.feature_names.val, response.results, strict=True))
    read_ms = now_ms(client)
    reads = []
    for view in VIEWS:
        columns = [served[f"{view.name}__{name}"] for name in view.names]
        for i, symbol in enumerate(symbols):
            if columns[0].statuses[i] == FieldStatus.PRESENT:
                t_us = columns[0].event_timestamps[i].ToMicroseconds()
                reads.append(Read(symbol, view, t_us, [_number(c.values[i]) for c in columns], read_ms))
    return reads


def _number(value: Any) -> float:
    kind = value.WhichOneof("val")
    return math.nan if kind is None else float(getattr(value, kind))


def compare(
    reads: Iterable[Read],
    client: redis.Redis,
    connection: psycopg.Connection[Any],
    partitions: int,
    *,
    wait_s: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Consistency:
    """Compare each row with the offline one as soon as that must be there; rows that are not there after ``wait_s`` are waiting.

    ``connection`` is in autocommit mode, so that each look-up sees what was written since the last.
    """
    found = Consistency()
    left = list({read.key: read for read in reads}.values())
    deadline = time.monotonic() + wait_s
    passed = Passed(client, partitions)
    while True:
        due = passed.due(left)  # before the look-up: a row that is due now is in the tables when they are read
        offline = look_up(connection, left)
        for read in left:
            if read.key in offline:
                found.rows += 1
                for name, served, stored in zip(read.view.names, read.values, offline[read.key], strict=True):
                    found.features[read.view.name, name].add(read.symbol, read.t_us, stored, served)
        left = [read for read in left if read.key not in offline]
        found.missing += [read for read in left if read.key in due]
        left = [read for read in left if read.key not in due]
        if not left or time.monotonic() >= deadline:
            found.waiting = left
            return found
        sleep(POLL_S)


class Passed:
    """How far logs and outboxes are: a row is due once its log has passed the read, and then its outbox that moment."""

    def __init__(self, client: redis.Redis, partitions: int) -> None:
        self._client, self._partitions = client, partitions
        self._now_ms = 0
        self._oldest: dict[tuple[str, int | None], int | None] = {}
        self._committed_ms: dict[tuple[int, int], int] = {}
        """For a partition and the time of a read: when the log was first seen to have passed the read."""

    def due(self, reads: Sequence[Read]) -> set[RowKey]:
        """Return the rows that must be offline by now."""
        self._look()
        return {read.key for read in reads if self._has(keys.partition_of(read.symbol, self._partitions), read.read_ms)}

    def behind(self, at_ms: int) -> set[int]:
        """Return the partitions of which rows that were served until a time may not be offline yet."""
        self._look()
        return {p for p in range(self._partitions) if not self._has(p, at_ms)}

    def _look(self) -> None:
        self._now_ms = now_ms(self._client)
        self._oldest = {(s.name, s.partition): s.oldest_ms for s in streams(self._client, self._partitions)}

    def _has(self, p: int, read_ms: int) -> bool:
        if _is_after(self._oldest[EVENTS, p], read_ms):
            self._committed_ms.setdefault((p, read_ms), self._now_ms)
        committed_ms = self._committed_ms.get((p, read_ms))
        return committed_ms is not None and _is_after(self._oldest[OUTBOX, p], committed_ms)


def _is_after(oldest_ms: int | None, at_ms: int) -> bool:
    """Return whether all entries of a stream are newer; ``oldest_ms`` is None if it has none."""
    return oldest_ms is None or oldest_ms > at_ms


def look_up(connection: psycopg.Connection[Any], reads: Sequence[Read]) -> dict[RowKey, list[float]]:
    """Return the served offline rows that exist; of several for a key the newest that was created by the time of the read."""
    found = {}
    for view in VIEWS:
        some = [read for read in reads if read.view is view]
        if not some:
            continue
        query = sql.SQL(
            "SELECT s.i, {} FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) "
            "WITH ORDINALITY AS s(symbol, t, known, i) CROSS JOIN LATERAL ("
            "SELECT * FROM {} r WHERE r.symbol = s.symbol AND r.event_timestamp = s.t AND NOT r.recomputed "
            "AND r.created_timestamp <= s.known ORDER BY r.created_timestamp DESC LIMIT 1) r"
        ).format(sql.SQL(", ").join(sql.Identifier("r", name) for name in view.names), table_of_view(view).identifier)
        times = [datetime_of_us(read.t_us) for read in some]
        known = [datetime_of_us(read.read_ms * 1000 + SKEW_US) for read in some]
        for i, *row in connection.execute(query, ([read.symbol for read in some], times, known)):
            found[some[i - 1].key] = [math.nan if value is None else float(value) for value in row]
    return found


def now_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()  # type: ignore[misc]
    return int(seconds) * 1000 + int(micros) // 1000


def keep(client: redis.Redis, found: Consistency) -> None:
    """Store the outcome where the exporter reads it."""
    client.hset(CONSISTENCY, mapping={**found.outcomes(), "time_ms": now_ms(client)})
