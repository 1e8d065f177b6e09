"""The role ``tape``: it follows the logs, the dead letters and the posts as written, and appends what it reads to the tape.

Nothing waits for it but the trimming of the logs. While the storage is away, the logs grow; afterwards the role catches up. What it
read stays in memory until it is appended, so a role that dies reads it again. Two at once do no harm (`Tape`); the second stands by.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis

from ingest.settings import Settings
from ingest.streams import keys, outage, read, replicas
from ingest.streams.membership import BEAT_S, STAND_BY_S, Member
from ingest.streams.raised import BEGAN
from ingest.tape import compact
from ingest.tape.columns import EVENTS, NO_PARTITION, Entry, table_of
from ingest.tape.idle import IdleStates
from ingest.tape.table import Batch, StorageError, Tape, TapeError, of_tape, open_tape, open_to_append

_LOG = logging.getLogger(__name__)
ROLE = "tape"
APPEND_S = 10.0  # an entry waits so long at most
APPEND_ENTRIES, APPEND_BYTES = 50_000, 32 << 20  # append earlier when so much is read
MOST = 4000  # entries of one stream to read at once
LOOK_S = 0.2  # between two reads when little comes
UPKEEP_S = 600.0  # between two looks for closed days
SETTLED_S = 60  # a day is closed so long after its end: what was read of it is appended then


def run(client: redis.Redis, settings: Settings, stop: threading.Event) -> None:
    """Follow until ``stop`` is set, or stand by while another process does; wait while Redis or the storage is away.

    Without ``TFS_TAPE`` there is nothing to do, and only signs of life are given. Raise `TapeError` if the tape is of another deployment.
    """
    member = Member(client, ROLE, [ROLE])
    if not settings.tape:
        _LOG.warning("TFS_TAPE is empty: no tape is written")

    def work(well: Callable[[], None]) -> None:
        for _ in member.hold_until(stop):
            if not settings.tape:
                stop.wait(STAND_BY_S)
                continue
            named: Any = client.get(keys.DEPLOYMENT)
            name = settings.deployment or (named or b"").decode(errors="replace")
            tape = patiently(lambda name=name: open_to_append(settings, name), member.hold_seat)  # type: ignore[misc]
            of = of_tape(tape, settings).partitions
            follower = Follower(client, tape, settings.partitions, member.hold_seat, of)
            upkeep = Upkeep(client, settings)
            idle = IdleStates(client, settings) if settings.idle_to_tape else None
            while not stop.is_set() and member.hold_seat() is not None:
                if not follower.step():
                    upkeep.look()
                    if idle is not None:
                        idle.look()
                    stop.wait(LOOK_S)
                well()
            if stop.is_set():
                follower.append()

    outage.ride_out("the tape", work, stop, _passes)


def _passes(error: Exception) -> bool:
    return isinstance(error, StorageError) or outage.is_passing(error)


def go_on_behind(client: redis.Redis, stream: str, position: bytes) -> None:
    """Let a stream whose last id is before the last on the tape give higher ones: Redis was emptied or is of a moment ago.

    Else entries would get ids that count as read, where the clock of this Redis is behind that of the one before.
    """
    about: Any = client.xinfo_stream(stream)
    if read.is_newer(position, about["last-generated-id"]):
        _LOG.error("%s ends before entry %s, the last on the tape: it goes on behind that one", stream, position)
        with contextlib.suppress(redis.ResponseError):  # a newer entry has come meanwhile
            client.execute_command("XSETID", stream, position)  # type: ignore[no-untyped-call]


def patiently(call: Callable[[], Any], beat: Callable[[], object]) -> Any:
    """Return what ``call`` returns, or raise what it raises; give signs of life meanwhile, as a storage may take long to answer."""
    found: list[Any] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:  # also a panic of the library, which is no Exception
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(BEAT_S)
        beat()
    if failed:
        raise failed[0]
    return found[0]


class Upkeep:
    """Rewrites closed days in a thread beside the following, with a table of its own: an append and a rewriting of other days both count.

    It looks when the logs are read to their end, so a day that is over by the clock of Redis gets no more rows from them.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._looked: float | None = None
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin to rewrite what is due, if the last look is ``UPKEEP_S`` ago and ended."""
        is_early = self._looked is not None and time.monotonic() - self._looked < UPKEEP_S
        if is_early or (self._thread is not None and self._thread.is_alive()):
            return
        self._looked = time.monotonic()
        seconds: Any
        seconds, _ = self._client.time()  # type: ignore[misc]
        now = datetime.fromtimestamp(seconds - SETTLED_S, UTC)
        self._thread = threading.Thread(target=self._work, args=(now,), daemon=True)
        self._thread.start()

    def _work(self, now: datetime) -> None:
        try:
            tape = open_tape(self._settings)
            days = compact.open_days(tape, now)
            for p, day in days:
                try:
                    compact.compact(tape, p, day)
                except TapeError as error:  # the other days are rewritten all the same
                    _LOG.error("%s", error)
            if days:
                compact.delete_replaced(tape)
        except Exception as error:  # the next look tries again; following must not stop
            _LOG.error("closed days of the tape are not rewritten now: %s: %.300s", type(error).__name__, error)


class Follower:
    """Reads behind the positions of the tape and appends. After an error it must be made anew, from what the tape holds then.

    Parameters
    ----------
    client : redis.Redis
    tape : Tape
    partitions : int
    beat : callable
        Gives signs of life; called while an append takes long.
    of : int, optional
        The number of partitions of the tape, where the number was raised since (`of_tape`).
    """

    def __init__(
        self,
        client: redis.Redis,
        tape: Tape,
        partitions: int,
        beat: Callable[[], object] = lambda: None,
        of: int = 0,
    ) -> None:
        self._client = client
        self._of = of or partitions
        self._tape = tape
        self._beat = beat
        self._logs = [keys.events(p) for p in range(partitions)]
        streams = [*self._logs, *keys.letter_streams(partitions), keys.WRITTEN]
        self.positions = {stream: tape.position(stream) or read.START for stream in streams}
        for stream, position in self.positions.items():
            self._go_on_behind(stream, position)
        self._holes = {stream for stream in streams if self._has_hole(stream)}
        self._waiting = self._divided()
        self._read: defaultdict[str, list[Entry]] = defaultdict(list)
        self._entries = self._bytes = 0
        self._since = 0.0
        self._count = read.FIRST
        self._tell(dict(self.positions))

    def _go_on_behind(self, stream: str, position: bytes) -> None:
        """Let a stream give higher ids than the last on the tape (``go_on_behind``), if it is there; a log is made."""
        if position == read.START:
            return
        if stream in self._logs:
            read.join_group(self._client, [stream])  # makes it, if it is not there
        elif not self._client.exists(stream):
            return
        go_on_behind(self._client, stream, position)

    def _has_hole(self, stream: str) -> bool:
        """Return whether the stream has lost entries that the tape lacks: the last one that the tape has is kept in it, or it is empty."""
        position = self.positions[stream]
        first = self._client.xread({stream: position}, count=1) if position != read.START else None
        if not first or self._client.xrange(stream, position, position):
            return False
        _LOG.error(
            "%s does not reach back to entry %s, the last on the tape: what came between is lost", stream, position
        )
        return True

    def _divided(self) -> dict[str, tuple[str, bytes]]:
        """Return the logs that are not read yet, each with the log that it was divided from, and the last entry of that.

        So where the tape has an entry of a log, it has all that its symbols were given before.
        """
        new = [stream for stream in self._logs if self.positions[stream] == read.START]
        pipe: Any = self._client.pipeline(transaction=False)
        for stream in new:
            pipe.hget(keys.checkpoint(self._logs.index(stream)), BEGAN)
        found = [(stream, said.split()) for stream, said in zip(new, pipe.execute(), strict=True) if said]
        return {stream: (keys.events(int(p)), last) for stream, (p, last) in found}

    def step(self) -> bool:
        """Read once, and append if it is time; return whether more waits."""
        for stream, (before, last) in list(self._waiting.items()):
            if not read.is_newer(last, self.positions[before]):
                del self._waiting[stream]
        positions = {stream: at for stream, at in self.positions.items() if stream not in self._waiting}
        batch = read.entries_after(self._client, positions, self._count, None)
        if batch and not self._entries:
            self._since = time.monotonic()
        for stream, entry_id, fields in batch:
            self._read[stream].append((entry_id, fields))
            self.positions[stream] = entry_id
            self._bytes += sum(map(len, fields.values()))
        self._entries += len(batch)
        is_full = len(batch) >= self._count
        self._count = read.next_count(self._count, len(read.split_by_size(batch)), MOST)
        is_large = self._entries >= APPEND_ENTRIES or self._bytes >= APPEND_BYTES
        if is_large or (self._entries and time.monotonic() - self._since >= APPEND_S):
            self.append()
        return is_full

    def append(self) -> None:
        """Append what was read, in one commit; then let the logs be trimmed up to there."""
        if not self._entries:
            return
        found = dict(self._read)
        replicas.confirm(
            self._client, map(keys.place_of, found)
        )  # the tape must have nothing that a failover takes away
        patiently(
            lambda: self._tape.append([self._batch(stream, entries) for stream, entries in found.items()]), self._beat
        )
        self._read.clear()
        self._entries = self._bytes = 0
        self._holes -= found.keys()
        self._tell({stream: self.positions[stream] for stream in found})

    def _batch(self, stream: str, entries: list[Entry]) -> Batch:
        source, p = (EVENTS, self._logs.index(stream) % self._of) if stream in self._logs else (stream, NO_PARTITION)
        return Batch(stream, table_of(entries, source, p), entries[-1][0], stream in self._holes)

    def _tell(self, positions: dict[str, bytes]) -> None:
        """Write how far each log is on the tape, and delete the posts that are. After a crash before that the next follower does it."""
        pipe: Any = self._client.pipeline(transaction=False)
        for stream, position in positions.items():
            if stream in self._logs:
                pipe.set(keys.taped(self._logs.index(stream)), position)
            elif stream == keys.WRITTEN:
                # keeps the last one, which shows that none is lost
                pipe.xtrim(stream, minid=position, approximate=False)
        pipe.execute()
