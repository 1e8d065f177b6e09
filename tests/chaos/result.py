"""All that a deployment has said, and how it differs from what another has."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql

from feature_repo.project import project
from feature_repo.stores.offline.tables.schema import SILENCE
from feature_repo.stores.online.format import event_and_silence
from ingest.streams import keys
from ingest.streams.backlog import counters, counters_by_place
from tests.chaos.deployment import PARTITIONS, Deployment
from transforms.catalog import VIEWS

Result = dict[str, Mapping[Any, Any]]
"""By place: what is there, by key."""


def read(deployment: Deployment) -> Result:
    """Every row offline with both its times, every hash online, the vectors, the dead letters, and what was counted.

    A double is compared as the text that PostgreSQL writes of it, which names that double and no other.
    """
    result: Result = {}
    for view, rows in _offline(deployment).items():
        result[f"offline {view}"] = {tuple(row[:3]): row[3:] for row in rows}
    client = deployment.client
    result["online"] = _online(client)
    result["features"] = Counter(
        (f[b"symbol"], f[b"event_timestamp"], f[b"created"], f[b"values"]) for f in _features(client)
    )
    result["dead letters"] = Counter(
        tuple(sorted((k, v) for k, v in f.items() if k != b"id")) for _, f in _letters(client)
    )
    counted = counters(client, PARTITIONS)
    result["counters"] = {k: v for k, v in counted.items() if k.startswith(("accepted.", "refused.", "rows."))}
    return result


def read_of_logs(deployment: Deployment) -> Result:
    """What the logs alone make: as ``read``, without the times of creation, and of letters and counters only those of the logs.

    A live row says when its worker wrote it, and a replayed row when its last message was received.
    """
    result: Result = {}
    for view, rows in _offline(deployment).items():
        result[f"offline {view}"] = Counter((*row[:2], *row[3:]) for row in rows)
    client = deployment.client
    result["online"] = {
        key: {name: event_and_silence(value) if name.startswith(b"_ts:") else value for name, value in row.items()}
        for key, row in _online(client).items()
    }
    result["features"] = Counter((f[b"symbol"], f[b"event_timestamp"], f[b"values"]) for f in _features(client))
    result["dead letters"] = Counter(
        tuple(sorted((k, v) for k, v in f.items() if k != b"field:recorded"))
        for _, f in _letters(client)
        if f[b"source"].startswith(b"events:")
    )
    counted = counters_by_place(client, PARTITIONS)
    result["counters"] = {
        (p, k): v
        for p in range(PARTITIONS)
        for k, v in counted[p].items()
        if k.startswith(("accepted.", "refused.", "rows."))
    }
    return result


def processed(deployment: Deployment) -> int:
    """Return how many entries of the logs are processed, by the checkpoints."""
    found: list[Any] = [deployment.client.hget(keys.checkpoint(p), "entries") for p in range(PARTITIONS)]
    return sum(map(int, found))


def _offline(deployment: Deployment) -> dict[str, list[list[str]]]:
    """Return the rows of each view: symbol, both times, the silence of the feed, and the values."""
    found = {}
    with psycopg.connect(deployment.postgres_url) as connection:
        for view in VIEWS:
            columns = ["symbol", "event_timestamp", "created_timestamp", SILENCE, *(f.name for f in view.features)]
            query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(view.name)
            )
            with connection.cursor() as cursor, cursor.copy(query) as copy:
                found[view.name] = [bytes(line).decode().rstrip("\n").split("\t") for line in copy]
    return found


def _online(client: Any) -> dict[bytes, dict[bytes, bytes]]:
    # Feast's key of an entity ends with the project's name, as none of ours does
    names = [k for k in client.scan_iter(_type="hash", count=1000) if k.endswith(project().encode())]
    assert names
    return {name: client.hgetall(name) for name in names}


def _features(client: Any) -> Iterator[dict[bytes, bytes]]:
    for p in range(PARTITIONS):
        for _, fields in _all(client, keys.features(p)):
            yield fields


def _letters(client: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return [letter for stream in keys.letter_streams(PARTITIONS) for letter in _all(client, stream)]


def _all(client: Any, stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: list[tuple[bytes, dict[bytes, bytes]]] = client.xrange(stream)
    return found


def differences(disturbed: Result, calm: Result) -> list[str]:
    """A line for each place that is not equal, with how many are lost, added or different, and one of them."""
    out = []
    for place, expected in calm.items():
        have = disturbed[place]
        lost = [k for k in expected if k not in have]
        added = [k for k in have if k not in expected]
        other = [k for k in expected if k in have and have[k] != expected[k]]
        if lost or added or other:
            one = (lost or added or other)[0]
            out.append(
                f"{place}: {len(lost)} lost, {len(added)} added, {len(other)} different, such as {str(one)[:300]}"
                + (f": {str(have[one])[:300]} is not {str(expected[one])[:300]}" if other and one == other[0] else "")
            )
    return out


def told(wrong: list[str], log: str) -> int:
    """Print what is wrong behind the end of the log, so that a cut output shows it; return the exit code."""
    if wrong:
        print(log[-4000:], file=sys.stderr, flush=True)
    for line in wrong:
        print(line)
    print("different" if wrong else "equal, bit for bit")
    return int(bool(wrong))
