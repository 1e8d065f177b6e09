"""Tasks in processes of their own, and what all of them have done so far."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any

from ingest.backfill.plan import Task
from ingest.backfill.work import Common, Done, work
from ingest.messages.kinds import ScoredPost

REPORT_S = 0.5
_reports: Any = None
"""In a process of the pool: where it says how far it is."""


def together(
    parts: Sequence[tuple[Task, Sequence[ScoredPost]]],
    common: Common,
    jobs: int,
    total: Done,
    progress: Callable[[Done], None] | None,
) -> Done:
    """Do the tasks in ``jobs`` processes and add what they did to ``total``; the first failure ends them all."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    reports = context.SimpleQueue()
    so_far: dict[int, Done] = {}
    with ProcessPoolExecutor(jobs, context, _begin, (reports,)) as pool:
        waiting = {pool.submit(_one, i, task, posts, common) for i, (task, posts) in enumerate(parts)}
        try:
            while waiting:
                finished, waiting = wait(waiting, REPORT_S, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                while not reports.empty():
                    number, done = reports.get()
                    so_far[number] = done
                if progress is not None:
                    progress(_sum(total, so_far))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _sum(total, so_far)


def _sum(total: Done, so_far: dict[int, Done]) -> Done:
    every = Done()
    for done in (total, *so_far.values()):
        every.add(done)
    return every


def _begin(reports: Any) -> None:
    global _reports
    _reports = reports


def _one(number: int, task: Task, posts: Sequence[ScoredPost], common: Common) -> None:
    said = time.monotonic()

    def report(done: Done) -> None:
        nonlocal said
        if time.monotonic() - said >= REPORT_S:
            said = time.monotonic()
            _reports.put((number, done))

    _reports.put((number, work(task, posts, *common, report)))
