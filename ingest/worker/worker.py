"""The feature worker: holds partitions, turns their logs into rows, and writes them.

    read a batch of all its logs -> partitions (order, kernels, rows) -> newest rows online -> one commit a partition

Rows go online before the commit: a crash between the two writes them again, and the online store takes no row twice.
Whatever is not committed is forgotten when a partition or the server is lost, and made again from the log by whoever owns it next.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis

from feature_repo.stores.online.write import OnlineWriter
from ingest.messages import flat_book
from ingest.publish.publisher import Publisher
from ingest.settings import Settings
from ingest.streams import keys, memory, outage, read
from ingest.streams.keys import PROJECT, check_partitions
from ingest.streams.membership import FencedError, Member
from ingest.worker import commit, latency
from ingest.worker.partition import Partition, Pending
from ingest.worker.symbol import Symbol, tick_at
from transforms import engine
from transforms.catalog import VIEWS

_LOG = logging.getLogger(__name__)
ROLE = "worker"
BATCH = 4000
"""Entries of one turn, over all logs."""
BLOCK_MS = 10
COMMIT_S, COMMIT_ENTRIES = 1.0, 10_000
"""Entries that made no row wait so long, or for so many, for their commit."""
SAVE_S, SAVE_ENTRIES = 5.0, 20_000
"""A partition's state is saved when it is so old or so many entries behind: what a takeover has to take again."""
LULL_S = 0.05, 0.3
"""So long after rows were written no others are expected: the time to save a state, which takes as long as several batches of rows."""
TICK_US = 50_000
"""Between two looks for quiet symbols."""


