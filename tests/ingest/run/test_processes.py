"""The children of `run`: how soon one that died is started again."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.cli import ExitCode
from ingest.run import processes
from ingest.run.processes import MEND_S, RESTART_S, Child, Processes


class Ended:
    """A process that has ended."""

    stdin = None

    def __init__(self, code: int) -> None:
        self.returncode = code

    def poll(self) -> int:
        return self.returncode


@pytest.mark.parametrize(
    ("code", "pause_s"),
    [(1, RESTART_S), (-9, RESTART_S), (ExitCode.USER_ERROR, MEND_S)],
    ids=["fault", "killed", "user's"],
)
def test_a_part_that_only_the_user_can_mend_is_started_again_less_often(
    monkeypatch: pytest.MonkeyPatch, code: int, pause_s: float
) -> None:
    now = [0.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        Processes, "_started", lambda self, role: Child(role, Ended(code), now[0])  # type: ignore[arg-type]
    )  # fmt: skip
    some: Any = Processes(["scorer"])
    now[0] = pause_s - 0.1
    some.restart_dead()
    assert some.restarts == 0
    now[0] = pause_s
    some.restart_dead()
    assert some.restarts == 1
