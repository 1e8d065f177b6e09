"""The options of the source ``kafka``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed; it comes with the extra kafka")

from ingest.cli import main
from ingest.feeds.kafka import command as kafka_command
from ingest.feeds.kafka.source import Source


def test_without_the_library_the_command_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    for name in [name for name in sys.modules if name.startswith("ingest.feeds.kafka.feed") and "command" not in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["ingest.feeds"], "kafka", raising=False)
    assert main(["feed", "kafka", "--brokers", "a:1"]) == 2
    assert "confluent_kafka is not installed; it comes with the extra `kafka`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name the brokers"),
        (
            ["orders=x", "--brokers", "a:1"],
            "no stream orders; streams are order_book, market_data, derivatives, liquidation, social_data",
        ),
        (["--brokers", "a:1", "--name", "a b"], "the name must be 1 to 64 letters"),
        (["--brokers", "a:1", "--config", "nowhere"], "No such file"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_read(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    assert main(["feed", "kafka", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_the_file_of_options_may_not_change_what_exactly_once_depends_on_and_no_secret_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    file = tmp_path / "client.properties"
    file.write_text("sasl.password=hunter2\nenable.auto.commit=true\n")
    assert main(["feed", "kafka", "--brokers", "a:1", "--config", str(file)]) == 2
    assert "enable.auto.commit cannot be configured" in capsys.readouterr().err
    file.write_text("sasl.password hunter2\n")
    assert main(["feed", "kafka", "--brokers", "a:1", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert "line 1 is not KEY=VALUE" in said
    assert "hunter2" not in said
    assert "hunter2" not in repr(Source("a:1", options={"sasl.password": "hunter2"}))
    assert kafka_command.options_of("# no\n\n a = b=c \n") == {"a": "b=c"}
