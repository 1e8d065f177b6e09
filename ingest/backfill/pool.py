"""Tasks in processes of their own, and the progress of all of them together."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any

from ingest.backfill.done import Done
from ingest.backfill.plan import Task
from ingest.backfill.work import Shared, process_task
from ingest.messages.kinds import ScoredPost

REPORT_S = 0.5
_reports: Any = None
"""In a process of the pool: the queue for its progress."""


def process_together(
    parts: Sequence[tuple[Task, Sequence[ScoredPost]]],
    shared: Shared,
    jobs: int,
    total: Done,
    progress: Callable[[Done], None] | None,
) -> Done:
    """Process tasks with their posts in ``jobs`` processes; return ``total`` and what they did. The first failure ends all."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    reports = context.SimpleQueue()
    so_far: dict[int, Done] = {}
    with ProcessPoolExecutor(jobs, context, _begin, (reports,)) as pool:
        waiting = {pool.submit(_process, i, task, posts, shared) for i, (task, posts) in enumerate(parts)}
        try:
            while waiting:
                finished, waiting = wait(waiting, REPORT_S, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                while not reports.empty():
                    number, done = reports.get()
                    so_far[number] = done
                if progress is not None:
                    progress(sum(so_far.values(), total))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sum(so_far.values(), total)


def _begin(reports: Any) -> None:
    global _reports
    _reports = reports


def _process(number: int, task: Task, posts: Sequence[ScoredPost], shared: Shared) -> None:
    reported = time.monotonic()

    def report(done: Done) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_S:
            reported = time.monotonic()
            _reports.put((number, done))

    _reports.put((number, process_task(task, posts, shared, report)))
