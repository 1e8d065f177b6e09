"""``run --engine ray``: the roles as actors, which Ray places on the nodes of its cluster and restarts where there is room.

An actor runs the same code for its role that a process would. Ray knows nothing of partitions: each worker joins the membership and
takes leases with fencing tokens as always, so where it runs and how often it was restarted changes no result.

    driver (this command) -> supervisor, detached -> parts, detached: workers, router, writer, scorers with a GPU each

The supervisor creates the parts, and creates a part again that was killed for good. Supervisor and parts outlive the driver: the same
command finds them again, and SIGTERM to it (``ray job stop``) stops them in order.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from feature_repo.stores.errors import UserError
from ingest import settings
from ingest.cli import needs_extra
from ingest.run.processes import GRACE_S, RESTART_S, STOP_S, run_role

_LOG = logging.getLogger(__name__)
NAMESPACE = "trading-feature-store"
SUPERVISOR = "supervisor"
LOOK_S = 1.0
"""Seconds between two looks of the supervisor at its parts, and the longest wait for a part's answer."""
_LASTING = {"namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
"""Options of actors that outlive the driver and that a second driver finds by their name."""


class Part(NamedTuple):
    """An actor to create: its name, its role, and how many GPUs Ray reserves for it beside a processor."""

    name: str
    role: str
    gpus: float


def parts(roles: Sequence[str], workers: int, gpu_workers: int) -> list[Part]:
    """Return the actors of a pipeline.

    >>> [part.name for part in parts(["worker", "router", "scorer"], 2, 1)]
    ['worker-0', 'worker-1', 'router', 'scorer-0']
    """
    if gpu_workers and "scorer" not in roles:
        raise UserError("--gpu-workers is for the role scorer")
    found = []
    for role in roles:
        several = {"worker": workers, "scorer": gpu_workers}.get(role, 0)
        names = [f"{role}-{n}" for n in range(several)] or [role]
        gpus = 1.0 if role == "scorer" and gpu_workers else 0.0
        found += [Part(name, role, gpus) for name in names]
    return found


class Actor:
    """One role, run in a thread so that the actor can answer meanwhile. A role that fails ends the process, and Ray restarts it."""

    def __init__(self, role: str, environ: Mapping[str, str]) -> None:
        settings.adopt(environ)
        logging.basicConfig(level=settings.log_level())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(role,), daemon=True)
        self._thread.start()

    def _run(self, role: str) -> None:
        try:
            run_role(role, self._stop)
        except Exception:
            _LOG.exception("%s ends and is restarted", role)
            time.sleep(RESTART_S)
            os._exit(1)

    def node(self) -> str:
        """Return the node that it runs on; an answer also shows that it is alive."""
        return str(_ray().get_runtime_context().get_node_id())

    def stop(self) -> bool:
        """Finish the work at hand and give the leases back; return whether it was done in time."""
        self._stop.set()
        self._thread.join(GRACE_S)
        return not self._thread.is_alive()


class Supervisor:
    """Creates the parts, and creates those again that were killed for good: Ray itself restarts only what died."""

    def __init__(self, wanted: Sequence[Part], environ: Mapping[str, str]) -> None:
        logging.basicConfig(level=settings.log_level(environ))
        self._wanted = [Part(*part) for part in wanted]
        self._environ = dict(environ)
        self._running: set[str] = set()
        self._stopping = threading.Event()
        self._actors = {part.name: self._create(part) for part in self._wanted}
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _create(self, part: Part) -> Any:
        options = {"num_cpus": 1, "num_gpus": part.gpus, "max_restarts": -1, "max_concurrency": 2}
        actor = _ray().remote(Actor).options(name=part.name, **options, **_LASTING, scheduling_strategy="SPREAD")
        return actor.remote(part.role, self._environ)

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for part in self._wanted:
                if self._is_gone(part.name) and not self._stopping.is_set():
                    _LOG.error("%s was killed for good and is created again", part.name)
                    self._actors[part.name] = self._create(part)

    def _is_gone(self, name: str) -> bool:
        """Ask a part for its node and return whether Ray has given it up. A part that waits for room or starts is not gone."""
        ray = _ray()
        try:
            ray.get(self._actors[name].node.remote(), timeout=LOOK_S)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            self._running.discard(name)
            return isinstance(error, ray.exceptions.ActorDiedError)
        self._running.add(name)
        return False

    def running(self) -> int:
        """Return how many parts run."""
        return len(self._running)

    def wanted(self) -> list[Part]:
        """Return the parts that were asked for."""
        return self._wanted

    def stop(self) -> None:
        """Stop every part in order, then end. A part that does not stop in time is killed, which loses nothing."""
        ray = _ray()
        self._stopping.set()
        self._watcher.join()
        asked = {actor.node.remote(): actor for actor in self._actors.values()}
        # A part without room never answers.
        there, _ = ray.wait(list(asked), num_returns=len(asked), timeout=2 * LOOK_S)
        if ends := [asked[answer].stop.remote() for answer in there]:
            ray.wait(ends, num_returns=len(ends), timeout=STOP_S)
        for actor in self._actors.values():
            ray.kill(actor, no_restart=True)
        itself = ray.get_runtime_context().current_actor
        # The driver kills the supervisor; this does it when the driver is gone meanwhile.
        threading.Timer(LOOK_S, lambda: ray.kill(itself, no_restart=True)).start()


def run(wanted: Sequence[Part], environ: Mapping[str, str], stop: threading.Event) -> None:
    """Start a pipeline on the cluster, or find the one that runs there; stop it when ``stop`` is set or a signal comes.

    `environ` holds the settings of the parts. The addresses in them must reach the servers from every node. Raise `UserError` if Ray is
    not installed or another pipeline runs on the cluster.
    """
    ray = _ray()
    if not ray.is_initialized():
        ray.init(namespace=NAMESPACE)
    for number in (signal.SIGTERM, signal.SIGINT):  # set after ray.init, which installs its own handlers
        with contextlib.suppress(ValueError):  # outside the main thread: then the caller sets the event
            signal.signal(number, lambda *_: stop.set())
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 4}
    remote = ray.remote(Supervisor).options(name=SUPERVISOR, **options, **_LASTING)
    # The settings are arguments: a runtime environment would be shown to every user of the cluster's dashboard.
    supervisor = remote.remote(list(wanted), settings.passed_on(environ))
    there = ray.get(supervisor.wanted.remote())
    if there != list(wanted):
        names = ", ".join(part.name for part in there)
        raise UserError(f"another pipeline runs in this Ray cluster: {names}; stop it first")
    shown = -1
    while not stop.wait(LOOK_S):
        running = ray.get(supervisor.running.remote())
        if running != shown:
            shown = running
            others = "" if running == len(there) else ", others wait for room"
            _LOG.info("%d of %d parts run%s", running, len(there), others)
    ray.get(supervisor.stop.remote())
    ray.kill(supervisor, no_restart=True)


def _ray() -> Any:
    with needs_extra("ray"):
        return importlib.import_module("ray")
