"""What an exporter shows, as a scrape by Prometheus would read it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Series:
    """The value of each series, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(collector) -> Series:
    """One scrape, through the text that Prometheus gets."""
    registry = CollectorRegistry()
    registry.register(collector)
    return parsed(generate_latest(registry).decode())


def named(series: Series, name: str, **labels: str) -> float:
    """The one series of that name and labels."""
    return series[name, tuple(sorted(labels.items()))]
