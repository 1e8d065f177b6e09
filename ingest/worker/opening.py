"""Opening of a partition: restore what its last owner saved, and replay the entries whose rows are written already.

The replay has the settings of the last owner, so that its rows are those that were written (``basis``).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import redis

from ingest.settings import Settings
from ingest.streams import keys, read
from ingest.worker import basis
from ingest.worker.partition import Partition
from ingest.worker.symbols import Symbols

_LOG = logging.getLogger(__name__)
REPLAY = 4000  # the most entries to read at once
READ_FIELDS = 200  # of a checkpoint at once, 2 MB at most of busy symbols
_POSITIONS = [b"state_id", b"last_id"]  # every commit that changes the checkpoint's state changes one of them


def open_partition(
    client: redis.Redis,
    settings: Settings,
    p: int,
    keep_lease: Callable[[], None],
    load_idle: Callable[[int, str], bytes | None] = lambda *_: None,
    past: Partition | None = None,
) -> Partition:
    """Return partition ``p`` as its last owner left it; call ``keep_lease`` again and again, as this may take longer than a lease.

    ``load_idle`` returns the state of an idle symbol. ``past`` has symbols whose kernels heard all that they need, up to an entry whose
    rows are committed: kernels that begin anew go on with their states of there. Raise `AwayError` if a state that is needed cannot be
    read now.
    """
    read.join_group(client, [keys.events(p)])
    saved = read_checkpoint(client, p, keep_lease)
    if b"entries" not in saved:
        # What the log has trimmed counts as processed, so that the group's lag is that of the rest.
        about: Any = client.xinfo_stream(keys.events(p))
        saved[b"entries"] = b"%d" % (about["entries-added"] - about["length"])
        if int(saved[b"entries"]):
            client.hset(keys.checkpoint(p), "entries", saved[b"entries"])  # type: ignore[arg-type]

    before = basis.decode(saved.get(basis.FIELD), settings)
    partition = Partition(p, before, functools.partial(load_idle, p))
    refused = partition.restore(saved, keep_lease)
    changed = {name: symbol.engine.anew for name, symbol in partition.symbols.items() if symbol.engine.anew}
    heard = _heard(past, partition, refused.keys() | changed)
    left = {name: kernels for name, kernels in changed.items() if name not in heard}
    if begun := {name: parts for name, parts in refused.items() if name not in heard} | left:
        _tell(p, begun.keys() - left, left)
        for name, symbol in _from_the_log(client, partition, before, begun, keep_lease).items():
            if name in left:
                partition.symbols[name].take_over(symbol)
            else:
                partition.symbols.open(name, symbol.save())
        partition.restart(
            {name: refused[name] for name in begun.keys() - left}
        )  # they keep their watermark and what they held
    if past is not None and heard:
        _take_past(client, partition, past, heard, keep_lease)
    replay(client, partition, partition.last_id, keep_lease)
    partition.entries = int(saved[b"entries"])
    if before != settings:
        _LOG.warning("partition %d: other settings count from entry %s on", p, partition.position.decode())
        partition = partition.with_settings(settings, keep_lease)
    return partition


def _heard(past: Partition | None, partition: Partition, names: Collection[str]) -> set[str]:
    """Return which of these symbols go on with their kernels of ``past``."""
    if past is None or read.is_newer(past.position, partition.last_id):  # Redis came back older
        return set()
    return {name for name in names if past.find(name) is not None}


def _take_past(
    client: redis.Redis, partition: Partition, past: Partition, names: Collection[str], keep_lease: Callable[[], None]
) -> None:
    """Bring a partition and ``past`` to the same entry, and let kernels that begin anew have their states of there."""
    replay(client, past, partition.position, keep_lease)
    replay(client, partition, past.position, keep_lease)
    for name in names:
        keep_lease()
        theirs, mine = past.find(name), partition.symbols.get(name)
        if theirs is None:
            continue
        if mine is not None and mine.engine.anew:
            mine.take_over(theirs, is_whole=True)
        else:  # its whole state was refused
            partition.install(name, theirs.save())
    _LOG.warning("partition %d: kernels of %d symbols were rebuilt and go on", partition.number, len(names))


def _tell(p: int, refused: Collection[str], changed: Mapping[str, Collection[str]]) -> None:
    if refused:
        names = ", ".join(sorted(refused)[:10])
        _LOG.warning("partition %d: %d symbols of another format or grid start anew: %s", p, len(refused), names)
    if changed:
        kernels = ", ".join(sorted({kernel for of_symbol in changed.values() for kernel in of_symbol}))
        _LOG.warning("partition %d: of %d symbols these kernels begin anew: %s", p, len(changed), kernels)


def _from_the_log(
    client: redis.Redis,
    partition: Partition,
    settings: Settings,
    names: Collection[str],
    keep_lease: Callable[[], None],
) -> Symbols:
    """Return symbols as the kernels of today make them of what the log still has, up to the saved state.

    Only these are opened: another symbol of the log was refused, or has a state, and would take the place of one where places are few.
    """
    alone = dataclasses.replace(settings, symbols=frozenset(names), max_symbols=len(names))
    past = Partition(partition.number, alone)
    replay(client, past, partition.state_id, keep_lease)
    return past.symbols


def read_checkpoint(client: redis.Redis, p: int, keep_lease: Callable[[], None]) -> dict[bytes, bytes]:
    """Return the checkpoint, read in pieces: a thousand symbols are up to 70 MB, and the leases would end while one command reads them.

    Only the owner writes a checkpoint. A commit of its own may still arrive, whose reply it did not wait for: then all is read again.
    """
    key = keys.checkpoint(p)
    while True:
        before: Any = client.hmget(key, _POSITIONS)
        saved: dict[bytes, bytes] = {}
        found: Any = client.hscan_iter(key, count=READ_FIELDS)
        for field, data in found:
            saved[field] = data
            keep_lease()
        if client.hmget(key, _POSITIONS) == before:
            return saved


def replay(client: redis.Redis, partition: Partition, last_id: bytes, keep_lease: Callable[[], None]) -> None:
    """Process entries behind the partition's position, up to and with ``last_id``, without giving their rows."""
    stream = keys.events(partition.number)
    count = read.FIRST
    while batch := read.entries_between(client, stream, partition.position, last_id, count):
        partition.replay(batch, keep_lease)
        count = read.next_count(count, len(read.split_by_size(batch)), REPLAY)
        keep_lease()
