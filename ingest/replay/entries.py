"""Publishing entries of a tape, or of its exports: each entry goes into its log again, with the same bytes.

No tick is added at the end, because the ticks of the logs are among them. The entries keep their ids, which say when they arrived, if
the logs hold nothing newer; else they get new ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from ingest.messages.envelope import HEARD_LIVE
from ingest.publish.counts import Counts
from ingest.publish.placed import Entry, add_append, words_of
from ingest.publish.readers import Readers
from ingest.publish.sink import PATIENCE_S
from ingest.recordings.files import open_text
from ingest.replay.run import REPORT_EVERY, Pace
from ingest.streams import keys
from ingest.streams.move import Place, PlacesError, check_places
from ingest.streams.read import id_numbers, is_newer
from ingest.tape.lines import entry_of, header_of
from ingest.tape.period import LogEntry

BATCH = 500


def are_exports(paths: Sequence[Path]) -> bool:
    """Return whether files are exports of a tape. Raise `UserError` if some are and some are not."""
    found = [path for path in paths if path.is_file() and header_of(path) is not None]
    if found and len(found) < len(paths):
        other = next(path for path in paths if path not in found)
        raise UserError(
            f"{found[0].name} is an export of a tape and {other.name} is not: replay them one after the other"
        )
    return bool(found)


def of_exports(paths: Sequence[Path], partitions: int) -> Iterator[LogEntry]:
    """Return the entries of exports, one file after the other in the order of their first entries.

    Raise `UserError` if an export is of another number of partitions: a log has the entries of its symbols.
    """
    for path in paths:
        header = header_of(path)
        if header is None or header.partitions != partitions:
            of = "" if header is None else f" of {header.partitions} partitions"
            raise UserError(
                f"{path.name} is an export{of}, and here are {partitions}: set TFS_PARTITIONS to that number"
            )
    return _entries(paths)


def replay_entries(
    entries: Iterator[LogEntry],
    client: redis.Redis,
    partitions: int,
    *,
    number: str = "",
    speed: float = 0.0,
    progress: Callable[[Counts], None] | None = None,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Counts:
    """Append entries to their logs; parameters and errors are those of ``replay``.

    ``number`` is ``Settings.number``. Raise `UserError` if it is raised meanwhile.
    """
    counts = Counts()
    readers = Readers(client, partitions, patience_s=patience_s)
    gathered: dict[Place, list[Entry]] = {}
    waiting = 0

    def send() -> None:
        nonlocal waiting
        pipe: Any = client.pipeline(transaction=False)
        for p, some in gathered.items():
            add_append(pipe, p, some, number)
        gathered.clear()
        waiting = 0
        for reply in pipe.execute(raise_on_error=False):
            try:
                check_places(reply)
            except PlacesError as error:
                raise UserError(
                    "the number of partitions is raised: only a part of these entries is in the logs; replay into another deployment"
                ) from error
            if isinstance(reply, Exception):
                raise reply

    pace = Pace(speed, clock, sleep, send)
    first = list(islice(entries, 1))
    first_id = first[0][0] if first else b"0-0"
    keeps_ids = all(is_newer(first_id, _last_id(client, keys.events(p))) for p in range(partitions))
    for entry_id, p, fields in chain(first, entries):
        if p >= partitions:
            raise UserError(f"entry {entry_id.decode()} is of partition {p}, and here are {partitions}")
        pace.wait(id_numbers(entry_id)[0])
        mark = HEARD_LIVE if keeps_ids and b"recorded" not in fields else b"1"  # a new id would make it old
        words = words_of({**fields, b"recorded": mark})
        gathered.setdefault(p, []).append(Entry(words, entry_id if keeps_ids else b"*"))
        waiting += 1
        counts.lines += 1
        counts.published[fields.get(b"kind", b"").decode(errors="replace")[:40]] += 1
        if waiting >= BATCH:
            send()
        if readers.is_check_due(1):
            send()
            readers.wait_for_workers()
        if progress is not None and counts.lines % REPORT_EVERY == 0:
            progress(counts)
    send()
    return counts


def _entries(paths: Sequence[Path]) -> Iterator[LogEntry]:
    for path in sorted(paths, key=_first_id):
        with open_text(path) as stream:
            stream.readline()
            yield from map(entry_of, stream)


def _first_id(path: Path) -> tuple[int, int]:
    with open_text(path) as stream:
        stream.readline()
        line = stream.readline()
    return id_numbers(entry_of(line)[0]) if line else (0, 0)


def _last_id(client: redis.Redis, stream: str) -> bytes:
    if not client.exists(stream):
        return b"0-0"
    about: Any = client.xinfo_stream(stream)
    return bytes(about["last-generated-id"])
