"""Every command ends with the exit code of the table in docs/operations.md: the same failure, the same code."""

import re
import shutil
from pathlib import Path

import psycopg
import pytest
import redis
from redis import exceptions

import feature_repo
from ingest.cli import COMMANDS, ExitCode, main
from ingest.run.processes import ROLES
from ingest.streams import keys

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
SPAN = ["--start", "2024-01-01", "--end", "2024-01-01"]
AWAY = {"TFS_REDIS_URL": "redis://127.0.0.1:1/0", "TFS_POSTGRES_URL": "postgresql://desk:p@127.0.0.1:1/features"}

ONE_OF_EACH = {
    "demo": [],
    "servers": ["status"],
    "run": ["--engine", "ray", "--roles", "worker"],
    "replay": ["none.jsonl"],
    "feed": ["jsonl", "none.jsonl"],
    "simulate": ["--seconds", "0"],
    "status": [],
    "tape": ["status"],
    "lake": ["status"],
    "import": ["file.csv"],
    "warm": [],
    "partitions": ["--over", "0.1"],
    "symbols": [],
    "dead-letters": [],
    "metrics": ["--once"],
    "drift": ["show"],
    "backfill": ["none.jsonl"],
    "fit-microprice": [],
    "check": ["consistency"],
    "features": [],
    "training-frame": ["--symbols", "A", *SPAN, "-o", "frame.parquet"],
    "score": ["none.csv", "out.parquet", "--model", "embedded"],
    "evaluate": ["none.csv", "--model", "embedded"],
    "prepare-model": ["model", "--model", "nowhere"],
}
"""Words with which each command runs."""

NEEDS_A_SERVER = (
    *("run", "replay", "feed", "simulate", "status", "dead-letters", "metrics", "drift", "backfill", "fit-microprice"),
    *("check", "warm", "partitions"),
)
"""`training-frame` reads the registry first, and `apply`, which makes it, needs a server too."""
ENDS_WITHOUT_ITS_SERVER = (
    "run",
    "warm",
    "replay",
    "feed",
    "simulate",
    "status",
    "partitions",
    "dead-letters",
    "drift",
    "backfill",
    "fit-microprice",
    "check",
)
"""Not `metrics`, which shows that it is away."""
WRITES_OR_READS_LOGS = (
    *([name, *ONE_OF_EACH[name]] for name in NEEDS_A_SERVER if name not in ("backfill", "fit-microprice")),
    *(["run", "--roles", role] for role in ROLES),
    ["feed", "posts"],
    ["feed", "binance", "BTCUSDT"],
    ["feed", "kafka", "--brokers", "127.0.0.1:1"],
)
"""Not `backfill`, which needs no log; `fit-microprice` looks when it has a table to publish (see its own tests)."""
LOOKS = ("status", "partitions", "dead-letters", "metrics", "drift", "check")
"""Commands that store nothing about the deployment."""

BAD_VALUES = (
    ["run", "--roles", "cook"],
    ["run", "--workers", "0"],
    ["run", "--gpu-workers", "1"],
    ["replay", "a", "--speed", "-1"],
    ["feed", "kafka"],
    ["feed", "posts", "--listen", "here"],
    ["simulate", "--history", "4x"],
    ["simulate", "--symbols", "A B"],
    ["status", "--watch", "0"],
    ["partitions", "--to", "0"],
    ["warm", "A", "--all"],
    ["warm", "A", "--from-venue", "nowhere"],
    ["dead-letters", "show"],
    ["dead-letters", "list", "1-1"],
    ["metrics", "--port", "http"],
    ["drift", "reference", "--day", "yesterday"],
    ["backfill"],
    ["backfill", "a", "--available-after", "250"],
    ["fit-microprice", "--tick", "BTCUSDT"],
    ["fit-microprice", "--since", "2026-11-20", "--before", "2026-11-20"],
    ["check", "lookahead", "a", "--samples", "0"],
    ["check", "warmup", "a", "--starts", "1"],
    ["training-frame", "--symbols", "A", *SPAN, "-o", "f.parquet", "--every", "0s"],
    ["evaluate", "none.csv", "--labels", "0"],
    ["score", "none.csv", "out.csv"],
)
MISSING_FILES = (
    ["replay", "none.jsonl"],
    ["feed", "jsonl", "none.jsonl"],
    ["feed", "kafka", "--brokers", "a:1", "--config", "none"],
    ["backfill", "none.jsonl"],
    ["check", "lookahead", "none.jsonl"],
    ["check", "warmup", "none.jsonl"],
    ["score", "none.csv", "out.parquet", "--model", "embedded"],
    ["evaluate", "none.csv", "--model", "embedded"],
)


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty folder, with a copy of the definitions' configuration: Feast would write its registry into ours."""
    shutil.copy(Path(feature_repo.__file__).with_name("feature_store.yaml"), tmp_path)
    monkeypatch.setattr("feature_repo.__file__", str(tmp_path / "__init__.py"))
    monkeypatch.chdir(tmp_path)