class Worker:
    """A process's worth of partitions.

    Parameters
    ----------
    client:
        The Redis that holds streams, checkpoints and the online store.
    settings:
        Of this deployment.
    clock:
        Microseconds since the epoch; injected, so that tests decide what time it is.
    steady:
        Microseconds of a clock that nobody sets: it tells how long a symbol has been quiet, so a clock that is set makes none so.
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        steady: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._steady = steady
        self._member = Member(client, ROLE, range(settings.partitions))
        self._partitions: dict[str, Partition] = {}
        self._online = [OnlineWriter(client, PROJECT, view) for view in VIEWS]
        self._heard: dict[str, int] = {}
        self._saved: dict[str, float] = {}
        self._flushed = self._committed = 0.0
        self._count = read.FIRST
        self._stop = threading.Event()
        self._ticked_us = 0
        self._memory = memory.Alarm(client)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, whatever happens to the server; then finish what is in hand and give the leases back.

        Raises
        ------
        PartitionsError
            The deployment has another number of partitions.
        """

        self._stop = stop

        def work(well: Callable[[], None]) -> None:
            self.open()
            while not stop.is_set():
                self.step()
                well()
            self.close()

        outage.ride_out("the feature worker", work, stop)

    def open(self) -> None:
        """Begin with nothing in memory: take this process's share of the partitions."""
        check_partitions(self._client, self._settings.partitions)
        engine.warm_up()
        flat_book.warm_up()
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked through again and again
        self._partitions.clear()
        self._heard.clear()
        self._count = read.FIRST
        self._settle()

    def close(self) -> None:
        """Write and save everything, and give the leases back."""
        self._flush(self._partitions.values(), save=True)
        self._partitions.clear()
        self._member.leave()

    def holds(self) -> list[int]:
        """The partitions that are open here."""
        return [partition.number for partition in self._partitions.values()]

    def step(self) -> int:
        """One turn of the loop; the number of entries taken."""
        if self._member.due():
            self._settle()
            self._memory.look()
        if not self._partitions:
            time.sleep(BLOCK_MS / 1000)
            return 0
        most = max(BATCH // len(self._partitions), 20)
        count = min(self._count, most)
        positions = {stream: partition.position for stream, partition in self._partitions.items()}
        batch = read.entries_after(self._client, positions, count, BLOCK_MS)
        parts = read.split_by_size(batch)
        for part in parts:
            self._take(part)
            if len(parts) > 1:  # what is refused of them is written whole
                self.flush()
        self._count = read.next_count(count, len(parts), most)
        self._tick()
        self._write(busy=len(batch) >= count)
        return len(batch)

    def _take(self, batch: Sequence[read.Entry]) -> None:
        now_us, heard_us = self._clock(), self._steady()
        for stream, entry_id, fields in batch:
            if (partition := self._partitions.get(stream)) is None:
                continue  # lost since it was read
            symbol = partition.process(entry_id, fields, now_us)
            if symbol is not None and fields.get(b"kind") not in (b"post", b"microprice"):
                self._heard[symbol.name] = heard_us

    def _write(self, *, busy: bool) -> None:
        """Write what is due: rows at once, or every ``flush_interval`` while more waits to be read than one turn takes."""
        now = time.monotonic()
        with_rows = [p for p in self._partitions.values() if p.pending.n_rows]
        most = max((p.pending.entries for p in self._partitions.values()), default=0)
        if most >= COMMIT_ENTRIES or now - self._committed >= COMMIT_S:
            self.flush()
        elif with_rows and (not busy or now - self._flushed >= self._settings.flush_interval_ms / 1000):
            self._flush(with_rows)
            if not busy:
                return
        lull = busy or LULL_S[0] <= now - self._flushed <= LULL_S[1]
        for stream, partition in self._partitions.items():
            if self._must_save(stream, partition, now, lull=lull):
                self._flush([partition], save=True)  # one a turn, so that none waits for all
                return

    def _must_save(self, stream: str, partition: Partition, now: float, *, lull: bool) -> bool:
        patience = 1 if lull else 2
        entries, age = partition.unsaved + partition.pending.entries, now - self._saved[stream]
        return entries >= SAVE_ENTRIES * patience or (entries > 0 and age >= SAVE_S * patience)

    def flush(self) -> None:
        """Write everything that is pending."""
        self._flush([p for p in self._partitions.values() if p.pending.entries])
        self._committed = time.monotonic()

    def _flush(self, partitions: Iterable[Partition], *, save: bool = False) -> None:
        """The newest rows online, then a commit a partition; a partition that was taken over is dropped, the others go on."""
        chosen = [(partition, partition.take_pending()) for partition in partitions]
        self._write_online(chosen)
        pipe: Any = self._client.pipeline(transaction=False)
        for partition, pending in chosen:
            state = partition.save() if save else {}
            token = self._member.held[partition.number]
            commit.add_commit(pipe, partition, token, pending, state, self._settings)
        for (partition, _), reply in zip(chosen, pipe.execute(raise_on_error=False), strict=True):
            try:
                commit.check(reply, partition.number)
            except FencedError:
                self._member.lose(partition.number)
                self._drop(partition.number)
            else:
                if save:
                    self._saved[keys.events(partition.number)] = time.monotonic()

    def _write_online(self, chosen: list[tuple[Partition, Pending]]) -> None:
        pipe: Any = self._client.pipeline(transaction=False)
        written = []
        for partition, pending in chosen:
            for writer, batch in zip(self._online, pending.batches.values(), strict=True):
                if len(batch):
                    newest, silent_us = batch.newest()
                    writer.add_to(pipe, newest.symbols, newest.event_us, newest.values, silent_us)
                    written.append((partition, pending, newest))
        if not written:
            return
        pipe.execute()
        self._flushed = time.monotonic()
        due_us = self._clock() - self._settings.allowed_lateness_ms * 1000
        for partition, pending, newest in written:
            live = [not partition.symbols[symbol].recorded for symbol in newest.symbols]
            latency.count(pending.counts, (due_us - newest.event_us[live]).tolist())

    def _tick(self) -> None:
        """Append a tick for each live symbol that has been quiet: time passes in the log itself, so a replay sees it pass.

        Not while a lease may have ended: then somebody else may have heard what is not known here.
        """
        steady_us, idle_us = self._steady(), self._settings.idle_after_ms * 1000
        known_us = (
            self._clock() - idle_us
        )  # before the lease is looked at: whoever sleeps in between says what was so then
        if steady_us - self._ticked_us < TICK_US or not self._member.stands():
            return
        self._ticked_us = steady_us
        with Publisher(self._client, self._settings.partitions) as publisher:
            for partition in self._partitions.values():
                for symbol in partition.symbols.values():
                    quiet_us = steady_us - self._heard.setdefault(symbol.name, steady_us)
                    if quiet_us >= idle_us and _has_more(symbol):
                        publisher.publish("tick", tick_at(symbol.name, known_us))
                        self._heard[symbol.name] = steady_us - idle_us + self._settings.emit_us

    def _settle(self) -> None:
        """Renew the leases, drop what was lost, give back what others are due, take and open what is due here."""
        self._beat()
        for seat in self._member.excess():
            if (partition := self._partitions.get(keys.events(int(seat)))) is not None:
                self._flush([partition], save=True)
            if seat in self._member.held:
                self._drop(int(seat))
                self._member.release(seat)
        self._member.take()
        for seat in list(self._member.held):
            if self._stop.is_set():
                return  # none is opened only to be closed
            if keys.events(int(seat)) not in self._partitions:
                self._open(int(seat))

    def _stay(self) -> None:
        """Keep the leases, in the middle of what takes long."""
        if self._member.due():
            self._beat()

    def _beat(self) -> None:
        for seat in self._member.beat():
            self._drop(int(seat))

    def _drop(self, p: int) -> None:
        """Forget a partition, with all that was not committed."""
        partition = self._partitions.pop(keys.events(p), None)
        for name in partition.symbols if partition is not None else ():
            self._heard.pop(name, None)

    def _open(self, p: int) -> None:
        """Bring a partition to where its last owner was, as long as its lease holds."""
        stream = keys.events(p)
        read.join_group(self._client, [stream])
        saved: Any = self._client.hgetall(keys.checkpoint(p))
        partition = Partition(p, self._settings)
        anew = partition.restore(saved, self._stay)
        if b"entries" not in saved:
            self._begin_counting(p, partition.last_id)
        if anew:
            names = ", ".join(sorted(anew)[:10])
            _LOG.warning(
                "partition %d: %d symbols of other kernels or another grid start anew: %s", p, len(anew), names
            )
            state_id, partition = partition.state_id, Partition(p, self._settings)
            self._replay(partition, state_id)  # what the log still holds of the past, by the kernels of today
            partition.restore(saved, self._stay)  # and the symbols whose state is good
        self._replay(partition, partition.last_id)
        if p in self._member.held:
            self._partitions[stream] = partition
            self._saved[stream] = time.monotonic()
            _LOG.info("partition %d is worked here, with %d symbols so far", p, len(partition.symbols))

    def _replay(self, partition: Partition, last_id: bytes) -> None:
        """Take entries again that were taken before, up to ``last_id``."""
        stream = keys.events(partition.number)
        count = read.FIRST
        while batch := read.entries_between(self._client, stream, partition.position, last_id, count):
            partition.replay(batch)
            count = read.next_count(count, len(read.split_by_size(batch)), BATCH)
            self._stay()

    def _begin_counting(self, p: int, last_id: bytes) -> None:
        """Of a log without a checkpoint, or with one of an earlier version: what was taken, and the group that tells what was not."""
        stream = keys.events(p)
        about: Any = self._client.xinfo_stream(stream)
        taken = (
            about["entries-added"]
            - about["length"]
            + len(read.entries_between(self._client, stream, read.START, last_id, about["length"] or 1))
        )
        if taken:
            self._client.hset(keys.checkpoint(p), "entries", taken)


def _has_more(symbol: Symbol) -> bool:
    """Whether time passing would change anything: rows to come, or messages held."""
    timeline = symbol.timeline
    return not symbol.recorded and (timeline.waits() or 0 < timeline.boundary <= symbol.engine.last_row_us())
