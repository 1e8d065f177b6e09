"""Each alert, raised by a condition that is planted in real stores and seen through the real exporter."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest
import redis
import yaml

from feature_repo.project import project
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.tables import schema, upkeep
from feature_repo.stores.online.format import SymbolKeys
from feature_repo.stores.online.write import OnlineWriter
from ingest.check import consistency
from ingest.observe import drift
from ingest.observe.collector import Collector
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams import read as streams
from ingest.streams.dead_letters import refuse
from ingest.worker import latency, losses
from tests.ingest.observe.exposition import Series, named, scrape
from transforms.catalog import VIEW, VIEWS

RULES = Path(__file__).parents[2] / "deploy/prometheus/alerts.yml"
NOW_US = 1_700_006_400_000_000  # 2023-11-15 00:00 UTC
DAY_US = 86_400_000_000
COUNTERS = ("_total", "_bucket", "_sum", "_count")
BEFORE, AFTER, LOOK = 70, 40, 108
"""Minutes of the first scrape, minutes of the second, and when the alert is looked for."""


class Stand:
    """The two stores, an exporter of theirs, and hands to spoil something."""

    def __init__(self, client: redis.Redis, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client, self.url, self.monkeypatch = client, url, monkeypatch
        self.postgres = psycopg.connect(url, autocommit=True)
        schema.migrate(self.postgres, [schema.table_of_view(view) for view in VIEWS])
        self.collector = self.exporter()
        for view in VIEWS:
            self.online(view.name, NOW_US - 1_000_000, np.ones(len(view.features)))
        for p in range(2):
            client.set(keys.owner(p), "1:w", px=600_000)
            client.set(keys.fence(p), 1)
        seconds, _ = client.time()
        for role in ("worker", "router", "writer", "tape"):
            client.zadd(keys.members(role), {"one": (seconds + 1000) * 1000})
        streams.join_group(client, [keys.SOCIAL])
        streams.new_entries(client, [keys.SOCIAL], 1, 1)
        client.hset(keys.counters(0), mapping={"accepted.book": 1000, "rows.social": 5})

    def exporter(self) -> Collector:
        return Collector(self.client, self.url, Settings(partitions=2, tape="/tape"), clock=lambda: NOW_US)

    def online(self, view: str, t_us: int, values) -> None:
        symbol = "BTCUSDT"
        self.client.hset(keys.checkpoint(keys.partition_of(symbol, 2)), f"{symbol} order", b"")
        OnlineWriter(self.client, project(), VIEW[view]).write([symbol], np.array([t_us]), np.array([values]))

    def offline(self, view: str, t_us, values) -> None:
        n = len(t_us)
        append_rows(self.postgres, VIEW[view], ["BTCUSDT"] * n, np.array(t_us), np.array(t_us), np.array(values))

    def refuse(self, reason: str, times: int) -> None:
        for _ in range(times):
            refuse(self.client, "market_data", {b"data": b"{}"}, reason, "")


@pytest.fixture
def stand(redis_client, postgres_url, monkeypatch):
    one = Stand(redis_client, postgres_url, monkeypatch)
    yield one
    one.postgres.close()


def row(view: str, **known: float):
    return [known.get(name, np.nan) for name in VIEW[view].names]


def the_router_is_away(stand: Stand) -> None:
    stand.client.delete(keys.members("router"))


def nobody_is_left(stand: Stand) -> None:
    stand.client.delete(keys.owner(1))


def a_partition_wanders(stand: Stand) -> None:
    stand.client.incrby(keys.fence(1), 1)


def posts_wait(stand: Stand) -> None:
    seconds, _ = stand.client.time()
    stand.client.xadd(keys.SOCIAL, {"data": b"{}"}, id=f"{(seconds - 30) * 1000}-1")


def rows_wait(stand: Stand) -> None:
    seconds, _ = stand.client.time()
    stand.client.xadd(keys.outbox(0), {"rows": b""}, id=f"{(seconds - 400) * 1000}-1")


def the_tape_is_behind(stand: Stand) -> None:
    seconds, _ = stand.client.time()
    for age_s in (200, 150):
        stand.client.xadd(keys.events(1), {"kind": b"tick"}, id=f"{(seconds - age_s) * 1000}-1")
    stand.client.set(keys.taped(1), f"{(seconds - 200) * 1000}-1")
    streams.join_group(stand.client, [keys.events(1)])
    stand.client.xgroup_setid(keys.events(1), keys.GROUP, "$")


def a_channel_is_silent(stand: Stand) -> None:
    stand.client.hset(keys.SILENT_CHANNELS, "BTCUSDT trade", 1_700_000_000_000)


def trades_are_missing(stand: Stand) -> None:
    stand.client.hset(keys.holes(1), mapping={"BTCUSDT holes": 1, "BTCUSDT trades_missing": 5})


def entries_are_lost(stand: Stand) -> None:
    stand.client.hincrby(keys.counters(1), losses.ENTRIES, 4)


def the_book_is_unknown(stand: Stand) -> None:
    known = {**dict.fromkeys(VIEW["microstructure"].names, 1.0), "book_valid": 0.0}
    stand.online("microstructure", NOW_US - 500_000, row("microstructure", **known))


def memory_is_short(stand: Stand) -> None:
    used = stand.client.info("memory")["used_memory"]
    stand.client.config_set("maxmemory", int(used / 0.85))


def much_is_refused(stand: Stand) -> None:
    stand.refuse("late", 30)
    stand.client.hincrby(keys.counters(0), "accepted.book", 100)


def code_fails(stand: Stand) -> None:
    stand.refuse("failed", 1)
    stand.client.hincrby(keys.counters(0), "accepted.book", 100)


def a_feed_is_silent(stand: Stand) -> None:
    stand.client.delete(*SymbolKeys(project(), "symbol").keys(["BTCUSDT"]))
    stand.online("technical", NOW_US - 301_000_000, row("technical"))


def rows_are_late(stand: Stand) -> None:
    counts: Counter[str] = Counter()
    latency.count(counts, [2_000_000] * 10 + [3_000] * 90)
    for name, n in counts.items():
        stand.client.hincrby(keys.counters(1), name, n)


def vpin_is_gone(stand: Stand) -> None:
    stand.online("order_flow", NOW_US - 500_000, row("order_flow", cvd=1.0))


def another_market(stand: Stand) -> None:
    minutes = range(0, DAY_US, 60_000_000)
    for first, scale in ((NOW_US - 3 * DAY_US, 1.0), (NOW_US - DAY_US, 3.0)):
        values = [row("order_flow", vpin=scale * (i % 100) / 300) for i in range(len(minutes))]
        stand.offline("order_flow", [first + m for m in minutes], values)
    drift.store(stand.client, drift.reference(stand.postgres, ["BTCUSDT"], NOW_US - 3 * DAY_US, 1_000_000))


def online_is_not_offline(stand: Stand) -> None:
    t_us = NOW_US - 1_000_000
    stand.offline("social", [t_us], [[1.0] * len(VIEW["social"].names)])
    read = consistency.Read("BTCUSDT", VIEW["social"], t_us, [0.0] * len(VIEW["social"].names), NOW_US // 1000)
    consistency.keep(stand.client, consistency.compare([read], stand.client, stand.postgres, 2))


def a_policy_fails(stand: Stand) -> None:
    job = upkeep.FailedJob(1000, "policy_compression", "social", "out of memory")
    stand.monkeypatch.setattr(upkeep, "failed_jobs", lambda _: [job])


def letters_pile_up(stand: Stand) -> None:
    stand.client.eval(
        "for i = 1, 100001 do redis.call('XADD', KEYS[1], '*', 'reason', 'late') end", 1, keys.DEAD_LETTER
    )


def the_database_is_away(stand: Stand) -> None:
    stand.url = "postgresql://nobody@127.0.0.1:1/none"


def the_exporter_is_away(stand: Stand) -> None:
    stand.exporter = lambda: None  # type: ignore[method-assign, assignment, return-value]


PLANTED: dict[str, Callable[[Stand], None]] = {
    "ExporterAway": the_exporter_is_away,
    "StoreAway": the_database_is_away,
    "PartAway": the_router_is_away,
    "PartitionWithoutOwner": nobody_is_left,
    "PartitionChangesHands": a_partition_wanders,
    "StreamBehind": posts_wait,
    "OutboxBehind": rows_wait,
    "TapeBehind": the_tape_is_behind,
    "ChannelSilent": a_channel_is_silent,
    "TradesMissing": trades_are_missing,
    "EntriesLost": entries_are_lost,
    "MarketInvalid": the_book_is_unknown,
    "RedisMemory": memory_is_short,
    "MessagesRefused": much_is_refused,
    "MessagesFailed": code_fails,
    "FeaturesStale": a_feed_is_silent,
    "OnlineSlow": rows_are_late,
    "FeatureTurnedNull": vpin_is_gone,
    "FeatureDrift": another_market,
    "OnlineOfflineDiffer": online_is_not_offline,
    "OfflineJobFailed": a_policy_fails,
    "DeadLettersPileUp": letters_pile_up,
}


def test_every_alert_has_a_planted_condition():
    rules = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert list(PLANTED) == rules


def written(series, before: float | None, after: float | None) -> dict[str, str]:
    """A series as promtool takes it: the first scrape for an hour, then the second; counters go on growing as they did in between."""
    name, labels = series
    notation = name + "{" + ",".join(f'{k}="{v}"' for k, v in labels) + "}"
    grows = after - before if name.endswith(COUNTERS) and before is not None and after is not None else 0.0
    early = f"_x{BEFORE}" if before is None else f"{before!r}x{BEFORE}"
    late = f"_x{AFTER}" if after is None else f"{after!r}+{grows!r}x{AFTER}"
    return {"series": notation, "values": f"{early} {late}"}


def raised(before: Series, after: Series, folder: Path) -> str:
    """What promtool says of the alerts that fire, against none."""
    series = [written(key, before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after])]
    asked = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{LOOK}m", "exp_samples": []}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [asked]}
    (folder / "alerts.yml").write_text(RULES.read_text())
    (folder / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": [test]})
    )
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("no promtool here (Debian's package prometheus has it)")
    done = subprocess.run([tool, "test", "rules", str(folder / "test.yml")], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("alert", PLANTED)
def test_a_planted_condition_raises_its_alert_and_no_other(alert, stand, tmp_path):
    before = scrape(stand.collector)
    assert named(before, "tfs_up", store="redis") == named(before, "tfs_up", store="postgresql") == 1
    try:
        PLANTED[alert](stand)
        exporter = stand.exporter()
        after = scrape(exporter) if exporter else {}
    finally:
        stand.client.config_set("maxmemory", 0)
    said = raised(before, after, tmp_path)
    assert {name for name in PLANTED if f'alertname="{name}"' in said} == {alert}, said


def test_a_system_that_is_well_raises_nothing(stand, tmp_path):
    series = scrape(stand.collector)
    assert "SUCCESS" in raised(series, series, tmp_path)
