"""A Redis that takes a connection and never answers: every command says so and ends."""

import socket
from collections.abc import Iterator

import pytest

from ingest.cli import main
from ingest.streams import outage


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"redis://:planted-secret@127.0.0.1:{server.getsockname()[1]}/0"
        monkeypatch.setenv("TFS_REDIS_URL", address)
        monkeypatch.setattr(outage, "ANSWER_S", 0.1)
        yield address


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["dead-letters"],
        ["dead-letters", "retry", "1-1"],
        ["simulate", "--seconds", "1"],
    ],
    ids=" ".join,
)
def test_a_command_ends_with_an_error_where_redis_never_answers(
    silent: str, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    shown = capfd.readouterr()
    assert "imeout" in shown.err
    assert "planted-secret" not in shown.out + shown.err
