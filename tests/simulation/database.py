"""The simulated database: rows by the rule of the tables, in transactions that may fail, or be stored without an answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from numpy.typing import NDArray

from tests.simulation.world import World, running
from transforms.catalog import View

Key = tuple[str, str, int]  # view, symbol, event time
Bits = tuple[bytes, int]  # the values, and the silence


class Database:
    """Rows by view, symbol and event time, each with the times at which it was created.

    Attributes
    ----------
    away_until : int
        Nobody can connect, and every connection ends.
    troubles : list of str
        What happens to the next transactions: ``fails``, ``stored without an answer``.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: dict[Key, dict[int, Bits]] = {}
        self.away_until = 0
        self.troubles: list[str] = []

    def connect(self) -> Connection:
        """Return a connection, or raise where the database is away."""
        self.pause()
        return Connection(self)

    def pause(self) -> None:
        """Let a call take its time; raise where the database is away."""
        running().sleep(500 + int(self.world.rng.random() * 5000))
        if self.world.now < self.away_until:
            raise psycopg.OperationalError("the database is away")

    def store(self, rows: Sequence[tuple[Key, int, Bits]]) -> int:
        """Insert rows that say something new, by the rule of ``feature_repo/stores/offline/facts.py``; return how many did.

        Of the rows of one symbol and event time, in the order of their creation, each differs from the one before it.
        """
        new = 0
        for key, created, bits in sorted(rows, key=lambda row: row[1]):
            versions = self.rows.setdefault(key, {})
            before = max((c for c in versions if c <= created), default=None)
            after = min((c for c in versions if c > created), default=None)
            if created in versions or bits in (versions.get(before), versions.get(after)):
                continue
            versions[created] = bits
            new += 1
        return new


class Connection:
    """The part of a connection that the offline writer uses."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: list[tuple[Key, int, Bits]] = []

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def commit(self) -> None:
        """End the transaction of the check before the first write."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Store the rows of a transaction at its end, all or none."""
        self._rows.clear()
        database = self._database
        database.pause()
        yield
        trouble = database.troubles.pop(0) if database.troubles else ""
        if trouble == "fails":
            database.world.note(running().name, "the transaction fails")
            raise psycopg.OperationalError("the transaction failed")
        database.store(self._rows)
        database.world.note(running().name, f"COMMIT of {len(self._rows)} rows" + (f"  <{trouble}>" if trouble else ""))
        if trouble:
            raise psycopg.OperationalError("the connection was lost")
        database.pause()

    def append(
        self,
        view: View,
        symbols: Sequence[str],
        event_us: NDArray[Any],
        created_us: NDArray[Any],
        values: NDArray[Any],
        silent_us: NDArray[Any],
        _versions: dict[str, int] | None,
    ) -> int:
        """Add rows to the transaction, as ``append_rows`` does."""
        times = zip(event_us.tolist(), created_us.tolist(), silent_us.tolist(), strict=True)
        for symbol, (event, created, silent), row in zip(symbols, times, values, strict=True):
            self._rows.append(((view.name, symbol, event), created, (row.tobytes(), silent // 1000)))
        return len(symbols)
