"""Fixtures for all tests. The servers are always the tests' own: they empty databases."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import hypothesis
import psycopg
import pytest
import redis

from feature_repo.stores.endpoints import DATA_VARIABLE, POSTGRES_VARIABLE, REDIS_VARIABLE, SERVED_VARIABLE, Endpoints
from ingest.servers import embedded
from ingest.streams.cluster import Cluster
from ingest.streams.outage import open_redis
from tests.feature_repo.stores.redis_servers import Servers

hypothesis.settings.register_profile(
    "untimed", deadline=None
)  # a busy machine, or a kernel that is compiled, is no failure
hypothesis.settings.load_profile("untimed")

WHOLE_SYSTEM = ("acceptance", "examples", "integration")
"""Folders of the tests that run the compiled kernels in processes of their own."""
COMPILE = (
    "from ingest.messages import flat_book; from transforms import compiling; compiling.warm_up(); flat_book.warm_up()"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs tests on a Redis Cluster."""
    parser.addoption(
        "--cluster", action="store_true", help="run on a Redis Cluster of three masters and three replicas"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of single modules first: the kernels are compiled meanwhile."""
    items.sort(key=lambda item: any(f"/tests/{folder}/" in str(item.path) for folder in WHOLE_SYSTEM))


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fill the cache of compiled kernels in a process beside the tests, which takes a minute in a fresh checkout."""
    kernels = any("/tests/transforms/" in str(item.path) for item in request.session.items)
    # a few tests compile what they need, and `make test` has compiled
    if len(request.session.items) < 200 or not kernels:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", COMPILE]) as compiler:
        yield
        compiler.terminate()


@pytest.fixture(scope="session", autouse=True)
def _no_server_of_the_developer() -> Iterator[None]:
    """Forget every address in the environment: a test empties what it is given."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as nothing:
        for variable in (REDIS_VARIABLE, POSTGRES_VARIABLE, SERVED_VARIABLE):
            patch.delenv(variable, raising=False)
        patch.setenv(DATA_VARIABLE, str(Path(nothing, "data")))
        yield


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    """Make a folder that the servers' user can pass through (pytest's own are closed to others), and remove it."""
    memory = Path("/dev/shm")  # noqa: S108 - a thousand small files for every start are slow on a disk
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    folder = Path(tempfile.mkdtemp(prefix="tfs-", dir=memory if roomy else None))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        embedded.down(folder)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _prepared_data(_no_server_of_the_developer: None) -> Iterator[Path]:
    """A data folder in which servers have run, without addresses: copying it is quicker than making it."""
    with _open_folder() as folder:
        with embedded.running(folder, durable=False):
            pass
        (folder / "servers.ports").unlink()
        yield folder


@pytest.fixture
def data_dir(_prepared_data: Path) -> Iterator[Path]:
    """A data folder for servers that a test starts itself; they are down and it is gone afterwards."""
    with _open_folder() as folder:
        subprocess.run(["cp", "-a", f"{_prepared_data}/.", str(folder)], check=True)  # keeps the owners
        yield folder


@pytest.fixture(scope="session")
def servers(_no_server_of_the_developer: None) -> Iterator[Endpoints]:
    """Both servers, started once for all tests, on a folder of their own that is removed at the end."""
    with _open_folder() as folder, embedded.running(folder, durable=False) as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def _cluster() -> Iterator[str]:
    """The address of a Redis Cluster of three masters and three replicas."""
    with _open_folder() as folder, contextlib.closing(Servers(folder)) as cluster:
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in cluster.cluster(3, 3))


def _emptied(url: str) -> str:
    with open_redis(url) as client:
        client.flushall()
    return url


@pytest.fixture
def cluster_url(_cluster: str) -> str:
    """The address of an empty Redis Cluster."""
    return _emptied(_cluster)


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty Redis; with ``--cluster`` of a Redis Cluster."""
    if request.config.getoption("--cluster"):
        return _emptied(request.getfixturevalue("_cluster"))
    return _emptied(request.getfixturevalue("servers").redis_url)


@pytest.fixture
def one_server(request: pytest.FixtureRequest) -> None:
    """Leave a test out with ``--cluster``, as it speaks of one server."""
    if request.config.getoption("--cluster"):
        pytest.skip("speaks of one server")


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of an empty Redis; replies are bytes."""
    with open_redis(redis_url) as client:
        if isinstance(client, Cluster):  # of all servers, as redis-py asks none or one
            client.keys = lambda pattern="*": list(client.scan_iter(pattern))  # type: ignore[method-assign]
            client.config_set = partial(client.config_set, target_nodes=Cluster.ALL_NODES)  # type: ignore[method-assign]
        yield client


@contextlib.contextmanager
def new_database(url: str) -> Iterator[str]:
    """The address of a PostgreSQL database that is dropped afterwards, connections or not."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        base, _, options = url.partition("?")
        yield f"{base.rpartition('/')[0]}/{name}?{options}"
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(servers: Endpoints) -> Iterator[str]:
    """The address of a PostgreSQL database made for this test."""
    with new_database(servers.postgres_url) as url:
        yield url


@pytest.fixture
def timescale_url() -> str:
    """The address of a TimescaleDB server that tests may make and drop tables in: ``TFS_TIMESCALE_URL``."""
    url = os.environ.get("TFS_TIMESCALE_URL")
    if not url:
        pytest.skip("TFS_TIMESCALE_URL names no TimescaleDB server")
    return url


def recordings_folder() -> Path:
    """The folder of recorded market data: ``RECORDINGS``, else ``../shared/recordings`` beside the checkout; it may not be there."""
    given = os.environ.get("RECORDINGS")
    return Path(given) if given else Path(__file__).parents[2] / "shared" / "recordings"


@contextlib.contextmanager
def _other_recordings() -> Iterator[None]:
    """Skip a test that opens a file which these recordings lack: they may be of other days, symbols and venues."""
    try:
        yield
    except FileNotFoundError as error:
        missing = re.search(re.escape(str(recordings_folder())) + r"[^'\"]*", f"{error.filename} {error}")
        if missing is None:
            raise
        pytest.skip(f"not among the recordings: {missing[0].split()[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    with _other_recordings():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    with _other_recordings():
        return (yield)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded market data."""
    folder = recordings_folder()
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder}; RECORDINGS names their folder")
    return folder
