"""No look-ahead: the value at t from the data up to t equals the value at t from all data, bit for bit.

For sampled boundaries t, a symbol gets only the messages that count at or before t, and then a tick at t::

    all data   ------|--------t--------|----->   row t: A
    truncated  ------|--------t                  row t: B, must equal A

Messages that were refused as late in the run over all data are left out: they changed no row. The truncated data grow from one
boundary to the next. A deep copy makes each row, because the tick at t must not reach the next boundary's run.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ingest.check.result import Result, pairs, results
from ingest.check.runs import Accepted, Rows, Run, in_order, run_whole
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Make

SAMPLES = 200
SEED = 0


def lookahead(
    feeds: Mapping[str, Sequence[tuple[str, Any]]], settings: Settings, *, samples: int = SAMPLES, make: Make = Symbol
) -> list[Result]:
    """Check every feature of every symbol at up to ``samples`` boundaries; return one result per feature, as in the catalogue.

    ``feeds`` has for each symbol its messages in the order of arrival. ``make`` makes a symbol; a test passes a faulty one.
    """
    every = results()
    for name, feed in feeds.items():
        run = run_whole(name, settings, feed, make)
        boundaries = sorted(random.Random(SEED).sample(sorted(run.rows), min(samples, len(run.rows))))  # noqa: S311 - not for security
        cut = truncated(name, settings, in_order(run.accepted), boundaries, make)
        for t_us in boundaries:
            for key, expected, found in pairs(run.rows[t_us], cut[t_us]):
                every[key].add(name, t_us, expected, found)
    return list(every.values())


def truncated(
    name: str, settings: Settings, accepted: Sequence[Accepted], boundaries: Sequence[int], make: Make
) -> Rows:
    """Return the rows at ``boundaries`` (ascending), each from the messages that count at or before it."""
    run = Run(name, settings, make)
    rows: Rows = {}
    at = 0
    for t_us in boundaries:
        while at < len(accepted) and accepted[at].t_us <= t_us:
            run.accept(accepted[at].kind, accepted[at].message)
            at += 1
        branch = copy.deepcopy(run)
        branch.tick(t_us)
        rows[t_us] = branch.rows.get(t_us, {})
        run.rows.clear()
        run.accepted.clear()
    return rows
