"""The roles of a pipeline, and what runs each of them."""

from __future__ import annotations

import threading

ROLES = ("worker", "router", "scorer", "writer")


def run_role(role: str, stop: threading.Event) -> None:
    """Run one role until ``stop`` is set. Only what the role needs is imported."""
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
