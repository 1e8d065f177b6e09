"""A process beside a worker that rebuilds kernels of a partition from the tape, so that the worker and the owner serve meanwhile."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ingest.settings import Settings
from ingest.streams import keys, read
from transforms import saved
from transforms.kernels import KERNEL
from transforms.saved import VersionError

Parts = dict[str, dict[str, bytes]]


class Rebuilt(NamedTuple):
    """What a process has rebuilt: the entry up to which, the parts of each symbol, and what the tape lacks of symbols by kernel."""

    position: bytes
    parts: Parts
    missing: dict[str, dict[str, str]]


class Rebuilding:
    """A process that rebuilds kernels of a partition from the tape: of these symbols, and of all that were heard after ``state_id``."""

    def __init__(
        self, settings: Settings, p: int, names: Collection[str], kernels: Collection[str], state_id: bytes
    ) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
        self._found, given = context.Pipe(duplex=False)
        about = (given, settings, p, set(names), sorted(kernels), state_id, os.getpid())
        self._process = context.Process(target=_rebuild, args=about, daemon=True)
        self._process.start()
        given.close()

    def look(self) -> Rebuilt | None:
        """Return what was rebuilt, None while that goes on; raise RuntimeError where it failed."""
        if not self._found.poll():
            return None
        try:
            found = self._found.recv()
        except EOFError:
            raise RuntimeError("its process ended") from None
        if isinstance(found, str):
            raise RuntimeError(found)
        return Rebuilt(*found)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._found.close()


def _rebuild(
    given: Any, settings: Settings, p: int, names: set[str], kernels: list[str], state_id: bytes, parent: int
) -> None:
    def between() -> None:
        if os.getppid() != parent:
            os._exit(1)

    with contextlib.suppress(OSError):
        os.nice(5)  # the owner serves meanwhile
    from ingest.tape.read import rows  # here, as a worker does not need what these import
    from ingest.tape.table import of_tape, open_tape
    from ingest.worker.rebuild import begin_of, rebuild

    try:
        tape = open_tape(settings)
        of = p % of_tape(tape, settings).partitions
        position = begin_of(tape, settings, p)
        for window in rows(tape, of, since_ms=read.id_numbers(state_id)[0], columns=("id_ms", "id_n", "symbol")):
            there = (name for name in window["symbol"].unique().to_pylist() if name is not None)
            found = [name for name in there if keys.partition_of(name, settings.partitions) == p or not settings.number]
            names.update(found[: settings.max_symbols])
        rebuilt = rebuild(tape, settings, p, sorted(names), kernels, between=between)
        given.send((position, rebuilt.parts(), rebuilt.missing))
    except Exception as error:
        given.send(f"{type(error).__name__}: {error}"[:500])


def begin_anew(checkpoint: Mapping[bytes, bytes], settings: Settings) -> dict[str, frozenset[str]]:
    """Return the kernels that begin anew in each symbol of a checkpoint of these settings: all where its state has another format."""
    parts: Parts = {}
    for key, data in checkpoint.items():
        name, _, part = key.decode().partition(" ")
        if part:
            parts.setdefault(name, {})[part] = data
    found = {}
    for name, of_symbol in parts.items():
        try:
            anew = saved.begin_anew(of_symbol, settings.emit_us, settings.neighbours(name))
        except VersionError:
            anew = frozenset(KERNEL)
        if anew:
            found[name] = anew
    return found
