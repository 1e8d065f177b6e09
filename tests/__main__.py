"""``python -m tests``, which is ``make test``: every test, those that only compute beside those that wait for servers.

Two processes share the machine's cores. The one beside compiles the kernels first, so that both find them in the cache. Its report comes
last. ``python -m pytest`` runs the same tests in one process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from tests.conftest import COMPILE

COMPUTE = (
    "tests/transforms",
    "tests/acceptance/test_equality.py",
    "tests/acceptance/test_full_book_depth.py",
    "tests/acceptance/test_fuzz.py",
    "tests/acceptance/test_reference_books.py",
    "tests/simulation/test_plants.py",
    "tests/simulation/test_simulation.py",
)
"""Tests that start no server and measure no time."""
_BESIDE = f"import sys, pytest; {COMPILE}; sys.exit(pytest.main(['-q', *sys.argv[1:]]))"


def main() -> int:
    """Run both parts, and return a code other than 0 where one of them failed."""
    with tempfile.TemporaryFile("w+") as report:
        beside = subprocess.Popen([sys.executable, "-c", _BESIDE, *COMPUTE], stdout=report, stderr=subprocess.STDOUT)
        try:
            code = subprocess.call([sys.executable, "-m", "pytest", *(f"--ignore={path}" for path in COMPUTE)])
            code = beside.wait() or code
        finally:
            beside.terminate()  # after Ctrl-C; one that has ended is left alone
            beside.wait()
        report.seek(0)
        print("\nThe tests that only compute:", report.read(), sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
