"""The alerts, the dashboard and the page on metrics, against the table of metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ingest.observe.table import METRICS

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/trading-feature-store.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
NAME = re.compile(r"\btfs_\w+")
LABEL = re.compile(r"\b(tfs_\w+)\{([^}]*)\}")
LABELS = {metric.name: set(metric.labels) for metric in METRICS}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
SERIES = {
    metric.name + suffix: set(metric.labels) | ({"le"} if suffix == "_bucket" else set())
    for metric in METRICS
    for suffix in SUFFIXES.get(metric.kind, ("",))
}


def misused(expr: str) -> list[str]:
    """Names and labels in an expression that no metric has."""
    wrong = [name for name in NAME.findall(expr) if name not in SERIES]
    for name, matchers in LABEL.findall(expr):
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        wrong += [f"{name}.{label}" for label in used - SERIES.get(name, set())]
    return wrong


def test_a_wrong_name_or_label_would_be_seen():
    assert misused('rate(tfs_rows_totl[5m]) + tfs_up{shop="x"} + tfs_up{store="redis"}') == [
        "tfs_rows_totl",
        "tfs_up.shop",
    ]


def test_names_are_what_prometheus_asks_for():
    assert len(LABELS) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"tfs_[a-z_]+[a-z]", metric.name)
        assert metric.name.endswith("_total") is (metric.kind == "counter"), metric.name
        assert not set(metric.labels) & {"symbol", "author", "id", "le", "quantile"}, "a label that outsiders can fill"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_exist_and_says_what_to_do(rule):
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert NAME.search(rule["expr"])
    assert misused(rule["expr"]) == []
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_that_exist(panel):
    assert panel["targets"]
    for target in panel["targets"]:
        assert NAME.search(target["expr"]) or "ALERTS" in target["expr"]
        assert misused(target["expr"]) == []
        used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        known = set().union(*(SERIES[name] for name in NAME.findall(target["expr"])))
        assert used <= known
        assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "prometheus"


def test_the_dashboard_shows_every_metric_and_its_panels_do_not_overlap():
    shown = {name for panel in PANELS for target in panel["targets"] for name in NAME.findall(target["expr"])}
    bases = {metric.name for metric in METRICS for name in shown if name in (metric.name, *_of(metric))}
    assert bases == set(LABELS)
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_a_store_is_up_or_down_in_words_and_one_that_nobody_asked_is_told():
    stats = [panel for panel in PANELS if "tfs_up" in panel["targets"][0]["expr"]]
    assert len(stats) == 2
    for panel in stats:
        assert panel["type"] == "stat"
        words, _ = panel["fieldConfig"]["defaults"]["mappings"]
        assert {value: word["text"] for value, word in words["options"].items()} == {"0": "down", "1": "up"}
        assert panel["fieldConfig"]["defaults"]["noValue"] == "no exporter"


def test_millions_of_rows_share_no_axis_with_counts_of_a_few():
    for panel in PANELS:
        names = {name for target in panel["targets"] for name in NAME.findall(target["expr"])}
        if "tfs_offline_rows" in names:
            assert names == {"tfs_offline_rows"}
        if "tfs_offline_failed_jobs" in names:
            assert names == {"tfs_offline_failed_jobs"} and panel["type"] == "stat"


def _of(metric):
    return [metric.name + suffix for suffix in SUFFIXES.get(metric.kind, ())]


def test_grafana_finds_the_datasource_and_the_dashboard_that_are_provisioned():
    folder = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["uid"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards/dashboards.yml").read_text())["providers"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"] if volume.startswith("./"))
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert source["url"].split("//")[1].split(":")[0] in services


def test_the_page_is_the_table():
    text = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(tfs_\w+)` \| (\w+) \| ([^|]*) \| (\w+) \| (.*) \|$", text, re.M)
    said = [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)), store, about) for name, kind, labels, store, about in rows
    ]
    assert said == [(m.name, m.kind, m.labels, m.store, m.help) for m in METRICS]


def test_the_page_lists_every_alert():
    text = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (page|ticket) \|", text, re.M)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]


def promtool(*arguments: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("no promtool here (Debian's package prometheus has it)")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_the_alerts():
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_every_alert_is_raised_by_its_condition_and_by_no_quiet_system():
    raised = set(re.findall(r'alertname="(\w+)"', (PROMETHEUS / "alerts_test.yml").read_text()))
    assert raised == {rule["alert"] for rule in RULES}
    promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))
