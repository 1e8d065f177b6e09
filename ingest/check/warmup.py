"""Start-date independence: once a feature's stated warm-up has passed, its value does not depend on where the history began.

::

    from the start  |---------------------------------------->
    later start          |-- warm-up --|== compared =========>
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ingest.check.result import Key, Result, pairs, results
from ingest.check.runs import Accepted, Run, in_order, run_whole, since
from ingest.check.stated import CONFIGURED_VPIN, FADED, WarmUp, raw, table
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Make
from transforms.catalog import ORDER_FLOW, View, view_of
from transforms.kernel import DAY_US, MINUTE_US, SECOND_US

STARTS = (0.1, 0.35, 0.6)
_NEVER = 1 << 62
_EVENTS = 2
"""The largest ``WarmUp.events``."""
WarmUps = Mapping[Key, WarmUp]
_CONFIGURED = "not compared where its V is configured: buckets count from the first trade"


def warmup(
    feeds: Mapping[str, Sequence[tuple[str, Any]]],
    settings: Settings,
    *,
    starts: Sequence[float] = STARTS,
    stated: WarmUps | None = None,
    make: Make = Symbol,
) -> list[Result]:
    """Check every feature of every symbol; return one result per feature, as in the catalogue, with its warm-up as the note.

    Parameters
    ----------
    feeds : mapping
        For each symbol its messages in the order of arrival (``recording.read_recordings``).
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
    for name, feed in feeds.items():
        run = run_whole(name, settings, feed, make)
        ordered = in_order(run.accepted)
        skipped = () if settings.instrument(name).vpin_bucket is None else CONFIGURED_VPIN
        for feature in skipped:
            every[ORDER_FLOW.name, feature].note = _CONFIGURED
        if not ordered:
            continue
        first, last = ordered[0].t_us, ordered[-1].t_us
        for share in starts:
            part = since(ordered, first + int((last - first) * share))
            late = run_whole(name, settings, [(one.kind, one.message) for one in part], make)
            _compare(every, warm_ups, _warm_times(part, warm_ups, skipped), name, run, late)
    return list(every.values())


def _warm_times(part: Sequence[Accepted], warm_ups: WarmUps, skipped: Sequence[str]) -> dict[Key, int]:
    """Return the time (µs) from which each feature is warm in a history that begins with ``part``."""
    firsts: dict[str, list[int]] = defaultdict(list)
    for one in part:
        if len(firsts[one.kind]) < _EVENTS:
            firsts[one.kind].append(one.t_us)
    minutes = list(dict.fromkeys(-(-one.t_us // MINUTE_US) for one in part if one.kind == "trade"))
    sides = _sides_known(part)
    funding_us = next((one.t_us for one in part if one.kind == "trade" and one.message.next_funding), 0)
    warm = {
        key: _NEVER if raw(key[1]) in skipped else _warm_us(warm_up, view_of(raw(key[1])), firsts, minutes, sides)
        for key, warm_up in warm_ups.items()
    }
    # the venue's own funding time counts from when it was sent
    warm["technical", "minutes_to_funding"] = max(funding_us, min(firsts.get("trade", [_NEVER])))
    return warm


def _sides_known(part: Sequence[Accepted]) -> int:
    """Return the time of the first change of the price: the tick rule then needs no earlier trade. It is 0 if all have a side."""
    trades = [one for one in part if one.kind == "trade"]
    if all(one.message.side for one in trades):
        return 0
    return next((one.t_us for one in trades if one.message.price != trades[0].message.price), _NEVER)


def _warm_us(
    warm_up: WarmUp, view: View, firsts: Mapping[str, Sequence[int]], minutes: Sequence[int], sides_us: int
) -> int:
    events = firsts.get(view.feed, ())
    if len(events) < warm_up.events:
        return _NEVER
    begin = events[warm_up.events - 1]
    if view is ORDER_FLOW:
        begin = max(begin, sides_us, *firsts.get("book", ())[:1])
    if warm_up.bars:
        if len(minutes) <= warm_up.bars:
            return _NEVER
        begin = minutes[warm_up.bars] * MINUTE_US
    if warm_up.session:
        begin = -(-begin // DAY_US) * DAY_US + 1
    return begin + warm_up.seconds * SECOND_US


def _compare(
    every: Mapping[Key, Result], warm_ups: WarmUps, warm: Mapping[Key, int], symbol: str, run: Run, late: Run
) -> None:
    """Compare the run with a later start with the run from the start, in every row of the latter."""
    times = [t for t in run.rows if t >= min(warm.values())]
    largest: dict[Key, float] = defaultdict(float)
    for t_us in times:
        for key, value, _ in pairs(run.rows[t_us], {}):
            largest[key] = max(largest[key], abs(value))  # max keeps the left value where the right one is NaN
    for t_us in times:
        for key, expected, found in pairs(run.rows[t_us], late.rows.get(t_us, {})):
            if t_us >= warm[key]:
                within = FADED * largest[key] if warm_ups[key].recursive else 0.0
                every[key].add(symbol, t_us, expected, found, within=within)
