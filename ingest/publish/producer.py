"""A producer whose batches are appended once, also when the answer to an attempt is lost, or Redis comes back without its end.

1. The producer has a name that no other has, and counts its batches. The name is the source and the number the position of what a batch
   appends (``streams.move``), so each place of the deployment has a marker: the number of the last batch that is there.
2. After an attempt without an answer the batch is sent again, with the same number. What has arrived is left out then. An attempt that
   arrives later finds the marker past it and changes nothing, also where its batch was given up and the next one is there.
3. A batch says which number its places must have at least. Where a place has a smaller one, it came back older or empty. Then the batches
   that it has lost are appended there again, with their numbers and in their order. The other places have theirs.
4. The batches of the last `KEPT_S` are kept for that. Where a place has lost more, the producer first appends what tells the hole.
5. A place that nothing is appended to is looked at after `LOOK_S`, and at once where another one came back older.
6. Where the number of partitions was raised, the batches are placed anew, and keep their numbers. Each partition was given the markers of
   the one that it was divided from (``worker.raising``). So of a batch that some logs had taken, the others are given their parts.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import redis

from ingest.publish.placed import notes_anew, place_anew
from ingest.settings import Settings
from ingest.streams import deployment, keys, move
from ingest.streams.move import Behind, Notes, Place, PlacesError, Position, Record, Step

KEPT_S = 30.0
KEPT_BYTES = 64 << 20
MARKER_KEPT_S = 86_400  # the markers of a producer that writes no more leave Redis after a day
RENEW_S = 3600.0
LOOK_S = 1.0
_DEFAULTS = Settings()
_LOG = logging.getLogger(__name__)


class Batch(NamedTuple):
    """What is appended together: of each place the entries, each as fields and values in turn, and of some the notes.

    ``partitions`` is the number by which they are placed; 0 is that of the producer.
    """

    entries: Mapping[Place, Sequence[Sequence[Any]]]
    notes: Mapping[Place, Notes] = {}
    partitions: int = 0


class _Written(NamedTuple):
    """A batch that Redis has taken, under its number."""

    batch: Batch
    number: int
    at_s: float
    size: int


class Producer:
    """Appends entries to streams, batch by batch, each batch once.

    Parameters
    ----------
    client : redis.Redis
    tell_hole : callable, optional
        Returns the entries that tell readers of a place of a hole: it has lost more than the entries that are given, which follow.
    settings : Settings, optional
        Of the deployment.
    """

    def __init__(
        self,
        client: redis.Redis,
        tell_hole: Callable[[Place, Sequence[Sequence[Any]]], Sequence[Sequence[Any]]] = lambda *_: (),
        settings: Settings = _DEFAULTS,
    ) -> None:
        self._client = client
        self._settings = settings
        self._tell_hole = tell_hole
        self._begin()

    @property
    def partitions(self) -> int:
        """The number of partitions by which batches are placed."""
        return self._settings.partitions

    def _begin(self) -> None:
        """Take a new name."""
        self._name = f"feed:{secrets.token_hex(8)}"
        self._number = 0  # of the last batch that was tried
        self._tried: Batch | None = None  # the batch of an attempt without an answer
        self._at: dict[Place, int] = {}  # the number of the last batch that each place is known to have
        self._looked: dict[Place, float] = {}
        self._kept: deque[_Written] = deque()
        self._kept_bytes = 0
        self._forgotten: dict[Place, int] = {}  # the number of the last batch of each place that is not kept any more
        self._renewed = time.monotonic()

    def write(self, batch: Batch) -> None:
        """Append a batch. After an error call it again with the same one, which is then appended unless it was before."""
        now_s = time.monotonic()
        if now_s - self._renewed >= MARKER_KEPT_S - RENEW_S:  # then Redis may have dropped the markers
            self._begin()
        if self._tried is not batch:
            self._number += 1
        self._tried = batch
        written = batch
        if batch.partitions not in (0, self.partitions):
            written = _placed_anew(batch, self.partitions)
        try:
            self._write(written, now_s)
        except PlacesError:
            self._follow()
            raise
        self._renewed, self._tried = now_s, None
        self._keep(written, now_s)

    def _write(self, batch: Batch, now_s: float) -> None:
        due = [place for place, at_s in self._looked.items() if not batch.entries or now_s - at_s >= LOOK_S]
        places = list(dict.fromkeys((*batch.entries, *due)))
        if self._append(batch, places, now_s):  # then every place may have come back older
            self._append(batch, [place for place in self._looked if place not in places], now_s)

    def _follow(self) -> None:
        """Place everything by the number of partitions of today, if another one counts by now."""
        settings = deployment.adopted(self._client, self._settings)
        if settings.number == self._settings.number:
            return
        self._settings, before = settings, self._settings.partitions
        self._kept = deque(one._replace(batch=_placed_anew(one.batch, self.partitions)) for one in self._kept)
        self._at = _divided(self._at, before, self.partitions)
        self._forgotten = _divided(self._forgotten, before, self.partitions)
        kept = dict.fromkeys(place for one in self._kept for place in one.batch.entries)
        self._looked = {place: 0.0 for place in (*self._looked, *kept) if place in kept or not isinstance(place, int)}

    def _append(self, batch: Batch, places: Sequence[Place], now_s: float) -> bool:
        """Append what a batch has for some places; return whether one of them came back older, and has again what it lost."""
        batches = [self._of(place, batch, self._number, (self._at.get(place, 0), 0)) for place in places]
        is_older = False
        for place, found in zip(places, self._send(batches), strict=True):
            if isinstance(found, Behind):
                is_older = True
                self._append_again(place, batch, found.position)
            self._at[place], self._looked[place] = self._number, now_s
        return is_older

    def _send(self, batches: Sequence[move.Batch]) -> list[int | Behind]:
        return move.append(self._client, batches, is_new=True, number=self._settings.number)

    def _of(self, place: Place, batch: Batch, number: int, before: Position) -> move.Batch:
        records = [Record(self._name, (number, 0), words) for words in batch.entries.get(place, ())]
        step = Step(self._name, (number, 0), before, MARKER_KEPT_S * 1000)
        return move.Batch(place, records, [step], batch.notes.get(place))

    def _keep(self, batch: Batch, now_s: float) -> None:
        """Keep a batch that is written for a while."""
        size = sum(map(len, chain.from_iterable(chain.from_iterable(batch.entries.values()))))
        if batch.entries:
            self._kept.append(_Written(batch, self._number, now_s, size))
            self._kept_bytes += size
        while self._kept and (now_s - self._kept[0].at_s > KEPT_S or self._kept_bytes > KEPT_BYTES):
            old = self._kept.popleft()
            self._kept_bytes -= old.size
            self._forgotten |= dict.fromkeys(old.batch.entries, old.number)

    def _append_again(self, place: Place, batch: Batch, found: Position) -> None:
        """Append again what a place has lost, then the batch; tell the hole first where more is lost than is kept."""
        lost = [one for one in self._kept if place in one.batch.entries and (one.number, 0) > found]
        forgotten = self._forgotten.get(place, 0)
        again: list[move.Batch] = []
        if found < (forgotten, 0):
            entries = [words for one in lost for words in one.batch.entries[place]]
            hole = [Record(self._name, (forgotten, 1), words) for words in self._tell_hole(place, entries)]
            again.append(move.Batch(place, hole, [Step(self._name, (forgotten, 1), found)]))
            found = forgotten, 1
        if lost or again:
            _LOG.warning(
                "redis came back older: %d batches of this feed are written again to %s%s", len(lost), keys.stream(place),
                ", and what it lost before them is told as missing" if again else "",
            )  # fmt: skip
        for one in lost:
            again.append(self._of(place, one.batch, one.number, found))
            found = one.number, 0
        again.append(self._of(place, batch, self._number, found))
        if any(isinstance(reply, Behind) for reply in self._send(again)):
            raise redis.ConnectionError("redis came back older once more")


def _placed_anew(batch: Batch, partitions: int) -> Batch:
    return Batch(place_anew(batch.entries, partitions), notes_anew(batch.notes, partitions), partitions)


def _divided(numbers: Mapping[Place, int], before: int, now: int) -> dict[Place, int]:
    """Return the number of each partition from those of the partitions that have had its symbols, the largest one."""
    found: dict[Place, int] = {place: n for place, n in numbers.items() if not isinstance(place, int)}
    for place, n in numbers.items():
        if isinstance(place, int):
            parts = range(place, now, before) if now > before else (place % now,)
            found |= {p: max(n, found.get(p, 0)) for p in parts}
    return found
