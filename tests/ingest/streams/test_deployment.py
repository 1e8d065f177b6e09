"""The check of the deployment: which Redis, which database and which number of partitions belong together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import redis

from feature_repo.stores.endpoints import Endpoints
from ingest import offline_writer
from ingest.settings import Settings, SettingsError, load
from ingest.streams import deployment, keys, raised
from ingest.streams.deployment import DeploymentError, OtherRedisError, PartitionsError, check, fix_in_redis
from ingest.streams.outage import open_redis
from tests.conftest import new_database

CONF = Settings(partitions=4)
NAMED = Settings(partitions=4, deployment="desk")
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def other_url(servers: Endpoints) -> Iterator[str]:
    """The address of a second database, of another deployment."""
    with new_database(servers.postgres_url) as url:
        yield url


@pytest.fixture
def other_redis(redis_url: str, one_server: None) -> Iterator[redis.Redis]:
    """Another Redis: the second numbered database, which is another place as well."""
    with redis.Redis.from_url(redis_url.rpartition("/")[0] + "/1") as client:
        yield client


@pytest.fixture(autouse=True)
def _one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "OTHER_LOOKS", 1)
    monkeypatch.setattr(deployment, "LOOK_S", 0.0)


def ids(client: redis.Redis, url: str) -> tuple[Any, ...]:
    """The ids that both servers keep."""
    with psycopg.connect(url) as connection:
        there = connection.execute("SELECT to_regclass('tfs_deployment')").fetchone() != (None,)
        stored = connection.execute("SELECT id FROM tfs_deployment").fetchall() if there else []
    kept: Any = client.get("tfs:deployment")
    return (None if kept is None else kept.decode(), *(row[0] for row in stored))


def test_the_first_start_fixes_the_number_of_partitions(redis_client: redis.Redis) -> None:
    check(redis_client, CONF)
    check(redis_client, CONF)
    with pytest.raises(PartitionsError, match="TFS_PARTITIONS=8, but this Redis holds the logs of 4 partitions"):
        check(redis_client, Settings(partitions=8))


def test_a_writer_that_may_not_make_tables_stores_the_id_in_the_table_that_is_there(
    redis_client: redis.Redis, other_url: str
) -> None:
    with psycopg.connect(other_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE tfs_deployment (one boolean PRIMARY KEY DEFAULT true, id text NOT NULL)")
        connection.execute("CREATE ROLE test_appends")
        try:
            connection.execute("GRANT SELECT, INSERT ON tfs_deployment TO test_appends; SET ROLE test_appends")
            deployment.check_database(redis_client, connection)
        finally:
            connection.execute("RESET ROLE; DROP OWNED BY test_appends; DROP ROLE test_appends")
    in_redis, *in_database = ids(redis_client, other_url)
    assert in_database == [in_redis] != [None]


def test_of_parts_that_start_at_once_with_different_numbers_one_number_wins(redis_url: str) -> None:
    with open_redis(redis_url) as client:
        gate, won = threading.Barrier(8), list[int]()

        def start(partitions: int) -> None:
            gate.wait()
            with suppress(PartitionsError):
                check(client, Settings(partitions=partitions, deployment=f"of-{partitions}"))
                won.append(partitions)

        threads = [threading.Thread(target=start, args=(n,)) for n in (2, 3, 4, 5) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 2 and len(set(won)) == 1
        assert client.mget(keys.PARTITIONS, keys.DEPLOYMENT) == [
            str(won[0]).encode(),
            f"of-{won[0]}".encode(),
        ]


def test_a_deployment_of_an_earlier_version_adopts_one_id_in_both_servers(
    one_server: None, redis_client: redis.Redis, postgres_url: str
) -> None:
    redis_client.set("tfs:partitions", 4)
    redis_client.hset("counters:{edge}", "refused.late", 3)
    with pytest.raises(PartitionsError):
        check(redis_client, Settings(partitions=5), postgres_url)
    check(redis_client, CONF, postgres_url)
    assert redis_client.hgetall(keys.counters(keys.EDGE)) == {b"refused.late": b"3"}
    ours, theirs = ids(redis_client, postgres_url)
    assert ours == theirs and len(ours) == 8
    check(redis_client, CONF, postgres_url)
    assert ids(redis_client, postgres_url) == (ours, ours)


def test_a_part_that_starts_while_another_stores_the_first_id_waits_for_it(
    redis_client: redis.Redis, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first part has written its id to Redis and has not committed it in the database."""
    is_between, may_commit = threading.Event(), threading.Event()
    info = deployment._LOG.info

    def hold(*words: Any) -> None:
        info(*words)
        is_between.set()
        may_commit.wait(10)

    monkeypatch.setattr(deployment._LOG, "info", hold)
    errors: list[Exception] = []

    def start() -> None:
        try:
            check(redis_client, CONF, postgres_url)
        except Exception as error:
            errors.append(error)

    first, second = threading.Thread(target=start), threading.Thread(target=start)
    first.start()
    assert is_between.wait(10)
    second.start()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        while second.is_alive() and connection.execute(WAITING).fetchone() == (0,):
            pass
    may_commit.set()
    first.join(10)
    second.join(10)
    assert errors == []
    assert len(set(ids(redis_client, postgres_url))) == 1


