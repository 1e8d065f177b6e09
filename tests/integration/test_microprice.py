"""A fitted table in the worker: it makes no time pass for a quiet symbol, and a new owner finds it where it waited."""

from __future__ import annotations

from ingest.messages.kinds import MicropriceTable, OrderBook
from ingest.microprice.tables import publish
from ingest.publish.publisher import Publisher
from ingest.streams import keys
from ingest.streams.backlog import counters
from transforms.microstructure.layout import G_SIZE

T0 = 1_700_000_000_000
DAY = 86_400_000
TABLE = MicropriceTable(T0, "QUIET", 1, T0 - DAY, T0 + DAY, 0.5, [1.0] * G_SIZE)
NEVER_HEARD = MicropriceTable(T0, "SILENT", 1, T0 - DAY, T0 + DAY, 0.5, [1.0] * G_SIZE)


def entries(pipeline):
    return sum(pipeline.client.xlen(keys.events(p)) for p in range(2))


def test_a_table_that_waits_ticks_nobody_and_outlives_its_owner(pipeline):
    now = [T0 * 1000 + 1_000_000]
    pipeline.clock = lambda: now[0]
    book = OrderBook(T0 + 400, "QUIET", [(100.0, 1.0)], [(101.0, 2.0)], received=T0 + 400)
    with Publisher(pipeline.client, 2) as publisher:
        publisher.publish("book", book)
    worker = pipeline.worker()
    pipeline.work(worker)
    assert publish(pipeline.client, pipeline.settings, [TABLE, NEVER_HEARD], T0) == 2
    pipeline.work(worker)
    for seconds in range(20, 400, 20):  # past every ttl; the rows of a quiet book come by ticks, and then they end
        now[0] = T0 * 1000 + seconds * 1_000_000
        pipeline.work(worker)
    before = entries(pipeline)
    for hours in range(1, 20):
        now[0] = T0 * 1000 + hours * 3_600_000_000
        pipeline.work(worker)
    assert entries(pipeline) == before + 2  # both symbols leave the memory, once, and take the table with them
    worker.close()
    worker = pipeline.worker()
    now[0] = (T0 + DAY + 3000) * 1000
    with Publisher(pipeline.client, 2) as publisher:
        for ms in (-500, 500, 1500):
            at_ms = T0 + DAY + ms
            publisher.publish("book", OrderBook(at_ms, "QUIET", [(100.0, 1.0)], [(101.0, 1.0)], received=at_ms))
    pipeline.work(worker)
    worker.close()
    pipeline.store_rows()
    found = pipeline.postgres.execute(
        "SELECT extract(epoch FROM event_timestamp)::float8 * 1000 - %s, microprice - mid_price FROM microstructure "
        "WHERE symbol = 'QUIET' ORDER BY 1 DESC LIMIT 2",
        (float(T0 + DAY),),
    ).fetchall()
    assert found == [(1000.0, 0.5), (0.0, 0.5)]
    null = pipeline.postgres.execute("SELECT count(*), count(microprice) FROM microstructure").fetchone()
    assert null[0] > 2 and null[1] == 2
    assert counters(pipeline.client, 2)["accepted.microprice"] == 2
