"""What each process of a simulation runs: the real code of its part."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import redis

from ingest import offline_writer, router
from ingest.feeds.kafka import feed as kafka_feed
from ingest.feeds.kafka.source import Source
from ingest.messages.decode import encode
from ingest.messages.kinds import PLAIN_STREAM, SocialPost
from ingest.publish.outlet import Outlet
from ingest.recordings.lines import Parsed
from ingest.sentiment.history import History
from ingest.sentiment.scorer import Scorer
from ingest.settings import Settings
from ingest.streams import dead_letters, deployment, keys, raised
from ingest.streams.dead_letters import RetryError
from ingest.streams.raised import each_number
from ingest.worker import dead_letters_command
from ingest.worker.worker import Worker
from tests.simulation.client import Client
from tests.simulation.schedule import FEEDS, NEWCOMER, PLAIN, RAISER, Sent, Written
from tests.simulation.stand_ins import Model
from tests.simulation.world import Process, Stop

if TYPE_CHECKING:
    from tests.simulation.site import Site

BATCH = 6  # messages that a feed writes at once
KIND_STREAM = {kind: stream for stream, kind in PLAIN_STREAM.items()} | {"social": keys.SOCIAL}


def body(site: Site, process: Process, stop: Stop) -> None:
    """Run the part that the process's name tells, until it is stopped or killed."""
    client = Client(site.network, is_cluster=site.plan.is_split)
    role = process.name.split()[0]
    if role == "operator":
        _put_back(client, site.settings)
    elif role == RAISER:
        _raise(client, site.settings, site.plan.partitions, stop)
    elif process.name in FEEDS:
        _feed(site, process, client, stop)
    elif process.name == PLAIN:
        _produce(site, client, stop)
    elif site.plan.partitions == site.settings.partitions:
        _run(role, client, site.settings, stop, takes_over=process.name == NEWCOMER)
    else:
        for settings, until in each_number(client, site.settings, stop):
            _run(role, client, settings, until)


def _run(
    role: str, client: redis.Redis, settings: Settings, stop: threading.Event, *, takes_over: bool = False
) -> None:
    """Run a part that ends when the number of partitions is raised."""
    if role == "worker":
        Worker(client, settings, hand_over="rebuild" if takes_over else "wait", started_ms=int(takes_over)).run(stop)
    elif role == "router":
        router.run(client, settings.partitions, stop, settings.number)
    elif role == "writer":
        offline_writer.run(client, "", settings.partitions, stop)
    elif role == "scorer":
        Scorer(client, Model(), settings, History(None)).run(stop)
    else:
        kafka_feed.run(client, Source("simulated"), settings.partitions, stop, number=settings.number)


def _raise(client: redis.Redis, settings: Settings, goal: int, stop: Stop) -> None:
    """Raise the number of partitions, as the command ``partitions`` does; try again while the server is away."""
    while not stop.is_set():
        try:
            if raised.number(client) == goal:
                return
            raised.ask(client, settings.partitions, goal)
        except redis.RedisError:
            pass
        stop.wait(0.5)


def _feed(site: Site, process: Process, client: redis.Redis, stop: Stop) -> None:
    """Write what the venue gives; what is given while the process is down is not heard."""
    outlet = Outlet(client, site.settings, stop=stop)
    queue = site.queues[process.name]
    queue.clear()
    written = Written()
    site.written.append(written)
    while not stop.is_set():
        batch = queue[:BATCH]
        if not batch:
            site.wait_for_messages(process)
            batch = queue[:BATCH]
        del queue[: len(batch)]
        site.is_busy.add(process.name)
        restored = site.watch.n_restored
        try:
            if batch:
                outlet.write([_parsed(one) for one in batch])
            elif not stop.is_set():
                outlet.look()
                written.n_restored = restored
        except redis.RedisError:
            if not stop.is_set():
                raise
            return  # a feed that is stopped gives up what it cannot write
        site.is_busy.discard(process.name)
        site.acknowledged += batch
        written.messages += batch


def _parsed(one: Sent) -> Parsed:
    return Parsed("social" if isinstance(one.message, SocialPost) else one.kind, one.message)


def _produce(site: Site, client: redis.Redis, stop: Stop) -> None:
    """Append to the plain streams, as a producer that knows nothing of us; try again while the server is away."""
    queue = site.queues[PLAIN]
    while not stop.is_set():
        if not queue:
            site.wait_for_messages(site.running[PLAIN])
            continue
        some = queue[: BATCH if site.plan.is_busy else 1]
        try:
            with client.pipeline(transaction=True) as pipe:
                for one in some:
                    pipe.xadd(KIND_STREAM[one.kind], plain_fields(one))
                pipe.execute()
        except redis.ConnectionError:  # refused: it was not taken
            stop.wait(0.5)
        except redis.OutOfMemoryError:
            stop.wait(0.5)
        except redis.TimeoutError:  # it may have been taken; without an id nobody can tell
            site.unsure += some
            del queue[: len(some)]
        else:
            site.acknowledged += some
            del queue[: len(some)]


def plain_fields(one: Sent) -> Any:
    """Return the entry of a message in a plain stream."""
    return {b"data": encode(one.message), **({b"recorded": b"1"} if one.is_recorded else {})}


def _put_back(client: redis.Redis, settings: Settings) -> None:
    """Put every dead letter back, as ``dead-letters retry --reason`` does."""
    try:
        conf = deployment.adopted(client, settings)
        for letter in list(dead_letters.oldest(client, conf.partitions, number=conf.number)):
            try:
                if not letter.retried:
                    dead_letters_command._check_not_late(client, letter, conf.partitions)
                dead_letters.retry(client, letter, conf.partitions, conf.number)
            except RetryError:
                continue
    except redis.RedisError:
        return  # the operator sees the error and leaves it
