"""The demo as a user runs it: exit code, what stays, and that no process does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ingest.simulate import history

T0 = 1_700_000_000_000


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two simulated minutes as JSON lines."""
    path = tmp_path / "market.jsonl"
    with path.open("w") as file:
        for kind, message in history(T0, T0 + 120_000, symbols=("SIM-BTC", "SIM-ETH"), seed=5, kinds=("book", "trade")):
            stream = "order_book" if kind == "book" else "market_data"
            file.write(
                json.dumps({"stream": stream, **{f: getattr(message, f) for f in message.__struct_fields__}}) + "\n"
            )
    return path


def environment(data_dir: Path) -> dict[str, str]:
    mark = {"TFS_DATA_DIR": str(data_dir), "TFS_TEST_MARK": str(data_dir), "SENTIMENT_MODEL": "embedded"}
    return {**os.environ, **mark}


def marked(data_dir: Path) -> list[psutil.Process]:
    """Processes that carry this test's mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TFS_TEST_MARK") == str(data_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone(data_dir: Path, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while marked(data_dir) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not marked(data_dir)


def test_a_recording_goes_through_the_whole_system_and_leaves_no_process(recording, tmp_path):
    data_dir = tmp_path / "data"
    command = [sys.executable, "-m", "ingest", "demo", str(recording)]
    for _ in range(2):  # the second run meets the first one's rows, and changes nothing
        done = subprocess.run(
            command, env=environment(data_dir), capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "all of it was right" in done.stdout
        assert gone(data_dir)
    assert "late" in done.stdout


def test_nothing_is_left_when_the_demo_is_killed(recording, tmp_path):
    data_dir = tmp_path / "data"
    command = [sys.executable, "-m", "ingest", "demo", str(recording)]
    with subprocess.Popen(
        command, env=environment(data_dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as demo:
        deadline = time.monotonic() + 120
        while len(marked(data_dir)) < 6 and time.monotonic() < deadline:  # itself, servers and the pipeline
            time.sleep(0.1)
        assert len(marked(data_dir)) >= 6
        demo.send_signal(signal.SIGKILL)
    assert gone(data_dir)
