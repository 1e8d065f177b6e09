"""The start of the pipeline: without its servers it ends with one message, and starts nothing."""

from __future__ import annotations

import pytest
import redis

from ingest.cli import ExitCode, main
from ingest.streams import keys
from ingest.streams.handing import CODE_FIELD
from ingest.worker import versions
from transforms import kernels

AWAY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a part was started")

    monkeypatch.setattr("ingest.run.command.Processes", started)


def with_secret(url: str, secret: str) -> str:
    """The address with another password."""
    scheme, _, rest = url.partition("://")
    user = rest.rpartition("@")[0].partition(":")[0]
    return f"{scheme}://{user}:{secret}@{rest.rpartition('@')[2]}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r, p: (f"redis://{AWAY}/0", p), ("Redis at redis://127.0.0.1:1/0", "refused")),
        (lambda r, p: (r, f"postgresql://desk:p@{AWAY}/f"), ("PostgreSQL at postgresql://desk:***@127.0.0.1:1/f", "refused")),
        (lambda r, p: (f"redis://{AWAY}/0", f"postgresql://desk:p@{AWAY}/f"), ("Redis at", "PostgreSQL at", "servers up")),
        (lambda r, p: (with_secret(r, "planted-secret"), p), ("Redis at", "invalid username-password")),
        (lambda r, p: (r, with_secret(p, "planted-secret")), ("PostgreSQL at", "password authentication failed")),
        (lambda r, p: (r.replace("redis://", "rediss://"), p), ("Redis at rediss://",)),
        (lambda r, p: (r, p + "&sslmode=require"), ("PostgreSQL at", "SSL")),
    ],
    ids=["Redis away", "PostgreSQL away", "both", "Redis password", "PostgreSQL password", "Redis TLS", "PostgreSQL TLS"],
)  # fmt: skip
def test_without_its_servers_run_ends_with_one_message_that_names_them(
    one_server, change, told, redis_url, postgres_url, monkeypatch, capsys
) -> None:
    for name, url in zip(("TFS_REDIS_URL", "TFS_POSTGRES_URL"), change(redis_url, postgres_url), strict=True):
        monkeypatch.setenv(name, url)
    assert main(["run"]) == ExitCode.USER_ERROR
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(part in error for part in told), error
    assert "planted-secret" not in error


def test_a_worker_needs_no_database(redis_client: redis.Redis, redis_url, monkeypatch) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_POSTGRES_URL", f"postgresql://desk:p@{AWAY}/f")
    with pytest.raises(AssertionError, match="a part was started"):
        main(["run", "--roles", "worker"])


def test_a_hand_over_without_a_tape_says_what_would_be_null_for_how_long(
    redis_client: redis.Redis, redis_url, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    with monkeypatch.context() as before:
        others = tuple((name, version - (name in ("bollinger", "mid"))) for name, version in kernels.VERSIONS)
        before.setattr(kernels, "VERSIONS", others)
        versions.announce(redis_client)
        redis_client.hset(keys.checkpoint(0), CODE_FIELD, versions.code())  # type: ignore[arg-type]
    assert main(["run", "--roles", "worker", "--hand-over"]) == ExitCode.USER_ERROR
    told = capsys.readouterr().err
    assert "TFS_TAPE is empty. After it" in told and "bollinger_pctb, bollinger_width: 21 bars, exact;" in told
    assert "beta_60m" in told  # of the mid, and SIM-ETH follows
    alone = tmp_path / "instruments.toml"
    alone.write_text("[ALONE]\n")
    with monkeypatch.context() as patch:
        patch.setenv("TFS_INSTRUMENTS", str(alone))
        assert main(["run", "--roles", "worker", "--hand-over"]) == ExitCode.USER_ERROR
    assert "beta_60m" not in capsys.readouterr().err
    monkeypatch.setenv("TFS_TAPE", str(tmp_path / "tape"))
    assert main(["run", "--roles", "worker", "--hand-over"]) == ExitCode.USER_ERROR
    assert "there is no tape at" in capsys.readouterr().err
    for options in (["--hand-over", "--cold"], []):
        with pytest.raises(AssertionError, match="a part was started"):
            main(["run", "--roles", "worker", *options])
    assert main(["run", "--roles", "worker", "--cold"]) == ExitCode.USER_ERROR
    assert "--cold is for --hand-over" in capsys.readouterr().err
