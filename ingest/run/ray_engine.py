"""``run --engine ray``: the same parts as actors, which Ray places on the nodes of its cluster and starts again wherever there is room.

An actor does one role's work, by the very code that a process of its own would run. Ray knows nothing of partitions: each worker joins
the membership, takes leases and shows its fencing tokens as ever, so where it runs, and how often it was started, changes no result.

    driver (this command) -> supervisor, detached -> parts, detached: workers, router, writer, scorers with a GPU each

The supervisor makes the parts and makes again what was killed for good. All outlive the driver: the same command again finds them, and
SIGTERM to it (``ray job stop``) stops them in order.
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
from ingest.run.processes import GRACE_S, RESTART_S, STOP_S

_LOG = logging.getLogger(__name__)
NAMESPACE = "trading-feature-store"
SUPERVISOR = "supervisor"
LOOK_S = 1.0
"""Between two looks of the supervisor at its parts, and the longest answer that it waits for."""
PASSED_ON = ("TFS_", "SENTIMENT_", "HF_")
"""Beginnings of the variables that reach the parts: as arguments, for Ray shows a runtime environment to whoever looks."""


class EngineError(UserError, RuntimeError):
    """The engine cannot start; the message says what to do."""


class Part(NamedTuple):
    """An actor to be: its name, its role, and the processors and GPUs that are set apart for it."""

    name: str
    role: str
    cpus: float
    gpus: float


def parts(roles: Sequence[str], workers: int, gpu_workers: int) -> list[Part]:
    """The actors of a pipeline.

    >>> [part.name for part in parts(["worker", "router", "scorer"], 2, 1)]
    ['worker-0', 'worker-1', 'router', 'scorer-0']

    Raises
    ------
    EngineError
        GPUs, and no scorer to use them.
    """
    if gpu_workers and "scorer" not in roles:
        raise EngineError("--gpu-workers is for the role scorer")
    found = []
    for role in roles:
        if role == "worker":
            found += [Part(f"worker-{n}", role, 1.0, 0.0) for n in range(workers)]
        elif role == "scorer" and gpu_workers:
            found += [Part(f"scorer-{n}", role, 1.0, 1.0) for n in range(gpu_workers)]
        else:
            found.append(Part(role, role, 1.0, 0.0))
    return found


class Actor:
    """One role's work, in a thread, so that the actor answers meanwhile. Work that fails ends the process, and Ray starts another."""

    def __init__(self, role: str, environ: Mapping[str, str]) -> None:
        os.environ.update(environ)
        logging.basicConfig(level=os.environ.get("TFS_LOG_LEVEL") or "INFO")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(role,), daemon=True)
        self._thread.start()

    def _work(self, role: str) -> None:
        try:
            from ingest.run.roles import work

            work(role, self._stop)
        except Exception:
            _LOG.exception("%s ends and is started again", role)
            time.sleep(RESTART_S)
            os._exit(1)

    def node(self) -> str:
        """Where it runs; that it answers says that it lives."""
        return str(_ray().get_runtime_context().get_node_id())

    def stop(self) -> bool:
        """Finish what is in hand and give the leases back; whether it did in time."""
        self._stop.set()
        self._thread.join(GRACE_S)
        return not self._thread.is_alive()


class Supervisor:
    """Makes the parts, and makes those again that Ray gave up: it restarts by itself only what died, not what was killed for good."""

    def __init__(self, wanted: Sequence[Part], environ: Mapping[str, str]) -> None:
        logging.basicConfig(level=environ.get("TFS_LOG_LEVEL") or "INFO")
        self._wanted = [Part(*part) for part in wanted]
        self._environ = dict(environ)
        self._nodes: dict[str, str] = {}
        self._stopping = threading.Event()
        self._actors = {part.name: self._make(part) for part in self._wanted}
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _make(self, part: Part) -> Any:
        options = {"num_cpus": part.cpus, "num_gpus": part.gpus, "max_restarts": -1, "max_concurrency": 2}
        lasting = {"name": part.name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        actor = _ray().remote(Actor).options(**options, **lasting, scheduling_strategy="SPREAD")
        return actor.remote(part.role, self._environ)

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for part in self._wanted:
                if self._is_gone(part.name) and not self._stopping.is_set():
                    _LOG.error("%s was killed for good and is made again", part.name)
                    self._actors[part.name] = self._make(part)

    def _is_gone(self, name: str) -> bool:
        """Ask a part where it is; whether Ray will not start it again. One that waits for room or starts is not gone."""
        ray = _ray()
        try:
            self._nodes[name] = ray.get(self._actors[name].node.remote(), timeout=LOOK_S)
        except ray.exceptions.ActorDiedError:
            self._nodes.pop(name, None)
            return True
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            self._nodes.pop(name, None)
        return False

    def nodes(self) -> dict[str, str]:
        """The node of each part that runs."""
        return dict(self._nodes)

    def wanted(self) -> list[Part]:
        """The parts that were asked for."""
        return self._wanted

    def stop(self) -> None:
        """Stop every part in order, then end. One that does not stop in time is killed, which loses nothing."""
        ray = _ray()
        self._stopping.set()
        self._watcher.join()
        asked = {actor.node.remote(): actor for actor in self._actors.values()}
        there, _ = ray.wait(list(asked), num_returns=len(asked), timeout=2 * LOOK_S)  # one without room answers never
        if ends := [asked[answer].stop.remote() for answer in there]:
            ray.wait(ends, num_returns=len(ends), timeout=STOP_S)
        for actor in self._actors.values():
            ray.kill(actor, no_restart=True)
        itself = ray.get_runtime_context().current_actor
        threading.Timer(
            LOOK_S, lambda: ray.kill(itself, no_restart=True)
        ).start()  # should the driver be gone meanwhile


def run(wanted: Sequence[Part], environ: Mapping[str, str], stop: threading.Event) -> None:
    """Start a pipeline on the cluster, or find the one that runs there, and stop it when ``stop`` is set or a signal says so.

    Parameters
    ----------
    wanted:
        What is to run.
    environ:
        Settings of the parts; the addresses in them must reach the servers from every node.

    Raises
    ------
    EngineError
        Ray is not installed, or another pipeline runs there.
    """
    ray = _ray()
    if not ray.is_initialized():
        ray.init(namespace=NAMESPACE)
    for number in (signal.SIGTERM, signal.SIGINT):  # after Ray, which takes them for itself
        with contextlib.suppress(ValueError):  # not in the main thread: whoever called has the event
            signal.signal(number, lambda *_: stop.set())
    lasting = {"name": SUPERVISOR, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 4}
    supervisor = ray.remote(Supervisor).options(**options, **lasting).remote(list(wanted), settings_of(environ))
    there = ray.get(supervisor.wanted.remote())
    if there != list(wanted):
        names = ", ".join(part.name for part in there)
        raise EngineError(f"another pipeline runs in this Ray cluster: {names}; stop it first")
    told = -1
    while not stop.wait(LOOK_S):
        running = len(ray.get(supervisor.nodes.remote()))
        if running != told:
            told = running
            _LOG.info(
                "%d of %d parts run%s", running, len(there), "" if running == len(there) else ", others wait for room"
            )
    ray.get(supervisor.stop.remote())
    ray.kill(supervisor, no_restart=True)


def settings_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that the parts are given."""
    return {name: value for name, value in environ.items() if name.startswith(PASSED_ON)}


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise EngineError("ray is not installed; it comes with the extra `ray`: pip install -e '.[ray]'") from None
