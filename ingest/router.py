"""Moves entries of the plain streams into the partition logs, for producers that know nothing of partitions.

Entries of ``order_book`` and ``market_data`` are merged by id. Only the symbol is read here; the worker checks the rest. An entry is
deleted from its stream by the script that appends it to its log, and is appended only if it was still there: so whatever dies, and
however many routers there are, each is moved once. That they keep their order needs more: only the holder of the router's seat moves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import redis

from ingest.messages.check import is_symbol
from ingest.messages.decode import decode_entry
from ingest.messages.kinds import PLAIN_STREAM
from ingest.messages.refusal import Reason, Refused
from ingest.streams import keys as log
from ingest.streams import outage, read
from ingest.streams.dead_letters import FIELDS_MAX, dead_letter
from ingest.streams.membership import FencedError, Member

ROLE = "router"
BATCH = 1000
BLOCK_MS = 20
STAND_BY_S = 0.1

_MOVE = """
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
local moved, at = 0, 2
while at <= #ARGV do
  local source, id, target, reason, n = unpack(ARGV, at, at + 4)
  if redis.call('XDEL', KEYS[tonumber(source)], id) == 1 then
    redis.call('XADD', KEYS[tonumber(target)], '*', unpack(ARGV, at + 5, at + 4 + n))
    if reason ~= '' then redis.call('HINCRBY', KEYS[2], 'refused.' .. reason, 1) end
    moved = moved + 1
  end
  at = at + 5 + n
end
return moved
"""
"""KEYS: the seat's lease, the edge's counters, then streams. ARGV: token, then for each entry: number of its stream's key, id, number of
the target's key, reason if it is refused, and its words behind their number. It needs no memory first: a full server lets it go on."""


class Header(msgspec.Struct, gc=False):
    """All that the router reads of a message."""

    symbol: str


def run(client: redis.Redis, partitions: int, stop: threading.Event) -> None:
    """Move entries until ``stop`` is set, or stand by while another router does; lives through the loss of Redis."""
    member = Member(client, ROLE, [ROLE])
    waiting = dict.fromkeys(PLAIN_STREAM, read.START)  # what was moved is there no longer

    def work(well: Callable[[], None]) -> None:
        count = read.FIRST
        while not stop.is_set():
            if (token := member.sit()) is None:
                stop.wait(STAND_BY_S)
                continue
            try:
                parts = read.parts(sorted(read.read(client, waiting, count, BLOCK_MS), key=read.order))
                for part in parts:
                    move(client, partitions, part, token)
                count = read.next_count(count, len(parts), BATCH)
            except FencedError:
                member.lose(ROLE)
            well()
        member.leave()

    outage.ride_out("the router", work, stop)


def move(client: redis.Redis, partitions: int, batch: Sequence[read.Read], token: str = "") -> int:
    """Append a batch to the logs in the order of its ids, and delete it; how many were still there.

    Parameters
    ----------
    token:
        Of the router's seat; without one nobody's is checked.

    Raises
    ------
    FencedError
        Another router holds the seat; nothing has changed.
    """
    if not batch:
        return 0
    keys: dict[str, int] = {log.owner(ROLE): 1, log.counters(log.EDGE): 2}
    words: list[Any] = [token]
    for name, entry_id, fields in sorted(batch, key=read.order):
        target, reason, entry = _entry(name, entry_id, fields, partitions)
        source = keys.setdefault(name, len(keys) + 1)
        words += (source, entry_id, keys.setdefault(target, len(keys) + 1), reason, len(entry), *entry)
    try:
        moved: Any = client.eval(_MOVE, len(keys), *keys, *words)
    except redis.ResponseError as error:
        if "FENCED" in str(error):
            raise FencedError("another router moves now") from None
        raise
    return int(moved)


def _entry(name: str, entry_id: bytes, fields: read.Fields, partitions: int) -> tuple[str, str, list[Any]]:
    """Where an entry goes, why if it is refused, and its words there."""
    try:
        if len(fields) > FIELDS_MAX:
            raise Refused(Reason.WRONG_TYPE, f"{len(fields)} fields")
        symbol = decode_entry(Header, fields).symbol
        if not is_symbol(symbol):
            raise Refused(Reason.BAD_SYMBOL, repr(symbol[:64]))
    except Exception as error:  # an entry must not stop the router, whatever it does to us
        refused = error if isinstance(error, Refused) else Refused(Reason.FAILED, f"{type(error).__name__}: {error}")
        letter = dead_letter(name, entry_id, fields, refused.reason, refused.detail)
        return log.DEAD_LETTER, str(refused.reason), letter
    moved = {**fields, b"kind": PLAIN_STREAM[name]}
    return log.events(log.partition_of(symbol, partitions)), "", [word for pair in moved.items() for word in pair]
