"""What the log of what was served has, held against the offline rows: what a model saw is what it is trained on.

Each sampled row is compared with the offline row of its symbol and event time by the bits of the values; null equals only null. Beside the
values the status must be right: by the age of the offline row at the time of the read, and because no newer row was stored by then.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from struct import pack
from typing import Any

import psycopg
import redis
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores.online.served_file import STATUSES, Counts, read_file
from feature_repo.stores.online.shape import NOT_FOUND, PRESENT
from ingest.check.consistency import POLL_S, Passed, now_ms
from ingest.check.logged_rows import Entry, OfflineRows, Stored, entries
from ingest.check.result import Key, Result, results
from ingest.cli import ExitCode
from ingest.messages.check import is_symbol
from transforms.catalog import VIEWS, View
from transforms.times import iso_of_us, us_of_datetime

ROWS = 10_000
"""How many rows of the log are in memory."""
SHOWN = 10
"""The most rows of one kind that are named."""

FAULTS = {
    "missing": "no offline row of this symbol and time",
    "too_old": "served, though the offline row was older than its ttl then",
    "withheld": "withheld as too old, though the offline row was not",
    "behind": "a newer row was stored by then, and not served",
}
"""The kinds of rows that are wrong as a whole."""


@dataclass(slots=True)
class Found:
    """What was found.

    Attributes
    ----------
    features : dict
        One result for each feature.
    counts : Counts
        Of all files that were read.
    rows : Counter
        Rows by kind: ``compared``, ``expired`` (rightly withheld), ``not_found``, ``waiting``, ``unknown`` (of views or features that the
        catalogue does not have, or of other join keys), and the `FAULTS`. A row that is ``behind`` may also be of another kind.
    named : dict
        Some rows of each kind of fault.
    other_kernels : int
        Of the values that differ, those whose offline row is not the one that was served, and is of other or unknown kernels or of a
        backfill.
    """

    features: dict[Key, Result] = field(default_factory=results)
    counts: Counts = field(default_factory=lambda: Counts(0.0))
    files: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in FAULTS})
    other_kernels: int = 0

    @property
    def differing(self) -> int:
        """How many values differ."""
        return sum(result.differing for result in self.features.values())

    @property
    def exit_code(self) -> ExitCode:
        """Return NO if something differs or nothing was looked at; WAITING if rows only wait for the offline writer; else DONE."""
        looked_at = sum(n for kind, n in self.rows.items() if kind != "unknown")
        if self.differing or any(self.rows[kind] for kind in FAULTS) or not looked_at:
            return ExitCode.NO
        return ExitCode.WAITING if self.rows["waiting"] else ExitCode.DONE

    def add_counts(self, counts: Counts) -> None:
        """Add those of a file."""
        self.files += 1
        for name in ("reads", "sampled", "dropped"):
            setattr(self.counts, name, getattr(self.counts, name) + getattr(counts, name))


def compare(
    paths: Sequence[Path],
    connection: psycopg.Connection[Any],
    since: datetime,
    before: datetime,
    *,
    late: Callable[[str], bool],
    lag_s: float = 1.0,
    symbols: Sequence[str] = (),
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Found:
    """Compare files of the log with the database, one by one.

    Parameters
    ----------
    paths : sequence of Path
        Of files that were there before `wait_for_writer` was called: what they hold was read before it, whichever clock a reader has.
    late : callable
        Whether the newest rows of a symbol may not be in the database yet: what is missing then is counted as waiting.
    lag_s : float
        How long a row may take from being made to being served.
    """
    found = Found()
    offline = {view: OfflineRows(connection, view) for view in VIEWS}
    by_name = {view.name: view for view in VIEWS}
    span = range(us_of_datetime(since), us_of_datetime(before))
    for n, path in enumerate(paths):
        progress(n, len(paths))
        for batch in read_file(path, ROWS, found.add_counts):
            of_view: dict[View, list[Entry]] = {}
            for name, join_key, entry in entries(batch):
                if entry.at_us not in span or (symbols and entry.symbol not in symbols):
                    continue
                view = by_name.get(name)
                if view is None or join_key != "symbol" or not view.index.keys() >= {*entry.features}:
                    found.rows["unknown"] += 1
                else:
                    of_view.setdefault(view, []).append(entry)
            for view, some in of_view.items():
                _compare(view, some, offline[view], found, late, round(lag_s * 1e6))
    return found


def _compare(
    view: View, some: Sequence[Entry], offline: OfflineRows, found: Found, late: Callable[[str], bool], lag_us: int
) -> None:
    newer = offline.newer(some, lag_us)
    for place, (entry, stored) in enumerate(zip(some, offline.of(some), strict=True)):
        kind = _kind(entry, stored, offline)
        if kind == "missing" and late(entry.symbol):
            kind = "waiting"
        found.rows[kind] += 1
        if kind == "compared" and stored is not None:
            _compare_values(view, entry, stored, found)
        if kind in FAULTS:
            _name(found, kind, view, entry)
        elif place in newer:
            found.rows["behind"] += 1
            _name(found, "behind", view, entry, f", not {iso_of_us(newer[place])}")


def _kind(entry: Entry, stored: Stored | None, offline: OfflineRows) -> str:
    if entry.status == STATUSES[NOT_FOUND]:
        return "not_found"
    if stored is None:
        return "missing"
    is_fresh = offline.is_fresh(entry, stored)
    if entry.status == STATUSES[PRESENT]:
        return "compared" if is_fresh else "too_old"
    return "withheld" if is_fresh else "expired"


def _compare_values(view: View, entry: Entry, stored: Stored, found: Found) -> None:
    is_other = stored.created_us != entry.created_us and (stored.is_recomputed or not stored.is_ours)
    for name, value in zip(entry.features, entry.values, strict=True):
        result, expected = found.features[view.name, name], stored.values[name]
        served: Any = value if name not in entry.others else _number(entry.others[name])
        result.compared += 1
        result.values += expected is not None
        if not _same(served, expected):
            result.differing += 1
            found.other_kernels += is_other
            result.example = result.example or f"{_where(entry)}: {expected!r}, not {served!r:.80}"


def _same(served: Any, stored: Any) -> bool:
    """Return whether two values are the same: null and null, doubles of the same bits, or equal whole numbers. A NaN is no null."""
    if served is None or stored is None:
        return served is stored
    if isinstance(served, float) and isinstance(stored, float):
        return pack("d", served) == pack("d", stored) or (math.isnan(served) and math.isnan(stored))
    return bool(served == stored)


def _number(raw: bytes) -> Any:
    value = Value.FromString(raw)
    kind = value.WhichOneof("val")
    return None if kind is None else getattr(value, kind)


def _name(found: Found, kind: str, view: View, entry: Entry, more: str = "") -> None:
    if len(found.named[kind]) < SHOWN:
        found.named[kind].append(f"{view.name} {_where(entry)}, read at {_iso(entry.at_us)}{more}")


def _where(entry: Entry) -> str:
    """Return which row it is. A reader may ask for anything, so what is no symbol is quoted and cut."""
    symbol = entry.symbol if is_symbol(entry.symbol) else f"{entry.symbol!r:.70}"
    return symbol if entry.event_us is None else f"{symbol} at {_iso(entry.event_us)}"


def _iso(us: int) -> str:
    try:
        return iso_of_us(us)
    except OverflowError:
        return f"{us} us"


def wait_for_writer(client: redis.Redis, partitions: int, wait_s: float) -> set[int]:
    """Wait until the database has all rows that were served until now, `wait_s` at most; return the partitions of which it has not."""
    passed, at_ms, deadline = Passed(client, partitions), now_ms(client), time.monotonic() + wait_s
    while (behind := passed.behind(at_ms)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return behind