def test_a_second_database_on_one_redis_is_refused_and_left_as_it_was(
    redis_client: redis.Redis, postgres_url: str, other_url: str
) -> None:
    check(redis_client, CONF, postgres_url)
    ours, _ = ids(redis_client, postgres_url)
    with pytest.raises(DeploymentError, match=f"this Redis belongs to the deployment {ours} and this database to none"):
        check(redis_client, CONF, other_url)
    assert ids(redis_client, other_url) == (ours,)
    check(redis_client, Settings(partitions=4, deployment=ours), other_url)  # told that the database is a new one
    assert ids(redis_client, other_url) == (ours, ours)


def test_two_deployments_are_told_apart_by_their_ids(
    redis_client: redis.Redis, other_redis: redis.Redis, postgres_url: str, other_url: str
) -> None:
    check(redis_client, CONF, postgres_url)
    check(other_redis, CONF, other_url)
    with pytest.raises(
        DeploymentError, match=r"this Redis belongs to the deployment \w{8} and this database to \w{8};"
    ):
        check(redis_client, CONF, other_url)


def test_an_emptied_redis_takes_the_id_of_its_database(redis_client: redis.Redis, postgres_url: str) -> None:
    check(redis_client, CONF, postgres_url)
    ours, _ = ids(redis_client, postgres_url)
    redis_client.flushall()
    check(redis_client, CONF, postgres_url)
    assert ids(redis_client, postgres_url) == (ours, ours)


def test_a_second_redis_is_refused_while_the_writer_of_the_first_runs(
    redis_client: redis.Redis, other_redis: redis.Redis, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as writer:
        deployment.check_database(redis_client, writer, claim=True)
        writer.commit()
        assert writer.execute("SHOW tcp_keepalives_idle").fetchone() != ("7200",)
        with pytest.raises(OtherRedisError, match="the offline writer of another Redis writes to this database"):
            check(other_redis, CONF, postgres_url)
        assert other_redis.keys() == []
        check(redis_client, CONF, postgres_url)  # the first's own parts start as before
    check(other_redis, CONF, postgres_url)


def test_a_writer_between_servers_of_two_deployments_ends_and_writes_nothing(
    redis_client: redis.Redis, postgres_url: str, other_url: str
) -> None:
    check(redis_client, CONF, other_url)
    redis_client.xadd("outbox:{0}", {"rows": b"of the other"})
    with pytest.raises(DeploymentError, match="this database to none"):
        offline_writer.run(redis_client, postgres_url, 4, threading.Event())
    assert redis_client.xlen("outbox:{0}") == 1


def test_a_name_from_the_settings_is_kept_by_both_servers_and_another_is_refused(
    redis_client: redis.Redis, postgres_url: str
) -> None:
    check(redis_client, NAMED)  # a part that knows no database
    check(redis_client, NAMED, postgres_url)
    assert ids(redis_client, postgres_url) == ("desk", "desk")
    check(redis_client, CONF, postgres_url)  # without a name a part takes what is there
    staging = Settings(partitions=4, deployment="staging")
    with pytest.raises(DeploymentError, match="TFS_DEPLOYMENT=staging, but this Redis belongs to the deployment desk"):
        check(redis_client, staging, postgres_url)
    redis_client.flushall()
    with pytest.raises(
        DeploymentError, match="TFS_DEPLOYMENT=staging, but this database belongs to the deployment desk"
    ):
        check(redis_client, staging, postgres_url)
    assert redis_client.keys() == []


def test_a_role_that_may_not_write_the_id_goes_on_with_a_warning(
    redis_client: redis.Redis, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(postgres_url, autocommit=True, options="-c default_transaction_read_only=on") as reader:
        deployment.check_database(redis_client, reader)
    assert "run deploy/sql/roles.sql" in caplog.text
    assert redis_client.keys() == []


def test_a_database_that_is_away_stops_no_part_that_can_work_without_it(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    check(redis_client, CONF, "postgresql://desk:secret@127.0.0.1:1/none")
    assert redis_client.get(keys.PARTITIONS) == b"4"
    assert "not asked which deployment the database belongs to" in caplog.text and "secret" not in caplog.text


def test_a_name_has_a_plain_form() -> None:
    assert load({"TFS_DEPLOYMENT": "desk-1.eu"}).deployment == "desk-1.eu"
    with pytest.raises(SettingsError, match="TFS_DEPLOYMENT='a b'"):
        load({"TFS_DEPLOYMENT": "a b"})


def test_a_part_with_another_number_of_partitions_fixes_no_name_either(redis_client: redis.Redis) -> None:
    fix_in_redis(redis_client, 4)
    with pytest.raises(PartitionsError):
        fix_in_redis(redis_client, 8, "desk")
    assert not redis_client.exists("tfs:deployment")


def test_a_part_that_starts_in_the_moment_in_which_the_number_is_raised_takes_the_new_one(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix_in_redis(redis_client, 2)
    compare = deployment.compare

    def raised_meanwhile(client: redis.Redis, partitions: int, name: str) -> None:
        raised.fix(client, 2, 6)
        compare(client, partitions, name)

    monkeypatch.setattr(deployment, "compare", raised_meanwhile)
    assert deployment.fixed(redis_client, Settings(partitions=2)).partitions == 6
    with pytest.raises(PartitionsError, match="TFS_PARTITIONS=4"):
        deployment.fixed(redis_client, Settings(partitions=4))
