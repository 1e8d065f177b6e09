"""The feature worker: owns partitions, turns their logs into rows, and writes the rows.

    read a batch of all logs -> partitions (order, kernels, rows) -> newest rows online -> one commit for each partition

Rows go online before the commit, by scripts that look at the lease as the commit does. After a crash between the two, the next owner writes
them again, and the online store keeps each row once. A worker that loses a partition or the server forgets what it has not committed; the
next owner makes it again from the log.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis

from feature_repo.stores.online.client import is_cluster
from ingest.settings import Settings
from ingest.streams import deployment, handing, keys, memory, outage, raised, read, replicas
from ingest.streams.membership import LEASE_MS, FencedError, Member, Seat
from ingest.worker import commit, kernels, raising, rebuilt, versions
from ingest.worker.hand_over import HandOver
from ingest.worker.idle import release_memory, release_memory_of
from ingest.worker.idle_load import AwayError, IdleLoad, Waits, reader
from ingest.worker.losses import Losses
from ingest.worker.online import Online
from ingest.worker.opening import open_partition
from ingest.worker.partition import Partition, Pending
from ingest.worker.quiet import Quiet
from ingest.worker.raising import Raising

_LOG = logging.getLogger(__name__)
ROLE = "worker"
BATCH = 4000  # entries of one turn, over all logs
BLOCK_MS = 10
COMMIT_S, COMMIT_ENTRIES = 1.0, 10_000  # commit at least this often, even when no row was made
SETTLE_S = 1.0  # look at what is due to others, and what the number of partitions is raised to, at least this often
SAVE_S, SAVE_ENTRIES = 5.0, 20_000  # save a state this old or this many entries behind: a takeover replays those
LULL_FROM_S, LULL_UNTIL_S = 0.05, 0.3
"""No rows are expected this long after rows were written. A state is saved then, as that takes as long as several batches of rows."""
COMMIT_ROWS = 2000  # rows to commit at once: those of thousands of symbols keep a busy server longer than a lease lasts


class Worker:
    """One process's partitions.

    ``clock`` gives microseconds since the epoch; without one, rows are stamped by the clock of this machine, and time passes for quiet
    symbols by the clock of Redis, which stamps the arrivals too: no worker's clock can refuse a message. ``steady`` gives microseconds of
    a clock that is never set, and tells how long a symbol has been quiet. Tests inject their own. ``hand_over`` and
    ``started_ms`` say what it does where workers with other kernels run (`HandOver`).
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        clock: Callable[[], int] | None = None,
        steady: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
        hand_over: str = "wait",
        started_ms: int = 0,
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock or (lambda: time.time_ns() // 1000)
        self._quiet = Quiet(client, settings, clock, steady)
        self._member = Member(client, ROLE, range(settings.partitions), versions.code().decode())
        self._hand_over = HandOver(client, settings, self._member, hand_over, started_ms)
        self._partitions: dict[str, Partition] = {}
        self._losses = Losses(client)
        self._online = Online(client, settings, self._clock)
        self._saved: dict[str, float] = {}
        self._idle = IdleLoad(client, reader(settings.tape))
        self._waits = Waits()
        self._flushed = self._committed = self._looked = self._settled = 0.0
        self._count = read.FIRST
        self._stop = threading.Event()
        self._opened = self._has_dropped = False
        self._memory = memory.Alarm(client)
        self._raising = Raising(client, settings, lambda one: self._flush([one], save=True), self._keep_leases)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set and wait while the server is away; then write what is pending and give the leases back."""
        self._stop = stop

        def work(well: Callable[[], None]) -> None:
            self.open()
            while not stop.is_set():
                self.step()
                well()
            self.close()

        outage.ride_out("the feature worker", work, stop, _is_passing)

    def open(self) -> None:
        """Start with nothing in memory, and open this process's share of the partitions."""
        deployment.fix_in_redis(self._client, self._settings.partitions, self._settings.deployment)
        versions.announce(self._client)
        kernels.warm_up()
        for p in self.holds():
            self._lose(p)
        self._hand_over.reset()
        self._collect()
        if not self._opened:
            gc.freeze()  # the collector need not look again at what lives as long as the process
        self._count = read.FIRST
        self._quiet.reset()
        if self._opened:
            self._quiet.wait()
        elif self._settings.configured:  # producers write what waited while the number of partitions was raised
            self._quiet.wait(raised.ago_s(self._client))
        self._opened = True
        self._settle()

    def close(self) -> None:
        """Write and save everything, and give the leases back."""
        for partition in list(self._partitions.values()):  # each state in a command of its own, as it may be large
            self._flush([partition], save=True)
        self._partitions.clear()
        self._hand_over.reset()
        self._member.leave()

    def holds(self) -> list[int]:
        """Return the partitions that are open here."""
        return [partition.number for partition in self._partitions.values()]

    def step(self) -> int:
        """Do one turn of the loop; return the number of entries read."""
        # On a cluster the leases are renewed before rows go online, so where rows come all the time no beat would ever be due.
        if self._member.is_beat_due() or time.monotonic() - self._settled >= SETTLE_S:
            self._settle()
            self._memory.look()
        if not self._partitions:
            time.sleep(BLOCK_MS / 1000)
            return 0
        most = max(BATCH // len(self._partitions), 20)
        count = min(self._count, most)
        ready = self._waits.without(self._partitions)
        if not ready:
            time.sleep(BLOCK_MS / 1000)
            return 0
        positions = {stream: partition.position for stream, partition in ready.items()}
        batch = read.entries_after(self._client, positions, count, BLOCK_MS)
        parts = read.split_by_size(batch)
        for part in parts:
            self._process(part)
            if len(parts) > 1:  # large entries: the refused ones among them are written whole
                self.flush()
        self._count = read.next_count(count, len(parts), most)
        busy = len(batch) >= count
        # A tick would stand behind all that waits, and a feed may wait for this worker with older messages.
        if not busy:
            self._quiet.pass_time(ready.values(), self._member)
        self._write(busy=busy)
        return len(batch)

    def _process(self, batch: Sequence[read.Entry]) -> None:
        now_us = self._clock()
        self._quiet.look()
        for stream, entry_id, fields in batch:
            self._keep_leases()  # entries that open symbols or give many rows take longer than a lease
            if (partition := self._partitions.get(stream)) is None or stream in self._waits.now:
                continue  # its lease was lost after the read, or it waits for a state
            try:
                heard = partition.process(entry_id, fields, now_us)
            except AwayError as why:
                self._waits.begin(stream, why)
                continue
            if heard is not None:
                self._quiet.hear(heard)

    def _write(self, *, busy: bool) -> None:
        """Write what is due: rows at once, or every ``flush_interval`` while more entries wait than one turn reads."""
        now = time.monotonic()
        with_rows = [p for p in self._partitions.values() if p.pending.n_rows]
        most = max((p.pending.entries for p in self._partitions.values()), default=0)
        if most >= COMMIT_ENTRIES or now - self._committed >= COMMIT_S:
            self.flush()
        elif with_rows and (not busy or now - self._flushed >= self._settings.flush_interval_ms / 1000):
            self._flush(with_rows)
            if not busy:
                return
        patience = 1 if busy or LULL_FROM_S <= now - self._flushed <= LULL_UNTIL_S else 2
        for stream, partition in self._partitions.items():
            entries, age = partition.unsaved + partition.pending.entries, now - self._saved[stream]
            if entries >= SAVE_ENTRIES * patience or (entries > 0 and age >= SAVE_S * patience):
                self._flush([partition], save=True)  # one a turn, so that no partition waits for all the others
                return

    def flush(self) -> None:
        """Write everything that is pending."""
        self._flush([p for p in self._partitions.values() if p.pending.entries])
        self._committed = time.monotonic()

    def _flush(self, partitions: Iterable[Partition], *, save: bool = False) -> None:
        """Write the newest rows online, and rows for those that follow; then commit each partition, or drop it if another worker has it."""
        chosen = [(partition, partition.take_pending(self._clock())) for partition in partitions]
        self._write_online(chosen)
        ready = []
        for partition, pending in chosen:
            self._keep_leases()
            state = partition.save(self._keep_leases) if save or partition.must_save() else {}
            ready.append((partition, pending, state))
        lease_ms = max((commit.lease_for(state) for *_, state in ready), default=LEASE_MS)
        is_long = lease_ms >= 2 * LEASE_MS
        if is_long:
            self._extend_leases(lease_ms)
        sent, replies, n_rows = list[tuple[Partition, bool]](), list[Any](), 0
        with commit.patient(self._client, lease_ms) if is_long else contextlib.nullcontext(self._client) as client:
            pipe: Any = client.pipeline(transaction=False)
            for partition, pending, state in ready:
                if (token := self._member.held.get(partition.number)) is None:
                    continue  # its lease was lost on the way
                commit.add_commit(pipe, partition, token, pending, state, self._settings, lease_ms)
                sent.append((partition, bool(state)))
                n_rows += pending.n_rows
                if n_rows >= COMMIT_ROWS and not is_long:
                    replies += replicas.execute(client, pipe, raise_on_error=False)
                    self._keep_leases()
                    n_rows = 0
            replies += replicas.execute(client, pipe, raise_on_error=False)
        for (partition, saved), reply in zip(sent, replies, strict=True):
            try:
                commit.check(reply, partition.number)
            except FencedError:
                self._lose(partition.number)
                self._member.lose(partition.number)
            else:
                self._losses.confirm(partition)
                if saved:
                    self._saved[keys.events(partition.number)] = time.monotonic()
                    partition.left = release_memory_of(partition.left, partition.idle, self._keep_leases)

    def _write_online(self, chosen: list[tuple[Partition, Pending]]) -> None:
        is_due = is_cluster(self._client) or replicas.number(self._client)
        if is_due and any(pending.n_rows for _, pending in chosen):
            # On a cluster rows are in other slots than the lease, so no script compares it: look at it just before. And rows must be of
            # entries that a failover cannot take away, where replicas are waited for.
            self._beat(confirm=True)
        if self._online.write(chosen, self._member.held, self._keep_leases):
            self._flushed = time.monotonic()

    def _settle(self) -> None:
        """Renew the leases, drop what was lost, give back what is due to others, take and open what is due here."""
        self._settled = time.monotonic()
        self._beat()
        self._losses.count()
        for seat, heir in list(self._member.heirs.items()):
            self._give(seat, heir)
        for seat in self._member.excess():
            if (partition := self._partitions.get(keys.events(int(seat)))) is not None:
                self._flush([partition], save=True)
            if seat in self._member.held:
                self._drop(int(seat))
                self._member.release(seat)
        self._hand_over.look(self._keep_leases)
        self._member.acquire_free()
        self._raising.look(self._member.goal, self._member.held, self._partitions)
        for p in self._raising.divided:
            self._drop(p)
        for seat in list(self._member.held):
            if self._stop.is_set():
                return  # do not open a partition only to close it
            stream = keys.events(int(seat))
            if stream in self._partitions or stream in self._waits or seat in self._raising.divided:
                continue
            raising.begin(self._client, self._settings, int(seat), self._member.held.get(seat, ""))
            if self._has_dropped:
                self._collect()
            about = (self._settings, int(seat), self._keep_leases, self._idle.load, self._hand_over.past(int(seat)))
            try:
                partition = open_partition(self._client, *about)
            except AwayError as why:
                self._waits.begin(stream, why)
                continue
            is_taken_over = self._hand_over.finish(int(seat))
            if seat in self._member.held:  # else the lease was lost on the way
                self._partitions[stream] = partition
                if is_cluster(self._client):  # nobody tells for how long the server of this partition has been well
                    self._quiet.wait()
                self._saved[stream] = time.monotonic()
                if is_taken_over or partition.has_foreign:
                    self._flush([partition], save=True)
                _LOG.info("partition %s is worked here, with %d symbols so far", seat, len(partition.symbols))
                self._looked = 0.0
        if time.monotonic() - self._looked >= rebuilt.LOOK_S:
            self._looked = time.monotonic()
            self._take_rebuilt()

    def _give(self, seat: Seat, heir: str) -> None:
        """Hand a partition over to a worker that asks for it: commit and save everything, then give it the lease."""
        if (partition := self._partitions.get(keys.events(int(seat)))) is not None:
            self._flush([partition], save=True)
        token = self._member.held.get(seat)
        if token is not None and handing.give(self._client, seat, token, heir, LEASE_MS):
            del self._member.held[seat]
            self._drop(int(seat))
            _LOG.warning("partition %s was handed over to %s", seat, heir)

    def _take_rebuilt(self) -> None:
        """Take over the states that ``warm`` rebuilt, each with the commit that saves it: no row of it is written before."""
        for partition, fields in rebuilt.waiting(self._client, list(self._partitions.values())):
            done = rebuilt.take_over(self._client, self._settings, partition, fields, self._keep_leases)
            if done:
                self._flush([partition], save=True)
            if self._partitions.get(keys.events(partition.number)) is partition:
                rebuilt.finish(self._client, partition.number, done)

    def _keep_leases(self) -> None:
        """Renew the leases if that is due, in the middle of long work."""
        if self._member.is_beat_due():
            self._beat()

    def _extend_leases(self, lease_ms: int) -> None:
        """Make every lease last through one write that takes long: no sign of life can be given meanwhile."""
        for seat in list(self._member.held):
            if not self._member.extend(seat, lease_ms):
                self._lose(int(seat))

    def _beat(self, *, confirm: bool = False) -> None:
        lost = self._member.beat(confirm=confirm)
        for seat in lost:
            self._lose(int(seat))
        self._quiet.wait(0.0 if lost else self._member.well_s)

    def _lose(self, p: int) -> None:
        """Drop a partition whose lease was lost."""
        if (partition := self._partitions.get(keys.events(p))) is not None:
            self._losses.note(partition)
        self._drop(p)

    def _drop(self, p: int) -> None:
        """Forget a partition, with everything that was not committed."""
        if (partition := self._partitions.pop(keys.events(p), None)) is not None:
            self._quiet.forget(partition.symbols)
            self._has_dropped = True

    def _collect(self) -> None:
        """Free the memory of dropped partitions now: they are in circles, and the collector would come for them much later."""
        release_memory()
        self._has_dropped = False


def _is_passing(error: Exception) -> bool:
    """Return whether to begin again: also where another number of partitions counts, which `raised.Until` sees then."""
    return isinstance(error, deployment.PartitionsError) or outage.is_passing(error)
