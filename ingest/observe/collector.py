"""The collector: at each scrape it reads both stores and returns the metrics of ``table``.

For a store that is away ``tfs_up`` is 0 and its metrics are absent, so that no old number looks like a new one. The database is asked at
most every ``OFFLINE_S``, and drift is computed at most every ``DRIFT_S``, because both are work for the database.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.core import Metric as Family

from feature_repo.stores.offline.tables import upkeep
from feature_repo.stores.offline.tables.schema import table_of_view
from ingest.observe import drift, online, redis_state, samples
from ingest.observe.samples import Sample
from ingest.observe.table import METRICS, Metric
from ingest.settings import Settings
from ingest.streams import deployment
from transforms.catalog import VIEWS

_LOG = logging.getLogger(__name__)
OFFLINE_S = 30.0
DRIFT_S = 600.0
CONNECT_S = 2


class Collector:
    """A collector for ``prometheus_client``'s registry.

    Parameters
    ----------
    client : redis.Redis
        With a timeout: a scrape waits for it.
    postgres_url : str or None
        The offline store; None leaves its metrics out.
    settings : Settings
    clock : callable
        Microseconds since the epoch, for ages.
    monotonic : callable
        Seconds, for what is not read at each scrape.
    """

    def __init__(
        self,
        client: redis.Redis,
        postgres_url: str | None,
        settings: Settings,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._postgres_url = postgres_url
        self._settings = settings
        self._clock = clock
        self._offline = _Kept(OFFLINE_S, monotonic)
        self._drift = _Kept(DRIFT_S, monotonic)
        self._up: dict[str, bool] = {}
        self._highs: dict[tuple[str, tuple[str, ...]], float] = {}

    def describe(self) -> Iterator[Family]:
        """Yield nothing: registration asks before a store need be up."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """Read both stores; yield every metric that could be read."""
        found: dict[str, list[tuple[tuple[str, ...], float]]] = defaultdict(list)
        forms: dict[str, Any] = {}

        def add(some: Iterator[Sample]) -> None:
            for name, labels, value in some:
                found[name].append((labels, self._highest(name, labels, float(value))))

        try:
            settings = deployment.adopted(self._client, self._settings)
            state = redis_state.look(self._client, settings.partitions, tape=bool(settings.tape))
            ages = online.ages(self._client, state.all_symbols, self._clock())
            add(samples.of_redis(state))
            add(samples.of_online(ages, online.shares(self._client, ages)))
            forms["tfs_grid_to_online_seconds"] = samples.latency(state)
            forms["tfs_scorer_batch_size"] = samples.batch_size(state)
            reference = drift.load(self._client)
            if reference is not None:
                found["tfs_drift_reference_time_seconds"].append(((), reference.start_us / 1e6))
            found["tfs_up"].append((("redis",), self._is_up("redis", None)))
        except (redis.RedisError, deployment.DeploymentError) as error:
            found.clear()
            forms.clear()
            ages, reference = [], None
            found["tfs_up"].append((("redis",), self._is_up("redis", error)))
        if self._postgres_url is not None:
            try:
                add(iter(self._offline(self._read_offline)))
                if reference is not None:
                    newest_us = self._clock() - min((a for about in ages for a in about.by_symbol.values()), default=0)
                    add(iter(self._drift(lambda: self._read_drift(reference, newest_us), reference.start_us)))
                found["tfs_up"].append((("postgresql",), self._is_up("postgresql", None)))
            except psycopg.Error as error:
                found["tfs_up"].append((("postgresql",), self._is_up("postgresql", error)))
        for metric in METRICS:
            if metric.name in forms or found[metric.name]:
                yield _family(metric, found[metric.name], forms.get(metric.name))

    def _highest(self, name: str, labels: tuple[str, ...], value: float) -> float:
        """Return a counter at its greatest value so far. A fall by more than half is a new start and is returned as it is.

        A held message that turns out bad makes a counter fall by one, and Prometheus takes every fall for a new start.
        """
        if not name.endswith("_total"):
            return value
        height = self._highs.get((name, labels), 0.0)
        self._highs[name, labels] = value if value < height / 2 else max(value, height)
        return self._highs[name, labels]

    def _read_offline(self) -> list[Sample]:
        with self._connect() as connection:
            tables = upkeep.tables(connection, [table_of_view(view) for view in VIEWS])
            return list(samples.of_tables(tables, len(upkeep.failed_jobs(connection))))

    def _read_drift(self, reference: drift.Reference, end_us: int) -> list[Sample]:
        with self._connect() as connection:
            found = drift.drift(connection, reference, end_us, self._settings.emit_us)
        return [("tfs_feature_drift_psi", labels, value) for labels, value in found.items()]

    def _connect(self) -> psycopg.Connection[Any]:
        assert self._postgres_url is not None  # noqa: S101 - for the type checker
        return psycopg.connect(
            self._postgres_url, autocommit=True, connect_timeout=CONNECT_S, application_name="tfs metrics"
        )

    def _is_up(self, store: str, error: Exception | None) -> float:
        up = error is None
        if self._up.get(store, True) != up:
            if error is None:
                _LOG.info("%s can be read again", store)
            else:
                _LOG.warning(
                    "%s cannot be read: %s: %.200s", store, type(error).__name__, str(error).partition("\n")[0]
                )
        self._up[store] = up
        return float(up)


class _Kept:
    """The last result of a read, kept for ``seconds``. A failure is kept as long, so that few scrapes wait for a store that is away."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds, self._monotonic = seconds, monotonic
        self._until = -1.0
        self._of: object = None
        self._value: list[Sample] | psycopg.Error = []

    def __call__(self, read: Callable[[], list[Sample]], of: object = None) -> list[Sample]:
        """Return the result; read again if it is too old, or if ``of`` has changed."""
        now = self._monotonic()
        if now >= self._until or of != self._of:
            try:
                self._value = read()
            except psycopg.Error as error:
                self._value = error
            self._until, self._of = now + self._seconds, of
        if isinstance(self._value, psycopg.Error):
            raise self._value
        return self._value


def _family(metric: Metric, found: list[tuple[tuple[str, ...], float]], form: Any) -> Family:
    if metric.kind == "histogram":
        buckets, total = form
        return HistogramMetricFamily(metric.name, metric.help, buckets=buckets, sum_value=total)
    if metric.kind == "summary":
        count, total = form
        return SummaryMetricFamily(metric.name, metric.help, count_value=count, sum_value=total)
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in found:
        family.add_metric(labels, value)
    return family
