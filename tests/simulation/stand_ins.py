"""What of the outside world the parts are given: virtual clocks, a simulated database and Kafka, names from the seed, a trivial model."""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg
from redis.commands import core

from feature_repo.stores.online.client import is_cluster
from ingest import offline_writer
from ingest.feeds.kafka import feed as kafka_feed
from ingest.settings import Settings
from ingest.streams import deployment, keys
from ingest.streams.read import is_newer
from ingest.worker import hand_over, kernels, worker
from ingest.worker.partition import Partition
from tests.simulation.world import Time, running

_ROOMS = ("ingest.", "feature_repo.stores.")


class Model:
    """A model whose scores depend on the text alone."""

    name, revision, window, tokens_read = "simulated", "1", 3, 0

    def score(self, texts: Sequence[str]) -> list[tuple[float, float, float] | None]:
        return [
            None if text == "x" else (0.5, 0.25, 0.25) if "good" in text else (0.125, 0.75, 0.125) for text in texts
        ]


def _token_hex(n: int) -> str:
    return running().world.rng.randbytes(n).hex()


def _draw() -> float:
    return running().world.rng.random()


class Rebuilding:
    """What a process beside a worker rebuilds: the simulated tape has all that a log ever had."""

    def __init__(self, settings: Settings, p: int, names: Collection[str], _: Collection[str], state_id: bytes) -> None:
        log = _site().server.stream(keys.events(p).encode())
        partition = Partition(p, settings)
        entries = [(entry_id, dict(zip(words[::2], words[1::2], strict=True))) for entry_id, words in log.history]
        partition.replay(entries)
        newer = Partition(p, settings)
        newer.replay(entry for entry in entries if is_newer(entry[0], state_id))
        both = partition.symbols.keys() & {*names, *newer.symbols}
        parts = {name: partition.symbols[name].save() for name in both}
        self._rebuilt = hand_over.Rebuilt(partition.position, parts, {})
        self._until = Time.monotonic() + 3 * running().world.rng.random()

    def look(self) -> hand_over.Rebuilt | None:
        return self._rebuilt if Time.monotonic() >= self._until else None

    def end(self) -> None:
        pass


class _NoCollector:
    """The collector of garbage, which a worker calls when it opens: it takes long and changes nothing."""

    collect = freeze = staticmethod(lambda: None)


@cache
def _changes() -> list[tuple[ModuleType, str, Any]]:
    """Return the members of modules to replace, each with what stands in for it."""
    found: list[tuple[ModuleType, str, Any]] = [
        (worker, "gc", _NoCollector),
        (worker, "release_memory", lambda: None),
        (kernels, "warm_up", lambda: None),
        (hand_over, "Rebuilding", Rebuilding),
        (offline_writer, "append_rows", lambda connection, *rows: connection.append(*rows)),
        (offline_writer, "psycopg", SimpleNamespace(connect=lambda *_, **__: _site().connect(), Error=psycopg.Error)),
        (deployment, "check_database", lambda *_, **__: None),
        (kafka_feed, "Consumer", lambda *_, **__: _site().consumer()),
        (
            core,
            "record_streaming_lag_from_response",
            lambda **_: None,
        ),  # redis-py's own metrics: slow, and nobody reads them
    ]
    for name, module in list(sys.modules.items()):
        if name.startswith(_ROOMS) and isinstance(module, ModuleType):
            for variable, value in list(vars(module).items()):
                if value is is_cluster and name.startswith("ingest."):
                    found.append((module, variable, lambda client: client.is_cluster))
                elif value is time:
                    found.append((module, variable, Time))
                elif value is secrets:
                    found.append((module, variable, SimpleNamespace(token_hex=_token_hex)))
                elif value is random.random:
                    found.append((module, variable, _draw))
    return found


def _site() -> Any:
    return running().world.site  # type: ignore[attr-defined]


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Give the parts their stand-ins."""
    before = [(module, name, getattr(module, name)) for module, name, _ in _changes()]
    for module, name, value in _changes():
        setattr(module, name, value)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        for module, name, value in before:
            setattr(module, name, value)
