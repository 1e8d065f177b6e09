"""Run a program in plain Python and compiled, in a process each: both must print the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def assert_same_bits(program: Path) -> None:
    """Check that ``program`` prints the same two digests in both modes; its last line says which mode it ran in."""
    outputs = {}
    for mode, kind in (("0", "plain"), ("1", "compiled")):
        run = subprocess.run(
            [sys.executable, str(program)],
            env={**os.environ, "TFS_NUMBA": mode},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        *outputs[mode], ran_as = run.stdout.splitlines()
        assert ran_as == kind
    assert len(outputs["0"]) == 2
    assert outputs["0"] == outputs["1"]
