"""The move of Kafka's records into the streams: one script for the records and the offsets behind them, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import redis

from ingest.feeds.kafka.reader import Place
from ingest.messages.check import is_symbol
from ingest.messages.decode import decode
from ingest.messages.kinds import PLAIN_STREAM
from ingest.messages.refusal import Reason, Refused
from ingest.router import Header
from ingest.streams import keys as log
from ingest.streams.dead_letters import dead_letter
from ingest.streams.membership import FencedError

_MOVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
local places, at = tonumber(ARGV[2]), 3
for i = at, at + 3 * places - 1, 3 do
  if redis.call('HGET', KEYS[2], ARGV[i]) ~= ARGV[i + 1] then return redis.error_reply('ELSEWHERE') end
end
-- From the first write on a full server lets a script go on: so this one is refused whole or done whole.
for i = at, at + 3 * places - 1, 3 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2]) end
at = at + 3 * places
while at <= #ARGV do
  local target, reason, n = unpack(ARGV, at, at + 2)
  redis.call('XADD', KEYS[tonumber(target)], '*', unpack(ARGV, at + 3, at + 2 + n))
  if reason ~= '' then redis.call('HINCRBY', KEYS[3], 'refused.' .. reason, 1) end
  at = at + 3 + n
end
return 1
"""
"""KEYS: the seat's lease, the offsets, the edge's counters, then streams. ARGV: token, number of places, for each its name, the offset
that it must be at and the one after; then for each record: number of the target's key, reason if it is refused, its words behind their
number."""


class ElsewhereError(RuntimeError):
    """The offsets in Redis are not where this process left them: it was restored, or somebody changed them."""


class Feed(Protocol):
    """Whose records these are: its seat, the name of its offsets, and the stream of each topic."""

    @property
    def name(self) -> str:
        """Under which the offsets are kept."""

    @property
    def seat(self) -> str:
        """Whose lease lets it write."""

    @property
    def topics(self) -> Mapping[str, str]:
        """Topics and their streams."""


def offsets(name: str) -> str:
    """The hash of the next offset of every ``topic/partition``, and of the cluster that they are of."""
    return f"kafka:{{{name}}}"


def name_of(place: Place) -> str:
    """A place as the offsets and the dead letters name it."""
    return f"{place[0]}/{place[1]}"


def move(
    client: redis.Redis,
    feed: Feed,
    partitions: int,
    batch: Sequence[Any],
    at: dict[Place, int],
    token: str,
    refused: dict[str, int],
) -> dict[str, int]:
    """Append records to where they belong and move the offsets ``at`` with them; how many of each kind were taken.

    Raises
    ------
    FencedError
        Another process holds the seat; nothing has changed.
    ElsewhereError
        The offsets in Redis are others than ``at``; nothing has changed.
    """
    key = offsets(feed.name)
    keys: dict[str, int] = {log.owner(feed.seat): 1, key: 2, log.counters(log.EDGE): 3}
    after: dict[Place, int] = {}
    words: list[Any] = []
    taken: dict[str, int] = {}
    failed: dict[str, int] = {}
    for record in batch:
        after[record.topic(), record.partition()] = record.offset() + 1
        target, reason, entry = _entry(feed, record, partitions)
        words += (keys.setdefault(target, len(keys) + 1), reason, len(entry), *entry)
        stream = feed.topics[record.topic()]
        where, what = (failed, reason) if reason else (taken, PLAIN_STREAM.get(stream, "social"))
        where[what] = where.get(what, 0) + 1
    steps = [x for place, offset in after.items() for x in (name_of(place), at[place], offset)]
    try:
        client.eval(_MOVE, len(keys), *keys, token, len(after), *steps, *words)
    except redis.ResponseError as error:
        if "FENCED" in str(error):
            raise FencedError("another process reads Kafka now") from None
        if "ELSEWHERE" in str(error):
            raise ElsewhereError(key) from None
        raise
    at.update(after)
    for what, n in failed.items():
        refused[what] = refused.get(what, 0) + n
    return taken


def _entry(feed: Feed, record: Any, partitions: int) -> tuple[str, str, list[Any]]:
    """Where a record goes, why if it is refused, and its words there."""
    stream, value = feed.topics[record.topic()], record.value()
    try:
        if value is None:
            raise Refused(Reason.UNDECODABLE, "no value: a message is JSON or MessagePack in the value of its record")
        if stream == log.SOCIAL:
            return log.SOCIAL, "", ["data", value]
        symbol = decode(Header, value).symbol
        if not is_symbol(symbol):
            raise Refused(Reason.BAD_SYMBOL, repr(symbol[:64]))
    except Exception as error:  # a record must not stop the feed, whatever it does to us
        refused = error if isinstance(error, Refused) else Refused(Reason.FAILED, f"{type(error).__name__}: {error}")
        named = "kafka:" + name_of((record.topic(), record.partition()))
        kept = {name: part for name, part in ((b"data", value), (b"key", record.key())) if part is not None}
        letter = dead_letter(named, str(record.offset()), kept, refused.reason, refused.detail)
        return log.DEAD_LETTER, str(refused.reason), letter
    kind = ["kind", PLAIN_STREAM[stream]]
    return log.events(log.partition_of(symbol, partitions)), "", [*kind, "data", value]
