"""The wait for a deployment under chaos: it depends on progress, not on the speed of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.streams.backlog import Backlog
from tests.chaos import deployment
from tests.chaos.deployment import DRAIN_S, Deployment


def drained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, looks: Iterator[int], step_s: float) -> None:
    """Drain a deployment in which so many entries wait at each look, `step_s` apart."""
    now = [0.0]

    def look(*_: object) -> Backlog:
        now[0] += step_s
        return Backlog(0, 0, next(looks), 0)

    monkeypatch.setattr(deployment, "backlog", look)
    monkeypatch.setattr(deployment.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(deployment, "DRAIN_LOOK_S", 0.0)
    one = Deployment.__new__(Deployment)
    one.client, one.log = None, tmp_path / "pipeline.log"  # type: ignore[assignment]
    one.log.write_text("the log")
    one.drain()


def test_a_slow_machine_that_makes_progress_is_drained_however_long_it_takes(monkeypatch, tmp_path) -> None:
    drained(monkeypatch, tmp_path, iter(range(100, -1, -1)), DRAIN_S * 0.9)


def test_entries_that_nobody_takes_are_told(monkeypatch, tmp_path) -> None:
    with pytest.raises(TimeoutError, match=r"not drained: .*events=7.*\n.*the log"):
        drained(monkeypatch, tmp_path, iter([9, 8] + [7] * 1000), 1.0)
