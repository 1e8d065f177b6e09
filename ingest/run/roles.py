"""The roles of a pipeline, and the work of each."""

from __future__ import annotations

import threading

ROLES = ("worker", "router", "scorer", "writer")


def work(role: str, stop: threading.Event) -> None:
    """Do one role's work until ``stop`` is set."""
    from feature_repo.stores.endpoints import postgres_url, redis_url
    from feature_repo.stores.online.client import address_of_url, connect
    from ingest import settings

    conf = settings.load()
    with connect(address_of_url(redis_url()), "redis") as client:
        if role == "worker":
            from ingest.worker.worker import Worker

            Worker(client, conf).run(stop)
        elif role == "router":
            from ingest import router

            router.run(client, conf.partitions, stop)
        elif role == "writer":
            from ingest import offline_writer

            offline_writer.run(client, postgres_url(), conf.partitions, stop)
        else:
            from ingest.sentiment import scorer

            scorer.run(client, conf, stop, postgres_url=postgres_url())
