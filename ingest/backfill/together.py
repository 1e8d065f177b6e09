"""Tasks of a backfill in processes of their own, which report what they have done."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any

from ingest.backfill.done import Done, Progress

REPORT_S = 0.5
"""Seconds between two reports of a process."""
_reports: Any = None
"""In a process of the pool: the queue for its progress."""


def process_together(
    work: Callable[..., Done], tasks: Sequence[tuple[Any, ...]], jobs: int, total: Done, progress: Progress
) -> Done:
    """Call ``work`` with the arguments of each task in ``jobs`` processes; return ``total`` and what they did.

    The last argument is a function that is given what the task has done so far. The first failure ends all.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    reports = context.SimpleQueue()
    so_far: dict[int, Done] = {}
    with ProcessPoolExecutor(jobs, context, _begin, (reports,)) as pool:
        waiting = {pool.submit(_process, i, work, task) for i, task in enumerate(tasks)}
        try:
            while waiting:
                finished, waiting = wait(waiting, REPORT_S, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                while not reports.empty():
                    number, done = reports.get()
                    so_far[number] = done
                progress(sum(so_far.values(), total))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sum(so_far.values(), total)


def _begin(reports: Any) -> None:
    global _reports
    _reports = reports


def _process(number: int, work: Callable[..., Done], task: tuple[Any, ...]) -> None:
    reported = time.monotonic()

    def report(done: Done) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_S:
            reported = time.monotonic()
            _reports.put((number, done))

    _reports.put((number, work(*task, report)))
