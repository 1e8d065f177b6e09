"""Moving scored posts into the logs: one script a batch, so that a post is in ``social_data`` or in the logs, never in both.

An entry that is there no longer was moved before: by a scorer whose answer was lost with its connection, or by another one that
began again while this one still scored. It is left out, so nothing enters a log twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redis

from ingest.streams import keys as log
from ingest.streams import read
from ingest.streams.dead_letters import dead_letter

_MOVE = """
local moved, at = 0, 2 + 2 * tonumber(ARGV[1])
while at <= #ARGV do
  local id, reason, n = unpack(ARGV, at, at + 2)
  at = at + 3
  local present = redis.call('XDEL', KEYS[1], id) == 1
  redis.call('XACK', KEYS[1], 'GROUP', id)
  for _ = 1, tonumber(n) do
    local target, words = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    if present then redis.call('XADD', KEYS[target], '*', unpack(ARGV, at + 2, at + 1 + words)) end
    at = at + 2 + words
  end
  if present and reason ~= '' then redis.call('HINCRBY', KEYS[2], 'refused.' .. reason, 1) end
  if present then moved = moved + 1 end
end
for i = 2, 2 * tonumber(ARGV[1]), 2 do
  if tonumber(ARGV[i + 1]) then redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1])
  else redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
return moved
""".replace("GROUP", log.GROUP)
"""KEYS: the stream of posts, the edge's counters, then streams. ARGV: number of facts about the work, each a name and a count or a
text, then for each entry: id, reason if it is refused, number of its copies, and each copy's key and words."""


class Outcome(NamedTuple):
    """What becomes of an entry: the streams that it enters with their fields; refused where there is a reason."""

    entry_id: bytes
    reason: str
    copies: list[tuple[str, list[Any]]]


def move(client: redis.Redis, outcomes: Sequence[Outcome], facts: Mapping[str, int | str]) -> int:
    """Move entries of the stream of posts, and note ``facts`` about the work at the edge; how many were still there."""
    keys: dict[str, int] = {log.SOCIAL: 1, log.counters(log.EDGE): 2}
    words: list[Any] = [len(facts), *(word for fact in facts.items() for word in fact)]
    for outcome in outcomes:
        words += (outcome.entry_id, outcome.reason, len(outcome.copies))
        for stream, fields in outcome.copies:
            words += (keys.setdefault(stream, len(keys) + 1), len(fields), *fields)
    moved: Any = client.eval(_MOVE, len(keys), *keys, *words)
    return int(moved)


def refused(entry: read.Read, reason: str, detail: str) -> Outcome:
    """An entry that is kept among the dead letters, with the reason."""
    name, entry_id, fields = entry
    return Outcome(entry_id, reason, [(log.DEAD_LETTER, dead_letter(name, entry_id, fields, reason, detail))])
