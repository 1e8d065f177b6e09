"""No look-ahead: the value at t from the data up to t equals the value at t from all data, bit for bit.

For sampled boundaries t, a symbol gets only the messages that count at or before t, and then a tick at t::

    all data   ------|--------t--------|----->   row t: A
    truncated  ------|--------t                  row t: B, must equal A

Both runs read the messages side by side, so that nothing but the sampled rows is kept. Messages that the run over all data refused as
late are left out of the other: they changed no row. The truncated data grow from one boundary to the next. A deep copy makes each row,
because the tick at t must not reach the next boundary's run.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterable

from ingest.check.recording import Arrival
from ingest.check.result import Result, pairs, results
from ingest.check.runs import Accepted, Run, run_whole
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Make

SAMPLES = 200
SEED = 0


def lookahead(
    messages: Iterable[Arrival], settings: Settings, *, samples: int = SAMPLES, make: Make = Symbol
) -> list[Result]:
    """Check every feature of every symbol at up to ``samples`` boundaries; return one result per feature, as in the catalogue.

    ``messages`` come in the order of arrival. ``make`` makes a symbol; a test passes a faulty one.
    """
    cuts: dict[str, _Truncated] = {}

    def step(name: str, whole: Run) -> None:
        cut = cuts.get(name)
        if cut is None:
            cut = cuts[name] = _Truncated(Run(name, settings, make), samples)
        cut.follow(whole)

    run_whole(messages, settings, make, step)
    every = results()
    for name, cut in sorted(cuts.items()):
        for t_us, whole_row, cut_row in sorted(cut.sampled, key=lambda sample: sample[0]):
            for key, expected, found in pairs(whole_row, cut_row):
                every[key].add(name, t_us, expected, found)
    return list(every.values())


class _Truncated:
    """The run of a symbol over the messages up to a boundary, and a random sample of boundaries with both rows."""

    def __init__(self, run: Run, samples: int) -> None:
        self._run = run
        self._samples = samples
        self._boundaries = 0
        self._random = random.Random(SEED)  # noqa: S311 - not for security
        self.sampled: list[tuple[int, dict[str, bytes], dict[str, bytes]]] = []

    def follow(self, whole: Run) -> None:
        """Take the messages that the run over all data has released since, and make the sampled rows among its new ones."""
        released = deque(whole.released())
        for t_us, row in whole.take_rows().items():
            while released and released[0].t_us <= t_us:
                self._accept(released.popleft())
            place = self._place()
            if place is not None:
                branch = copy.deepcopy(self._run)
                branch.tick(t_us)
                self.sampled[place : place + 1] = [(t_us, row, branch.take_rows().get(t_us, {}))]
                del branch.symbol.engine  # the copy refers to itself and waits for the collector, its arrays need not
        for one in released:
            self._accept(one)

    def _accept(self, one: Accepted) -> None:
        self._run.accept_again(one)
        self._run.take_rows()
        self._run.released()

    def _place(self) -> int | None:
        """Return where the next boundary goes in a sample in which each has the same chance (Vitter's algorithm R); None for nowhere."""
        self._boundaries += 1
        if len(self.sampled) < self._samples:
            return len(self.sampled)
        place = self._random.randrange(self._boundaries)
        return place if place < self._samples else None
