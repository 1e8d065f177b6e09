"""Where servers are looked for, and what may be shown of an address."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from feature_repo.stores import endpoints as module
from feature_repo.stores.endpoints import Endpoints, NoServerError, masked, postgres_parameters
from feature_repo.stores.nodes import AddressError


def test_the_variables_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", "rediss://desk:a@cache.example:6380/2")
    monkeypatch.setenv("TFS_POSTGRES_URL", "postgresql://desk:b@db.example/features")
    assert module.redis_url() == "rediss://desk:a@cache.example:6380/2"
    assert module.postgres_url() == "postgresql://desk:b@db.example/features"
    assert Endpoints(module.redis_url(), module.postgres_url()).environment() == {
        "TFS_REDIS_URL": "rediss://desk:a@cache.example:6380/2",
        "TFS_POSTGRES_URL": "postgresql://desk:b@db.example/features",
    }


def test_the_state_file_counts_while_its_lock_is_held_and_not_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TFS_DATA_DIR", str(tmp_path))
    (tmp_path / "servers.json").write_text(json.dumps({"redis_url": "redis://:x@127.0.0.1:1/0"}))
    with open(tmp_path / "servers.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the supervisor does
        assert module.redis_url() == "redis://:x@127.0.0.1:1/0"
        with pytest.raises(NoServerError, match="TFS_POSTGRES_URL"):  # only Redis runs here
            module.postgres_url()
    with pytest.raises(NoServerError, match="python -m ingest servers up"):
        module.redis_url()


def test_without_a_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TFS_DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(NoServerError, match=r"python -m ingest servers up.*or set TFS_REDIS_URL"):
        module.redis_url()


def test_a_broken_variable_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFS_POSTGRES_URL", "mysql://desk:hunter2@db.example/features")
    with pytest.raises(ValueError, match="TFS_POSTGRES_URL must begin with postgresql://") as caught:
        module.postgres_url()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("TFS_POSTGRES_URL", "postgresql://desk:hunter2@db.example:port/features")
    with pytest.raises(ValueError, match="valid port") as caught:
        module.postgres_url()
    assert "hunter2" not in str(caught.value)


def test_the_data_folder_is_the_projects_wherever_below_it_one_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TFS_DATA_DIR")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "trading-feature-store"\n')
    below = tmp_path / "feature_repo" / "stores"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert module.default_data_dir() == tmp_path / ".data"


def test_outside_the_project_the_checkout_of_the_code_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TFS_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    assert module.default_data_dir() == Path(module.__file__).parents[2] / ".data"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ("redis+cluster://a:secret,b:6379", "redis+cluster://a:***,b:6379"),
        ("redis+sentinel://desk:se,cret@a:1,b:2/mymaster/0", "redis+sentinel://desk:***@a:1,b:2/mymaster/0"),
        ("rediss+sentinel://a/m?sentinel_password=secret", "rediss+sentinel://a/m?sentinel_password=***"),
        ("redis://h/0?password=secret&db=1", "redis://h/0?password=***&db=1"),
        ("postgresql://desk:se@cret@db/features?sslmode=require", "postgresql://desk:***@db/features?sslmode=require"),
        ("postgresql://desk:se/cret@db/features", "postgresql://desk:***@db/features"),
        ("postgresql://desk:se?cret@db/features", "postgresql://desk:***@db/features"),
        ("host=db password=secret", "***"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_the_representation_masks_both_passwords() -> None:
    text = repr(Endpoints("redis://:secret1@h:1/0", "postgresql://u:secret2@h:2/d"))
    assert text == "Endpoints(redis_url='redis://:***@h:1/0', postgres_url='postgresql://u:***@h:2/d')"


def test_parameters_are_percent_decoded_and_options_are_passed_on() -> None:
    url = "postgresql://de%73k:p%40%2Fs@db.example:5433/my%20db?sslmode=verify-full&sslrootcert=%2Fca.pem"
    assert postgres_parameters(url) == {
        "host": "db.example",
        "port": 5433,
        "database": "my db",
        "user": "desk",
        "password": "p@/s",
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
    }


def test_parameters_have_the_usual_defaults() -> None:
    assert postgres_parameters("postgresql://desk@db.example") == {
        "host": "db.example",
        "port": 5432,
        "database": "desk",
        "user": "desk",
        "password": "",
        "sslmode": "prefer",
    }


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("+sentinel://desk:secret@a:26379,b:26379", "name the master that the sentinels watch: redis"),
        ("+sentinel://desk:secret@a:26379/0", "name the master that the sentinels watch: redis"),
        ("+sentinel://desk:secret@a:26379?master=mymaster", "name the master that the sentinels watch: redis"),
        ("+sentinel://desk:secret@a:26379/mymaster/first", "must be a number"),
        ("+sentinel://desk:secret@a:26379,/mymaster", "and have a valid port"),
        ("+sentinel://desk:secret@a:none/mymaster", "and have a valid port"),
        ("+cluster://desk:secret@a:1,,b:2", "and have a valid port"),
        ("+sentinels://desk:secret@a:26379/mymaster", "must begin with redis://"),
    ],
)
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_wrong_list_of_servers_is_refused_with_what_to_write_and_without_its_password(
    monkeypatch: pytest.MonkeyPatch, scheme: str, rest: str, said: str
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", scheme + rest)
    with pytest.raises(AddressError, match=f"TFS_REDIS_URL.*{said}") as error:
        module.redis_url()
    assert "secret" not in str(error.value)
