"""The router: it moves entries of the plain streams into the partition logs, for producers that do not know the partitions.

Entries of the plain streams but ``social_data`` are merged by id, also after a pause in which more of them gathered than one read gives,
and within a millisecond by event time. Only symbol and time are decoded here; the worker checks the rest. The script in ``streams.move``
moves each entry once, even with several routers. To keep the order of the entries too, only the holder of the router's seat moves; every
other router stands by.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import redis

from ingest.messages.decode import decode_entry
from ingest.messages.kinds import PLAIN_STREAM, Tick, time_us
from ingest.messages.refusal import Refused
from ingest.streams import outage, read
from ingest.streams.membership import FencedError, Member
from ingest.streams.move import Record, log_of, move_records, refused

ROLE = "router"
BATCH = 1000
BLOCK_MS = 20


def run(client: redis.Redis, partitions: int, stop: threading.Event) -> None:
    """Move entries until ``stop`` is set; stand by while another router moves, and wait while Redis is away."""
    member = Member(client, ROLE, [ROLE])
    waiting = dict.fromkeys(PLAIN_STREAM, read.START)  # a move deletes, so the first entry is always the next

    def work(well: Callable[[], None]) -> None:
        count = read.FIRST
        for token in member.hold_until(stop):  # 1. Hold the seat, or stand by.
            try:
                # 2. Read the plain streams from their first entries.
                found = read.entries_after(client, waiting, count, BLOCK_MS)
                # 3. Put them in order, as far as it is known.
                parts = read.split_by_size(read.in_order(found, count, BATCH, _time_us))
                for part in parts:
                    move(client, partitions, part, token)  # 4. Move them, and delete them with that.
                count = read.next_count(count, len(parts), BATCH)
            except FencedError:  # 5. Where another router has the seat, stand by.
                member.lose(ROLE)
            well()

    outage.ride_out("the router", work, stop)


def move(client: redis.Redis, partitions: int, batch: Sequence[read.Entry], token: str = "") -> int:
    """Append a batch to the logs in its order, and delete it; return how many entries were still there.

    Parameters
    ----------
    token : str
        Of the router's seat; without one no lease is checked.

    Raises
    ------
    FencedError
        Another router holds the seat; nothing has changed.
    """
    if not batch:
        return 0
    return move_records(client, (_record(*entry, partitions) for entry in batch), seat=ROLE, token=token)


def _time_us(fields: read.Fields) -> int:
    """Return the event time of a message; 0 where it has none, because the worker refuses it wherever it stands."""
    try:
        return time_us(decode_entry(Tick, fields))
    except Refused:
        return 0


def _record(name: str, entry_id: bytes, fields: read.Fields, partitions: int) -> Record:
    try:
        log = log_of(fields, partitions)
    except Exception as error:  # one entry must not stop the router, whatever is wrong with it
        return refused(name, entry_id, fields, error)
    moved = {**fields, b"kind": PLAIN_STREAM[name]}
    return Record([(log, [word for pair in moved.items() for word in pair])], name, entry_id)
