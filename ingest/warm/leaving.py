"""Rebuilding the symbols of a partition, and leaving their states for its owner (``ingest/worker/rebuilt.py``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec
import redis

from ingest.settings import Settings
from ingest.streams import idle_state, keys, read
from ingest.streams.membership import count_alive, silent_ms
from ingest.tape.role import go_on_behind
from ingest.tape.table import Tape, TapeError, compare, of_tape, open_tape
from ingest.warm.known import kept, saved
from ingest.worker import basis
from ingest.worker.idle_load import IdleLoad, reader
from ingest.worker.opening import REPLAY
from ingest.worker.rebuild import Rebuilt, begin_of, rebuild
from ingest.worker.rebuilt import KEPT_S, REFUSED, RebuiltState, reaches_back

AT_ONCE = 100  # symbols that are rebuilt together, so that their states fit into the memory
BEAT_S = 30.0
LOOK_S = 0.2
WAIT_S = 120.0
"""So long the command waits for the owners to take the states over."""


@dataclass(slots=True)
class Warmed:
    """What became of a symbol.

    Attributes
    ----------
    position : str
        The last entry of the log that its state has; empty where the tape has nothing of the symbol.
    missing : dict of str to str
        What the tape lacks, by kernel.
    kept : list of str
        The kernels that stay as the worker has them, because it has heard the symbol for longer than the tape.
    fetched : str
        What a venue gave; empty where none was asked.
    outcome : str
        ``taken over``, ``waits``, ``not on the tape``, or why the owner refused the state.
    """

    symbol: str
    partition: int
    position: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    fetched: str = ""
    outcome: str = "not on the tape"


def opened(client: redis.Redis, settings: Settings) -> Tape:
    """Open the tape of this deployment; raise `TapeError` if it is of another one."""
    tape = open_tape(settings)
    named: Any = client.get(keys.DEPLOYMENT)
    name = settings.deployment or (named or b"").decode(errors="replace")
    of_tape(tape, settings)
    compare(tape, name)
    return tape


def rebuild_all(
    client: redis.Redis,
    settings: Settings,
    p: int,
    names: Iterable[str],
    *,
    take_all: bool,
    were_new: bool,
    told: Callable[[int], None],
) -> Iterator[tuple[bytes, Warmed]]:
    """Rebuild symbols of a partition and leave their states in Redis. Yield the name of each state there, and what it is.

    ``take_all`` lets them take the place of all that the worker has. ``were_new`` is as in ``rebuild``. ``told`` is called with how many
    were rebuilt. Raise `TapeError` where the log lost entries that the tape lacks.
    """
    beaten = time.monotonic()

    def beat() -> None:
        nonlocal beaten
        if time.monotonic() - beaten >= BEAT_S:
            beaten = time.monotonic()
            client.expire(keys.kept(p), KEPT_S)

    tape = _hold(client, settings, p)
    idle = IdleLoad(client, reader(settings.tape))
    settings_here = basis.encode(settings)
    ordered = sorted(names)
    for first in range(0, len(ordered), AT_ONCE):
        some = ordered[first : first + AT_ONCE]
        rebuilt = rebuild(tape, settings, p, some, between=beat, were_new=were_new)
        follow(client, rebuilt, begin_of(tape, settings, p), beat)
        for name in some:
            beat()
            about = Warmed(name, p)
            theirs = rebuilt.partition.find(name)
            if theirs is None:
                yield b"", about
                continue
            about.missing = rebuilt.missing.get(name, {})
            about.kept = [] if take_all else kept(saved(client, settings, idle, p, name), theirs, about.missing)
            every = sorted({*about.kept, *rebuilt.unheard(name)})
            about.position = rebuilt.partition.position.decode()
            packed = idle_state.pack_parts(theirs.save())
            value = msgspec.msgpack.encode(RebuiltState(rebuilt.partition.position, settings_here, packed, every))
            state = f"{name} {blake2b(value, digest_size=8).hexdigest()}".encode()
            client.hset(keys.rebuilt(p), state, value)  # type: ignore[arg-type]
            about.outcome = "waits"
            yield state, about
        told(len(some))


def _hold(client: redis.Redis, settings: Settings, p: int) -> Tape:
    """Return the tape as it is now, while the log keeps what it lacks."""
    stream = keys.events(p)
    read.join_group(client, [stream])
    for _ in range(3):  # a log that is trimmed meanwhile is on the tape
        tape = opened(client, settings)
        position = begin_of(tape, settings, p)
        go_on_behind(client, stream, position)
        client.set(keys.kept(p), position, ex=KEPT_S)
        if reaches_back(client, stream, position):
            return tape
    raise TapeError(
        f"{stream} has lost entries behind {position.decode()}, the last on the tape, so no state can be rebuilt from it; "
        "run the role `tape`, which goes on from what the log still has"
    )


def follow(client: redis.Redis, rebuilt: Rebuilt, after: bytes, between: Callable[[], None]) -> None:
    """Give rebuilt symbols what the log has behind the tape."""
    partition = rebuilt.partition
    partition.position = after
    while batch := read.entries_between(client, keys.events(partition.number), partition.position, b"+", REPLAY):
        partition.replay(batch, between)


def wait(client: redis.Redis, left: dict[bytes, Warmed]) -> None:
    """Wait until the owners have taken the states over, or refused them; not where no worker runs."""
    until = time.monotonic() + WAIT_S
    while left and time.monotonic() < until:
        for p in sorted({about.partition for about in left.values()}):
            found: Any = client.hkeys(keys.rebuilt(p))
            names = set(found)
            for state, about in list(left.items()):
                if about.partition != p or state in names:
                    continue
                del left[state]
                if state + REFUSED in names:
                    refused: Any = state + REFUSED
                    why: Any = client.hget(keys.rebuilt(p), refused)
                    about.outcome = why.decode()
                    client.hdel(keys.rebuilt(p), refused)
                else:
                    about.outcome = "taken over"
        if not count_alive(silent_ms(client, ["worker"]))["worker"]:
            return
        time.sleep(LOOK_S)


def release(client: redis.Redis, p: int) -> None:
    """Let a log be trimmed again, if no state of it waits."""
    if not client.exists(keys.rebuilt(p)):
        client.delete(keys.kept(p))
