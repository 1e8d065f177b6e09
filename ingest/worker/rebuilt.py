"""States that were rebuilt from the tape, on their way from Redis into the memory of the owner of their partition.

``python -m ingest warm`` leaves each state in the hash ``rebuilt:{p}``, with the entry at which it stands. The owner gives it what the log
has between that entry and its own position, puts it in the place of the symbol's state, and saves at once, by the commit that looks at
the lease. Then it deletes the state from the hash. The state is that of a worker that never stopped, whoever makes it and however often: so
an owner that dies on the way loses nothing, and one that takes a state over again changes nothing.

No row is lost or doubled, because both states are brought to the same time before: rows before it are those of the old one, and rows from
it on those of the new one.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
import redis

from ingest.messages.refusal import Refused
from ingest.settings import Settings
from ingest.streams import idle_state, keys, read
from ingest.worker import basis
from ingest.worker.idle_load import AwayError
from ingest.worker.opening import replay
from ingest.worker.partition import Partition
from transforms.saved import VersionError

_LOG = logging.getLogger(__name__)
LOOK_S = 1.0
"""Between two looks of an owner for states."""
KEPT_S = 600
"""So long after a sign of life of the command, or of an owner that has not come so far, the log keeps what a state lacks."""
AT_ONCE = 100  # states that an owner takes over in one look, so that its other partitions do not wait for long
REFUSED = b" !"  # behind the name of a state that was refused; its value is the reason


class RebuiltState(msgspec.Struct, array_like=True, frozen=True):
    """A value of the hash; its field is the symbol and a hash of the value.

    Attributes
    ----------
    position : bytes
        The last entry of the log that it was given.
    settings : bytes
        Those that it was made with (``basis.encode``).
    parts : bytes
        The packed parts of the symbol.
    kept : list of str
        The kernels whose state stays that of the worker, where the worker has one.
    """

    position: bytes
    settings: bytes
    parts: bytes
    kept: list[str]


_decode = msgspec.msgpack.Decoder(RebuiltState).decode


def waiting(client: redis.Redis, partitions: Sequence[Partition]) -> list[tuple[Partition, list[bytes]]]:
    """Return the partitions for which states wait, with the names of these."""
    pipe: Any = client.pipeline(transaction=False)
    for partition in partitions:
        pipe.hkeys(keys.rebuilt(partition.number))
    found = []
    for partition, fields in zip(partitions, pipe.execute(), strict=True):
        if names := sorted(field for field in fields if not field.endswith(REFUSED)):
            found.append((partition, names))
    return found


def take_over(
    client: redis.Redis, settings: Settings, partition: Partition, fields: Sequence[bytes], between: Callable[[], None]
) -> dict[bytes, str]:
    """Let symbols of a partition go on with states that wait. The caller saves the partition at once, and then calls ``finish``.

    Return why each state was refused, or nothing as the reason where it was taken over. One that stands at a later entry than the
    partition is not among them: it waits, and the log keeps what it lacks. ``between`` is called again and again.
    """
    p = partition.number
    found: Any = client.hmget(keys.rebuilt(p), list(fields[:AT_ONCE]))
    done: dict[bytes, str] = {}
    states: list[tuple[bytes, RebuiltState]] = []
    for field, value in zip(fields, found, strict=False):
        try:
            states.append((field, _decode(value or b"")))
        except msgspec.MsgspecError as error:
            done[field] = f"it cannot be read: {error}"
    states.sort(key=lambda one: read.id_numbers(one[1].position))
    for position, group in groupby(states, key=lambda one: one[1].position):
        if read.entries_between(client, keys.events(p), partition.position, position, 1):
            client.set(keys.kept(p), position, nx=True, ex=KEPT_S)
            break
        done |= _take_over_from(client, settings, partition, position, dict(group), between)
    return done


def finish(client: redis.Redis, p: int, done: Mapping[bytes, str]) -> None:
    """Delete the states that were taken over or refused, and say why some were refused. The partition is saved before."""
    pipe: Any = client.pipeline(transaction=False)
    for field, why in done.items():
        pipe.hdel(keys.rebuilt(p), field)
        if why:
            pipe.hset(keys.rebuilt(p), field + REFUSED, why)
            _LOG.warning("partition %d: the rebuilt state of %s is not taken over: %s", p, _name(field), why)
    pipe.execute()
    if taken := sorted(_name(field) for field, why in done.items() if not why):
        _LOG.info("partition %d: %d symbols go on with rebuilt states: %s", p, len(taken), ", ".join(taken[:10]))


def reaches_back(client: redis.Redis, stream: str, position: bytes) -> bool:
    """Return whether a log has every entry behind ``position`` that it ever had."""
    about: Any = client.xinfo_stream(stream)
    first = about["first-entry"]
    is_whole = about["entries-added"] == about["length"]
    return bool(is_whole or (first and not read.is_newer(first[0], position)) or position == about["last-generated-id"])


def _take_over_from(
    client: redis.Redis,
    settings: Settings,
    partition: Partition,
    position: bytes,
    states: Mapping[bytes, RebuiltState],
    between: Callable[[], None],
) -> dict[bytes, str]:
    """Take over states that stand at the same entry, which the partition has processed."""
    if not reaches_back(client, keys.events(partition.number), position):
        return dict.fromkeys(states, f"the log does not reach back to entry {position.decode()} any more; warm again")
    names = {_name(field) for field in states}
    alone = dataclasses.replace(settings, symbols=frozenset(names), max_symbols=len(names))
    past = Partition(partition.number, alone)
    past.position = position
    done = {}
    for field, state in states.items():
        between()
        done[field] = _opened(past, _name(field), state, settings)
    replay(client, past, partition.position, between)
    for field, state in states.items():
        if done[field]:
            continue
        between()
        try:
            done[field] = _install(partition, past, _name(field), state.kept)
        except AwayError:
            del done[field]  # it waits until the state of the idle symbol can be read
    return done


def _opened(past: Partition, name: str, state: RebuiltState, settings: Settings) -> str:
    """Open a symbol in ``past``; return why that cannot be, or nothing."""
    if state.settings != basis.encode(settings):
        names = ", ".join(basis.differing(state.settings, settings))
        return f"the worker has other settings than `warm` had: {names}"
    try:
        symbol = past.symbols.open(name, idle_state.parts_of(state.parts))
    except VersionError as error:
        return f"{error}; run `warm` of the same version and grid as the worker"
    if symbol.engine.anew:
        return f"the worker has other kernels than `warm` had: {', '.join(sorted(symbol.engine.anew)[:10])}"
    return ""


def _install(partition: Partition, past: Partition, name: str, kept: Collection[str]) -> str:
    """Let a symbol go on with its state in ``past``, which stands at the same entry; return why that cannot be, or nothing."""
    theirs = past.find(name)
    if theirs is None:
        return "the symbol was forgotten meanwhile"
    if partition.is_foreign(name):
        return "the symbol is of another partition since their number was raised; warm again"
    mine = partition.find(name)
    if mine is None:
        try:
            partition.symbols.check_place(name)
        except Refused as refused:
            return refused.detail
    else:
        mine.know_before(theirs.timeline.watermark)
        theirs.know_before(mine.timeline.watermark)
        theirs.take_over(mine, kept, is_whole=True)
    partition.install(name, theirs.save())
    return ""


def _name(field: bytes) -> str:
    return field.decode().partition(" ")[0]
