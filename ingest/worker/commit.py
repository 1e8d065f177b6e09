"""The commit of a batch of a partition: one script (``commit.lua``), of which all steps happen or none does."""

from __future__ import annotations

from typing import Any, Final

import redis

from feature_repo.stores.scripts import read_script
from ingest.settings import Settings
from ingest.streams import keys, read, replicas
from ingest.streams.cluster import Cluster
from ingest.streams.dead_letters import dead_letter
from ingest.streams.membership import LEASE_MS, LONGEST_LEASE_MS, FencedError
from ingest.worker import rows
from ingest.worker.partition import Partition, Pending
from transforms.catalog import NORMALIZED

_COMMIT: Final = read_script(__file__, "commit.lua")
SLOWEST_BYTES_PER_MS: Final = 10_000
"""What a busy server takes of a saved state at least. A thousand busy symbols are some 70 MB."""
_KEYS: Final = (
    keys.owner,
    keys.checkpoint,
    keys.idle,
    keys.outbox,
    keys.features,
    keys.events,
    keys.counters,
    keys.holes,
    keys.kept,
    keys.letters,
)


def add_commit(
    pipe: Any,
    partition: Partition,
    token: str,
    pending: Pending,
    state: dict[bytes, bytes],
    settings: Settings,
    lease_ms: int = LEASE_MS,
) -> None:
    """Add to a pipeline the commit of ``pending`` and, where there is one, of the saved ``state``; its reply is for ``check``.

    ``lease_ms`` is how long the lease lasts from the commit on.
    """
    p, log = partition.number, keys.events(partition.number)
    dropped, idle, awake = partition.take_moves() if state else ([], {}, [])
    touched = (*(key(p) for key in _KEYS), *((keys.taped(p),) if settings.tape else ()))
    kept_from = _kept_from(partition, settings.log_history_s)
    values = (
        token,
        lease_ms,
        keys.GROUP,
        pending.after,
        partition.last_id,
        kept_from,
        pending.entries,
        settings.features_maxlen,
    )
    lists: list[list[Any]] = [
        dropped,
        [x for pair in {**state, b"state_id": partition.state_id}.items() for x in pair],
        awake,
        [x for pair in idle.items() for x in pair],
        [rows.encode(batch.columns()) for batch in pending.batches.values() if len(batch)],
        rows.vectors(pending.batches[NORMALIZED.name].columns()),
        [x for pair in pending.counts.items() for x in pair],
        [x for pair in pending.missing.counts.items() for x in pair],
        [x for pair in pending.missing.times.items() for x in pair],
        *(dead_letter(log, entry_id, fields, why.reason, why.detail) for (entry_id, fields), why in pending.dead),
    ]
    behind_lengths = (x for part in lists for x in (len(part), *part))
    pipe.eval(_COMMIT, len(touched), *touched, *values, *behind_lengths)


def lease_for(state: dict[bytes, bytes]) -> int:
    """Return how long a lease must last, in ms, so that a commit with this state cannot outlive it on a busy machine."""
    return min(LEASE_MS + sum(map(len, state.values())) // SLOWEST_BYTES_PER_MS, LONGEST_LEASE_MS)


def patient(client: redis.Redis, wait_ms: int) -> redis.Redis:
    """Return a client of the same server that waits so long for a reply: one that gives up earlier sends a large state again and again."""
    if isinstance(client, Cluster):
        return client.with_options(socket_timeout=wait_ms / 1000)
    pool: Any = client.connection_pool
    options = {**pool.connection_kwargs, "connection_class": pool.connection_class, "socket_timeout": wait_ms / 1000}
    found: replicas.Client = replicas.Client.from_pool(redis.ConnectionPool(**options))  # type: ignore[assignment]
    found.replicas = replicas.number(client)
    return found


def _kept_from(partition: Partition, history_s: int) -> bytes:
    """Return the first entry that the log must keep."""
    newest_ms, _ = read.id_numbers(partition.last_id)
    since = b"%d-0" % max(newest_ms - history_s * 1000, 0)
    return partition.state_id if read.is_newer(since, partition.state_id) else since


def check(reply: Any, partition: int) -> None:
    """Raise the error that a commit's reply is: ``FencedError`` where nothing has changed and the partition must be opened anew.

    That is so where another worker holds the lease, where another Redis gave it (this one may lack entries of the batch), and where the
    saved position is not the one that the batch begins at: a commit whose reply was lost arrived late, or somebody emptied Redis.
    """
    if isinstance(reply, redis.ResponseError) and "FENCED" in str(reply):
        raise FencedError(f"another worker has taken over partition {partition}")
    if isinstance(reply, redis.ResponseError) and "OTHER SERVER" in str(reply):
        raise FencedError(f"the Redis that gave the lease of partition {partition} was replaced or started again")
    if isinstance(reply, redis.ResponseError) and "OTHER POSITION" in str(reply):
        raise FencedError(f"the saved position of partition {partition} is not the one that this worker knows")
    if isinstance(reply, Exception):
        raise reply
