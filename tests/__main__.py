"""``python -m tests``, which is ``make test``: every test, in three processes that share the machine's cores.

Tests of the whole system wait for processes and servers most of the time, so those that compute, or ask a server of their own, run beside
them, and so do the longest ones. Each process compiles the kernels first or finds them in the cache. The reports of those beside come last.
``python -m pytest`` runs the same tests in one process.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from typing import IO

from tests.conftest import COMPILE

COMPUTING = (
    "tests/transforms",
    "tests/feature_repo",
    "tests/ingest/backfill",
    "tests/ingest/check",
    "tests/ingest/imports",
    "tests/ingest/messages",
    "tests/ingest/microprice",
    "tests/ingest/recordings",
    "tests/ingest/replay",
    "tests/ingest/tape",
    "tests/acceptance/test_equality.py",
    "tests/acceptance/test_full_book_depth.py",
    "tests/acceptance/test_fuzz.py",
    "tests/acceptance/test_reference_books.py",
    "tests/simulation/test_plants.py",
    "tests/simulation/test_simulation.py",
)
"""Tests that start no part of the system as a process."""
LONG = (
    "tests/chaos",
    "tests/examples",
    "tests/ingest/lake",
    "tests/ingest/research",
    "tests/ingest/sentiment",
    "tests/ingest/streams/test_cluster.py",
    "tests/ingest/warm",
    "tests/acceptance/test_demo.py",
    "tests/acceptance/test_many_symbols.py",
    "tests/acceptance/test_mixed.py",
)
"""Tests that take from half a minute to a minute each, and their neighbours."""
_COMPILED_FIRST = f"import sys, pytest; {COMPILE}; sys.exit(pytest.main(['-q', *sys.argv[1:]]))"


def main() -> int:
    """Run all parts, and return a code other than 0 where one of them failed."""
    with contextlib.ExitStack() as stack:
        beside: list[tuple[subprocess.Popen[bytes], IO[str]]] = []
        for paths in (COMPUTING, LONG):
            report = stack.enter_context(tempfile.TemporaryFile("w+"))
            command = [sys.executable, "-c", _COMPILED_FIRST, *paths]
            beside.append((subprocess.Popen(command, stdout=report, stderr=subprocess.STDOUT), report))
        try:
            ignored = (f"--ignore={path}" for path in (*COMPUTING, *LONG))
            codes = [subprocess.call([sys.executable, "-m", "pytest", *ignored])]
            codes += [process.wait() for process, _ in beside]
        finally:
            for process, _ in beside:
                process.terminate()  # after Ctrl-C; one that has ended is left alone
                process.wait()
        for _, report in beside:
            report.seek(0)
            print("\nTests beside:", report.read(), sep="\n")
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
