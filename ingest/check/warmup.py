"""Start-date independence: once a feature's stated warm-up has passed, its value does not depend on where the history began.

::

    from the start  |---------------------------------------->
    later start          |-- warm-up --|== compared =========>
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ingest.check.recording import Arrival
from ingest.check.result import Key, Result, pairs, results
from ingest.check.runs import Accepted, Rows, Run, run_whole
from ingest.check.warm import NEVER, Warm, WarmUps
from ingest.messages.kinds import time_us
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Make
from transforms.catalog import ORDER_FLOW
from transforms.warmup import CONFIGURED_VPIN, FADED, table

STARTS = (0.1, 0.35, 0.6)
_CONFIGURED = "not compared where its V is configured: buckets count from the first trade"


def warmup(
    messages: Iterable[Arrival],
    settings: Settings,
    *,
    starts: Sequence[float] = STARTS,
    stated: WarmUps | None = None,
    make: Make = Symbol,
) -> list[Result]:
    """Check every feature of every symbol; return one result per feature, as in the catalogue, with its warm-up as the note.

    The messages are read twice: first for the time that they span and the largest values, then by the run from the start and all later
    ones side by side, so that nothing is kept.

    Parameters
    ----------
    messages : iterable
        Messages in the order of arrival, each time that it is iterated (``recording.Messages``, or a list).
    starts : sequence of float
        Later starts, as shares of the recording.
    stated : mapping or None
        Warm-ups; None takes ``stated.table``.
    make : callable
        Makes a symbol; a test passes a faulty one.
    """
    warm_ups = table() if stated is None else stated
    every = results()
    for key, result in every.items():
        result.note = str(warm_ups[key])
    spans: dict[str, _Span] = defaultdict(_Span)
    run_whole(messages, settings, make, lambda name, run: spans[name].widen(run, warm_ups))
    lates: dict[str, list[_Late]] = {}
    for name, span in sorted(spans.items()):
        if settings.instrument(name).vpin_bucket is not None:
            for feature in CONFIGURED_VPIN:
                every[ORDER_FLOW.name, feature].note = _CONFIGURED
        lates[name] = [
            _Late(span.first_us + int((span.last_us - span.first_us) * share), name, settings, warm_ups, make)
            for share in starts
        ]

    def step(name: str, run: Run) -> None:
        released, rows = run.released(), run.take_rows()
        for late in lates[name]:
            late.follow(run, released)
            late.compare(every, rows, spans[name].largest)

    run_whole(messages, settings, make, step)
    return list(every.values())


@dataclass(slots=True)
class _Span:
    """What the first pass finds of a symbol: when its messages begin and end, and the largest value of each recursive feature."""

    first_us: int = NEVER
    last_us: int = 0
    largest: dict[Key, float] = field(default_factory=lambda: defaultdict(float))

    def widen(self, run: Run, warm_ups: WarmUps) -> None:
        for one in run.released():
            if one.kind != "gap":  # it may count from before the first message
                self.first_us = min(self.first_us, one.t_us)
                self.last_us = max(self.last_us, one.t_us)
        for row in run.take_rows().values():
            for key, value, _ in pairs(row, {}):
                if warm_ups[key].recursive:
                    self.largest[key] = max(
                        self.largest[key], abs(value)
                    )  # max keeps the left value where the right one is NaN


class _Late:
    """A run that starts later, beside the run from the start."""

    def __init__(self, start_us: int, name: str, settings: Settings, warm_ups: WarmUps, make: Make) -> None:
        self._start_us = start_us
        self._name = name
        self._warm_ups = warm_ups
        self._run = Run(name, settings, make)
        self._warm = Warm(warm_ups, settings.instrument(name))

    def follow(self, whole: Run, released: Sequence[Accepted]) -> None:
        """Take the messages that the run from the start has released, and let as much time pass as it did."""
        for one in released:
            # a history that begins in a hole is told of it
            if max(one.t_us, time_us(one.message) if one.kind == "gap" else 0) < self._start_us:
                self._warm.miss(one)
                continue
            self._warm.add(one)
            self._run.accept_again(one)
        self._run.released()
        known_us = whole.known_us()
        if known_us > self._start_us:
            self._run.tick(known_us - 1)

    def compare(self, every: dict[Key, Result], rows: Rows, largest: dict[Key, float]) -> None:
        """Compare the new rows with those of the run from the start."""
        late = self._run.take_rows()
        for t_us, row in rows.items():
            if t_us < self._warm.earliest_us():
                continue
            for key, expected, found in pairs(row, late.get(t_us, {})):
                if t_us >= self._warm.times[key]:
                    within = FADED * largest[key] if self._warm_ups[key].recursive else 0.0
                    every[key].add(self._name, t_us, expected, found, within=within)
