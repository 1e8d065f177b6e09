"""What ``python -m tests`` says at its end about the failures of its processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.__main__ import failures


def test_a_failure_and_an_error_are_told_with_their_last_lines(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError('no disk')\n"
        "def test_sum(): assert 1 + 1 == 3\n"
        "def test_disk(broken): pass\n"
        "def test_right(): pass\n"
    )
    results = tmp_path / "results.xml"
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", f"--junit-xml={results}", str(tmp_path)]
    code = subprocess.run(command, capture_output=True, check=False).returncode
    told = list(failures(code, results))
    assert [line.splitlines()[1].split(": ")[0] for line in told] == ["failure", "error"]
    assert "test_sum" in told[0] and "assert (1 + 1) == 3" in told[0]
    assert "test_disk" in told[1] and "no disk" in told[1]
    assert not list(failures(0, results))


def test_a_process_that_died_before_it_wrote_its_results_is_told(tmp_path: Path) -> None:
    [told] = failures(-9, tmp_path / "long.xml")
    assert "-9" in told and "long" in told
