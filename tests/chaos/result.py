"""All that a deployment has said, and how it differs from what another has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from feature_repo.project import project
from ingest.streams import keys
from ingest.streams.backlog import counters
from tests.chaos.deployment import PARTITIONS, Deployment
from transforms.catalog import VIEWS

Result = dict[str, Mapping[Any, Any]]
"""By place: what is there, by key."""


def read(deployment: Deployment) -> Result:
    """Every row offline with both its times, every hash online, the vectors, the dead letters, and what was counted.

    A double is compared as the text that PostgreSQL writes of it, which names that double and no other.
    """
    result: Result = {}
    with psycopg.connect(deployment.postgres_url) as connection:
        for view in VIEWS:
            columns = ["symbol", "event_timestamp", "created_timestamp", *(f.name for f in view.features)]
            query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(view.name)
            )
            with connection.cursor() as cursor, cursor.copy(query) as copy:
                rows = (bytes(line).decode().rstrip("\n").split("\t") for line in copy)
                result[f"offline {view.name}"] = {tuple(row[:3]): row[3:] for row in rows}
    client = deployment.client
    # Feast's key of an entity ends with the project's name, as none of ours does
    online = [k for k in client.scan_iter(_type="hash", count=1000) if k.endswith(project().encode())]
    assert online
    result["online"] = {key: client.hgetall(key) for key in online}
    result["features"] = Counter(
        (f[b"symbol"], f[b"event_timestamp"], f[b"created"], f[b"values"])
        for p in range(PARTITIONS)
        for _, f in _all(client, keys.features(p))
    )
    result["dead letters"] = Counter(
        tuple(sorted((k, v) for k, v in f.items() if k != b"id")) for _, f in _all(client, keys.DEAD_LETTER)
    )
    counted = counters(client, PARTITIONS)
    result["counters"] = {k: v for k, v in counted.items() if k.startswith(("accepted.", "refused.", "rows."))}
    return result


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
