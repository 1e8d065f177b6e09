"""The offline writer: moves rows from the outboxes into TimescaleDB.

Nothing online waits for it. While the database is down, full or read-only, the outboxes grow; afterwards the writer catches up. A batch is
deleted after its rows are written. After a crash between the two its rows are written again, and the tables keep each row once. So two
writers do no harm; the second stands by.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence

import psycopg
import redis

from feature_repo.stores.offline.append import append_rows
from ingest.messages.refusal import Reason
from ingest.streams import deployment, keys, outage, read
from ingest.streams.dead_letters import refuse
from ingest.streams.keys import place_of
from ingest.streams.membership import Member
from ingest.worker import rows
from transforms.catalog import VIEWS

_LOG = logging.getLogger(__name__)
ROLE = "writer"
BATCH = 50
BLOCK_MS = 100


def run(client: redis.Redis, postgres_url: str, partitions: int, stop: threading.Event, name: str = "") -> None:
    """Write until ``stop`` is set, or stand by while another process writes; wait while either server is away.

    Raise `DeploymentError` if the database is not that of this Redis. `name` is ``TFS_DEPLOYMENT``.
    """
    member = Member(client, ROLE, [ROLE])
    outboxes = {keys.outbox(p): read.START for p in range(partitions)}  # entries are deleted once written

    def work(well: Callable[[], None]) -> None:
        for _ in member.hold_until(stop):  # 1. Hold the seat, or stand by.
            with psycopg.connect(
                postgres_url, application_name="tfs offline writer", connect_timeout=5, tcp_user_timeout=20_000
            ) as database:
                # 2. Lock the database for this Redis.
                deployment.check_database(client, database, name, claim=True)
                database.commit()
                while not stop.is_set() and member.hold_seat() is not None:
                    # 3. Read the outboxes from their first entries.
                    batch = read.entries_after(client, outboxes, BATCH, BLOCK_MS)
                    write(client, database, batch)
                    well()

    outage.ride_out("the offline writer", work, stop, _passes)


def _passes(error: Exception) -> bool:
    """Return whether to try again: rows wait in the outboxes while the database is away, full or read-only, or lacks a table.

    They also wait while the writer of another Redis holds the database: it may be one of this Redis that has not noticed a restart.
    """
    return isinstance(error, psycopg.Error | deployment.OtherRedisError) or outage.is_passing(error)


def write(client: redis.Redis, connection: psycopg.Connection, batch: Sequence[read.Entry]) -> int:
    """Write a batch of the outboxes in one transaction, then delete it; return the number of rows that were new.

    An entry without rows of a view that exists goes to the dead letters.
    """
    if not batch:
        return 0
    gathered: dict[str, dict[str, list[rows.Columns]]] = defaultdict(lambda: defaultdict(list))
    broken: list[tuple[read.Entry, str]] = []
    for entry in batch:
        try:
            columns = rows.decode(entry[2][b"rows"])
        except Exception as error:  # one entry must not stop the others, whatever is wrong with it or with our code
            _LOG.exception("entry %s of %s holds no readable rows and is kept in the dead letters", *entry[1::-1])
            broken.append((entry, f"{type(error).__name__}: {error}"))
        else:
            gathered[columns.view.name][repr(columns.versions)].append(columns)
    new = 0
    with connection.transaction():  # 4. Write what is new, in one transaction.
        for view in VIEWS:
            for parts in gathered[view.name].values():  # of one release each
                new += append_rows(connection, *rows.joined(parts))
    # 5. Delete the entries; those without rows become dead letters.
    for (outbox, entry_id, fields), detail in broken:
        with client.pipeline(transaction=True) as pipe:
            refuse(pipe, outbox, fields, Reason.FAILED, detail, entry_id, place_of(outbox))
            pipe.xdel(outbox, entry_id)
            pipe.execute()
    done: dict[str, list[bytes]] = {}
    for outbox, entry_id, _ in batch:
        done.setdefault(outbox, []).append(entry_id)
    with client.pipeline(transaction=False) as pipe:
        for outbox, ids in done.items():
            pipe.xdel(outbox, *ids)
        pipe.execute()
    return new
