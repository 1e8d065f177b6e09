"""What a schedule consists of: settings, processes, messages and faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.settings import Settings

START_US = 1_700_000_000_000_000
SECOND = 1_000_000
SYMBOLS = ("A", "D", "B", "E")  # two in each partition
FEEDS = ("feed 0", "feed 1")
PLAIN, KAFKA = "producer", "kafka"
BUSY = 9  # schedules of seeds that end so have a busy producer
OF_KAFKA = 2  # schedules of seeds that end so read Kafka alone, and lose a tail near the end
SPLIT = (3, 7)
"""Schedules of seeds that end so have a cluster of two masters, which fail over one by one."""
FALSE = 6  # schedules of seeds that end so have one place for symbols, and impossible messages
FOLLOW = (3, 5)
"""Schedules of seeds that end so have symbols that follow others, in their own partition and in the other."""
HANDED = 4  # schedules of seeds that end so have a worker with other kernels that takes the partitions over
NEWCOMER = "worker 9"
RAISED = 8  # schedules of seeds that end so have the number of partitions raised; every second of them has symbols that follow others
RAISER = "raiser"
BOUNDS_MS = 90  # how far a sound message lies behind its sending


@dataclass(frozen=True, slots=True)
class Sent:
    """A message and when its source sends it.

    ``is_sound`` says that nothing may refuse it as late: it is not behind what its source sent before, by more than is allowed.
    """

    at_us: int
    source: str
    kind: str
    message: Any
    is_sound: bool = True
    is_recorded: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at a time, to whom, and how; ``about`` has the numbers of its kind."""

    at_us: int
    kind: str
    target: str = ""
    about: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return " ".join(_shown(part) for part in (self.kind, self.target, *self.about) if part != "")


def _shown(part: Any) -> str:
    """Return a text that is the same in each run, also of a set."""
    if isinstance(part, tuple):
        return " ".join(map(_shown, part))
    return "{" + ", ".join(sorted(part)) + "}" if isinstance(part, frozenset) else str(part)


@dataclass
class Written:
    """What one run of a feed has written, and how often a server had come back older when it last looked for that."""

    messages: list[Sent] = field(default_factory=list)
    n_restored: int = 0


@dataclass(frozen=True)
class Plan:
    """One schedule."""

    seed: int
    settings: Settings
    lazy_us: int
    uptime_us: int
    processes: tuple[str, ...]
    sent: tuple[Sent, ...]
    faults: tuple[Fault, ...]
    end_us: int
    symbols: tuple[str, ...] = field(default=())
    is_split: bool = False  # the keys are of two masters
    is_busy: bool = False  # a producer sends many books, and appends what it kept in one pipeline

    @property
    def partitions(self) -> int:
        """How many partitions there are at the end."""
        return max((fault.about[0] for fault in self.faults if fault.kind == "raise"), default=self.settings.partitions)

    def group(self, p: int) -> range:
        """Return the partitions that a partition of the beginning is divided into."""
        return range(p, self.partitions, self.settings.partitions)

    def without(self, faults: Sequence[Fault] = (), sent: Sequence[Sent] = ()) -> Plan:
        """Return the plan without some of its faults and messages."""
        return replace(
            self,
            faults=tuple(fault for fault in self.faults if fault not in faults),
            sent=tuple(one for one in self.sent if one not in sent),
        )
