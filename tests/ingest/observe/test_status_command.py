"""One screen of the deployment."""

from __future__ import annotations

import io
import json

import numpy as np
import psycopg
import pytest
from rich.console import Console

from feature_repo.project import project
from feature_repo.stores.offline.tables import schema, upkeep
from feature_repo.stores.online.write import OnlineWriter
from ingest.cli import main
from ingest.observe import snapshot
from ingest.observe import status_command as command
from ingest.observe.watch_screen import fitted
from ingest.settings import Settings
from ingest.streams import keys, read
from ingest.streams.dead_letters import refuse
from ingest.streams.membership import Member
from transforms.catalog import VIEW, VIEWS

NOW_US = 1_700_000_000_000_000
SETTINGS = Settings(partitions=2)


@pytest.fixture
def client(redis_client, redis_url, postgres_url, monkeypatch):
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    monkeypatch.setenv("TFS_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("TFS_PARTITIONS", "2")
    with psycopg.connect(postgres_url) as connection:
        schema.migrate(connection, [schema.table_of_view(view) for view in VIEWS])
    return redis_client


def online(client, symbol: str, view: str, age_s: float) -> None:
    client.hset(keys.checkpoint(keys.partition_of(symbol, 2)), f"{symbol} order", b"")
    t_us = np.array([NOW_US - round(age_s * 1e6)])
    OnlineWriter(client, project(), VIEW[view]).write([symbol], t_us, np.zeros((1, len(VIEW[view].names))))


def rendered(seen) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(command.screen(seen))
    return console.file.getvalue()


def look(client, url=None):
    about = {"offline": [], "failed_jobs": [], "offline_error": None} if url is None else snapshot.offline(url)
    return {**snapshot.snapshot(client, SETTINGS, NOW_US), **about}


def test_owners_lags_and_ages_are_those_of_the_stores(client):
    Member(client, "worker", [0, 1]).beat()
    client.set(keys.owner(0), "7:w", px=60_000)
    seconds, _ = client.time()
    for i in range(3):
        client.xadd(keys.events(1), {"kind": "book"}, id=f"{(seconds - 40) * 1000}-{i}")
    read.join_group(client, [keys.events(1)])
    client.xgroup_setid(keys.events(1), keys.GROUP, f"{(seconds - 40) * 1000}-0", entries_read=1)
    client.xadd(keys.outbox(0), {"rows": b""})
    online(client, "BTCUSDT", "microstructure", 0.25)
    online(client, "BTCUSDT", "technical", 301)
    online(client, "ETHUSDT", "microstructure", 11)
    seen = look(client)
    first, second = seen["partitions"]
    assert (first["owner"], second["owner"]) == ("7:w", None)
    assert 0 < first["lease_left_ms"] <= 60_000
    assert (first["outbox"]["length"], second["outbox"]["length"]) == (1, 0)
    assert (second["events"]["length"], second["events"]["lag"], second["events"]["pending"]) == (3, 2, 0)
    assert 40_000 <= second["events"]["oldest_ms"] < 60_000
    assert first["symbols"] + second["symbols"] == 2
    assert seen["freshness"]["microstructure"] == {"BTCUSDT": 0.25, "ETHUSDT": 11.0}
    assert seen["freshness"]["technical"] == {"BTCUSDT": 301.0, "ETHUSDT": None}
    assert seen["processes"] == {"worker": 1, "router": 0, "writer": 0, "scorer": 0}
    text = rendered(seen)
    assert "7:w" in text
    assert "nobody" in text
    assert "BTCUSDT" in text
    assert "301.0" in text


def told_of_missing_trades(client) -> None:
    seconds, _ = client.time()
    client.hset(keys.holes(0), mapping={"BTCUSDT holes": 2, "BTCUSDT trades_missing": 41, "* holes": 1})
    client.hset(keys.holes(1), mapping={"ETHUSDT trades_recovered": 1200, "ETHUSDT holes": 0})
    client.hset(keys.holes(1), mapping={"ETHUSDT held_until_ms": (seconds + 20) * 1000, "XRPUSDT held_until_ms": 5})
    silent = {f"S{i} book": (seconds - 60 - i) * 1000 for i in range(4)}
    client.hset(keys.SILENT_CHANNELS, mapping={**silent, "BTCUSDT trade": (seconds - 500) * 1000})


def test_missing_trades_holds_and_silent_channels_are_told_by_symbol(client):
    told_of_missing_trades(client)
    seen = look(client)
    assert seen["trades"] == {
        "holes": 3,
        "missing": 41,
        "recovered": 1200,
        "by_symbol": {
            "*": {"holes": 1},
            "BTCUSDT": {"holes": 2, "trades_missing": 41},
            "ETHUSDT": {"holes": 0, "trades_recovered": 1200},
            "XRPUSDT": {},
        },
    }
    assert list(seen["held_ms"]) == ["ETHUSDT"] and 0 < seen["held_ms"]["ETHUSDT"] <= 20_000
    assert list(seen["silent_channels_ms"])[:2] == ["BTCUSDT trade", "S3 book"]
    assert 500_000 <= seen["silent_channels_ms"]["BTCUSDT trade"] < 520_000
    text = " ".join(rendered(seen).split())
    assert "silent: BTCUSDT trade 50" in text and "and 2 more; their features are null until they speak" in text
    assert "at most; their feed asks for missing trades" in text
    assert "trades: 1,200 recovered, 41 missing, 3 holes (BTCUSDT 2, * 1)" in text


def test_letters_are_counted_by_reason_and_the_last_ones_are_shown_without_harm(client):
    for reason, n in (("late", 3), ("crossed_book", 2)):
        for _ in range(n):
            refuse(client, "order_book", {b"data": b"x"}, reason, "best bid 2 \x1b[2J[bold]")
    seen = look(client)
    assert seen["dead_letters"] == {"kept": 5, "looked_at": 5, "by_reason": {"late": 3, "crossed_book": 2}}
    assert [error["reason"] for error in seen["last_errors"]] == ["crossed_book"] * 2 + ["late"] * 3
    text = rendered(seen)
    assert r"order_book crossed_book best bid 2 \x1b[2J[bold]" in text
    assert "\x1b" not in text


def test_more_symbols_than_a_screen_holds_are_counted(client):
    for i in range(20):
        online(client, f"S{i:02}", "social", 1)
    seen = look(client)
    assert len(seen["freshness"]["social"]) == 20
    text = rendered(seen)
    assert "S14" in text
    assert "S15" not in text
    assert "and 5 more" in text


def on_a_terminal(seen, width: int, height: int) -> list[str]:
    """The lines of the watched screen."""
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(fitted(seen, height))
    return console.file.getvalue().splitlines()


def crowded(client) -> dict:
    """A deployment of many partitions and symbols in which much is wrong."""
    for i in range(20):
        online(client, f"S{i:02}" + "X" * 50, "social", 1)
    for _ in range(7):
        refuse(client, "order_book", {b"data": b"x"}, "late", "y" * 300)
    client.hincrby(keys.counters(0), "accepted.book", 12_345)
    told_of_missing_trades(client)
    seen = {**snapshot.snapshot(client, Settings(partitions=64), NOW_US), "failed_jobs": [], "offline_error": "away"}
    seen["offline"] = [{"name": view.name, "rows": 1, "bytes": 1, "chunks": 1, "compressed": 0} for view in VIEWS]
    seen["partitions"][63]["events"]["lag"] = 5
    return seen


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60), (40, 10)])
def test_the_watched_screen_fits_the_terminal_with_what_is_wrong_first_and_counts_the_rest(client, width, height):
    lines = on_a_terminal(crowded(client), width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("alive: 0 worker")
    assert lines[1].startswith("the offline store cannot be read: away")
    assert [line[:8] for line in lines[2:7]] == ["refused:"] * 5
    assert [line[:7] for line in lines[7:10]] == ["silent:", "held: E", "trades:"]
    assert height < 11 or lines[10].startswith("waiting: 0 plain, 0 posts")
    if height >= 24:
        text = "\n".join(lines)
        assert "refused: 7 (7 late); 7 dead letters" in text
        assert "accepted: 12,345 (12,345 book)" in text
        first = next(line for line in lines if line.startswith("events"))
        assert first.startswith("events 63 ") and "nobody" in first, "the stream where most waits comes first"
        assert text.count("\nand ") == 2, "the partitions and the symbols that are left out are counted"


def test_on_a_small_deployment_the_watched_screen_shows_everything(client):
    online(client, "BTCUSDT", "microstructure", 0.25)
    text = "\n".join(on_a_terminal(look(client), 80, 24))
    assert "events 1" in text and "social_data" in text and "BTCUSDT" in text and "0.2" in text
    assert "more" not in text


def test_the_json_is_what_the_screen_is_made_of_and_tables_are_listed(client, capsys):
    assert main(["status", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert {t["name"] for t in seen["offline"]} == set(VIEW)
    assert seen["waiting"] == {"plain": 0, "posts": 0, "events": 0, "outbox": 0}
    assert "microstructure" in rendered(seen)


def test_a_failed_job_and_a_database_that_is_away_are_shown_and_are_no_success(client, monkeypatch, capsys):
    job = upkeep.FailedJob(1000, "policy_compression", "social", "out of memory [x]")
    monkeypatch.setattr(upkeep, "failed_jobs", lambda _: [job])
    assert main(["status"]) == 1
    assert "failed: job 1000 policy_compression of social: out of memory [x]" in capsys.readouterr().out
    monkeypatch.setenv("TFS_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert main(["status"]) == 1
    assert "the offline store cannot be read: " in capsys.readouterr().out


def test_a_redis_that_is_away_is_one_line(client, monkeypatch, capsys):
    monkeypatch.setenv("TFS_REDIS_URL", "redis://127.0.0.1:1/0")
    assert main(["status"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_watch_looks_again_and_again_until_it_is_interrupted(client, monkeypatch, capsys):
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", sleep)
    assert main(["status", "--watch", "0.5", "--json"]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert [set(json.loads(line)) for line in lines] == [set(json.loads(lines[0]))] * 3
    assert looks == [0.5] * 3
    looks.clear()
    assert main(["status", "--watch"]) == 130
    assert "streams" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["status", "--watch", "0"])
