"""One definition: whichever way the events come to the kernels, every feature has the same bits.

About 60,000 mixed events of six interleaved symbols; ``TFS_EQUALITY_EVENTS=1000000`` makes it the full million (minutes).
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from transforms.catalog import VIEWS
from transforms.kernel import COMPILED
from transforms.warmup import stated

from . import equality

ROOT = Path(__file__).parents[2]
EVENTS = int(os.environ.get("TFS_EQUALITY_EVENTS", "60000"))
FULL = EVENTS >= 1_000_000
SQUEEZE = 4 if FULL else 20


@pytest.fixture(scope="module")
def captures() -> Path | None:
    """The recordings where they are; without them all events are simulated."""
    given = os.environ.get("RECORDINGS")
    folder = Path(given) if given else Path(__file__).parents[3] / "shared" / "recordings"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="module")
def log(captures):
    return equality.tape(EVENTS, SQUEEZE, captures)


@pytest.fixture(scope="module")
def expected(log):
    """The rows of the log taken in one go, and their digests; digests of the other ways are held against them."""
    rows = equality.stream(log)
    return rows, equality.digests(rows)


def test_the_log_is_long_mixed_and_interleaved_and_every_view_speaks(log, expected):
    rows, _ = expected
    assert len(log) > 0.98 * EVENTS
    # a capture has gaps where its price leaves what is known of the book
    assert {kind for kind, _ in log} - {"gap"} == {
        "book",
        "trade",
        "post",
        "derivatives",
        "liquidation",
        "neighbour",
        "tick",
    }
    changes = sum(a.symbol != b.symbol for (_, a), (_, b) in itertools.pairwise(log))
    assert changes > len(log) / 4
    assert set(rows) == {view.name for view in VIEWS}
    silent = {name for view in VIEWS for i, name in enumerate(view.names) if np.isnan(rows[view.name][1][:, i]).all()}
    # a table is fitted first; a week comes first; the books do not reach so far
    silent -= {"microprice", "relative_volume", "social_volume_z", "depth_bid_50bps", "depth_ask_50bps"}
    if not FULL:  # minutes of history, where some need hours
        silent = {name for name in silent if stated(name).seconds <= 120 and not stated(name).bars}
    assert silent == set()


def test_stream_is_batch(log, expected):
    assert equality.digests(equality.batch(log)) == expected[1]


def test_a_restart_from_bytes_at_random_points_changes_no_bit(log, expected):
    points = equality.random_points(100, log)
    assert equality.digests(equality.stream(log, restarts=points)) == expected[1]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_commits_of_any_size_change_no_bit(log, expected, size):
    part = log if FULL or size > 1 else log[:10_000]
    of_part = expected[1] if part is log else equality.digests(equality.stream(part))
    assert equality.digests(equality.stream(part, commit_every=size)) == of_part


def test_plain_python_gives_the_bits_of_compiled_code(captures, expected):
    if not COMPILED:
        pytest.skip("this run is plain Python already: numba is absent or TFS_NUMBA is 0")
    program = [sys.executable, "-m", equality.__name__, str(EVENTS), str(SQUEEZE), str(captures or "")]
    done = subprocess.run(program, env={**os.environ, "TFS_NUMBA": "0"}, cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout) == expected[1]
