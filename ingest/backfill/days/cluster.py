"""Tasks of a backfill on the nodes of a Ray cluster. They are the same tasks as in processes, and give the same rows."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ingest import settings
from ingest.backfill.done import Done, Progress
from ingest.backfill.together import REPORT_S
from ingest.cli import needs_extra


def processors() -> int:
    """Return how many processors the cluster has."""
    return max(1, int(_ray().cluster_resources().get("CPU", 1)))


def process_on_ray(
    work: Callable[..., Done], tasks: Sequence[tuple[Any, ...]], jobs: int, total: Done, progress: Progress
) -> Done:
    """Call ``work`` with the arguments of each task, one on a processor; return ``total`` and what they did.

    The first failure ends all, and so does a node that dies: the next run goes on where the tasks were. The storage of the tape and the
    database must be reached from every node.
    """
    ray = _ray()
    # A task is not begun again: the days that it had done must be found out first.
    remote = ray.remote(_call).options(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")
    environ = settings.passed_on(settings.environment())
    left, done = list(tasks), total
    waiting: list[Any] = []
    try:
        while left or waiting:
            while left and len(waiting) < jobs:
                waiting.append(remote.remote(work, left.pop(0), environ))
            finished, waiting = ray.wait(waiting, timeout=REPORT_S)
            for answer in finished:
                done += ray.get(answer)
            progress(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    finally:
        for answer in waiting:
            ray.cancel(answer, force=True)
    return done


def _call(work: Callable[..., Done], task: tuple[Any, ...], environ: Mapping[str, str]) -> Done:
    settings.adopt(environ)
    return work(*task, lambda done: None)


def _ray() -> Any:
    with needs_extra("ray"):
        ray: Any = importlib.import_module("ray")
    if not ray.is_initialized():
        ray.init()
    return ray
