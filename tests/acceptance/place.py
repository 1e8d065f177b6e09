"""Servers that tests fill and empty again and again, and the rows that they have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from ingest import offline_writer
from ingest.streams import keys, read
from transforms.catalog import VIEWS

Rows = dict[str, dict[bytes, bytes]]
"""By view, and by symbol and time: the values."""


@dataclass
class Place:
    """Empty servers, and a folder for tapes."""

    client: redis.Redis
    postgres: psycopg.Connection
    url: str
    folder: Path

    def store(self, partitions: int) -> None:
        """Carry the outboxes into the database."""
        outboxes = {keys.outbox(p): read.START for p in range(partitions)}
        while batch := read.entries_after(self.client, outboxes, 50, None):
            offline_writer.write(self.client, self.postgres, batch)

    def take(self) -> Rows:
        """The rows of all tables, which are empty afterwards; no second has two."""
        found: Rows = {}
        for view in VIEWS:
            names = sql.SQL(", ").join(map(sql.Identifier, ("symbol", "event_timestamp", *view.names)))
            of_view = found[view.name] = {}
            table = sql.Identifier(view.name)
            with self.postgres.cursor() as cursor:
                with cursor.copy(sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(names, table)) as lines:
                    for line in lines:
                        symbol, at, values = bytes(line).rstrip(b"\n").split(b"\t", 2)
                        assert symbol + b" " + at not in of_view, f"{view.name} of {symbol!r} at {at!r} twice"
                        of_view[symbol + b" " + at] = values
                cursor.execute(sql.SQL("TRUNCATE {}").format(table))
        return found
