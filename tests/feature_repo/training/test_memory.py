"""A process that keeps its memory uses it again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from feature_repo.training import memory

CODE = """
import resource, sys
import numpy as np
from feature_repo.training import memory
if sys.argv[1] == "keep":
    assert memory.keep()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    begun = faults()
    np.ones((40, 400_000))  # 128 MB
print(faults() - begun)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is of the GNU C library")
def test_memory_that_is_freed_is_used_again_without_being_asked_from_the_system() -> None:
    def run(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, check=True).stdout)

    assert run("keep") < 10
    assert run("give back") > 50  # of 2 MB each, or more of 4 kB


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not memory.keep()
