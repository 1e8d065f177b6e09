"""One simulation: builds the processes of a schedule, sends its messages, lets its faults happen, and waits until all is drained."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zlib import crc32

from feature_repo.project import project
from feature_repo.stores.online.format import SymbolKeys
from ingest.feeds.kafka import move as kafka_move
from ingest.feeds.kafka import source as kafka_source
from ingest.messages.decode import encode
from ingest.streams import keys
from ingest.streams.handing import CODE_FIELD
from tests.simulation import parts, versions
from tests.simulation.database import Connection, Database
from tests.simulation.kafka import Broker, Consumer
from tests.simulation.network import Network, Trouble
from tests.simulation.schedule import (
    FEEDS,
    KAFKA,
    NEWCOMER,
    PLAIN,
    RAISER,
    SECOND,
    START_US,
    Fault,
    Plan,
    Sent,
    Written,
)
from tests.simulation.server import Server, slot
from tests.simulation.watch import Watch
from tests.simulation.world import Process, Stop, World

RESTART_US = 300_000  # after this time a supervisor starts a process again
DRAIN_US = 180 * SECOND  # by then everything must be drained
LOOK_US = 100_000
SETTLE_US = 3 * SECOND  # by then each feed has looked whether a server has lost what it wrote
_KEYS = SymbolKeys(project(), "symbol")


class Site:
    """Everything of one simulation.

    Attributes
    ----------
    settings : Settings
        Those that a process gets that starts now.
    acknowledged, unsure : list of Sent
        Messages that Redis said it has, and those that it may have.
    written : list of Written
        Of each run of a feed.
    disturbed : dict of str to list
        When something happened to a source itself: its messages may then be late.
    """

    def __init__(self, plan: Plan, rewrite: Callable[[str], str], *, keeps_lines: bool = False) -> None:
        rng = random.Random(plan.seed ^ 0x5EED)
        self.plan = plan
        self.world = World(START_US, rng)
        self.world.site = self  # type: ignore[attr-defined]
        self.world.keeps_lines = keeps_lines
        self.world.lazy_us = plan.lazy_us
        self.server_offset = 0
        self.server = Server(lambda: self.world.now + self.server_offset, rng, self._master_of)
        self.server.started_us -= plan.uptime_us
        self.server.rewrite = rewrite
        self.watch = Watch(self.world, self.server)
        self.network = Network(self.world, self.server)
        self.network.executed = self.watch.executed
        self.network.crash = lambda process: self._crash(process, RESTART_US)
        self.database = Database(self.world)
        self.broker = Broker(self.world, kafka_source.STREAMS)
        self.settings = plan.settings
        self.versions: dict[str, str] = {}
        self.running: dict[str, Process] = {}
        self.stops: dict[str, Stop] = {}
        self.queues: dict[str, list[Sent]] = {name: [] for name in (*FEEDS, PLAIN)}
        self.waiting: dict[str, int] = {}  # of each source that has no message, the number of its wait
        self.is_busy: set[str] = set()
        self.acknowledged: list[Sent] = []
        self.unsure: list[Sent] = []
        self.written: list[Written] = []
        self.disturbed: dict[str, list[tuple[int, int]]] = {}
        self.heard: dict[int, bool] = {}
        self.problems: list[str] = []
        self.is_drained = False
        self.restored: dict[int, tuple[int, Any]] = {}  # how often each master came back, and with what the last time
        self._symbols = {_KEYS.keys([symbol])[0]: symbol for symbol in plan.symbols}

    def _master_of(self, key: bytes) -> int:
        """Return the master of a key; an online row stands on that of its partition, because the fence of its script needs that."""
        if not self.plan.is_split:
            return 0
        symbol = self._symbols.get(key)
        tag = slot(key) if symbol is None else b"%d" % keys.partition_of(symbol, self.plan.settings.partitions)
        return crc32(tag, self.plan.seed) % 2

    def consumer(self) -> Consumer:
        """Return a consumer of the simulated Kafka."""
        return Consumer(self.broker)

    def connect(self) -> Connection:
        """Return a connection to the simulated database."""
        return self.database.connect()

    def run(self) -> None:
        """Run the schedule and the drain."""
        world, plan = self.world, self.plan
        for n, name in enumerate(plan.processes):
            world.after(1000 * n + int(world.rng.random() * 100_000), self._start, name)
        for one in plan.sent:
            world.at(one.at_us, self._send, one)
        for fault in plan.faults:
            if fault.kind in ("older", "failover"):
                self._plan_snapshot(fault)
            else:
                world.at(fault.at_us, self._happen, fault)
        world.run(plan.end_us + SECOND // 2)
        self._calm()
        looked = [world.now + SETTLE_US]

        def is_done() -> bool:
            if world.now - looked[0] < LOOK_US:
                return False
            looked[0] = world.now
            return self._is_drained()

        self.is_drained = world.run(world.now + DRAIN_US, is_done)
        self._end()

    # Processes

    def _start(self, name: str) -> None:
        old = self.running.get(name)
        if old is not None and not old.has_ended:
            return
        stop = self.stops[name] = Stop()
        process = self.running[name] = Process(self.world, name, lambda process: self._body(process, stop))
        process.wall_us = old.wall_us if old else 0
        version = self.versions.get(name)
        if name.startswith("worker"):
            process.before = lambda: versions.become(version)
        self.world.note(name, "starts")
        process.start()

    def _body(self, process: Process, stop: Stop) -> None:
        try:
            parts.body(self, process, stop)
        except Exception as error:
            if not process.is_dead:
                self.problems.append(f"{process.name} ended with {type(error).__name__}: {error}")
            raise

    def _crash(self, process: Process, after_us: int) -> None:
        if process.has_ended:
            return
        self.world.note(process.name, "is killed")
        process.kill()
        self.waiting.pop(process.name, None)
        self.is_busy.discard(process.name)
        self._disturb(process.name, after_us)
        self.world.after(after_us, self._start, process.name)

    def _stop(self, name: str, after_us: int) -> None:
        """Stop a process as a supervisor does, and start it again when it has ended."""
        self.stops[name].set()
        self.world.note(name, "is asked to stop")
        self.is_busy.discard(name)
        self._disturb(name, after_us + SECOND)
        self._wake(name)

        def again() -> None:
            if self.running[name].has_ended:
                self._start(name)
            else:
                self.world.after(100_000, again)

        self.world.after(after_us, again)

    def _disturb(self, name: str, us: int) -> None:
        source = KAFKA if name.startswith(KAFKA) else name
        self.disturbed.setdefault(source, []).append((self.world.now, self.world.now + us + 8 * SECOND))

    # Messages

    def _send(self, one: Sent) -> None:
        if one.source == KAFKA:
            self.broker.append(parts.KIND_STREAM[one.kind], encode(one.message))
            self.acknowledged.append(one)
            return
        process = self.running.get(one.source)
        if one.source in FEEDS and (process is None or process.has_ended):
            return  # nobody hears the venue
        self.queues[one.source].append(one)
        self._wake(one.source)

    def wait_for_messages(self, process: Process) -> None:
        """Let a source wait for a second, or until it is given a message or asked to stop."""
        number = self.waiting[process.name] = process.begin_wait()
        self.world.after(SECOND, self._wake_from, process.name, number)
        process.wait()

    def _wake_from(self, name: str, number: int) -> None:
        if self.waiting.get(name) == number:
            self._wake(name)

    def _wake(self, name: str) -> None:
        if (number := self.waiting.pop(name, None)) is not None:
            self.running[name].resume(number)

    # Faults

    def _happen(self, fault: Fault) -> None:
        world, name, about = self.world, fault.target, fault.about
        world.note(name, f"FAULT {fault}")
        kind = fault.kind
        if kind == "call":
            trouble = Trouble(*about)
            self.network.troubles.setdefault(name, []).append(trouble)
            self._disturb(name, trouble.us + trouble.wait_us)
        elif kind == "crash":
            self._crash(self.running[name], *about)
        elif kind == "stop":
            self._stop(name, *about)
        elif kind == "freeze":
            self.running[name].frozen_until = world.now + about[0]
            self._disturb(name, about[0])
        elif kind == "down":
            self.network.take_down()
            world.after(about[0], self.network.bring_up)
        elif kind == "hang":
            self.network.hang()
            world.after(about[0], self.network.bring_up)
        elif kind == "full":
            self.server.full = True
            world.after(about[0], setattr, self.server, "full", False)
        elif kind == "away":
            self.database.away_until = world.now + about[0]
        elif name == "database":
            self.database.troubles.append(kind)
        elif kind == "clock" and name == "server":
            self.server_offset += about[0]
            self.watch.clock_back(about[0])
        elif kind == "clock":
            self.running[name].wall_us += about[0]
        elif kind in ("settings", "version"):
            how, us, change = about
            if kind == "settings":
                self.settings = replace(self.settings, **{change[0]: change[1]})
            else:
                self.versions[name] = change
            if how == "crash":
                self._crash(self.running[name], us)
            else:
                self._stop(name, us)
        elif kind == "hand over":
            self.versions[name] = versions.SOME
            self._start(name)
        elif kind == "raise":
            self._start(RAISER)
        elif kind == "retry":
            self._start("operator")

    def _plan_snapshot(self, fault: Fault) -> None:
        """Let the server come back as it was some time before: from a file after it was away, or as a replica at once."""
        us, age, *of = fault.about
        [master] = of or [0]
        at = max(fault.at_us - age, START_US)
        kept: list[Any] = []
        self.world.at(at, lambda: kept.append((self.server.snapshot(), self.restored.get(master, (0, None))[0])))

        def lose() -> None:
            self.world.note("server", f"FAULT {fault}")
            self.network.take_down([master])
            snapshot, n_restored = kept[0]
            times, last = self.restored.get(master, (0, None))
            # A past that was lost meanwhile: nothing older is there than what came back.
            if n_restored != times:
                snapshot = last
            self.watch.restored(snapshot, master)
            self.server.restore(snapshot, master)
            self.restored[master] = times + 1, snapshot
            self.world.after(us, self.network.bring_up, [master])

        self.world.at(fault.at_us, lose)

    # The drain

    def _calm(self) -> None:
        """End all faults: what is away comes back, what is down starts."""
        self.world.note("", "no faults from here on")
        self.network.is_quiet = True
        self.network.bring_up()
        self.server.full = False
        self.database.away_until = 0
        self.database.troubles.clear()
        for process in self.running.values():
            process.frozen_until = min(process.frozen_until, self.world.now)
        for name in (*self.plan.processes, *(fault.target for fault in self.plan.faults if fault.kind == "raise")):
            self.world.after(SECOND, self._start, name)

    def _is_drained(self) -> bool:
        if any(self.queues.values()) or self.is_busy:
            return False
        server = self.server
        for key in (*parts.KIND_STREAM.values(), *(keys.outbox(p) for p in range(self.plan.partitions))):
            found = server.get(key.encode())
            if found is not None and found.ids:
                return False
        for topic, records in self.broker.topics.items():
            for place in kafka_move.places(self.plan.partitions):
                at = server.get(keys.moved(place, f"kafka:{topic}/0").encode()) or b"0-0"
                if records and int(at.partition(b"-")[0]) < len(records):
                    return False
        is_raised = self.plan.partitions != self.plan.settings.partitions
        if is_raised and server.get(keys.PARTITIONS.encode()) != b"%d" % self.plan.partitions:
            return False
        for p in range(self.plan.partitions):
            log = server.get(keys.events(p).encode())
            at = (server.get(keys.checkpoint(p).encode()) or {}).get(b"last_id", b"0-0")
            if log is not None and b"%d-%d" % log.last != at:
                return False
        return NEWCOMER not in self.running or self._is_handed_over()

    def _is_handed_over(self) -> bool:
        """Return whether each state was saved by the worker that took over."""
        saved = [
            (self.server.get(keys.checkpoint(p).encode()) or {}).get(CODE_FIELD.encode())
            for p in range(self.plan.settings.partitions)
        ]
        return {code for code in saved if code} <= {versions.code_of(versions.SOME)}

    def _end(self) -> None:
        for process in self.running.values():
            process.kill()
        for name, process in self.running.items():
            if process.error is not None and not isinstance(process.error, Exception):
                self.problems.append(f"{name} ended with {process.error!r}")
        versions.become(None)
