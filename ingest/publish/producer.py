"""A producer whose batches are appended once, also when the answer to an attempt is lost, or Redis comes back without its end.

1. The producer has a name that no other has, and counts its batches. Redis keeps the number of the last one in ``producer:{name}``. It
   is made where it is absent, and then changed by the script alone: a command that arrives late finds it and changes nothing.
2. One script appends a batch and raises the number, or does nothing if the number is not the one before the batch (``streams/move.lua``).
3. After an attempt without an answer the batch is sent again. If the number is that of the batch already, the attempt had arrived. An
   attempt that arrives later still finds another number and changes nothing.
4. Where a batch is given up after such an attempt, the next one has the next number if the attempt had arrived, else the same number.
5. If the number is any other, Redis came back older or empty. The number says which batches it has lost. The producer takes a new name,
   because under the old one an attempt that arrives late could still find its number, and appends the lost batches again, in their order.
6. The batches of the last `KEPT_S` are kept for that. Where Redis has lost more, the producer first appends what tells the hole.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import redis

from ingest.streams import keys
from ingest.streams.move import Notes, Offsets, OffsetsChangedError, Record, move_records

KEPT_S = 30.0
KEPT_BYTES = 64 << 20
NUMBER_KEPT_S = 86_400  # the number of a producer that writes no more leaves Redis after a day
RENEW_S = 3600.0
FIELD = "batch"
ENDED = 10**12  # is added to the number of a name that ends; no producer writes so many batches
_LOG = logging.getLogger(__name__)


class Batch(NamedTuple):
    """What one script appends."""

    records: Sequence[Record]
    notes: Notes | None = None


class _Written(NamedTuple):
    """A batch that Redis has taken, under a name and a number."""

    batch: Batch
    key: str
    number: int
    at_s: float
    size: int


class Producer:
    """Appends records to streams, batch by batch, each batch once.

    Parameters
    ----------
    client : redis.Redis
    tell_hole : callable, optional
        Returns the records that tell readers of a hole: Redis has lost more than the records that are given, which follow.
    """

    def __init__(
        self, client: redis.Redis, tell_hole: Callable[[Sequence[Record]], Sequence[Record]] = lambda _: ()
    ) -> None:
        self._client = client
        self._tell_hole = tell_hole
        self._key = ""
        self._number = 0  # of the last batch that was written under this name
        self._noted = False  # whether Redis has the number
        self._tried: Batch | None = None  # the batch of an attempt without an answer
        self._renewed = 0.0
        self._kept: deque[_Written] = deque()
        self._kept_bytes = 0
        self._is_all_kept = True  # whether nothing that was written is forgotten
        self._again: deque[Batch] = deque()  # batches that Redis has lost

    def write(self, batch: Batch) -> None:
        """Append a batch. After an error call it again with the same one, which is then appended unless it was before."""
        quiet_s = time.monotonic() - self._renewed
        if not self._noted or quiet_s >= NUMBER_KEPT_S - RENEW_S:  # then Redis may have dropped the number
            self._begin()
        elif quiet_s >= RENEW_S:
            self._client.expire(self._key, NUMBER_KEPT_S)
            self._renewed = time.monotonic()
        self._again.append(batch)
        try:
            while self._again:
                if self._append(self._again[0]):
                    self._again.popleft()
                else:
                    self._find_lost()
                    self._begin()
        finally:
            if self._again:
                self._again.pop()  # the caller gives it again, or gives it up

    def _append(self, batch: Batch) -> bool:
        """Append a batch; return False where Redis came back older."""
        if self._tried is not None and self._tried is not batch and self._arrived():
            self._keep(self._tried)  # it was given up
        self._tried = batch
        offsets = Offsets(self._key, [(FIELD, self._number, self._number + 1)])
        try:
            move_records(self._client, batch.records, seat=keys.EDGE, offsets=offsets, notes=batch.notes)
        except OffsetsChangedError:
            if not self._arrived():
                return False
        self._tried = None
        self._keep(batch)
        return True

    def _arrived(self) -> bool:
        """Return whether the attempt whose answer was lost had arrived."""
        stored: Any = self._client.hget(self._key, FIELD)
        return bool(stored == b"%d" % (self._number + 1))

    def _keep(self, batch: Batch) -> None:
        """Count a batch that is written, and keep it for a while."""
        self._number += 1
        now_s = time.monotonic()
        size = sum(map(len, chain.from_iterable(words for record in batch.records for _, words in record.copies)))
        self._kept.append(_Written(batch, self._key, self._number, now_s, size))
        self._kept_bytes += size
        while self._kept and (now_s - self._kept[0].at_s > KEPT_S or self._kept_bytes > KEPT_BYTES):
            self._kept_bytes -= self._kept.popleft().size
            self._is_all_kept = False

    def _find_lost(self) -> None:
        """Let the batches that Redis has lost be appended again, behind what tells the hole where they are not all."""
        stored = self._end_names()
        had = [one for one in self._kept if one.number <= stored[one.key]]
        lost = [one for one in self._kept if one.number > stored[one.key]]
        is_whole = self._is_all_kept or had or (lost and 0 < stored[lost[0].key] == lost[0].number - 1)
        hole = [] if is_whole else self._tell_hole([record for one in lost for record in one.batch.records])
        _LOG.warning(
            "redis came back older: %d batches of this feed are written again%s",
            len(lost), "" if is_whole else ", and what it lost before them is told as missing",
        )  # fmt: skip
        self._kept, self._kept_bytes = deque(had), sum(one.size for one in had)
        self._again.extendleft(one.batch for one in reversed(lost))
        if hole:
            self._again.appendleft(Batch(hole))
        self._tried = None

    def _end_names(self) -> dict[str, int]:
        """Return the number that Redis has under each name; an attempt that arrives later finds another one under each."""
        names = list(dict.fromkeys([*(one.key for one in self._kept), self._key]))
        pipe: Any = self._client.pipeline()
        for name in names:
            pipe.hincrby(name, FIELD, ENDED)
            pipe.expire(name, NUMBER_KEPT_S)
        return {name: number % ENDED for name, number in zip(names, pipe.execute()[::2], strict=True)}

    def _begin(self) -> None:
        """Take a new name, and make its number."""
        self._noted = False
        self._key, self._number = keys.producer(secrets.token_hex(8)), 0
        pipe: Any = self._client.pipeline()
        pipe.hsetnx(self._key, FIELD, 0)
        pipe.expire(self._key, NUMBER_KEPT_S)
        pipe.execute()
        self._noted, self._renewed = True, time.monotonic()
