"""``python -m tests``, which is ``make test``: every test, in two processes that share the machine's cores.

Tests of the whole system wait for processes and servers most of the time, so those that compute, or ask a server of their own, run beside
them. The process beside compiles the kernels first, so that both find them in the cache. Its report comes last. ``python -m pytest`` runs
the same tests in one process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from tests.conftest import COMPILE

BESIDE = (
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
"""About half of the time: tests that start no part of the system as a process."""
_COMPILED_FIRST = f"import sys, pytest; {COMPILE}; sys.exit(pytest.main(['-q', *sys.argv[1:]]))"


def main() -> int:
    """Run both parts, and return a code other than 0 where one of them failed."""
    with tempfile.TemporaryFile("w+") as report:
        beside = subprocess.Popen(
            [sys.executable, "-c", _COMPILED_FIRST, *BESIDE], stdout=report, stderr=subprocess.STDOUT
        )
        try:
            code = subprocess.call([sys.executable, "-m", "pytest", *(f"--ignore={path}" for path in BESIDE)])
            code = beside.wait() or code
        finally:
            beside.terminate()  # after Ctrl-C; one that has ended is left alone
            beside.wait()
        report.seek(0)
        print("\nThe tests beside:", report.read(), sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