def code_of(words: list[str]) -> int:
    """Run a command; argparse ends with an exception."""
    try:
        return main(words)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def test_the_page_has_the_table() -> None:
    section = PAGE.read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.M)] == list(ExitCode)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_an_error_of_the_user(name: str) -> None:
    assert code_of([name, *ONE_OF_EACH[name], "--no-such-option"]) == ExitCode.USER_ERROR


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_no_error(name: str) -> None:
    assert code_of([name, "--help"]) == ExitCode.DONE


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_setting_is_an_error_of_the_user(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFS_LOG_LEVEL", "LOUD")
    assert main([name, *ONE_OF_EACH[name]]) == ExitCode.USER_ERROR
    assert "TFS_LOG_LEVEL='LOUD'" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_is_told_from_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.cli._set_up_logging", interrupted)
    assert main([name, *ONE_OF_EACH[name]]) == ExitCode.INTERRUPTED


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("words", BAD_VALUES, ids=" ".join)
def test_a_bad_value_is_an_error_of_the_user(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, url in AWAY.items():  # known, so that it is the value that is told
        monkeypatch.setenv(name, url)
    assert code_of(words) == ExitCode.USER_ERROR
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", NEEDS_A_SERVER)
def test_no_known_server_is_an_error_that_names_the_command_to_start_one(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, *ONE_OF_EACH[name]]) == ExitCode.USER_ERROR
    assert "python -m ingest servers up" in capsys.readouterr().err


@pytest.mark.parametrize("name", ENDS_WITHOUT_ITS_SERVER)
def test_a_server_that_is_away_is_an_error_of_the_user(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.jsonl").write_text("{}\n")
    for variable, url in AWAY.items():
        monkeypatch.setenv(variable, url)
    assert main([name, *ONE_OF_EACH[name]]) == ExitCode.USER_ERROR
    assert "refused" in capsys.readouterr().err


@pytest.mark.parametrize("words", WRITES_OR_READS_LOGS, ids=" ".join)
def test_a_part_with_another_number_of_partitions_is_refused_before_it_writes(
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    redis_client: redis.Redis,
    redis_url: str,
    postgres_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "none.jsonl").write_text('{"timestamp":1700000000000,"symbol":"A","price":1,"size":1}\n')
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    redis_client.set(keys.PARTITIONS, 4)
    monkeypatch.setenv("TFS_PARTITIONS", "16")
    assert main(words) == ExitCode.USER_ERROR
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "TFS_PARTITIONS=16, but this Redis holds the logs of 4 partitions" in error
    assert redis_client.keys() == [keys.PARTITIONS.encode()]


@pytest.mark.parametrize("name", LOOKS)
def test_a_command_that_only_looks_at_an_empty_redis_does_not_fix_the_number_of_partitions(
    name: str, monkeypatch: pytest.MonkeyPatch, redis_client: redis.Redis, redis_url: str, postgres_url: str
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    main([name, *ONE_OF_EACH[name]])
    assert not redis_client.exists(keys.PARTITIONS, keys.DEPLOYMENT)


@pytest.mark.parametrize("words", MISSING_FILES, ids=" ".join)
def test_a_file_that_is_not_there_is_an_error_of_the_user(
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    postgres_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    assert main(words) == ExitCode.USER_ERROR
    assert "none" in capsys.readouterr().err


def test_a_fault_of_the_program_shows_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.cli.features.page", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["features"])


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.SyntaxError("syntax error"),
        psycopg.errors.UndefinedFunction("no such function"),
        psycopg.errors.UndefinedColumn("no such column"),
        psycopg.errors.UniqueViolation("twice"),
        redis.ResponseError("Error compiling script"),
        redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        exceptions.NoScriptError("No matching script"),
        redis.DataError("Invalid input of type"),
    ],
    ids=repr,
)
def test_what_a_server_does_not_understand_is_a_fault_of_the_program(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.cli.features.page", lambda: raised(error))
    with pytest.raises(type(error)):
        main(["features"])


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.InsufficientPrivilege("permission denied"),
        psycopg.errors.ReadOnlySqlTransaction("read-only"),
        psycopg.errors.InvalidSchemaName("no such schema"),
        psycopg.errors.DiskFull("no space left"),
        psycopg.errors.OutOfMemory("out of memory"),
        psycopg.errors.InvalidPassword("wrong password"),
        psycopg.errors.TooManyConnections("too many clients"),
        redis.AuthenticationError("wrong password"),
        redis.ReadOnlyError("a replica"),
        redis.OutOfMemoryError("full"),
        redis.TimeoutError("no answer"),
        exceptions.NoPermissionError("no right"),
        redis.ResponseError("Command # 1 (SET a) of pipeline caused error: MISCONF the disk is full"),
        redis.ResponseError("DB index is out of range"),
        redis.ResponseError("DENIED Redis is running in protected mode"),
    ],
    ids=repr,
)
def test_what_a_server_lacks_is_an_error_of_the_user(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ingest.cli.features.page", lambda: raised(error))
    assert main(["features"]) == ExitCode.USER_ERROR
    assert str(error) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            psycopg.errors.UndefinedTable(
                'relation "technical" does not exist\nLINE 1: ... FROM "technical" ...\n      ^'
            ),
            'error: relation "technical" does not exist; run `feast apply`, which makes the tables\n',
        ),
        (
            redis.AuthenticationError("invalid username-password pair or user is disabled."),
            "error: invalid username-password pair or user is disabled.; "
            "this is Redis: correct the user and the password in TFS_REDIS_URL\n",
        ),
    ],
    ids=["no table", "wrong password"],
)
def test_what_a_server_lacks_is_told_in_one_line_that_says_what_to_do(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ingest.cli.features.page", lambda: raised(error))
    assert main(["features"]) == ExitCode.USER_ERROR
    assert capsys.readouterr().err == sentence


def raised(error: Exception) -> None:
    raise error


def test_servers_that_are_not_up_are_an_answer_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["servers", "status"]) == main(["servers", "env"]) == ExitCode.NO
    assert main(["servers", "down"]) == main(["features"]) == ExitCode.DONE
