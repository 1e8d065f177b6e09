"""The demo as a user runs it: exit code, what stays, and that no process does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from ingest.servers import embedded
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


def gone(data_dir: Path, seconds: float = 90.0) -> bool:
    deadline = time.monotonic() + seconds
    while marked(data_dir) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not marked(data_dir)


def page_data(path: Path) -> dict[str, Any]:
    """What a report draws."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def test_a_recording_goes_through_the_whole_system_and_leaves_no_process(recording, tmp_path):
    data_dir = tmp_path / "data"
    command = [sys.executable, "-m", "ingest", "demo", str(recording)]
    for _ in range(2):  # the second run meets the first one's rows, and changes nothing
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(data_dir),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "all of it was right" in done.stdout
        assert gone(data_dir)
    assert "late" in done.stdout
    drawn = page_data(tmp_path / "demo" / "report.html")
    assert list(drawn["series"]["symbols"]) == ["SIM-BTC", "SIM-ETH"]
    assert drawn["series"]["step_s"] == 1
    with embedded.running(data_dir) as endpoints, psycopg.connect(endpoints.postgres_url) as connection:
        stored = connection.execute(
            "SELECT symbol, event_timestamp, mid_price, imbalance_l5 FROM microstructure"
        ).fetchall()
    at = {ms: i for i, ms in enumerate(drawn["series"]["t"])}
    compared = 0
    for symbol, when, *values in stored:
        i = at.get(round(when.timestamp() * 1000))
        if i is not None:
            columns = drawn["series"]["symbols"][symbol]
            assert [columns["mid_price"][i], columns["imbalance_l5"][i]] == values, "what is drawn is what is stored"
            compared += 1
    assert compared > 200
    assert {cell["status"] for row in drawn["online"]["rows"] for cell in row["cells"]} >= {"PRESENT", "NOT_FOUND"}
    assert [m["by_event"] for m in drawn["example"]["moments"]] == [
        [r["value"] for r in drawn["example"]["rows"] if r["t"] <= m["t"]][-1] for m in drawn["example"]["moments"]
    ]
    assert [m["by_created"] for m in drawn["example"]["moments"]] == [
        [r["value"] for r in drawn["example"]["rows"] if r["readable"] <= m["t"]][-1]
        for m in drawn["example"]["moments"]
    ]


def test_nothing_is_left_when_the_demo_is_killed(recording, tmp_path):
    data_dir = tmp_path / "data"
    command = [sys.executable, "-m", "ingest", "demo", str(recording)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(data_dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as demo:
        deadline = time.monotonic() + 120
        while len(marked(data_dir)) < 6 and time.monotonic() < deadline:  # itself, servers and the pipeline
            time.sleep(0.1)
        assert len(marked(data_dir)) >= 6
        demo.send_signal(signal.SIGKILL)
    assert gone(data_dir)
