"""From recorded days to a served model, on servers of its own: backfill, lake, frame, ranking, model, predictions.

From a fresh clone, after ``make demo`` or any other command that installs::

    . .venv/bin/activate
    python examples/lake_to_model.py

Every step runs the command that you would run, and prints it. 26 hours of a simulated market are put on the tape, computed, and copied
into the lake. A training frame is made of them, with its manifest. ``features rank`` says which features tell of the coming return, a ridge
regression is fitted on these, judged on purged folds that come after what it was trained on, and saved with the manifest. Then the pipeline
runs, and the model predicts from the newest values. Before that, the kernels that made the fleet's rows are compared with those of the
frame; afterwards what was served is compared with the offline rows, bit for bit.

The files stay in ``.data/lake_to_model``. With your own data, start at `files_to_lake` and leave ``simulate`` out.
"""
# ruff: noqa: T201, S603 - an example prints, and runs this project's own commands

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
from train_model import SERVICE, Frame, Saved, fit, frame_of, score

import feature_repo
from feature_repo.stores.endpoints import default_data_dir
from feature_repo.training import manifest
from feature_repo.training.splits import PurgedWalkForward
from ingest.servers import embedded
from ingest.simulate import history

SYMBOLS = ("SIM-BTC", "SIM-ETH")
HORIZON = timedelta(seconds=10)
LABEL = "forward_log_return_10s"
SHRINK = 100.0
"""Ridge penalty, in rows' worth of evidence."""
AT_LEAST = 10
"""So many of the best ranked features are used where fewer are chosen."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do every step, and say how long each one took."""
    parser = argparse.ArgumentParser(description="From the lake to a served model; an example.")
    parser.add_argument("--hours", type=float, default=26, help="of history before today (default 26)")
    parser.add_argument("--every", default="10s", help="step of the frame (default 10s)")
    args = parser.parse_args(argv)
    folder = default_data_dir() / "lake_to_model"
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    with embedded.running(folder / "servers") as endpoints:
        os.environ |= {**endpoints.environment(), "SENTIMENT_MODEL": "embedded", "TFS_SERVED_SHARE": "1"}
        os.environ |= {f"TFS_{name.upper()}": str(folder / name) for name in ("tape", "lake")}
        os.environ["TFS_SERVED_LOG"] = str(folder / "served")
        run(str(Path(sys.executable).with_name("feast")), "-c", str(Path(feature_repo.__file__).parent), "apply")
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight - timedelta(hours=args.hours)
        files_to_lake(folder, first, midnight)
        frame = lake_to_frame(folder, first, midnight, args.every)
        model = train(folder, frame)
        serve(folder, model)
    print(f"done in {time.monotonic() - began:.0f} s; the files are in {folder}")
    return 0


def files_to_lake(folder: Path, first: datetime, last: datetime) -> None:
    """Put a file of books and trades on the tape, compute its features into the database, and copy closed days into the lake."""
    path = folder / "market.jsonl"
    with step(f"write {path.name}, a simulated market"), path.open("wb") as file:
        span = (int(first.timestamp() * 1000), int(last.timestamp() * 1000))
        for _, message in history(*span, symbols=SYMBOLS, kinds=("book", "trade")):
            file.write(msgspec.json.encode(message) + b"\n")
    ingest("import", str(path))
    ingest("backfill", "--from-tape", "--jobs", "2")
    ingest("lake", "write")


def lake_to_frame(folder: Path, first: datetime, last: datetime, every: str) -> Path:
    """Write a training frame and its manifest: what was known at each moment, and the return that came."""
    path = folder / "frame.parquet"
    span = ("--start", first.isoformat(), "--end", (last - HORIZON).isoformat(), "--every", every)
    ingest(
        "training-frame", "--symbols", *SYMBOLS, *span, "--horizon", f"{HORIZON.total_seconds():g}s", "-o", str(path)
    )
    ingest("features", "rank", str(path), "--top", "5", "--json", str(folder / "ranking.json"))
    return path


def train(folder: Path, path: Path) -> Path:
    """Fit a model on the features that the ranking chose, judge it on later data, and save it with the frame's manifest."""
    ranking = json.loads((folder / "ranking.json").read_text())["features"]
    ranked = [one for one in ranking if one["verdict"] in ("chosen", "no evidence")]
    chosen = [one["name"] for one in ranked if one["verdict"] == "chosen"]
    with step("fit a ridge regression"):
        whole = frame_of(pq.read_table(path), LABEL)
        used = [whole.names.index(one["name"]) for one in ranked[: max(len(chosen), AT_LEAST)]]
        frame = Frame(whole.t_us, whole.x[:, used], whole.y, tuple(whole.names[i] for i in used))
        ahead_us = HORIZON // timedelta(microseconds=1)
        for past, future in PurgedWalkForward(3, frame.t_us, frame.t_us + ahead_us, embargo=HORIZON).split():
            before, after = frame.rows(past), frame.rows(future)
            print("  ", score(fit(before, SHRINK), float(before.y.mean()), after, HORIZON))
        model = fit(frame, SHRINK)
        saved = Saved(
            SERVICE, LABEL, tuple(frame.names[i] for i in model.used), model, manifest.read(manifest.path_of(path))
        )
        saved.write(folder / "model.json")
    print(f"   {len(saved.features)} features ({len(chosen)} chosen): {', '.join(saved.features)}")
    return folder / "model.json"


def serve(folder: Path, model: Path) -> None:
    """Run the pipeline on a live market, predict from the newest values for some seconds, and check what was served."""
    live = ("simulate", "--symbols", ",".join(SYMBOLS), "--history", "10m")
    with background(folder, "run"), background(folder, *live):
        served = (str(Path(__file__).with_name("serve_model.py")), str(model), *SYMBOLS)
        run(sys.executable, *served, "--every", "0.2", "--rounds", "60", last=len(SYMBOLS))
    ingest("check", "served")


def ingest(*command: str) -> None:
    """Run one of the commands of this project."""
    run(sys.executable, "-m", "ingest", *command)


def run(*command: str, last: int | None = None) -> None:
    """Run a command, and print what it says, or its last lines; end where it fails."""
    with step(
        " ".join(["python" if part == sys.executable else Path(part).name if "/" in part else part for part in command])
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout}\nended with code {done.returncode}")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    print("".join(f"   {line}\n" for line in lines[-(last or 0) :]), end="")


@contextmanager
def background(folder: Path, *command: str) -> Iterator[None]:
    """Run one of the commands until the block ends; what it says is in ``<command>.log``."""
    print(f"python -m ingest {' '.join(command)} &", flush=True)
    with (folder / f"{command[0]}.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "ingest", *command], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            if process.poll() is not None:
                print(f"   {command[0]} has ended: {Path(log.name).read_text()[-2000:]}")
            process.terminate()
            process.wait()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is done and how long it took."""
    print(what, flush=True)
    began = time.monotonic()
    yield
    print(f"   {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
