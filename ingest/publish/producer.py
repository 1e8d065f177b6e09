"""A producer whose batches are appended once, also when the answer to an attempt is lost.

1. The producer has a name that no other has, and counts its batches. Redis keeps the number of the last one in ``producer:{name}``. It
   is made where it is absent, and then changed by the script alone: a command that arrives late finds it and changes nothing.
2. One script appends a batch and raises the number, or does nothing if the number is not the one before the batch (``streams/move.lua``).
3. After an attempt without an answer the batch is sent again. If the number is that of the batch already, the attempt had arrived. An
   attempt that arrives later still finds another number and changes nothing.
4. Where a batch is given up after such an attempt, the next one has the next number if the attempt had arrived, else the same number.
5. If the number is any other, Redis came back older or empty, and has lost more than this batch. The producer takes a new name and goes
   on: under the old one an attempt that arrives late could still find its number.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import redis

from ingest.streams import keys
from ingest.streams.move import Notes, Offsets, OffsetsChangedError, Record, move_records

KEPT_S = 86_400  # the number of a producer that writes no more leaves Redis after a day
RENEW_S = 3600.0
FIELD = "batch"


class Producer:
    """Appends records to streams, batch by batch, each batch once."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._key = ""
        self._written = 0
        self._noted = False  # whether Redis has the number
        self._tried: Sequence[Record] | None = None  # the batch of an attempt without an answer
        self._renewed = 0.0

    def write(self, batch: Sequence[Record], notes: Notes | None = None) -> None:
        """Append a batch with notes. After an error call it again with the same batch, which is then appended unless it was before."""
        if not self._noted:
            self._begin()
        elif time.monotonic() - self._renewed >= RENEW_S:
            self._client.expire(self._key, KEPT_S)
            self._renewed = time.monotonic()
        if self._tried is not None and self._tried is not batch:
            self._written += self._arrived()
        self._tried = batch
        try:
            self._append(batch, notes)
        except OffsetsChangedError:
            if not self._arrived():
                self._begin()
                self._append(batch, notes)
        self._written += 1
        self._tried = None

    def _arrived(self) -> bool:
        """Return whether the attempt whose answer was lost had arrived."""
        stored: Any = self._client.hget(self._key, FIELD)
        return bool(stored == b"%d" % (self._written + 1))

    def _append(self, batch: Sequence[Record], notes: Notes | None = None) -> None:
        step = (FIELD, self._written, self._written + 1)
        move_records(self._client, batch, seat=keys.EDGE, offsets=Offsets(self._key, [step]), notes=notes)

    def _begin(self) -> None:
        """Take a new name, and make its number."""
        self._noted = False
        self._key, self._written = keys.producer(secrets.token_hex(8)), 0
        pipe: Any = self._client.pipeline()
        pipe.hsetnx(self._key, FIELD, 0)
        pipe.expire(self._key, KEPT_S)
        pipe.execute()
        self._noted, self._renewed = True, time.monotonic()
