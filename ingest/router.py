"""Moves entries of the plain streams into the partition logs, for producers that know nothing of partitions.

Entries of ``order_book`` and ``market_data`` are merged by id. The append, the acknowledgement and the dead letter of a batch are one
transaction, so a crash moves each entry once. Only the symbol is read here; the worker checks the rest.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import redis

from ingest import log, streams
from ingest.messages import PLAIN_STREAM, decode_entry, is_symbol
from ingest.refusal import Reason, Refused

BATCH = 1000
BLOCK_MS = 20


class Header(msgspec.Struct, gc=False):
    """All that the router reads of a message."""

    symbol: str


def run(client: redis.Redis, partitions: int, stop: threading.Event) -> None:
    """Move entries until ``stop`` is set."""
    names = list(PLAIN_STREAM)
    streams.join(client, names)
    for name in names:
        for batch in streams.unacknowledged(client, name, BATCH):
            move(client, partitions, batch)
    while not stop.is_set():
        move(client, partitions, streams.new(client, names, BATCH, BLOCK_MS))


def move(client: redis.Redis, partitions: int, batch: list[streams.Read]) -> None:
    """Append a batch to the logs in the order of its ids, and acknowledge it, in one transaction."""
    if not batch:
        return
    pipe = client.pipeline(transaction=True)
    for name, entry_id, fields in sorted(batch, key=streams.order):
        try:
            symbol = decode_entry(Header, fields).symbol
            if not is_symbol(symbol):
                raise Refused(Reason.BAD_SYMBOL, repr(symbol[:64]))
        except Refused as refused:
            log.refuse(pipe, name, fields, refused.reason, refused.detail, entry_id)
        else:
            moved: dict[Any, Any] = {**fields, b"kind": PLAIN_STREAM[name]}
            pipe.xadd(log.events(log.partition_of(symbol, partitions)), moved)
        pipe.xack(name, log.GROUP, entry_id)
        pipe.xdel(name, entry_id)
    pipe.execute()
