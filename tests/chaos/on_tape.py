"""What a run with a tape adds: an S3 server that is away for a while, and what must be on the tape afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ingest.replay.entries import of_exports, replay_entries
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.backlog import untaped_ms
from ingest.tape import verify
from ingest.tape.export import export
from ingest.tape.read import entries
from ingest.tape.table import open_tape
from tests.chaos.deployment import DRAIN_S, PARTITIONS, Deployment
from tests.chaos.tape import Entry

S3 = subprocess.Popen[bytes]
PLACE = "s3://chaos/tape"
AWAY_AFTER_S, AWAY_S = 5.0, 60.0
_SERVER = (
    "from moto.server import ThreadedMotoServer as Server; import sys; one = Server('127.0.0.1', 0, verbose=False); one.start(); "
    "print(one.get_host_and_port()[1], flush=True); sys.stdin.read()"
)


@contextlib.contextmanager
def s3() -> Iterator[S3]:
    """Run moto's S3 server with a bucket, and set the variables by which it is reached."""
    import boto3

    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{int(server.stdout.readline())}"
        os.environ |= {
            "AWS_ENDPOINT_URL": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
        }
        boto3.client("s3").create_bucket(Bucket="chaos")
        try:
            yield server
        finally:
            server.send_signal(signal.SIGCONT)
            server.terminate()


@contextlib.contextmanager
def away_for_a_while(server: S3, after_s: float = AWAY_AFTER_S, away_s: float = AWAY_S) -> Iterator[None]:
    """Stop the server for ``away_s`` while the block runs: it takes connections and answers nothing."""
    ended = threading.Event()

    def freeze() -> None:
        if not ended.wait(after_s):
            server.send_signal(signal.SIGSTOP)
            ended.wait(away_s)
            server.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        yield
        thread.join()
    finally:
        ended.set()
        thread.join()


def stored() -> int:
    """Return how many files with rows are in the bucket; -1 where S3 does not answer at once."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    client = boto3.client("s3", config=Config(read_timeout=2, retries={"total_max_attempts": 1}))
    try:
        pages = list(client.get_paginator("list_objects_v2").paginate(Bucket="chaos"))
    except BotoCoreError:
        return -1
    return sum(one["Key"].endswith(".parquet") for page in pages for one in page.get("Contents", ()))


def wait_for_append(longest_s: float) -> None:
    """Return when an append has stored its first file, which it commits next; or after some time, or where S3 is away."""
    before, deadline = stored(), time.monotonic() + longest_s
    while before >= 0 and time.monotonic() < deadline and stored() == before:
        time.sleep(0.01)


def half_done() -> int:
    """Return how many files are in the bucket that no commit names: their append was killed, or refused."""
    return stored() - len(open_tape(Settings(partitions=PARTITIONS, tape=PLACE)).table.file_uris())


def drain(deployment: Deployment) -> None:
    """Return when every entry of the logs is on the tape."""
    deadline = time.monotonic() + DRAIN_S
    while any(at_ms is not None for at_ms in untaped_ms(deployment.client, PARTITIONS)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not on the tape: {deployment.log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.1)


def wrong(published: Sequence[Entry]) -> list[str]:
    """Compare the tape with what was published: each entry once, in the order of its log; return a line for each thing that is wrong."""
    tape = open_tape(Settings(partitions=PARTITIONS, tape=PLACE))
    out = [
        f"{day.day} of partition {day.partition} is not as it was appended"
        for day in verify.days(tape)
        if not day.is_right
    ]
    moved: Counter[bytes] = Counter()
    for p in range(PARTITIONS):
        found = list(entries(tape, p))
        ids = {entry.id.encode() for entry in published if entry.stream == keys.events(p)}
        expected = [(entry.id.encode(), entry.fields) for entry in published if entry.stream == keys.events(p)]
        if (have := [entry for entry in found if entry[0] in ids]) != expected:
            out.append(
                f"partition {p} has {len(have)} of {len(expected)} entries, or in another order or with other bytes"
            )
        moved.update(
            fields[b"data"] for entry_id, fields in found if entry_id not in ids and fields[b"kind"] == b"trade"
        )
    if moved != (plain := Counter(entry.fields[b"data"] for entry in published if entry.stream == "market_data")):
        out.append(f"{moved.total()} trades came by the router, and {plain.total()} were published")
    return out


def replay(into: Deployment) -> int:
    """Replay the whole tape into another deployment; return the number of entries."""
    conf = Settings(partitions=PARTITIONS, tape=PLACE)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "all.jsonl.gz")
        n = export(open_tape(conf), conf, path, datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
        replay_entries(of_exports([path], PARTITIONS), into.client, PARTITIONS)
    return n
