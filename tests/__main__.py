"""``python -m tests``, which is ``make test``: every test, in four processes that share the machine's cores.

Many tests wait for processes and servers most of the time, so others run beside them: those that compute, or ask a server of their
own; those of the whole system; and the longest ones. Those beside begin once the kernels are compiled, so that this is done once. Their
reports come after that of the first, and the failures of all come last, because who reads only the end of a long log must see them.
``python -m pytest`` runs the same tests in one process.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from tests.conftest import COMPILE

COMPUTING = (
    "tests/transforms",
    "tests/feature_repo",
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
SYSTEM = (
    "tests/integration",
    "tests/ingest/backfill",
    "tests/acceptance/test_contract_depth.py",
    "tests/acceptance/test_lost_trades.py",
    "tests/acceptance/test_perpetuals.py",
    "tests/acceptance/test_touch_ratio.py",
)
"""Tests that start parts of the system as processes, and backfills, so that this process takes as long as the others."""
LONG = (
    "tests/chaos",
    "tests/examples",
    "tests/ingest/lake",
    "tests/ingest/streams/test_cluster.py",
    "tests/acceptance/test_demo.py",
    "tests/acceptance/test_many_symbols.py",
    "tests/acceptance/test_mixed.py",
)
"""Tests that take from half a minute to a minute each, and their neighbours."""
_LINES = 12
"""So many last lines of a failure are repeated at the end: the ones that tell what was wrong, and where."""


def main() -> int:
    """Run all parts, and return a code other than 0 where one of them failed."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        beside = {"computing": COMPUTING, "system": SYSTEM, "long": LONG}
        ignored = [f"--ignore={path}" for paths in beside.values() for path in paths]
        parts = {"first": ignored} | {name: ["-q", *paths] for name, paths in beside.items()}
        running: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, running)
        for name, arguments in parts.items():
            report = None if name == "first" else stack.enter_context((folder / f"{name}.txt").open("wb"))
            command = [sys.executable, "-m", "pytest", f"--junit-xml={folder / name}.xml", *arguments]
            running.append(subprocess.Popen(command, stdout=report, stderr=report and subprocess.STDOUT))
            if name == "first":
                subprocess.run([sys.executable, "-c", COMPILE], check=False)  # tests that need a kernel say it better
        codes = [process.wait() for process in running]
        for name in beside:
            print("\nTests beside:", (folder / f"{name}.txt").read_text(errors="replace"), sep="\n")
        for name, code in zip(parts, codes, strict=True):
            print(*failures(code, folder / f"{name}.xml"), sep="\n", end="")
    return next((code for code in codes if code), 0)


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    """End what still runs after Ctrl-C; a process that has ended is left alone."""
    for process in running:
        process.terminate()
        process.wait()


def failures(code: int, results: Path) -> Iterator[str]:
    """Yield what failed in a process that ended with ``code`` and wrote its results as JUnit's XML."""
    if not code:
        return
    if not results.exists():
        yield f"\na process of the tests ended with {code} and has written no results ({results.stem})\n"
        return
    for case in ElementTree.parse(results).iter("testcase"):  # noqa: S314 - the file is pytest's own
        for trouble in (*case.iter("failure"), *case.iter("error")):
            lines = (trouble.text or "").splitlines()[-_LINES:]
            yield "\n".join(["", f"{trouble.tag}: {case.get('classname')}.{case.get('name')}", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
