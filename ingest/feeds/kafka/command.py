"""``python -m ingest feed kafka``: the options of Kafka. Its library is imported only when this source is asked for."""

from __future__ import annotations

import argparse
import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import redis

from feature_repo.stores.endpoints import redis_url
from feature_repo.stores.errors import UserError
from ingest.cli import needs_extra
from ingest.feeds.ending import Ending, result_of
from ingest.feeds.kafka.source import STREAMS, Source
from ingest.publish import report
from ingest.publish.counts import Counts
from ingest.settings import Settings
from ingest.streams import deployment, outage
from ingest.streams.raised import each_number

_LOG = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the source ``kafka``."""
    add = parser.add_argument
    add("--brokers", metavar="HOST:PORT,...", help="of kafka: where to begin to look for its brokers")
    config = "of kafka: options of librdkafka, KEY=VALUE a line, such as passwords"
    add("--config", type=Path, metavar="FILE", help=config)
    name = "of kafka: under which its offsets are kept; feeds of other topics need another"
    add("--name", default="kafka", help=name)
    from_end = "of kafka: of partitions never read before, only what comes from now on"
    add("--from-end", action="store_true", help=from_end)


def run(args: argparse.Namespace, settings: Settings) -> None:
    """Move records until stopped; return the exit code."""
    with needs_extra("kafka"):
        from confluent_kafka import KafkaException

    if not args.brokers:
        raise UserError("name the brokers: python -m ingest feed kafka --brokers localhost:9092")
    stop = threading.Event()
    options = {} if args.config is None else options_of(args.config.read_text())
    topics = topics_of(args.names) or {name: name for name in STREAMS}
    source = Source(args.brokers, topics, args.name, args.from_end, options)
    try:
        client = outage.open_redis(redis_url(), settings.redis_replicas)
        with (
            client,
            report.live("feed", quiet=args.json) as progress,
            Ending(partial(outage.end_waits, client)) as ending,
        ):
            ending.on_signal(stop.set)
            deployment.check(client, settings, deployment.known_database())
            counts = result_of(partial(_move, client, settings, source, stop, progress), stop)
    except KafkaException as error:
        raise UserError(str(error)) from error
    if counts is None:
        _LOG.warning(
            "Kafka does not answer, and the feed ends without waiting for it; what was not moved is read by the next one"
        )
        counts = Counts()
    report.finish(counts, as_json=args.json)


def _move(
    client: redis.Redis,
    settings: Settings,
    source: Source,
    stop: threading.Event,
    progress: Callable[[Counts], None] | None,
) -> Counts:
    from ingest.feeds.kafka import feed

    counts = Counts()
    for conf, until in each_number(client, settings, stop):
        feed.run(client, source, conf.partitions, until, progress, counts=counts, number=conf.number)
    return counts


def options_of(text: str) -> dict[str, str]:
    """Return the options of a file of properties; empty lines and those that begin with ``#`` are comments.

    >>> options_of("# of the cluster\\nsecurity.protocol = SASL_SSL\\n")
    {'security.protocol': 'SASL_SSL'}
    """
    options = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            key, equals, value = line.partition("=")
            if not equals or not key.strip():
                # the line is not repeated, because it may be a secret
                raise UserError(f"--config: line {number} is not KEY=VALUE")
            options[key.strip()] = value.strip()
    return options


def topics_of(names: list[str]) -> dict[str, str]:
    """Return the stream of each topic that the command line names.

    >>> topics_of(["order_book=books.v1", "market_data"])
    {'books.v1': 'order_book', 'market_data': 'market_data'}
    """
    topics = {}
    for name in names:
        stream, _, topic = name.partition("=")
        topics[topic or stream] = stream
    return topics
