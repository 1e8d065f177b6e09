"""Quiet symbols: time passes for them by ticks, which the worker appends to the log, and after an hour they leave the memory.

A tick stands in the log, so a replay sees time pass as the first reader did. No message that is on its way may be late because of one:

1. No tick is appended for ``outage.WRITTEN_S`` after an outage: feeds write then what they kept. Redis knows an outage from a pause in the
   signs of life (``streams/beat.lua``). When a tick is appended, the lease of the log is looked at again (``pass_time.lua``). After a turn
   that took long, Redis may have stood still for everybody, which counts as an outage.
2. Time passes by the clock of Redis, which stamps the arrivals too, so no clock of a worker can refuse a message. It passes up to
   ``TFS_IDLE_AFTER_MS`` before the arrival of the oldest entry that waits for the router.
3. No tick is appended for a symbol until ``TFS_RECOVER_S`` after the last clock or hold of its feed (``kinds.Clock``): its feed makes time
   pass, and where that is lost, the next one asks for what it missed. Later ticks say that the feed is lost.
4. Where there are several servers, or replicas are waited for, the worker asks all of them five times a second. A feed that waits for one
   keeps messages of other logs too, so no tick is appended for ``outage.WRITTEN_S`` after one was away.
5. No tick is appended once a lease may have ended: another worker may then have read messages that this one has not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import redis

from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.scripts import read_script
from ingest.messages.decode import encode
from ingest.messages.kinds import PLAIN_STREAM, Leave, Tick
from ingest.settings import Settings
from ingest.streams import keys, membership, outage, read, replicas
from ingest.streams.cluster import Cluster
from ingest.streams.membership import Member, Seat
from ingest.worker.partition import Partition

LOOK_US = 50_000  # time between two searches for quiet symbols
ASK_US, ASK_AGAIN_US = 200_000, 1_000_000  # between two looks at the servers; after one was away
AT_ONCE = 500  # entries that one script appends
_PASS_TIME = read_script(__file__, "pass_time.lua")


class Quiet:
    """When each symbol was heard, and what is due to those that are quiet.

    Parameters
    ----------
    client : redis.Redis
    settings : Settings
    clock : callable, optional
        Gives microseconds since the epoch; without one the clock of Redis counts.
    steady : callable
        Gives microseconds of a clock that is never set.
    """

    def __init__(
        self, client: redis.Redis, settings: Settings, clock: Callable[[], int] | None, steady: Callable[[], int]
    ) -> None:
        self._client = client
        self._partitions, self._number = settings.partitions, settings.number
        self._idle_us = settings.idle_after_ms * 1000
        self._forget_us = settings.forget_s * 1_000_000
        self._emit_us = settings.emit_us
        self._clock = clock
        self._steady = steady
        self._heard: dict[str, int] = {}
        self._now_us = self._searched_us = self._ticks_from_us = self._asked_us = 0
        self._asks = is_cluster(client) or replicas.number(client) > 0
        self._were_well = True

    def reset(self) -> None:
        """Forget when symbols were heard."""
        self._heard.clear()
        self._searched_us = self._steady()

    def wait(self, well_s: float = 0.0) -> None:
        """Append no tick until Redis, which is well for ``well_s``, is so for ``outage.WRITTEN_S``: not all that was kept is written."""
        from_us = self._steady() + round((outage.WRITTEN_S - well_s) * 1_000_000)
        self._ticks_from_us = max(self._ticks_from_us, from_us)

    def look(self) -> None:
        """Look at the clock, for the symbols that are heard from now on."""
        self._now_us = self._steady()

    def hear(self, name: str) -> None:
        """Note that a symbol was heard now."""
        self._heard[name] = self._now_us

    def forget(self, names: Iterable[str]) -> None:
        """Forget symbols that another worker has now."""
        for name in names:
            self._heard.pop(name, None)

    def pass_time(self, partitions: Collection[Partition], member: Member) -> None:
        """Append what is due to the logs: a tick for each live symbol that is quiet, and a word for each that leaves the memory."""
        steady_us = self._steady()
        if steady_us - self._searched_us < LOOK_US:
            return
        if steady_us - self._searched_us > self._idle_us // 2:
            self.wait()
        self._searched_us = steady_us
        if self._asks and steady_us - self._asked_us >= (ASK_US if self._were_well else ASK_AGAIN_US):
            self._asked_us = steady_us
            self._ask()
        quiet, leaving = [], []
        for partition in partitions:
            for symbol in partition.symbols.values():
                quiet_us = steady_us - self._heard.setdefault(symbol.name, steady_us)
                if quiet_us >= self._idle_us and symbol.waits_for_time():
                    quiet.append(symbol)
                elif quiet_us >= self._forget_us:
                    leaving.append(symbol)
        if steady_us < self._ticks_from_us:
            quiet.clear()
        if not quiet and not leaving:
            return
        known_ms, waited_us = self._known_ms()  # before the leases are looked at: a pause in between makes it no later
        if self._steady() - steady_us > self._idle_us // 2:  # Redis stood still before it answered
            self.wait()
            return
        # What waits may have waited for the end of an outage with its sender.
        if steady_us - waited_us < self._ticks_from_us:
            quiet.clear()
        if not member.has_sure_leases():
            return
        found: list[tuple[str, Tick | Leave]] = []
        for symbol in quiet:
            if symbol.ticks_from_ms <= known_ms + self._idle_us // 1000:
                found.append(("tick", Tick(known_ms, symbol.name, lost=symbol.ticks_from_ms > 0)))
            self._heard[symbol.name] = steady_us - self._idle_us + self._emit_us
        for symbol in leaving:
            found.append(("leave", Leave(known_ms, symbol.name, symbol.timeline.arrivals)))
            del self._heard[symbol.name]  # it waits as long again if a message came meanwhile
        if not self._append(found, member.held):
            self.wait()

    def _ask(self) -> None:
        """Wait as after an outage if a server is away, or lacks its replicas, or was so until a moment ago."""
        places: list[int | str] = [*range(self._partitions), *PLAIN_STREAM, keys.SOCIAL]
        try:
            each = self._client.one_each(places) if isinstance(self._client, Cluster) else places[:1]
            are_well = replicas.are_well(self._client, each)
        except redis.RedisError:
            are_well = False
        if not (are_well and self._were_well):
            self.wait()
        self._were_well = are_well

    def _append(self, messages: Sequence[tuple[str, Tick | Leave]], held: Mapping[Seat, str]) -> bool:
        """Append messages to their logs; return False where the lease of one does not say that Redis is the same and well."""
        words: dict[int, list[str | bytes]] = {}
        for kind, message in messages:
            words.setdefault(keys.partition_of(message.symbol, self._partitions), []).extend((kind, encode(message)))
        pipe: Any = self._client.pipeline(transaction=False)
        for p, of_log in words.items():
            for first in range(0, len(of_log), 2 * AT_ONCE):
                about = held.get(p, ""), membership.LEASE_MS - membership.PAUSE_MS, self._number
                pipe.eval(
                    _PASS_TIME,
                    3,
                    keys.owner(p),
                    keys.events(p),
                    keys.number(p),
                    *about,
                    *of_log[first : first + 2 * AT_ONCE],
                )
        return all(pipe.execute())

    def _known_ms(self) -> tuple[int, int]:
        """Return up to which time every message is in the logs, as far as its feed is not slower than ``TFS_IDLE_AFTER_MS``.

        Return also for how many microseconds the oldest entry has waited that is not in its log.
        """
        now_ms, moved_ms = read.moved_until(self._client, list(PLAIN_STREAM))
        waited_us = (now_ms - moved_ms) * 1000
        if self._clock is not None:
            now_ms = self._clock() // 1000
        return (min(now_ms, moved_ms) * 1000 - self._idle_us) // 1000, waited_us
