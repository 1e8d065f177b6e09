"""The tape: writing, reading, its size, and what it costs the feature worker.

``tape_write`` appends entries that were read from Redis to a table in a folder; ``tape_read`` reads them again from the rewritten day, as
the entries that a log had; both are messages a second of the processor time of this process, all its threads. ``tape_bytes`` is the size of
a message of 20 levels after a day is rewritten. ``tape_ingest`` is the speed of ``ingest_saturated`` with a tape that keeps the logs, over
that without. Messages are those of the captures in ``RECORDINGS`` (else beside the checkout): without them it says so and ends.

    python -m bench.tape
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import redis

from bench.ingest_saturated import captures, measure, tape
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook
from ingest.run.processes import Processes
from ingest.servers import embedded
from ingest.settings import Settings, load
from ingest.streams import keys
from ingest.streams.backlog import untaped_ms
from ingest.tape import compact
from ingest.tape.columns import table_of
from ingest.tape.read import entries
from ingest.tape.table import Batch, Tape, open_tape, open_to_append

BEGIN_MS = 1_700_006_400_000
APPEND = 25_000
ROUNDS = 3


def main() -> None:
    """Measure and print."""
    paths = captures()
    if not paths:
        print("tape needs the captures: set RECORDINGS to their folder", file=sys.stderr)
        return
    messages = list(tape(paths))
    told: list[Any] = []
    for i, (kind, message) in enumerate(messages):
        told.append(
            (b"%d-0" % (BEGIN_MS + 20 * i), {b"kind": kind.encode(), b"data": encode(message), b"recorded": b"1"})
        )
    books = [entry for (_, message), entry in zip(messages, told, strict=True) if is_full(message)]
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name:
        folder = Path(name)
        written = [write(folder / f"all-{n}", told) for n in range(ROUNDS)]
        read_s = [read(folder / "all-0", told) for _ in range(ROUNDS)]
        write(folder / "books", books)
        size = bytes_of(rewritten(folder / "books"))
        show("tape_write", len(told), len(told) / min(written), "messages/s/core")
        show("tape_read", len(told), len(told) / min(read_s), "messages/s/core")
        show("tape_bytes", len(books), size / len(books), "bytes/message")
        folder.chmod(0o711)  # the server may run as another user
        with embedded.running(folder / "servers", durable=False) as endpoints:
            client = redis.Redis.from_url(endpoints.redis_url)
            pairs = []
            for n in range(ROUNDS):
                without = measured(client, messages, "")
                pairs.append(without / measured(client, messages, str(folder / f"ingest-{n}")))
        show("tape_ingest", len(messages), median(pairs), "speed with a tape over without")


def is_full(message: Any) -> bool:
    """Return whether a message is a book of 20 levels a side."""
    return isinstance(message, OrderBook) and len(message.bids) == len(message.asks) == 20


def settings_of(place: Path) -> Settings:
    return Settings(partitions=1, tape=str(place))


def write(place: Path, told: list[Any]) -> float:
    """Append entries as the role does; return the processor seconds."""
    one = open_to_append(settings_of(place), "")
    begin = time.process_time()
    for at in range(0, len(told), APPEND):
        part = told[at : at + APPEND]
        one.append([Batch(keys.events(0), table_of(part, "events", 0), part[-1][0])])
    return time.process_time() - begin


def rewritten(place: Path) -> Tape:
    """Rewrite what is there as a closed day is."""
    one = open_tape(settings_of(place))
    for p, day in list(one.days()):
        if one.number(f"compacted/{p}/{day}") is None:
            compact.compact(one, p, day)
    return one


def read(place: Path, told: list[Any]) -> float:
    """Read all entries of a rewritten day in the order of the log; return the processor seconds."""
    one = rewritten(place)
    begin = time.process_time()
    n = sum(1 for _ in entries(one, 0))
    seconds = time.process_time() - begin
    assert n == len(told)
    return seconds


def bytes_of(one: Tape) -> int:
    """Return the bytes of the files of the newest version."""
    return sum(file.size for files in one.days().values() for file in files)


def measured(client: redis.Redis, messages: list[tuple[str, Any]], place: str) -> float:
    """Return the processor seconds of a worker, with a tape in `place` that a process beside it writes, or without one."""
    os.environ["TFS_TAPE"] = place
    if not place:
        return measure(client, messages)
    with Processes(["tape"], {**os.environ, "TFS_REDIS_URL": url_of(client.get_connection_kwargs())}):
        seconds = measure(client, messages)
        deadline = time.monotonic() + 120
        while any(entry_id is not None for entry_id in untaped_ms(client, load().partitions)):
            assert time.monotonic() < deadline, "the tape does not get the messages"
            time.sleep(0.1)
    return seconds


def url_of(address: dict[str, Any]) -> str:
    return f"redis://:{address['password']}@{address['host']}:{address['port']}/{address['db']}"


def show(bench: str, size: int, ours: float, unit: str) -> None:
    """Print one result as every benchmark does."""
    figure = round(ours, 2) if ours < 1000 else round(ours)
    record = {
        "bench": bench,
        "size": size,
        "ours": figure,
        "peer_name": None,
        "peer": None,
        "ratio": None,
        "unit": unit,
    }
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
