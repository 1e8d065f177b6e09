"""The pipeline as actors of Ray, on two emulated nodes: the same rows as without it, whatever node dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from feature_repo.stores.errors import UserError
from ingest.backfill.days import contents
from ingest.backfill.days.cluster import process_on_ray
from ingest.backfill.days.run import backfill_from_tape
from ingest.backfill.done import Done
from ingest.cli import main
from ingest.run import ray_engine
from ingest.run.ray_engine import Part, parts
from ingest.settings import passed_on
from ingest.streams import keys
from ingest.streams.backlog import backlog
from ingest.worker import rows
from ingest.worker.worker import Worker
from tests.conftest import new_database
from tests.ingest.backfill.days import tapes
from tests.integration.market import CONF, PARTITIONS, owners, publish

SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_log_monitor": False}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # other programs' memory is none of its business
    "RAY_enable_metrics_collection": "false",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "2",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each, on this machine."""
    pytest.importorskip("ray", reason="ray is not installed; it comes with the extra ray")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
        try:
            cluster.add_node(**SMALL)
            yield cluster
        finally:
            cluster.shutdown()


def until(done: Callable[[], bool], within_s: float = 100) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def made(client: redis.Redis) -> list[tuple[str, str, int, int, bytes]]:
    """Every row of the outboxes, as bits."""
    found = []
    for p in range(PARTITIONS):
        for _, fields in client.xrange(keys.outbox(p)):
            part = rows.decode(fields[b"rows"])
            for i, symbol in enumerate(part.symbols):
                times = int(part.event_us[i]), int(part.created_us[i])
                found.append((part.view.name, symbol, *times, part.values[i].tobytes()))
    return sorted(found)


def online(client: redis.Redis) -> dict[bytes, dict[bytes, bytes]]:
    return {key: client.hgetall(key) for key in client.keys("*trading")}


def share_of_two(client: redis.Redis, but: Set[bytes] = frozenset()) -> bool:
    return len(names := owners(client, PARTITIONS)) == 2 and names != but


def kill_for_good(name: str, address: str) -> None:
    """Kill the supervisor's process, which Ray starts again, and a part so that Ray does not: that is the supervisor's to do."""
    import ray

    ray.init(address=address, namespace=ray_engine.NAMESPACE, log_to_driver=False)
    try:
        old = ray.get_actor(name)
        ray.kill(ray.get_actor(ray_engine.SUPERVISOR), no_restart=False)
        ray.kill(old, no_restart=True)

        def is_made_again() -> bool:
            try:
                new = ray.get_actor(name)
                return new._actor_id != old._actor_id and bool(ray.get(new.node.remote(), timeout=1))
            except (ValueError, ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
                return False

        until(is_made_again)
    finally:
        ray.shutdown()


def test_two_nodes_give_the_rows_of_one_process_bit_for_bit_though_one_of_them_is_killed(
    cluster: Any, redis_client: redis.Redis, redis_url: str
) -> None:
    alone = Worker(redis_client, CONF)
    alone.open()
    for second in (0, 3, 6):
        publish(redis_client, second, second + 3)
        while alone.step():
            pass
    alone.close()
    expected = made(redis_client), online(redis_client)
    assert len(expected[0]) > 100
    redis_client.flushall()

    command = [sys.executable, "-m", "ingest", "run", "--engine", "ray", "--roles", "worker", "--workers", "2"]
    environ = {**os.environ, **QUIET, "RAY_ADDRESS": cluster.address, "TFS_REDIS_URL": redis_url}
    driver = subprocess.Popen(command, env={**environ, "TFS_PARTITIONS": str(PARTITIONS)})
    try:
        until(lambda: share_of_two(redis_client))
        publish(redis_client, 0, 3)
        until(lambda: redis_client.xlen(keys.outbox(0)) > 0)
        before = owners(redis_client, PARTITIONS)
        publish(redis_client, 3, 6)
        (node,) = cluster.worker_nodes
        cluster.remove_node(node, allow_graceful=False)
        publish(redis_client, 6, 9)
        # the other one took them over
        until(lambda: len(names := owners(redis_client, PARTITIONS)) == 1 and names < before)
        until(lambda: backlog(redis_client, PARTITIONS).events == 0)
        until(lambda: len(made(redis_client)) >= len(expected[0]))
        assert driver.poll() is None
        cluster.add_node(**SMALL)
        until(lambda: share_of_two(redis_client))  # started again where there is room, and given its share
        before = owners(redis_client, PARTITIONS)
        kill_for_good("worker-0", cluster.address)
        # not by the leases that the dead one left, nor while its last sign of life stands
        until(lambda: share_of_two(redis_client, but=before))
        until(lambda: redis_client.zcard(keys.members("worker")) == 2)
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(30) == 0
    finally:
        driver.kill()
        driver.wait()
    assert (made(redis_client), online(redis_client)) == expected
    assert redis_client.keys("own:*") + redis_client.keys("members:*") == []  # they left in order


def test_a_backfill_from_the_tape_on_two_nodes_gives_the_table_of_one_process(
    cluster: Any, servers: Any, tmp_path: Path
) -> None:
    import ray

    conf = tapes.settings(str(tmp_path / "tape"))
    with new_database(servers.postgres_url) as alone, new_database(servers.postgres_url) as together:
        for day in range(2):
            tapes.put(conf, tapes.market(day))
            backfill_from_tape(alone, conf)
        ray.init(address=cluster.address, log_to_driver=False)
        try:
            found = backfill_from_tape(together, conf, engine="ray")
            bad = replace(conf, tape=str(tmp_path / "none"))
            with pytest.raises(UserError, match="there is no tape at"):
                process_on_ray(contents.keep, [(bad, 0, 0, {})], 1, Done(), lambda done: None)
        finally:
            ray.shutdown()
        assert tapes.stored(together) == tapes.stored(alone)
        assert found.computed == 4 and found.done.new == found.done.made > 0


def test_the_parts_of_a_pipeline_are_those_that_were_asked_for() -> None:
    roles = ["worker", "router", "scorer", "writer"]
    assert [(part.name, part.gpus) for part in parts(roles, 2, 2)] == [
        ("worker-0", 0.0), ("worker-1", 0.0), ("router", 0.0), ("scorer-0", 1.0), ("scorer-1", 1.0), ("writer", 0.0)
    ]  # fmt: skip
    assert Part("scorer", "scorer", 0.0) in parts(roles, 1, 0)
    with pytest.raises(UserError, match="--gpu-workers is for the role scorer"):
        parts(["worker"], 1, 1)


def test_the_parts_are_given_the_settings_and_nothing_else_of_the_environment() -> None:
    environ = {"TFS_PARTITIONS": "2", "SENTIMENT_MODEL": "embedded", "AWS_SECRET_ACCESS_KEY": "x", "PATH": "/bin"}
    assert passed_on(environ) == {"TFS_PARTITIONS": "2", "SENTIMENT_MODEL": "embedded"}


def test_without_the_library_the_command_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], redis_url: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    assert main(["run", "--engine", "ray", "--roles", "worker"]) == 2
    assert "ray is not installed; it comes with the extra `ray`" in capsys.readouterr().err


def test_gpu_workers_are_rays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--gpu-workers", "1"]) == 2
    assert "--gpu-workers is for --engine ray" in capsys.readouterr().err
